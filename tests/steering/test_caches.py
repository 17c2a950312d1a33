"""Step caches: what they give again was steered as that call asks for, and no other call ever sees it.

Evidence: real classes with random weights; the same calls without a cache, without steering, or made afresh.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
)
from diffusers.hooks import TextKVCacheConfig

from linea_diffusion import Concept, LineaError, LinEASDiffusionPipeline, TrainingConfig, train_steering_maps
from linea_diffusion.steering.calls.caches import StepCaches

from ..zoo.cases import CASES
from ..zoo.checks import Subject
from ..zoo.modular import modular_case
from .test_acted import silence

STEPS = 6
_TAYLOR = {"cache_interval": 2, "disable_cache_before_step": 1, "taylor_factors_dtype": torch.float32}


@pytest.fixture(scope="module")
def flux() -> Subject:
    return Subject(CASES["flux"])


def caches(subject: Subject) -> dict:
    now = lambda: float(subject.pipe.base._current_timestep)  # noqa: E731
    return {
        "first block": FirstBlockCacheConfig(threshold=1e9),
        "mag": MagCacheConfig(threshold=1e9, retention_ratio=0.2, num_inference_steps=STEPS, mag_ratios=[1.0] * STEPS),
        "taylor": TaylorSeerCacheConfig(**_TAYLOR),
        "taylor lite": TaylorSeerCacheConfig(**_TAYLOR, use_lite_mode=True),
        "pyramid": PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500
        ),
        "faster": FasterCacheConfig(is_guidance_distilled=True, tensor_format="BCHW", current_timestep_callback=now),
    }


KINDS = ("first block", "mag", "taylor", "taylor lite", "pyramid", "faster")
CHANGING = {
    "a curve": {"strength": lambda share: 0.2 + share},
    "a curve of all": {"strength": 1.0, "strength_curve": [(0, 0.2), (1, 1)]},
}


@pytest.fixture
def cached(flux):
    """A function that puts a cache on the transformer; it comes off when the test ends."""

    def put(kind: str) -> LinEASDiffusionPipeline:
        flux.pipe.transformer.enable_cache(caches(flux)[kind])
        return flux.pipe

    yield put
    if flux.pipe.transformer.is_cache_enabled:
        flux.pipe.transformer.disable_cache()


def picture(pipe, **given) -> np.ndarray:
    call = {**CASES["flux"].arguments, "num_inference_steps": STEPS, "output_type": "np", **given}
    return pipe(prompt="a red heart", generator=torch.Generator().manual_seed(0), **call).images


def size(difference: np.ndarray) -> float:
    return float(np.abs(difference).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_steering_acts_in_the_steps_that_run_and_is_given_again_in_those_that_do_not(flux, cached, kind):
    whole = size(picture(flux.pipe, strength=1.0) - picture(flux.pipe.base))
    pipe = cached(kind)
    plain = picture(pipe.base)
    with silence():
        steered = picture(pipe, strength=1.0)
    assert (picture(pipe, strength=0.0) == plain).all()
    assert 0.5 * whole < size(steered - plain) < 1.5 * whole
    row = picture(pipe, strength=[0.3, 1.0])
    np.testing.assert_allclose(row[1:], steered, atol=1e-4)
    assert size(row[0] - row[1]) > 0.05 * whole


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_fails_half_way_leaves_nothing_to_the_next(cached, kind):
    pipe = cached(kind)
    wanted = picture(pipe, strength=0.4), picture(pipe.base)

    def fail(pipeline, step, timestep, tensors):
        if step == 3:
            raise KeyError("half way")
        return tensors

    with pytest.raises(KeyError):
        picture(pipe, callback_on_step_end=fail, strength=1.0)
    assert (picture(pipe.base) == wanted[1]).all()
    with pytest.raises(KeyError):
        picture(pipe.base, callback_on_step_end=fail)  # what the base left is not taken over either
    assert (picture(pipe, strength=0.4) == wanted[0]).all()


@pytest.mark.parametrize("change", CHANGING)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "faster"])
def test_steering_that_changes_at_every_step_lets_nothing_be_given_again(flux, cached, kind, change):
    wanted = picture(flux.pipe, **CHANGING[change])
    pipe = cached(kind)
    assert (picture(pipe, **CHANGING[change]) == wanted).all()


def test_a_cache_begins_anew_where_steering_begins_and_ends(flux, cached):
    """With a cache that never runs the later blocks twice, they act all the same in a window of the schedule."""
    pipe = cached("first block")
    ran = []
    block = pipe.transformer.single_transformer_blocks[-1].norm
    with block.register_forward_hook(lambda *given: ran.append(1)), silence():
        for window, times in (({}, 1), ({"steering_start": 0.5}, 2), ({"steering_start": 0.3, "steering_end": 0.7}, 3)):
            ran.clear()
            picture(pipe, strength=1.0, **window)
            assert len(ran) == times
        ran.clear()
        picture(pipe, strength=[(0.0, 0.5), (0.4, 1.0), (1.0, 1.0)])  # level from 0.4 on
        assert len(ran) == 4


def test_what_cannot_begin_anew_is_refused(cached):
    pipe = cached("faster")
    for given in ({"steering_end": 0.5}, {"strength_curve": [(0, 0), (1, 1)]}):
        with pytest.raises(LineaError, match="got FasterCache with is_guidance_distilled=True"):
            picture(pipe, strength=1.0, **given)
    picture(pipe, strength=0.0, steering_end=0.5)


def test_contexts_and_fusing_forget_too(cached, flux):
    pipe = cached("first block")
    plain, wanted = picture(pipe.base), picture(pipe, strength=0.4)
    with flux.maps.apply(pipe.base, 0.4):
        np.testing.assert_allclose(picture(pipe.base), wanted, atol=1e-5)
    assert (picture(pipe.base) == plain).all()
    pipe.fuse_steering(0.4, **CASES["flux"].arguments | {"num_inference_steps": 1})
    np.testing.assert_allclose(picture(pipe), wanted, atol=1e-4)
    pipe.unfuse_steering()
    assert (picture(pipe.base) == plain).all()


def test_modular_pipelines_which_never_forget():
    one = Subject(modular_case(CASES["flux"]))
    one.pipe.transformer.enable_cache(
        PyramidAttentionBroadcastConfig(spatial_attention_block_skip_range=4, current_timestep_callback=lambda: 500)
    )
    wanted = picture(one.pipe, strength=0.4)
    plain = picture(one.pipe, strength=0.0)
    stale = picture(one.pipe.base), picture(one.pipe.base)
    assert size(stale[0] - stale[1]) > 1e-4  # so diffusers has it
    assert (picture(one.pipe, strength=0.4) == wanted).all()
    assert (picture(one.pipe.base) == stale[0]).all()
    assert (plain == stale[0]).all()


def test_keys_and_values_of_texts_are_made_anew_for_each_strength():
    one = Subject(CASES["nucleusmoe-image"])
    calls = [{"strength": 0.0}, {"strength": 0.4}, {"strength": 1.0}, {"strength": lambda share: share}]
    wanted = [one.render(**call) for call in calls]
    one.pipe.transformer.enable_cache(TextKVCacheConfig())
    for call, pictures in zip(calls, wanted, strict=True):
        np.testing.assert_allclose(one.render(**call), pictures, atol=1e-5)


def test_training_is_refused(cached):
    pipe = cached("pyramid")
    assert StepCaches(pipe.components.values()).models == [pipe.transformer]
    concept = Concept("test", source=("a heart", "a fish"), target=("a neon heart", "a neon fish"), text="neon")
    config = TrainingConfig(iterations=1, batch_size=2, target_modules="attention", calibrate=False)
    with pytest.raises(LineaError, match=r"got 'transformer' with a step cache.*pipe.transformer.disable_cache\(\)"):
        train_steering_maps(pipe, concept, config)
