"""Where everything lies in the output folder of a batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

FORMATS = ("png", "jpg", "webp")
"""Image formats that a batch writes, named by their endings."""


class Layout:
    """Paths in an output folder, which is an ``imagefolder`` data set with a hidden folder for the work in progress.

    Args:
        folder: the output folder; it need not exist.

    Attributes:
        images: ``images/``, with one folder for each first byte of a digest, so that no folder grows too large.
        metadata: ``metadata.jsonl``, one line an image.
        failures: ``failures.jsonl``, one line for each job or input line that failed.
        hidden: ``.linea/``: a shard of the manifest and of the failures for each process, and locks.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.images = self.folder / "images"
        self.metadata = self.folder / "metadata.jsonl"
        self.failures = self.folder / "failures.jsonl"
        self.hidden = self.folder / ".linea"
        self.bad_lines = self.hidden / "bad-lines.jsonl"

    def manifest(self, rank: int) -> Path:
        """The manifest shard of one process."""
        return self.hidden / f"manifest-{rank}.jsonl"

    def failure_shard(self, rank: int) -> Path:
        """The failures of one process."""
        return self.hidden / f"failures-{rank}.jsonl"

    def lock(self, rank: int) -> Path:
        """What one process locks while it works here."""
        return self.hidden / f"lock-{rank}"

    def manifests(self) -> list[Path]:
        """All manifest shards, in the order of their ranks."""
        return sorted(self.hidden.glob("manifest-*.jsonl"), key=rank_of)

    def failure_shards(self) -> list[Path]:
        """All failure shards, in the order of their ranks."""
        return sorted(self.hidden.glob("failures-*.jsonl"), key=rank_of)

    def locks(self) -> list[Path]:
        """All lock files, held or not, in the order of their ranks."""
        return sorted(self.hidden.glob("lock-*"), key=rank_of)

    def image_files(self) -> Iterator[os.DirEntry[str]]:
        """Everything in the folders of images, hidden leftovers too; one folder at a time is listed."""
        if not self.images.is_dir():
            return
        for folder in sorted(self.images.iterdir()):
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    yield from entries


def image_name(digest: str, ending: str) -> str:
    """The name of an image below the output folder, as it stands in ``file_name``."""
    return f"images/{digest[:2]}/{digest}.{ending}"


def digest_of(file_name: str) -> str:
    """The job digest in the name of an image."""
    return file_name.rsplit("/", 1)[-1].partition(".")[0]


def rank_of(path: Path) -> int:
    """The process that a shard or lock belongs to."""
    return int(path.stem.rpartition("-")[2])
