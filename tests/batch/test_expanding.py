"""One line, several images."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linea_diffusion import LineaError
from linea_diffusion.batch.jobs.expanding import (
    alternatives,
    count_images,
    escape,
    expand,
)


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("a cat", ["a cat"]),
        ("a {red,blue} {cat,dog}", ["a red cat", "a red dog", "a blue cat", "a blue dog"]),
        ("{a,{b,c} d}", ["a", "b d", "c d"]),
        ("a{,n old} cat", ["a cat", "an old cat"]),
        ("{alone}", ["{alone}"]),
        ("{x{1,2}}", ["{x1}", "{x2}"]),
        (r"\{a,b\} \\ c", [r"{a,b} \ c"]),
        (r"{a\,b,c}", ["a,b", "c"]),
        ("a, b} c", ["a, b} c"]),
    ],
)
def test_alternatives(text, texts):
    assert list(alternatives(text)) == texts


@given(st.text(alphabet="ab{},\\ é"))
def test_an_escaped_text_stands_for_itself(text):
    assert list(alternatives(escape(text))) == [text]


def test_a_brace_that_does_not_close():
    with pytest.raises(LineaError, match="does not close"):
        list(alternatives("a {red,blue"))


def test_every_combination_once():
    fields = {"prompt": "{a,b}", "negative_prompt": "{c,d}", "strength": [0, {"neon": 1}], "seed": [5, 9], "images": 2}
    jobs = list(expand(fields))
    assert count_images(fields) == len(jobs) == 2 * 2 * 2 * 4
    assert {job["seed"] for job in jobs} == {5, 6, 9, 10}
    assert all("images" not in job for job in jobs)
    kinds = {(job["prompt"], job["negative_prompt"], str(job["strength"]), job["seed"]) for job in jobs}
    assert kinds == set(itertools.product("ab", "cd", ["0", "{'neon': 1}"], [5, 6, 9, 10]))


def test_many_images_are_made_one_at_a_time():
    fields = {"prompt": "a", "seed": [5, 9], "images": 500_000, "strength": 0.5}
    assert count_images(fields) == 1_000_000
    assert next(expand(fields)) == {"prompt": "a", "seed": 5, "strength": 0.5}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "a", "seed": 0, "images": 0}, "images=0"),
        ({"prompt": "a", "seed": 1.5}, "seed 1.5"),
        ({"prompt": "a", "seed": -1}, "0 to 2"),
        ({"prompt": "a", "seed": []}, "seed"),
        ({"prompt": "a", "strength": []}, "empty list"),
        ({"prompt": "{a,b}" * 13 + "x" * 30_000}, "prompts and more of up to 30065 letters"),
        ({"prompt": "{a,b}" * 20_000}, "256 prompts and more of up to 100000"),
        ({"prompt": "{" * 1200}, "braces more than 32 deep"),
        ({"prompt": "{" * 1200 + "}" * 1200}, "braces more than 32 deep"),
        ({"prompt": "{" + "{a,b}" * 30 + ",c}"}, "more than 10000 prompts"),
        ({"prompt": "{" + "{a,b}" * 9000 + ",c}"}, "512 prompts and more"),
        ({"prompt": "a", "seed": 0, "images": 10**9}, "asks for 1000000000 images: expected at most 1000000"),
        ({"prompt": "{a,b}" * 10, "seed": [1, 2, 3], "images": 1000}, "asks for 3072000 images"),
        ({"prompt": "{a,b}" * 20}, "more than 10000 prompts"),
    ],
)
def test_what_cannot_be_expanded(fields, message):
    with pytest.raises(LineaError, match=message):
        list(expand(fields))
