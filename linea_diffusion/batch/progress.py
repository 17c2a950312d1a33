"""The progress bar of a batch: images, images a second, time that remains, failures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..errors import LineaError
from .expanding import count_images
from .reading import read_jobs
from .shares import Share


class Bar:
    """A bar over the images that this process has to make; those it passes over do not count in its speed.

    Args:
        jobs: a file, which is read once to know how much there is, or an iterable, of which nobody knows.
        defaults: fields for what a job leaves out.
        share: with several processes the bar shows one's share of the images, which is about equal.
    """

    def __init__(self, jobs: Any, defaults: Mapping[str, Any], share: Share) -> None:
        total = count_all(jobs, defaults) if isinstance(jobs, str | Path) else None
        self._failures = 0
        self._bar = tqdm(
            total=None if total is None else -(-total // share.world), desc="images", unit="image", smoothing=0.05
        )

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Take an event into account."""
        event = facts["event"]
        if event in ("failure", "bad_line", "failed_before"):
            self._failures += 1
            self._bar.set_postfix(failures=self._failures, refresh=False)
        if event in ("image", "failure"):
            self._bar.update()
        elif event in ("skipped", "duplicate", "failed_before", "bad_line"):
            self._bar.initial += 1
            self._bar.n += 1

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def count_all(jobs: str | Path | Iterable[Any], defaults: Mapping[str, Any]) -> int:
    """How many images the lines ask for, those that ask for the same image twice included."""
    given, total = {"seed": 0, **{name: value for name, value in defaults.items() if value is not None}}, 0
    for _, fields in read_jobs(jobs):
        if not isinstance(fields, LineaError):
            try:
                total += count_images(given | fields)
            except LineaError:
                total += 1
    return total
