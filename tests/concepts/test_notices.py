"""Prompts that a text encoder cuts: one warning with their number, and the user's logging as it was."""

from __future__ import annotations

import logging
import threading
import warnings

import diffusers
import pytest

from linea_diffusion import Concept, StyleGrid, TrainingConfig, generate_batch, train_steering_maps
from linea_diffusion.concepts.notices import noticing, texts_in
from linea_diffusion.evaluation.baselines import mean_shift

LONG = [f"{number} " + "a red heart " * 30 for number in range(6)]
STEPS = {"num_inference_steps": 1}


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


@pytest.fixture
def logged():
    """What diffusers and transformers log while the test runs."""
    kept, loggers = Kept(), [logging.getLogger(name) for name in ("diffusers", "transformers")]
    for logger in loggers:
        logger.addHandler(kept)
    yield kept.texts
    for logger in loggers:
        logger.removeHandler(kept)


def state():
    by_name = logging.Logger.manager.loggerDict
    loggers = [by_name[name] for name in list(by_name) if name.startswith(("diffusers", "transformers"))]
    return {
        one.name: (one.level, list(one.filters), list(one.handlers), one.propagate)
        for one in loggers
        if hasattr(one, "name")
    }


def notices(run):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(one.message) for one in caught if "text encoder reads" in str(one.message)]


def test_the_base_pipeline_logs_each_time_and_ours_warns_once(pipe, logged):
    pipe.base(LONG[0], **STEPS)
    pipe.base(LONG[1], **STEPS)
    assert sum("was truncated" in text for text in logged) == 2
    logged.clear()
    assert len(notices(lambda: pipe([*LONG[:2], "a cat"], **STEPS))) == 1
    assert logged == []


def test_prompts_are_counted_over_a_call_a_grid_and_a_batch(pipe, random_maps, tmp_path, logged):
    pipe.load_steering(random_maps, "one")
    limit = pipe.tokenizer.model_max_length
    runs = {
        3: lambda: pipe(["a cat", *LONG[:3]], **STEPS),
        2: lambda: StyleGrid.render(pipe, [*LONG[:2], "a cat"], [0, 0.5, 1], batch_size=1, **STEPS),
        6: lambda: generate_batch(
            pipe, [*LONG, "a cat"], tmp_path, batch_size=1, defaults={"steps": 1}, progress=False
        ),
    }  # fmt: skip
    for count, run in runs.items():
        messages = notices(run)
        assert len(messages) == 1
        assert messages[0].startswith(
            f"got {count} prompts longer than the {limit} tokens that a text encoder reads, such as "
        )
        assert len(messages[0]) < 300
    assert not any("truncated" in text or "longer than" in text for text in logged)
    assert notices(lambda: pipe("a cat", **STEPS)) == []


def test_logging_is_left_as_it_was_also_after_an_error(pipe):
    def fail(*_):
        raise RuntimeError("stop")

    before = state()
    pipe(LONG[0], **STEPS)
    with pytest.raises(RuntimeError, match="stop"):
        pipe(LONG[0], callback_on_step_end=fail, **STEPS)
    assert state() == before


def test_who_has_turned_warnings_off_gets_none(pipe, logged):
    level = diffusers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    try:
        assert notices(lambda: pipe(LONG[0], **STEPS)) == []
    finally:
        diffusers.logging.set_verbosity(level)


def test_other_threads_and_other_records_are_shown(pipe, logged):
    logger = logging.getLogger(type(pipe.base).__module__)
    cut = "The following part of your input was truncated because CLIP can only handle sequences up to 24 tokens: ['x']"

    def run():
        with noticing(pipe.base, LONG[:1]):
            other = threading.Thread(target=logger.warning, args=(cut,))
            other.start()
            other.join()
            logger.warning("something else")
            logger.warning(cut)

    assert len(notices(run)) == 1
    assert logged == [cut, "something else"]


def test_overlapping_contexts_of_threads_do_not_take_each_other_s_filter(pipe, logged):
    logger = logging.getLogger(type(pipe.base).__module__)
    entered, left, counts = threading.Event(), threading.Event(), []

    def other():
        with noticing(pipe.base):
            entered.set()
            left.wait(10)
            counts.append(sum(type(one).__name__ == "_Notices" for one in logger.filters))

    thread, before = threading.Thread(target=other), state()[logger.name][1]
    with noticing(pipe.base):
        thread.start()
        entered.wait(10)
    left.set()
    thread.join()
    assert counts == [1]
    assert state()[logger.name][1] == before


def test_texts_of_a_call():
    arguments = {"prompt_2": ["b", "a"], "negative_prompt": "c", "negative_prompt_2": None, "prompt_embeds": object()}
    assert texts_in("a", arguments) == ["a", "b", "c"]
    assert texts_in(None, {}) == []


def test_training_logs_nothing_each_time_it_runs(pipe, logged):
    concept = Concept("x", tuple(LONG[:4]), tuple(f"neon {prompt}" for prompt in LONG[:4]), "x")
    config = TrainingConfig(iterations=2, num_inference_steps=1, target_modules="attention", sparsity=0.0)
    for learn in (mean_shift, train_steering_maps):
        with pytest.warns(UserWarning, match="reads the first 24 tokens only"):
            learn(pipe, concept, config)
    assert not any("truncated" in text or "longer than" in text for text in logged)
