"""Several pipelines, threads and failures: nobody is steered who did not ask, and nothing stays behind.

Evidence: pictures of the same calls made alone.
"""

from __future__ import annotations

import copy
import sys
import threading

import pytest
import torch

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps
from linea_diffusion.steering.weights import fusing

from ..citizen import FOLD, change, check, fresh, maps_for, render, traces
from ..zoo.cases import CASES
from ..zoo.checks import Subject

CALLS = (
    {"strength": 0.0},
    {"strength": [0.9, 0.3]},
    {"strength": 0.7, "steering_guidance": "cond", "guidance_scale": 3.0},
)


@pytest.fixture
def fresh_pipe() -> LinEASDiffusionPipeline:
    """An embedded pipeline of this test's own, that it may change."""
    return fresh()


@pytest.fixture(scope="module")
def maps(loaded_pipe) -> SteeringMaps:
    """Random maps of attention, norms, linears and convolutions."""
    return maps_for(loaded_pipe)


def twin(pipe) -> LinEASDiffusionPipeline:
    """A wrapper of another pipeline over the same models, with a scheduler and tokenizers of its own.

    diffusers sets the tokenizer to and fro in every call: two threads must not share one, steered or not.
    """
    parts = dict(pipe.base.components)
    for name, part in parts.items():
        if not isinstance(part, torch.nn.Module):
            parts[name] = copy.deepcopy(part)
    extra = {"requires_safety_checker": False} if "safety_checker" in parts else {}
    made = LinEASDiffusionPipeline(type(pipe.base)(**parts, **extra))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("call", CALLS[1:])
def test_a_callback_that_fails_leaves_nothing(fresh_pipe, maps, call):
    fresh_pipe.load_steering(maps)
    plain, steered = render(fresh_pipe.base), render(fresh_pipe, **call)
    before = traces(fresh_pipe)

    def fail(base, step, timestep, arguments):
        raise KeyError("from the callback")

    with pytest.raises(KeyError, match="from the callback"):
        render(fresh_pipe, callback_on_step_end=fail, steering_end=0.5, **call)
    assert traces(fresh_pipe) == before
    assert (render(fresh_pipe.base) == plain).all()
    assert (render(fresh_pipe, **call) == steered).all()


def test_threads_that_share_models_do_not_steer_each_other(fresh_pipe, maps):
    pipes = [twin(fresh_pipe) for _ in CALLS]
    for pipe in pipes:
        pipe.load_steering(maps)
    wanted = [render(pipe, **call) for pipe, call in zip(pipes, CALLS, strict=True)]
    before, wrong = traces(fresh_pipe), []

    def work(number: int) -> None:
        for _ in range(8):
            made = render(pipes[number], **CALLS[number])
            if change(made, wanted[number]) > 1e-5:
                wrong.append(number)

    patience = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        _together([lambda number=number: work(number) for number in range(len(pipes))])
    finally:
        sys.setswitchinterval(patience)
    assert not wrong
    assert traces(fresh_pipe) == before


def _together(jobs) -> None:
    """Run functions in a thread each; an error of any is raised here."""
    errors = []

    def run(job) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  # raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_threads_that_share_a_transformer_and_end_in_the_order_of_their_beginning():
    subject = Subject(CASES["flux"])
    pipes = [twin(subject.pipe), twin(subject.pipe)]
    for pipe in pipes:
        pipe.load_steering(subject.maps)
    before, made = traces(subject.pipe), [None, None]
    within, begun, ended = (threading.Event() for _ in range(3))

    def picture(number: int, on_step=None):
        call = {"strength": [0.9, 0.3][number:], "steering_guidance": "cond", **subject.case.arguments}
        return render(pipes[number], callback_on_step_end=on_step, **call)

    def signal(event, awaited):
        def on_step(*_):
            event.set()
            assert awaited.wait(60)
            return {}

        return on_step

    def first() -> None:
        made[0] = picture(0, signal(within, begun))
        ended.set()

    def second() -> None:
        assert within.wait(60)
        made[1] = picture(1, signal(begun, ended))

    alone = [picture(0), picture(1)]
    _together([first, second])
    assert max(map(change, made, alone)) < 1e-5
    assert traces(subject.pipe) == before


def test_two_wrappers_of_one_pipeline_have_maps_of_their_own(fresh_pipe, maps):
    first, second = LinEASDiffusionPipeline(fresh_pipe.base), LinEASDiffusionPipeline(fresh_pipe.base)
    first.load_steering(maps)
    second.load_steering(-1.0 * maps)
    assert change(check(first, maps), check(second, -1.0 * maps)) > 0.05
    assert second.get_list_steering() == ["-1 * (maps)"]
    first.unload_steering()
    assert second.get_list_steering() == ["-1 * (maps)"]


def test_fusing_where_another_wrapper_has_fused_is_refused(fresh_pipe, maps):
    plain = render(fresh_pipe.base)
    first, second = LinEASDiffusionPipeline(fresh_pipe.base), twin(fresh_pipe)
    first.load_steering(maps)
    second.load_steering(-1.0 * maps)
    first.fuse_steering(0.7, **FOLD)
    fused = render(first)
    assert change(fused, plain) > 0.05
    with pytest.raises(LineaError, match="unfuse_steering there first"):
        second.fuse_steering(0.7, **FOLD)
    assert (render(first) == fused).all()
    first.unfuse_steering()
    assert (render(fresh_pipe.base) == plain).all()
    second.fuse_steering(0.7, **FOLD)
    second.unfuse_steering()
    assert (render(fresh_pipe.base) == plain).all()


def test_fusing_that_fails_leaves_nothing(fresh_pipe, maps, monkeypatch):
    fresh_pipe.load_steering(maps)
    plain, before = render(fresh_pipe.base), traces(fresh_pipe)
    with pytest.raises(ValueError, match="has to be of type"):
        fresh_pipe.fuse_steering(0.7, prompt=3)
    assert traces(fresh_pipe) == before
    fold, seen = fusing.fold_into, []

    def full(layer, *args):
        seen.append(layer)
        if len(seen) > 5:
            raise MemoryError
        return fold(layer, *args)

    monkeypatch.setattr(fusing, "fold_into", full)
    with pytest.raises(MemoryError):
        fresh_pipe.fuse_steering(0.7, **FOLD)
    monkeypatch.undo()
    assert traces(fresh_pipe) == before
    assert (render(fresh_pipe.base) == plain).all()
    assert fresh_pipe.fuse_steering(0.7, **FOLD).folded
    fresh_pipe.unfuse_steering()
