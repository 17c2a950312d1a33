"""Saving the images of a batch: with their own recipe, whole or not at all, each before its line in the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from ...errors import LineaError
from ...scoring.images.saving import encode
from .folder import Folder
from .lines import LineFile

if TYPE_CHECKING:
    from ..jobs.jobs import Job


@dataclass(frozen=True)
class Painted:
    """The image of a job, its line, and the recipe that goes into its file."""

    job: Job
    image: Image.Image
    row: Mapping[str, Any]
    recipe: Mapping[str, Any]

    def encoded(self) -> bytes:
        """The bytes of its file, or a `LineaError` where its format cannot hold it."""
        ending = self.row["file_name"].rpartition(".")[2]
        return encode(self.image, ending, self.recipe, lossless=False, one_text=True)


Saved = tuple[list[Painted], list[tuple["Job", LineaError]]]
"""What is on the disk, and what could not become a file of its format."""


class Saver:
    """Writes images in a thread of its own, so that the next batch runs meanwhile.

    What could not be written is a `LineaError` of the next call.

    Args:
        folder: of the batch.
        saved: told of what became of images, in the thread that calls.
    """

    def __init__(self, folder: Folder, saved: Callable[[Saved], None]) -> None:
        self._folder, self._saved = folder, saved
        self._manifest = LineFile(folder.manifest)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="linea-saver")
        self._running: Future[Saved] | None = None
        self.check = self._manifest.check

    def save(self, painted: Sequence[Painted]) -> None:
        """Hand images over, when those handed over before are on the disk."""
        self.flush()
        if painted:
            self._running = self._thread.submit(self._write, list(painted))

    def flush(self) -> None:
        """Return when all that was handed over is on the disk."""
        running, self._running = self._running, None
        if running is not None:
            self._saved(running.result())

    def note(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Put lines of images that are there already, or of failures, into the manifest."""
        self.flush()
        self._manifest.append(rows)

    def close(self) -> None:
        """End the thread and close the manifest; what is being written is finished."""
        self._thread.shutdown(wait=True)
        self._manifest.close()

    def _write(self, several: list[Painted]) -> Saved:
        written: list[Painted] = []
        refused: list[tuple[Job, LineaError]] = []
        for one in several:
            try:
                data = one.encoded()
            except LineaError as error:
                refused.append((one.job, error))
                continue
            self._folder.write(one.row["file_name"], data)
            written.append(one)
        self._manifest.append([one.row for one in written])
        return written, refused
