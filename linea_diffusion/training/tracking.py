"""Trainings in an experiment tracker: TensorBoard, Weights & Biases, Trackio and others, by accelerate's interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import LineaError, nearest_hint
from .state.processes import is_main_process
from .watching import Callback, TrainingState

STRENGTHS = (0.0, 0.5, 1.0)
"""Of the pictures."""


def check_trackers(names: Sequence[str]) -> None:
    """Whether these trackers are known, and installed.

    Raises:
        LineaError: one is not.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known, installed = list(LOGGER_TYPE_TO_CLASS), {str(one) for one in get_available_trackers()}
    for name in names:
        if name not in known:
            raise LineaError(f"got tracker {name!r}: expected one of {', '.join(known)}{nearest_hint(name, known)}")
        if name not in installed:
            raise LineaError(f"got tracker {name!r}, which is not installed: expected it; pip install {name}")


@contextmanager
def tracked(
    names: Sequence[str], folder: Path, run_name: str, settings: Mapping[str, Any], *, pictures_every: int = 20
) -> Iterator[Callback]:
    """Within the context a training's callback writes to trackers: the loss, its parts by kind of module, the support,
    and pictures at strengths 0, 0.5 and 1 where the tracker takes pictures.

    Args:
        names: of trackers, as accelerate has them.
        folder: for those that write files.
        run_name: what they call the training.
        settings: of it.
        pictures_every: iterations between pictures, of the first and the last too; 0 for none.

    Yields:
        The callback for `train_steering_maps`.

    Raises:
        LineaError: see `check_trackers`.
    """
    check_trackers(names)
    trackers = [_started(name, folder, run_name, settings) for name in names] if is_main_process() else []

    def look(state: TrainingState) -> None:
        groups = {f"loss/{group}": loss for group, loss in state.losses_by_group.items()}
        for tracker in trackers:
            tracker.log({"loss": state.loss, "support": state.support, **groups}, step=state.iteration)
        due = pictures_every and (state.iteration in (1, state.iterations) or state.iteration % pictures_every == 0)
        takers = [tracker for tracker in trackers if hasattr(tracker, "log_images")]
        if due and takers:
            pictures = state.pictures(strengths=STRENGTHS)
            for tracker in takers:
                _log_pictures(tracker, pictures, state.iteration)

    try:
        yield look
    finally:
        for tracker in trackers:
            tracker.finish()


def _started(name: str, folder: Path, run_name: str, settings: Mapping[str, Any]) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    tracker = kind(run_name, str(folder)) if kind.requires_logging_directory else kind(run_name)
    tracker.start()
    plain = {key: one if isinstance(one, bool | int | float | str) else str(one) for key, one in settings.items()}
    tracker.store_init_configuration(plain)
    return tracker


def _log_pictures(tracker: Any, pictures: Sequence[Image.Image], iteration: int) -> None:
    title = f"strength {', '.join(f'{one:g}' for one in STRENGTHS)}"
    if tracker.name == "tensorboard":  # it alone takes arrays, and is told their order
        tracker.log_images({title: np.stack([np.asarray(one) for one in pictures])}, iteration, dataformats="NHWC")
    else:
        tracker.log_images({title: list(pictures)}, iteration)
