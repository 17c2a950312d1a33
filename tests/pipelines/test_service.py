"""docs/service.md holds: a wrapper for each thread, an error for two threads on one, a strength for each request."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from linea_diffusion import LineaError

from ..batches import tiny_pipe, tiny_style
from ..conftest import seeded

PAGE = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
QUICK = {"num_inference_steps": 3, "guidance_scale": 1.0, "height": 16, "width": 16, "output_type": "np"}


@pytest.fixture
def tiny():
    pipe = tiny_pipe()
    pipe.load_steering(tiny_style(pipe, 1), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    return pipe


def picture(pipe, prompt="a red heart", *, seed=3, **call):
    return pipe(prompt, generator=seeded(seed), **QUICK, **call).images


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def in_thread(work):
    """What a function returns or raises in a thread of its own."""
    ended = []

    def run():
        try:
            ended.append(work())
        except LineaError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return ended[0]


def test_a_wrapper_for_each_thread_makes_what_it_makes_alone(tiny):
    scope: dict = {}
    exec(blocks()[0], scope)
    other = scope["for_a_thread"](tiny)
    assert other.unet is tiny.unet
    assert other.scheduler is not tiny.scheduler
    calls = {"strength": {"neon": 0.9}, "steering_end": 0.7}, {"strength": {"mosaic": 0.6}, "steering_start": 0.4}
    first, second = picture(tiny, **calls[0]), picture(other, seed=4, **calls[1])
    made = []

    def meanwhile(base, step, timestep, arguments):
        made.append(in_thread(lambda: picture(other, seed=4, **calls[1])))
        return {}

    pictures = picture(tiny, **calls[0], callback_on_step_end=meanwhile)
    np.testing.assert_allclose(pictures, first, atol=1e-5)
    assert len(made) == QUICK["num_inference_steps"]
    for one in made:
        np.testing.assert_allclose(one, second, atol=1e-5)
    assert np.abs(first - second).max() > 1e-2


def test_two_threads_on_one_wrapper_are_an_error(tiny):
    alone, within, errors = picture(tiny, strength=0.5), [], []

    def meanwhile(base, step, timestep, arguments):
        errors.append(in_thread(lambda: picture(tiny)))
        if not step:
            within.append(picture(tiny, strength=0.2))  # of the same thread
        return {}

    assert (picture(tiny, strength=0.5, callback_on_step_end=meanwhile) == alone).all()
    np.testing.assert_allclose(within[0], picture(tiny, strength=0.2), atol=1e-5)
    assert len(errors) == QUICK["num_inference_steps"]
    assert all("that another thread is calling" in str(error) and isinstance(error, LineaError) for error in errors)
    assert (in_thread(lambda: picture(tiny, strength=0.5)) == alone).all()  # one after the other


def test_a_call_that_fails_leaves_the_wrapper_free(tiny):
    with pytest.raises(TypeError):
        picture(tiny, callback_on_step_end=lambda: None)
    assert isinstance(in_thread(lambda: picture(tiny)), np.ndarray)


def test_a_strength_for_each_request(tiny):
    prompts = ["a red heart", "a blue fish", "a cat"]
    dials = [{"neon": 0.3}, {"mosaic": 0.7, "neon": -0.2}, 0.5]
    together = tiny(prompts, strength=dials, generator=[seeded(n) for n in range(3)], **QUICK).images
    for number, (prompt, dial) in enumerate(zip(prompts, dials, strict=True)):
        np.testing.assert_allclose(together[number], picture(tiny, prompt, seed=number, strength=dial)[0], atol=1e-5)
    row = picture(tiny, strength=[{"neon": 0.3}, {}])
    np.testing.assert_allclose(row[0], picture(tiny, strength={"neon": 0.3})[0], atol=1e-5)
    np.testing.assert_allclose(row[1], picture(tiny, strength=0)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("strength", "message"),
    [
        ([{"nion": 0.3}, {}], "nearest: neon"),
        ([{"neon": float("nan")}, {}], "finite number"),
        ([{"neon": [0, 1]}, {}], "finite number"),
        ([{"neon": 0.3}, "x"], "finite number"),
        ([{"neon": 0.3}, {}, {}], "3 strengths and 2 prompts"),
    ],
)
def test_strengths_of_requests_are_checked(tiny, strength, message):
    with pytest.raises(LineaError, match=message):
        tiny(["a", "b"], strength=strength, **QUICK)
    with pytest.raises(LineaError, match="call load_steering first"):
        tiny_pipe()(["a", "b"], strength=[0.5, {}], **QUICK)
