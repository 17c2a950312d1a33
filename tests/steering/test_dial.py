"""The dial in every shape: what each option does to the picture, and that its default does nothing.

Evidence: tiny real pipelines of every layout of guidance, with random weights and random maps.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from linea_diffusion import LineaError, SteeringMaps, find_modules, record_activations

from ..conftest import seeded
from ..zoo.cases import CASES
from ..zoo.checks import Subject

STRENGTHS = [0.0, 0.4, 1.0]


def _array(pipe, prompt="a red heart", *, seed=0, **kwargs) -> np.ndarray:
    return pipe(prompt, generator=seeded(seed), output_type="np", num_inference_steps=4, **kwargs).images


def _differ(first, second) -> float:
    return float(np.abs(np.asarray(first) - np.asarray(second)).max())


@pytest.fixture
def steered(pipe, random_maps):
    pipe.load_steering(random_maps, "one")
    return pipe


@pytest.fixture
def doubly_steered(steered, random_maps):
    steered.load_steering(-0.5 * random_maps, "two")
    return steered


@pytest.mark.parametrize("form", [tuple, torch.tensor, np.array, lambda s: {"one": s}, lambda s: {"one": tuple(s)}])
def test_a_row_in_every_form(steered, form):
    assert (_array(steered, strength=form(STRENGTHS)) == _array(steered, strength=STRENGTHS)).all()


@pytest.mark.parametrize("form", [lambda s: [s], torch.tensor, lambda s: torch.tensor([s])])
def test_one_strength_in_every_form_and_for_several_prompts(steered, form):
    prompts = ["a red heart", "a blue fish"]
    for prompt in ("a red heart", prompts):
        assert _differ(_array(steered, prompt, strength=form(0.6)), _array(steered, prompt, strength=0.6)) == 0


def test_a_dict_of_lists(doubly_steered):
    row = _array(doubly_steered, strength={"one": [0.2, 0.8], "two": [0.5, 0.0]})
    first = _array(doubly_steered, strength={"one": 0.2, "two": 0.5})
    second = _array(doubly_steered, strength={"one": 0.8})
    np.testing.assert_allclose(row, np.concatenate([first, second]), atol=2e-3)
    mixed = _array(doubly_steered, strength={"one": [0.2, 0.8], "two": 0.5})
    assert _differ(mixed[0], row[0]) < 2e-3
    assert _differ(mixed[1], row[1]) > 0.02


def test_lists_of_different_lengths_are_refused(doubly_steered):
    with pytest.raises(LineaError, match=r"lengths \[2, 3\]"):
        _array(doubly_steered, strength={"one": [0.1, 0.2], "two": [0.1, 0.2, 0.3]})


def test_one_negative_prompt_goes_with_every_row(steered):
    row = _array(steered, strength=STRENGTHS, guidance_scale=3.0, negative_prompt="a blue fish")
    alone = [_array(steered, strength=s, guidance_scale=3.0, negative_prompt="a blue fish")[0] for s in STRENGTHS]
    np.testing.assert_allclose(row, np.stack(alone), atol=2e-3)
    assert _differ(row, _array(steered, strength=STRENGTHS, guidance_scale=3.0)) > 0.02


@pytest.mark.filterwarnings("ignore:maps of 'text_encoder'")
def test_embeddings_in_place_of_a_prompt(steered):
    with torch.no_grad():
        embeddings = steered.encode_prompt("a red heart", "cpu", 1, do_classifier_free_guidance=False)[0]
    row = _array(steered, None, prompt_embeds=embeddings, strength=[0.0, 0.7])
    alone = _array(steered, None, prompt_embeds=embeddings, strength=0.7)
    assert _differ(row[1], alone[0]) < 2e-3
    assert _differ(row[0], row[1]) > 0.02


@pytest.mark.parametrize("key", ["stable-diffusion-xl", "stable-diffusion-3", "flux"])
def test_second_prompts_are_repeated_with_the_first(key):
    subject = Subject(CASES[key])
    settings = {**subject.case.arguments, "prompt_2": "a blue fish", "output_type": "np"}
    row = subject.pipe("a red heart", strength=[0.2, 0.9], generator=seeded(), **settings).images
    alone = subject.pipe("a red heart", strength=0.9, generator=seeded(), **settings).images
    assert _differ(row[1], alone[0]) < 2e-3


DOUBLED, SWAPPED, PERTURBED = [True] * 2 + [False] * 2, [False] * 2 + [True] * 2, [True] * 2 + [False] * 4
LAYOUTS = {
    "stable-diffusion": ("unet", DOUBLED),
    "stable-diffusion-xl": ("unet", DOUBLED),  # the embeddings of an empty negative prompt are zeros
    "stable-diffusion-3": ("transformer", DOUBLED),
    "stable-diffusion-pag": ("unet", PERTURBED),
    "kandinsky22": ("prior_prior", DOUBLED),
    "lumina": ("transformer", SWAPPED),
    "z-image": ("transformer", SWAPPED),  # lists with one tensor for each picture
    "cascade": ("prior_prior", SWAPPED),  # within a nested pipeline
    "chroma": ("transformer", SWAPPED),  # two calls
    "qwenimage": ("transformer", SWAPPED),  # two calls in named contexts
    "lumina2": ("transformer", SWAPPED),  # two calls
    "flux": ("transformer", [False] * 2),  # no second run
}
"""Key -> denoiser, and which rows of its first step run with the negative prompt."""


@pytest.mark.parametrize("key", list(LAYOUTS))
def test_only_rows_with_the_prompt_are_steered(key):
    """At the denoiser's first activation, whose input no map has touched, rows are moved or are the base model's."""
    component, negative = LAYOUTS[key]
    subject = Subject(CASES[key])
    maps = {name: affine for name, affine in subject.maps.named_maps() if name.startswith(f"{component}.")}
    subject.pipe.load_steering(SteeringMaps.of(maps), "default", replace=True)
    base, both, cond = (
        _first_rows(subject, maps, len(negative), **kwargs)
        for kwargs in ({"strength": 0.0}, {"strength": 1.0}, {"strength": [1.0, 0.5], "steering_guidance": "cond"})
    )
    assert _moved(both, base) == [True] * len(negative)
    assert _moved(cond, base) == [not row for row in negative]
    half = negative.index(False)
    assert _differ(cond[half] - base[half], both[half] - base[half]) < 1e-4
    assert _differ(2 * (cond[half + 1] - base[half + 1]), both[half + 1] - base[half + 1]) < 1e-4


def _first_rows(subject: Subject, maps, rows: int, **kwargs) -> torch.Tensor:
    modules = {name: module for name, module in subject.maps.modules_in(subject.pipe.base).items() if name in maps}
    with record_activations(modules) as recorded:
        subject.render(**kwargs)
    calls = recorded[recorded.order[0][0]]  # texts of two calls may have different lengths
    return torch.cat([call.flatten(1)[:, :8] for call in calls])[:rows]


def _moved(rows: torch.Tensor, base: torch.Tensor) -> list[bool]:
    return [not torch.equal(row, unmoved) for row, unmoved in zip(rows, base, strict=True)]


@pytest.mark.parametrize("key", ["stable-diffusion", "stable-diffusion-3", "flux"])
def test_negative_prompts_are_encoded_as_they_are(key):
    subject = Subject(CASES[key])
    modules = find_modules(subject.pipe.base, "text-attention")
    seen = {}
    for guidance in ("both", "cond"):
        with record_activations(modules) as recorded:
            subject.render(strength=0.8, steering_guidance=guidance, negative_prompt=["a dog", "a dog"])
        seen[guidance] = recorded
    with record_activations(modules) as base:
        subject.render(strength=0.0, negative_prompt=["a dog", "a dog"])
    name = next(name for name in modules if len(base[name]) == (1 if key == "flux" else 2))
    for call, (one, two, plain) in enumerate(zip(seen["both"][name], seen["cond"][name], base[name], strict=True)):
        assert not torch.equal(one, plain)
        assert torch.equal(two, plain) == (call == 1)


def test_where_no_guidance_runs_both_and_cond_are_the_same(steered):
    # one steers by hooks, the other in the layers themselves: the same to rounding
    assert np.allclose(
        _array(steered, strength=0.7, steering_guidance="cond"), _array(steered, strength=0.7), atol=1e-4
    )
    guided = {g: _array(steered, strength=0.7, guidance_scale=3.0, steering_guidance=g) for g in ("both", "cond")}
    assert _differ(guided["both"], guided["cond"]) > 0.02
    assert (_array(steered, strength=0.7, guidance_scale=3.0) == guided["both"]).all()


def test_steering_within_a_part_of_the_schedule(steered):
    """Maps of the U-Net only: before ``steering_start`` and after ``steering_end`` its steps are the base model's."""
    maps = {name: affine for name, affine in steered.steering["one"].named_maps() if name.startswith("unet")}
    steered.load_steering(SteeringMaps.of(maps), "one", replace=True)

    def latents(**kwargs) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []

        def keep(pipe, index, timestep, state):
            seen.append(state["latents"].clone())
            return state

        _array(steered, callback_on_step_end=keep, **kwargs)
        return seen

    base, full = latents(strength=0), latents(strength=0.9)
    assert torch.equal(latents(strength=0.9, steering_start=0.0, steering_end=1.0)[-1], full[-1])
    late = latents(strength=0.9, steering_start=0.5)
    assert [torch.equal(a, b) for a, b in zip(late, base, strict=True)] == [True, True, False, False]
    early = latents(strength=0.9, steering_end=0.5)
    assert [torch.equal(a, b) for a, b in zip(early, full, strict=True)] == [True, True, False, False]
    assert not torch.equal(early[-1], base[-1])


@pytest.mark.filterwarnings("ignore:nothing was steered")
def test_text_encoders_are_steered_if_steering_starts_with_the_call(steered):
    maps = {name: affine for name, affine in steered.steering["one"].named_maps() if name.startswith("text")}
    steered.load_steering(SteeringMaps.of(maps), "one", replace=True)
    base = _array(steered, strength=0)
    assert (_array(steered, strength=0.9, steering_start=0.25) == base).all()
    assert (_array(steered, strength=0.9, steering_end=0.25) == _array(steered, strength=0.9)).all()
    assert _differ(_array(steered, strength=0.9), base) > 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        {"steering_start": -0.1},
        {"steering_end": 1.1},
        {"steering_start": 0.5, "steering_end": 0.5},
        {"steering_guidance": "uncond"},
    ],
)
def test_impossible_dials_are_refused(steered, wrong):
    with pytest.raises(LineaError, match=next(iter(wrong))):
        _array(steered, strength=0.5, **wrong)


def test_chosen_adapters_act_in_calls_without_strength(doubly_steered):
    pipe = doubly_steered
    assert pipe.get_active_steering() == {"one": 1.0, "two": 1.0}
    pipe.set_steering(["one", "two"], [0.5, 0.25])
    assert pipe.get_active_steering() == {"one": 0.5, "two": 0.25}
    assert (_array(pipe) == _array(pipe, strength={"one": 0.5, "two": 0.25})).all()
    pipe.set_steering("two")
    assert pipe.get_active_steering() == {"two": 1.0}
    assert (_array(pipe) == _array(pipe, strength={"two": 1.0})).all()
    assert (_array(pipe, strength={"one": 0.3}) == _array(pipe, strength={"one": 0.3, "two": 0.0})).all()
    pipe.set_steering(["one"], [STRENGTHS])
    assert (_array(pipe) == _array(pipe, strength={"one": STRENGTHS})).all()
    pipe.unload_steering("one")
    assert pipe.get_list_steering() == ["two"]
    assert pipe.get_active_steering() == {}


def test_disabled_steering_is_the_base_model(doubly_steered):
    pipe = doubly_steered
    steered, base = _array(pipe), _array(pipe, strength=0)
    pipe.disable_steering()
    assert (_array(pipe) == base).all()
    assert pipe.get_active_steering() == {}
    with pytest.raises(LineaError, match="enable_steering"):
        _array(pipe, strength=0.5)
    assert (_array(pipe, strength=0) == base).all()
    pipe.enable_steering()
    assert (_array(pipe) == steered).all()
    pipe.disable_steering()
    pipe.unload_steering()
    pipe.load_steering(SteeringMaps(dict.fromkeys(find_modules(pipe, "text-attention"), 128)), "again")
    assert pipe.get_active_steering() == {"again": 1.0}


@pytest.mark.parametrize(
    ("names", "strengths", "message"),
    [
        (["one", "tow"], 1.0, "nearest: two"),
        (["one", "two"], [1.0], "one strength for each"),
        (["one", "one"], [1.0, 0.5], "one strength for each"),
        ("one", [float("nan")], "finite"),
    ],
)
def test_impossible_choices_are_refused(doubly_steered, names, strengths, message):
    with pytest.raises(LineaError, match=message):
        doubly_steered.set_steering(names, strengths)
    assert doubly_steered.get_active_steering() == {"one": 1.0, "two": 1.0}
