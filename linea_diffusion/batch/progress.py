"""The progress bar of a batch: images, images a second, time that remains, failures."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import LineaError
from ..progress import bar_of
from .jobs.expanding import Texts, count_images
from .jobs.reading import Fields, read_jobs


class Bar:
    """A bar over the images that are to be made; those it passes over do not count in its speed.

    Args:
        jobs: a file, which is read once to know how much there is, or an iterable, of which nobody knows.
        defaults: fields for what a job leaves out.
        parts: of how many shards this is one; their parts are about equal.
        texts: reads prompts, as for `expand`.
    """

    def __init__(self, jobs: Any, defaults: Mapping[str, Any], parts: int, texts: Texts | None = None) -> None:
        self._failures, self._ended = 0, threading.Event()
        self._bar = bar_of(desc="see what is there", unit="image", smoothing=0.05)
        self._counter = threading.Thread(target=self._count, args=(jobs, defaults, parts, texts), daemon=True)
        if isinstance(jobs, str | Path):
            self._counter.start()

    def _count(self, jobs: str | Path, defaults: Mapping[str, Any], parts: int, texts: Texts | None) -> None:
        """Beside the work, because a long file takes a minute to count; what is asked for twice is counted twice."""
        total = 0
        with suppress(LineaError):  # the work itself reads the same file and tells what is wrong
            for _, fields in read_jobs(jobs):
                if self._ended.is_set():
                    return
                total += _count_images(fields, defaults, texts)
            self._bar.total = -(-total // parts)
            self._bar.refresh()

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Take an event into account."""
        event = facts["event"]
        if event == "start":
            self._bar.set_description_str("images")
        if event == "columns":
            self._bar.write(f"columns for metadata.jsonl: {', '.join(facts['names'])}", file=sys.stderr)
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
        self._ended.set()
        if self._counter.is_alive():
            self._counter.join()
        self._bar.close()


def _count_images(fields: Fields | LineaError, defaults: Mapping[str, Any], texts: Texts | None) -> int:
    """How many images a line asks for; a bad one counts as one."""
    try:
        return 1 if isinstance(fields, LineaError) else count_images({**defaults, **fields}, texts)
    except LineaError:
        return 1
