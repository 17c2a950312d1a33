"""Calls within calls: what a callback of a steered call renders has its own strength, and the outer call keeps its own.

Evidence: the embedded pipeline, and pictures that the same calls give alone. The pipelines that a callback calls have
schedulers of their own: diffusers' schedulers remember one call.
"""

from __future__ import annotations

import copy
import threading
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline
from PIL import Image

from linea_diffusion import LinEASDiffusionPipeline
from linea_diffusion.steering.calls.call import RunningCall
from linea_diffusion.steering.calls.scopes import call_scope, resting_in_other_calls
from linea_diffusion.steering.dial import Dial
from linea_diffusion.steering.steer import steer

from ..citizen import change, maps_for, traces
from ..conftest import seeded
from ..zoo.cases import CASES
from ..zoo.checks import Subject


@pytest.fixture(scope="module")
def maps(loaded_pipe):
    """Random maps of attention, norms, linears and convolutions."""
    return maps_for(loaded_pipe)


@pytest.fixture
def steered(pipe, maps):
    pipe.load_steering(maps)
    return pipe


def _other_scheduler(pipe, kind=None):
    base = pipe.base
    parts = {**base.components, "scheduler": copy.deepcopy(base.scheduler), "tokenizer": copy.deepcopy(base.tokenizer)}
    made = (kind or type(base))(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def _array(pipe, *, steps=2, **kwargs) -> np.ndarray:
    return pipe("a red heart", generator=seeded(), output_type="np", num_inference_steps=steps, **kwargs).images


def _outer(pipe, inner, **kwargs) -> tuple[np.ndarray, list]:
    """A call's pictures, and what `inner` made in the callback of its first step."""
    made = []

    def on_step(base, step, timestep, arguments):
        if step == 0:
            made.append(inner())
        return {}

    return _array(pipe, callback_on_step_end=on_step, **kwargs), made


CALLS = {
    "one strength": {"strength": 1.0},
    "part of the schedule": {"strength": 1.0, "steering_start": 0.5},
    "only the prompt": {"strength": [0.5, 1.0], "steering_guidance": "cond", "guidance_scale": 3.0},
}


def _inner_calls(steered, maps) -> dict:
    other = LinEASDiffusionPipeline(_other_scheduler(steered))
    other.load_steering(maps)
    image = Image.fromarray(np.full((32, 32, 3), 90, np.uint8))
    to_image = _other_scheduler(steered, StableDiffusionImg2ImgPipeline)

    def by_apply():
        with maps.apply(other, -0.5):
            return _array(other.base)

    return {
        "wrapper at 0": lambda: _array(other, strength=0.0, steps=3),
        "wrapper at -0.5": lambda: _array(other, strength=-0.5),
        "wrapper, part of the schedule": lambda: _array(other, strength=-0.5, steering_end=0.5, steps=3),
        "base pipeline": lambda: _array(other.base),
        "another class": lambda: _array(to_image, image=image, strength=0.5),
        "maps.apply": by_apply,
    }


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_in_a_callback_is_a_call_of_its_own(steered, maps, call):
    alone, before = _array(steered, **call), traces(steered)
    for name, inner in _inner_calls(steered, maps).items():
        expected = inner()
        pictures, made = _outer(steered, inner, **call)
        assert len(made) == 1
        if name.startswith(("wrapper at 0", "base", "another")):
            assert (made[0] == expected).all(), name
        else:
            assert change(made[0], expected) < 1e-4, name
        assert (pictures == alone).all(), name
        assert traces(steered) == before


@pytest.mark.parametrize("inner", [{"strength": 0.0}, {"strength": -0.5, "guidance_scale": 3.0, "steps": 4}], ids=str)
def test_a_wrapper_called_by_its_own_callback(steered, inner):
    """Its scheduler and its pipeline remember one call; the outer call finds what they remembered of it."""
    alone, expected = _array(steered, strength=1.0), _array(steered, **inner)
    pictures, made = _outer(steered, lambda: _array(steered, **inner), strength=1.0)
    assert change(made[0], expected) < 1e-4
    assert (pictures == alone).all()


def test_the_base_pipeline_called_by_its_own_callback(steered):
    """With a scheduler that remembers nothing, and the same guidance and number of steps."""
    original, steered.base.scheduler = steered.base.scheduler, DDIMScheduler()
    try:
        alone, expected = _array(steered, strength=1.0), _array(steered.base, guidance_scale=1.0)
        pictures, made = _outer(steered, lambda: _array(steered.base, guidance_scale=1.0), strength=1.0)
        assert (made[0] == expected).all()
        assert (pictures == alone).all()
    finally:
        steered.base.scheduler = original


def test_steering_of_two_callers_ends_in_the_order_of_its_beginning(steered, maps):
    few = {name: one for name, one in maps.named_maps() if "mid_block" in name}
    before, first = traces(steered), ExitStack()
    for _ in range(100):
        then = ExitStack()
        layers = [(few, torch.tensor([1.0, 0.5]))]
        dial = Dial(guidance="cond", start=0.5)
        then.enter_context(steer(steered.base, layers, dial, RunningCall(prompts=2)))
        first.close()
        first = then
    first.close()
    assert traces(steered) == before


def test_calls_in_a_callback_of_a_call_within_apply(steered, maps):
    """Contexts that the user opens around each other compose; what a callback calls stands outside of them all."""
    plain = _other_scheduler(steered)
    expected = _array(plain)
    with maps.apply(steered, 0.5):
        alone = _array(steered, strength=0.5)
        pictures, made = _outer(steered, lambda: _array(plain), strength=0.5)
    assert (made[0] == expected).all()
    assert (pictures == alone).all()
    assert change(alone, _array(steered, strength=0.5)) > 0.01


class _Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, z):
        return self.layer(z)


class DiffusionPipeline:
    """As much of a pipeline as counts here: a class of this name, and what it calls."""

    def __init__(self, model, callback=None) -> None:
        self.model, self.callback = model, callback

    def __call__(self, z):
        first = self.model(z)
        inner = self.callback() if self.callback else None
        return [first, self.model(z), inner]


class Once(DiffusionPipeline):
    def __call__(self, z):
        return self.model(z)


@pytest.mark.parametrize("how", ["plain", "module", "in place"])
def test_models_rest_in_other_calls_also_when_compiled(how):
    torch.compiler.reset()
    layer = _Model()
    model = torch.compile(layer, backend="eager", fullgraph=True) if how == "module" else layer
    if how == "in place":
        model.compile(backend="eager", fullgraph=True)
    z = torch.ones(1, 2)
    with torch.no_grad(), call_scope() as scope:
        plain = model(z)
        edit = layer.layer.register_forward_hook(lambda module, inputs, out: out + 1 if scope.acts() else out)
        with resting_in_other_calls([model], scope):
            inner = DiffusionPipeline(model)
            first, second, within = DiffusionPipeline(model, lambda: inner(z))(z)
            assert torch.equal(model(z), plain + 1)  # outside of any call
        edit.remove()
        steered = [torch.equal(one, plain + 1) for one in (first, second, *within[:2])]
        assert steered == [True, True, False, False]
        assert torch.equal(within[0], plain)
        assert torch.equal(model(z), plain)
    patches = {name for name in ("_call_impl", "_compiled_call_impl") if vars(model).get(name) is not None}
    assert patches == ({"_compiled_call_impl"} if how == "in place" else set())


def test_parts_of_a_model_that_are_called_by_themselves():
    """As ``clip_skip`` does with the last norm of a text encoder."""
    seen, model = [], _Model()
    with call_scope() as scope, resting_in_other_calls([model], scope):
        model.layer.register_forward_hook(lambda *_: seen.append(scope.acts()))
        inner = Once(model.layer)
        DiffusionPipeline(model.layer, lambda: inner(torch.ones(1, 2)))(torch.ones(1, 2))
    assert seen == [True, False, True]


def test_a_copy_of_a_watched_model_runs_itself():
    model = _Model()
    with call_scope() as scope, resting_in_other_calls([model], scope):
        twin = copy.deepcopy(model)
        torch.nn.init.zeros_(twin.layer.weight)
        assert torch.equal(twin(torch.ones(1, 2)), twin.layer.bias[None])
    assert "_call_impl" not in vars(model)


def test_a_model_that_another_thread_runs_meanwhile_changes_nothing():
    """It begins while the scope rests, and ends when it does not any more."""
    begun, ended, seen = threading.Event(), threading.Event(), []

    def forward(self, where):
        if where == "thread":
            begun.set()
            assert ended.wait(60)
        elif where == "inner":
            thread.start()
            assert begun.wait(60)
        seen.append((where, scope.acts()))

    model = type("Model", (torch.nn.Module,), {"forward": forward})()
    thread = threading.Thread(target=lambda: model("thread"))

    def inner():
        Once(model)("inner")
        ended.set()
        thread.join()

    with call_scope() as scope, resting_in_other_calls([model], scope):
        DiffusionPipeline(model, inner)("outer")
        model("outside")
    assert [one for one in seen if one[0] == "outer"] == [("outer", True)] * 2
    assert {acts for where, acts in seen if where == "inner"} == {False}
    assert [one for one in seen if one[0] in ("thread", "outside")] == [("thread", False), ("outside", True)]


def test_stages_of_a_pipeline_belong_to_its_call():
    """A pipeline of pipelines calls them itself: that is no call within a call."""
    subject = Subject(CASES["kandinsky22"])
    assert np.abs(subject.render(strength=1.0) - subject.plain).max() > 1e-2


def test_another_threads_call_on_the_same_scheduler_moves_no_window(steered, monkeypatch):
    """The threads share scheduler and models; each one's part of the schedule is its own.

    Layers that carry their map serve one thread at a time; hooks for all make the pictures the same to the last bits.
    """
    monkeypatch.setattr("linea_diffusion.steering.weights.carried.is_offloaded", lambda model: True)
    original, steered.base.scheduler = steered.base.scheduler, DDIMScheduler()
    twin = LinEASDiffusionPipeline(_other_scheduler(steered))
    twin.base.scheduler = steered.base.scheduler
    twin.load_steering(steered.steering["default"])
    first, second = {"strength": 1.0, "steering_start": 0.5}, {"strength": 1.0, "steering_end": 0.5}
    try:
        expected = [_array(steered, steps=4, **first), _array(twin, steps=4, **second), _array(steered.base, steps=4)]
        for call, wanted in ((second, expected[1]), ({"strength": 0.0}, expected[2])):
            made = []

            def elsewhere(call=call, made=made):
                thread = threading.Thread(target=lambda: made.append(_array(twin, steps=4, **call)))
                thread.start()
                thread.join()

            pictures, _ = _outer(steered, elsewhere, steps=4, **first)
            assert change(pictures, expected[0]) < 1e-6
            assert change(made[0], wanted) < 1e-6
        assert {name for name, value in vars(steered.scheduler).items() if callable(value)} == set()
    finally:
        steered.base.scheduler = original


def test_overlaps_that_never_end_all_at_once_leave_no_chain_behind():
    """As on a server that is always busy: each context begins before the one before it ends."""
    model = torch.nn.Linear(2, 2)
    before = dict(vars(model))

    def begin() -> ExitStack:
        stack = ExitStack()
        stack.enter_context(resting_in_other_calls([model], stack.enter_context(call_scope())))
        return stack

    present = begin()
    for _ in range(3000):
        following = begin()
        present.close()
        present = following
    assert model(torch.ones(1, 2)).shape == (1, 2)
    present.close()
    assert vars(model) == before
