"""Signs of other programs' prompts: told apart from what people write in words, and told once."""

from __future__ import annotations

import warnings

import pytest

from linea_diffusion import Concept, StyleGrid, generate_batch, load_concept
from linea_diffusion.concepts.concept import list_concepts
from linea_diffusion.concepts.signs import foreign_signs, hint_at_syntax

SIGNS = {
    "a {red|blue} cat": ("alternatives", "{red|blue}"),
    "a {red|a {deep|light} blue} cat": ("alternatives", "{deep|light}"),
    "a __color__ cat": ("wildcards", "__color__"),
    "a __animals/big-cats__": ("wildcards", "__animals/big-cats__"),
    "a (red:1.3) cat": ("weights", "(red:1.3)"),
    "a (very red cat: 0.8)": ("weights", "(very red cat: 0.8)"),
    "a ((red:.5)) cat": ("weights", "(red:.5)"),
    "a (red:2) cat": ("weights", "(red:2)"),
    "a cat <lora:ink:0.8>": ("networks", "<lora:ink:0.8>"),
    "a cat <LyCO:ink>": ("networks", "<LyCO:ink>"),
}
WORDS = [
    "a {red,blue} cat", "a {cat}", "snake_case and __", "____", "a cat (red)", "a photo (16:9)",
    "a clock (it is 10:45)", "at 12:30 (noon)", "a <b> c", "x | y", "ratio 1:1.3", "(John 3:16)", "(John 3:1)",
    "a cat: (1.5)",
]  # fmt: skip


@pytest.mark.parametrize("prompt", SIGNS)
def test_signs_are_found(prompt):
    kind, sign = SIGNS[prompt]
    assert foreign_signs(["a cat", prompt]) == {kind: sign}


@pytest.mark.parametrize("prompt", WORDS)
def test_words_are_left_alone(prompt):
    assert foreign_signs([prompt]) == {}


def test_no_concept_of_ours_has_any():
    for name in list_concepts():
        concept = load_concept(name)
        assert foreign_signs([*concept.source, *concept.target]) == {}


def test_long_prompts_of_brackets_take_no_time():
    long = 50_000
    for text in ("(" + "a" * long, "(a:1" + ":" * long, "{" + "|" * long, "__a-" * long, "(" + "a." * long + ":1.2)"):
        assert isinstance(foreign_signs([text]), dict)
    for text in ("(" * 50_000, "{" * 50_000, "__" * 25_000, "(a:" * 20_000, "<lora:" * 10_000, "__a" * 20_000):
        assert isinstance(foreign_signs([text]), dict)


def test_one_hint_names_each_kind_once_and_what_to_use():
    with pytest.warns(UserWarning, match="other programs") as caught:
        assert hint_at_syntax([*SIGNS, *WORDS])
    assert len(caught) == 1
    text = str(caught[0].message)
    for part in (
        "{red|blue}",
        "__color__",
        "(red:1.3)",
        "<lora:ink:0.8>",
        "{a,b}",
        "prompt_embeds=",
        "load_lora_weights",
    ):
        assert part in text
    assert "\n" not in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not hint_at_syntax(WORDS)


def hints(caught):
    return [str(one.message) for one in caught if "other programs" in str(one.message)]


def test_every_door_tells_once(pipe, random_maps, tmp_path):
    prompts = ["a (red:1.3) heart", "a {red|blue} heart", "a __thing__", "a (blue:2) heart"]
    pipe.load_steering(random_maps, "one")
    settings = {"num_inference_steps": 1}
    (tmp_path / "jobs.txt").write_text("\n".join(prompts))
    doors = [
        lambda: pipe(prompts[0], **settings),
        lambda: pipe("a cat", negative_prompt=prompts[1], guidance_scale=2.0, **settings),
        lambda: StyleGrid.render(pipe, prompts, [0, 1], batch_size=1, **settings),
        lambda: generate_batch(
            pipe, tmp_path / "jobs.txt", tmp_path / "out", batch_size=1, defaults={"steps": 1}, progress=False
        ),
        lambda: Concept("x", tuple(prompts), ("a", "b", "c", "d"), "x"),
    ]
    for door in doors:
        with pytest.warns(UserWarning, match="other programs") as caught:
            door()
        assert len(hints(caught)) == 1


def test_our_own_braces_stay_what_they_are(pipe, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        done = generate_batch(pipe, ["a {red,blue} heart"], tmp_path, defaults={"steps": 1}, progress=False)
    assert done.images == 2
