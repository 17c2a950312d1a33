"""Requests become pictures: which share a call, in which order they come, and what fails alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, islice

import numpy as np
import pytest

from linea_diffusion import LineaError, render_samples
from linea_diffusion.pipelines.rendering.render import images_of, render, render_prompts
from linea_diffusion.pipelines.rendering.requests import Request, grouped, requests_of

from ..batches import tiny_pipe, tiny_style
from ..conftest import seeded

QUICK = {"num_inference_steps": 1, "guidance_scale": 1.0, "width": 16, "height": 16}


@pytest.fixture(scope="module")
def tiny():
    pipe = tiny_pipe()
    pipe.load_steering(tiny_style(pipe, 1), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def calls(tiny):
    """How many prompts each call of the U-Net has."""
    seen: list[int] = []
    with tiny.unet.register_forward_pre_hook(
        lambda module, args, arguments: seen.append(len((args or [arguments["sample"]])[0])), with_kwargs=True
    ):
        yield seen


def request(**changes) -> Request:
    return replace(Request("a cat", 0, {"neon": 0.5}, arguments=QUICK), **changes)


def same(a, b) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


def test_a_shape_is_what_a_call_has_once():
    alike = [request(), request(prompt="a dog", seed=3, strengths={"mosaic": 1.0})]
    others = [
        request(strengths=None), request(strengths=0.5), request(strengths=1.0), request(dial={"calibrated": False}),
        request(arguments={**QUICK, "eta": 0.5}), request(arguments={**QUICK, "eta": object()}),
        request(dial={"composition": "chain"}, strengths={"neon": 1, "mosaic": 1}),
        request(dial={"composition": "chain"}, strengths={"mosaic": 1, "neon": 1}),
    ]  # fmt: skip
    assert len({one.shape for one in alike}) == 1
    assert len({one.shape for one in [*alike, *others]}) == 1 + len(others)
    words = [request(arguments={**QUICK, "negative_prompt": word}, rows=("negative_prompt",)) for word in ("x", "y")]
    assert words[0].shape == words[1].shape != request().shape


def test_neighbours_of_one_shape_come_together_in_the_order_asked():
    requests = [request(seed=seed, strengths=0.5 if seed in (3, 4) else None) for seed in range(7)]
    groups = list(grouped(requests, lambda one: 2))
    assert [[one.seed for one in group] for group in groups] == [[0, 1], [2], [3, 4], [5, 6]]
    mixed = list(grouped(requests, lambda one: 4, window=6))
    assert [[one.seed for one in group] for group in mixed] == [[0, 1, 2, 5], [3, 4], [6]]


def test_pictures_are_those_of_single_calls_and_come_as_they_are_made(tiny, calls):
    endless = (request(prompt=f"star {seed}", seed=seed, strengths={"neon": seed / 4}) for seed in count())
    made = list(islice(render(tiny, endless, 2), 4))
    assert calls == [2, 2]
    for one, image in made:
        alone = tiny(one.prompt, strength=one.strengths, generator=seeded(one.seed), **QUICK).images[0]
        assert np.abs(np.asarray(alone, dtype=int) - np.asarray(image, dtype=int)).max() <= 2


def test_what_is_given_for_one_prompt_goes_to_all_and_rows_have_their_own(tiny):
    usual = {**QUICK, "guidance_scale": 4.0}
    each = [request(arguments={**usual, "negative_prompt": word}, rows=("negative_prompt",)) for word in ("x", "fog")]
    both = [request(arguments={**usual, "negative_prompt": "x"}) for _ in each]
    separate, shared = list(images_of(tiny, each, 2)), list(images_of(tiny, both, 2))
    assert same(separate[0], shared[0])
    assert same(*shared)
    assert not same(separate[1], shared[1])


def test_one_number_is_the_strength_of_a_whole_call(tiny, calls):
    images = render_prompts(tiny, ["a cat", "a dog"], [0, 1], strength=0.5, **QUICK)
    plain = render_prompts(tiny.base, ["a cat", "a dog"], [0, 1], **QUICK)
    assert calls == [2, 2]
    expected = tiny(["a cat", "a dog"], strength=0.5, generator=[seeded(0), seeded(1)], **QUICK).images
    assert all(map(same, images, expected))
    assert not same(images[0], plain[0])


def test_a_failure_is_one_requests_own_or_raised_as_it_is(tiny):
    bad = {**QUICK, "clip_skip": 77}  # no such layer
    requests = [request(), request(arguments=bad), request(seed=1)]
    outcomes = [outcome for _, outcome in render(tiny, requests, 3)]
    assert [isinstance(outcome, LineaError) for outcome in outcomes] == [False, True, False]
    assert "the pipeline raised IndexError" in str(outcomes[1])
    with pytest.raises(IndexError):
        list(images_of(tiny, requests, 3))


def test_errors_say_what_to_do(tiny):
    for name, hint in (("generator", "list of seeds"), ("num_images_per_prompt", "seeds"), ("output_type", "pictures")):
        with pytest.raises(LineaError, match=rf"got {name}=2, which is set here .*: leave it out; .*{hint}"):
            requests_of(tiny, [], {name: 2})
    with pytest.raises(LineaError, match="expected a LinEASDiffusionPipeline"):
        render_prompts(tiny.base, ["a cat"], [0], strength=0.5, **QUICK)
    with pytest.raises(LineaError, match=r"denoising_strength=0\.5, and StableDiffusionPipeline"):
        requests_of(tiny, [], {"denoising_strength": 0.5})
    for size in (0, 1.5, "huge", True):
        with pytest.raises(LineaError, match="expected a whole number above 0, or auto"):
            render_prompts(tiny, ["a cat"], [0], batch_size=size, **QUICK)


def test_samples_for_a_card_are_a_row_of_one_noise(pipe, random_maps):
    pipe.load_steering(-1.0 * random_maps, "other")
    samples = render_samples(pipe, random_maps, "a red heart", (0.0, 0.6), seed=3, num_inference_steps=1)
    assert list(samples.images) == [0.0, 0.6]
    assert pipe.get_list_steering() == ["other"]
    alone = pipe("a red heart", strength=0.0, generator=seeded(3), num_inference_steps=1).images[0]
    assert samples.images[0.0].tobytes() == alone.tobytes() != samples.images[0.6].tobytes()
