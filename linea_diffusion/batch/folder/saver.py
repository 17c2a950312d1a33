"""Saving the images of a batch: whole or not at all, each before its line in the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from .folder import Folder, Row
from .lines import LineFile


class Saver:
    """Writes images in a thread of its own, so that the next batch runs meanwhile.

    What could not be written is a `LineaError` of `flush`.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder, self._manifest = folder, LineFile(folder.manifest)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="linea-saver")
        self._running: Future[list[Row]] | None = None
        self.check = self._manifest.check

    def save(self, files: Iterable[tuple[Row, bytes | None]]) -> None:
        """Hand over lines with the files of their images, or without, after `flush`."""
        self._running = self._thread.submit(self._write, files)

    def flush(self) -> Sequence[Row]:
        """The lines of what was handed over, when all of it is on the disk; none where nothing was."""
        running, self._running = self._running, None
        return () if running is None else running.result()

    def close(self) -> None:
        """End the thread and close the manifest; what is being written is finished."""
        self._thread.shutdown(wait=True)
        self._manifest.close()

    def _write(self, files: Iterable[tuple[Row, bytes | None]]) -> list[Row]:
        rows = []
        for row, data in files:
            if data is not None:
                self._folder.write(row["file_name"], data)
            rows.append(row)
        self._manifest.append(rows)
        return rows
