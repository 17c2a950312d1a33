"""Turns at the models, and stopping between denoising steps."""

from __future__ import annotations

import threading

import pytest

from linea_diffusion.studio.turns import Halt, HaltedError, Turns

from ..conftest import count_hooks


def test_long_work_lets_others_in_in_the_order_of_asking():
    turns, said, waiting = Turns(), [], threading.Semaphore(0)

    def short(name: str) -> None:
        waiting.release()
        with turns.turn():
            said.append(name)

    with turns.turn():
        turns.give_way()  # nobody waits: it goes on at once
        threads = []
        for name in ("first", "second"):
            threads.append(threading.Thread(target=short, args=(name,)))
            threads[-1].start()
            waiting.acquire()
            while turns._next < len(threads) + 2:  # until it stands in the queue
                threading.Event().wait(0.001)
        said.append("long")
        turns.give_way()
        said.append("long again")
    for thread in threads:
        thread.join()
    assert said == ["long", "first", "second", "long again"]


def test_a_turn_ends_when_its_work_fails():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.turn():
        1 / 0  # noqa: B018
    with turns.turn():
        pass


def test_a_call_ends_after_the_step_at_which_it_is_asked_to(pipe):
    halt, steps = Halt(), []
    before, hooks = pipe.scheduler.step, count_hooks(pipe)

    def tell(_pipe, step, _time, values):
        steps.append(step)
        if step == 1:
            halt.ask()
        return values

    with halt.halts(pipe):
        pipe("a red heart", num_inference_steps=1)
        with pytest.raises(HaltedError, match="stopped"):
            pipe("a red heart", num_inference_steps=8, callback_on_step_end=tell)
        halt.begin()
        pipe("a red heart", num_inference_steps=1)
    assert steps == [0, 1], "the step after the one at which it was asked does not end"
    assert pipe.scheduler.step == before
    assert count_hooks(pipe) == hooks
