"""Methods that are listened to or replaced: in every order of leaving the object is as it was, and no one is forgotten.

Evidence: real schedulers and plain objects; contexts that threads enter and leave in forced orders.
"""

from __future__ import annotations

import copy
import inspect
import threading
from contextlib import ExitStack, contextmanager
from itertools import permutations
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from linea_diffusion.steering.calls.schedule import follow_schedule
from linea_diffusion.steering.calls.scopes import call_scope
from linea_diffusion.steering.hooks import listen, replaced


class Counter:
    def add(self, amount: int, *, twice: bool = False) -> int:
        return amount * (1 + twice)


@contextmanager
def _heard(owner, name="add"):
    heard = []
    with (
        call_scope() as scope,
        listen(owner, name, lambda named, result: heard.append((named, result)), scope=scope),
    ):
        yield heard


def _elsewhere(job) -> None:
    thread = threading.Thread(target=job)
    thread.start()
    thread.join()


def test_a_listener_is_told_arguments_by_name_and_the_result():
    counter = Counter()
    with _heard(counter) as heard:
        assert counter.add(2) == 2
        assert counter.add(amount=3, twice=True) == 6
        assert inspect.signature(counter.add) == inspect.signature(Counter().add)
    counter.add(4)
    assert heard == [({"amount": 2}, 2), ({"amount": 3, "twice": True}, 6)]
    assert vars(counter) == {}


def test_what_a_listener_returns_takes_the_results_place():
    counter = Counter()
    with call_scope() as scope, listen(counter, "add", lambda arguments, result: -result, scope=scope):
        assert counter.add(2) == -2
    assert counter.add(2) == 2


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_listeners_leave_in_any_order(order):
    counter, stacks = Counter(), [ExitStack() for _ in range(3)]
    heard = [stack.enter_context(_heard(counter)) for stack in stacks]
    open_ones = [0, 1, 2]
    for leaving in order:
        counter.add(1)
        stacks[leaving].close()
        open_ones.remove(leaving)
        assert ("add" in vars(counter)) == bool(open_ones)
    counter.add(1)
    assert [len(one) for one in heard] == [order.index(number) + 1 for number in range(3)]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_newest_replacement_counts_until_all_have_left(order):
    norm, stacks = nn.LayerNorm(2), [ExitStack() for _ in range(3)]
    for number, stack in enumerate(stacks):
        assert stack.enter_context(replaced(norm, "forward", number))
    open_ones = [0, 1, 2]
    for leaving in order:
        assert norm.forward == max(open_ones)
        stacks[leaving].close()
        open_ones.remove(leaving)
    assert "forward" not in vars(norm)


def test_a_class_comes_back_also_after_an_error():
    counter, other = Counter(), type("Other", (Counter,), {"fail": lambda self: {}["nothing"]})
    with pytest.raises(KeyError, match="nothing"), replaced(counter, "__class__", other):
        counter.fail()
    assert type(counter) is Counter


def test_only_the_first_takes_what_must_be_free():
    norm = nn.LayerNorm(2)
    with (
        replaced(norm, "forward", 1, only_if_free=True) as first,
        replaced(norm, "forward", 2, only_if_free=True) as then,
    ):
        assert (first, then, norm.forward) == (True, False, 1)
    assert "forward" not in vars(norm)


def test_what_somebody_puts_there_meanwhile_stays():
    counter = Counter()
    with _heard(counter) as heard:
        method, counter.add = counter.add, lambda amount: method(amount) + 1
        assert counter.add(1) == 2
    patch = counter.add
    assert counter.add(1) == 2  # through a method that tells nobody any more
    assert len(heard) == 1
    with _heard(counter) as again:
        counter.add(1)
    assert len(again) == 1
    assert vars(counter) == {"add": patch}


def test_copies_act_on_themselves_and_tell_nobody():
    scheduler = DDIMScheduler()
    with _heard(scheduler, "set_timesteps") as heard:
        twin = copy.deepcopy(scheduler)
        twin.set_timesteps(5)
        scheduler.set_timesteps(3)
    assert (len(twin.timesteps), len(scheduler.timesteps)) == (5, 3)
    assert [arguments for arguments, _ in heard] == [{"num_inference_steps": 3}]


def test_another_thread_is_not_heard():
    counter = Counter()
    with _heard(counter) as heard:
        _elsewhere(lambda: counter.add(1))
        assert not heard
        counter.add(2)
    assert len(heard) == 1


ORDERS = {
    "first in, first out": "ABab",
    "last in, first out": "ABba",
    "in again meanwhile": "ABaAba",
    "one after the other": "AaBb",
}
"""A capital enters, a small letter leaves: A and a are the first thread's turns, B and b the second's."""


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_two_threads_follow_one_scheduler(order):
    """Each thread waits for its turn, and between all turns takes steps of its own that the other must not hear."""
    scheduler = DDIMScheduler()
    pipe = SimpleNamespace(scheduler=scheduler, components={"scheduler": scheduler})
    before, sample = set(vars(scheduler)), torch.zeros(1, 1, 2, 2)
    turns, errors = [threading.Event() for _ in range(len(order) + 1)], []

    def run(enter: str, leave: str, steps: int) -> None:
        stack = ExitStack()
        for number, turn in enumerate(order):
            assert turns[number].wait(60)
            if turn == enter:
                progress = stack.enter_context(follow_schedule(pipe))
                scheduler.set_timesteps(steps)
                schedule = scheduler.timesteps
                scheduler.step(sample, schedule[0], sample)
            elif turn == leave:
                scheduler.step(sample, schedule[1], sample)
                if (progress.index, progress.total) != (2, steps):
                    errors.append((order, turn, progress))
                stack.close()
            if turn in (enter, leave):
                turns[number + 1].set()

    turns[0].set()
    threads = [threading.Thread(target=run, args=args) for args in (("A", "a", 4), ("B", "b", 7))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert turns[-1].is_set()
    assert set(vars(scheduler)) == before


def test_a_thousand_overlaps_leave_nothing():
    scheduler = DDIMScheduler()
    pipe = SimpleNamespace(scheduler=scheduler, components={"scheduler": scheduler})
    before, first = dict(vars(scheduler)), ExitStack()
    first.enter_context(follow_schedule(pipe))
    for _ in range(1000):
        second = ExitStack()
        second.enter_context(follow_schedule(pipe))
        first.close()
        first = second
    first.close()
    assert vars(scheduler) == before
    assert scheduler.step.__func__ is DDIMScheduler.step
