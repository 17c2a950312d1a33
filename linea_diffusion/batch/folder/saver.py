"""Saving the images of a batch: with their own recipe, whole or not at all, each before its line in the manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import LineaError, reason
from ...scoring.images.saving import encode
from ..jobs.jobs import Job
from .layout import Layout, unfinished_name
from .lines import LineFile, write_all


@dataclass(frozen=True)
class Finished:
    """The image of a job, the row that the manifest gets for it, and the recipe that goes into its file."""

    job: Job
    image: Image.Image
    row: Mapping[str, Any]
    recipe: Mapping[str, Any]


Saved = tuple[list[Finished], list[tuple[Job, LineaError]]]
"""What is on the disk, and what could not become a file of its format."""


class Saver:
    """Writes images in a thread of its own, so that the next batch runs meanwhile.

    Args:
        layout: of the output folder.
        rank: this process', in the names of unfinished files and of the manifest shard.
        ending: of the image files.
        saved: told of what became of images, in the thread that calls.
    """

    def __init__(self, layout: Layout, rank: int, ending: str, saved: Callable[[Saved], None]) -> None:
        self._layout, self._rank, self._ending, self._saved = layout, rank, ending, saved
        self._manifest = LineFile(layout.manifest(rank))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="linea-saver")
        self._running: Future[Saved] | None = None

    def save(self, finished: Sequence[Finished]) -> None:
        """Hand images over, when those handed over before are on the disk.

        Raises:
            LineaError: images handed over before could not be written.
        """
        self.flush()
        if finished:
            self._running = self._thread.submit(self._write, list(finished))

    def flush(self) -> None:
        """Return when all that was handed over is on the disk.

        Raises:
            LineaError: it could not be written.
        """
        running, self._running = self._running, None
        if running is not None:
            self._saved(running.result())

    def note(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put new lines for images that are there already into the manifest."""
        self.flush()
        self._manifest.append(rows)

    def check(self) -> None:
        """Raise if the manifest is gone.

        Raises:
            LineaError: somebody removed it.
        """
        self._manifest.check()

    def close(self) -> None:
        """End the thread and close the manifest; what is being written is finished."""
        self._thread.shutdown(wait=True)
        self._manifest.close()

    def _write(self, finished: list[Finished]) -> Saved:
        written: list[Finished] = []
        refused: list[tuple[Job, LineaError]] = []
        for one in finished:
            try:
                data = encode(one.image, self._ending, one.recipe, lossless=False, one_text=True)
            except LineaError as error:
                refused.append((one.job, error))
                continue
            write_image(self._layout.folder / one.row["file_name"], data, self._rank)
            written.append(one)
        self._manifest.append([one.row for one in written])
        return written, refused


def write_image(path: Path, data: bytes, rank: int) -> None:
    """Write a file that is never seen unfinished: under a hidden name first, to the disk, then by its own.

    Raises:
        LineaError: it cannot be written; no part of it stays.
    """
    partial = path.with_name(unfinished_name(path.name, rank))
    try:
        file = _create(partial)
        try:
            write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise LineaError(
            f"got {str(path)!r}: expected to write it ({reason(error)}); make room or mend the folder and start again, "
            "everything finished is kept"
        ) from None


def clear_unfinished(layout: Layout, owns: Callable[[int], bool]) -> None:
    """Remove what killed processes left unfinished, for the ranks that are the caller's to clear."""
    for entry in layout.files():
        if entry.name.startswith(".") and entry.name.endswith(".part"):
            rank = entry.name.split(".")[-2]
            if rank.isdecimal() and owns(int(rank)):
                Path(entry.path).unlink(missing_ok=True)


def _create(partial: Path) -> int:
    """Open a new file. Its folder is made when missing, the one above is not: that it is gone is an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(partial, flags, 0o644)
    except FileNotFoundError:
        with suppress(FileExistsError):
            partial.parent.mkdir()
        return os.open(partial, flags, 0o644)
