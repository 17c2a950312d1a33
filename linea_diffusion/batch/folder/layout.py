"""Where everything lies in the output folder of a batch."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ...errors import LineaError, reason

FORMATS = ("png", "jpg", "webp")
"""Image formats that a batch writes, named by their endings."""


class Layout:
    """Paths in an output folder, which is an ``imagefolder`` data set with a hidden folder for the work in progress.

    Args:
        folder: the output folder; it need not exist.

    Raises:
        LineaError: an empty name.

    Attributes:
        images: ``images/``, with one folder for each first byte of a digest, so that no folder grows too large.
        metadata: ``metadata.jsonl``, one line an image.
        failures: ``failures.jsonl``, one line for each job or input line that failed.
        hidden: ``.linea/``: a shard of the manifest and of the failures for each process, and locks.
        leftovers: ``.linea/leftovers/``: images that no line asks for any more, where no data set finds them.
        leftover_rows: their lines.
    """

    def __init__(self, folder: str | Path) -> None:
        if not str(folder).strip() or "\0" in str(folder):
            raise LineaError(f"got {str(folder)!r} as the name of the output folder: expected one such as batch")
        self.folder = Path(folder)
        self.images = self.folder / "images"
        self.metadata = self.folder / "metadata.jsonl"
        self.failures = self.folder / "failures.jsonl"
        self.hidden = self.folder / ".linea"
        self.bad_lines = self.hidden / "bad-lines.jsonl"
        self.leftovers = self.hidden / "leftovers"
        self.leftover_rows = self.hidden / "leftovers.jsonl"

    def check(self) -> None:
        """Whether a batch can be here.

        Raises:
            LineaError: a folder or something else lies where one of its files shall be.
        """
        files, folders = (
            (self.metadata, self.failures, self.bad_lines, self.leftover_rows),
            (self.images, self.leftovers),
        )
        for path in (*files, *folders):
            if path.exists() and not (path.is_file() if path in files else path.is_dir()):
                kind = "file" if path in files else "folder"
                raise LineaError(
                    f"got {str(path)!r}, which is no {kind}: expected none, or that of a batch; move it away or choose "
                    "another folder"
                )

    def probe(self, rank: int) -> None:
        """Try whether the longest name that a batch may write can be written.

        Raises:
            OSError: it cannot.
        """
        longest = image_name("0" * 32, max(FORMATS, key=len))
        path = self.images / unfinished_name(Path(longest).name, rank)
        deep = self.leftover(longest).with_name(path.name)
        if len(os.fsencode(deep.absolute())) >= _LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        self.images.mkdir(exist_ok=True)
        path.touch()
        path.unlink()

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
        return self._ranked("manifest-*.jsonl")

    def failure_shards(self) -> list[Path]:
        """All failure shards, in the order of their ranks."""
        return self._ranked("failures-*.jsonl")

    def locks(self) -> list[Path]:
        """All lock files, held or not, in the order of their ranks."""
        return self._ranked("lock-*")

    def _ranked(self, pattern: str) -> list[Path]:
        named = (path for path in self.hidden.glob(pattern) if _RANK.search(path.stem) and path.is_file())
        return sorted(named, key=rank_of)

    def foreign(self) -> list[Path]:
        """What lies in the hidden folder and is not ours."""
        others = {self.bad_lines, self.leftovers, self.leftover_rows}
        ranked = {*self.manifests(), *self.failure_shards(), *self.locks()}
        return sorted(path for path in self.hidden.glob("*") if path not in others | ranked and path.suffix != ".part")

    def files(self) -> Iterator[os.DirEntry[str]]:
        """Everything in the folders of images, unfinished files too; one folder at a time is listed."""
        return _entries(self.images)

    def images_there(self) -> Iterator[os.DirEntry[str]]:
        """The whole images in their folders, by our own names."""
        return (entry for entry in _entries(self.images) if _IMAGE.fullmatch(entry.name) and is_whole(entry.path))

    def leftovers_there(self) -> Iterator[os.DirEntry[str]]:
        """The whole images among the leftovers."""
        return (entry for entry in _entries(self.leftovers) if _IMAGE.fullmatch(entry.name) and is_whole(entry.path))

    def leftover(self, file_name: str) -> Path:
        """Where an image lies while no line asks for it."""
        return self.leftovers / file_name.removeprefix("images/")

    def restore(self, file_name: str) -> None:
        """Take an image back from the leftovers, if it is there.

        Raises:
            LineaError: it cannot be moved.
        """
        if self.leftover(file_name).exists():
            _move(self.leftover(file_name), self.folder / file_name)

    def prune(self) -> None:
        """Remove the leftovers."""
        shutil.rmtree(self.leftovers, ignore_errors=True)
        self.leftover_rows.unlink(missing_ok=True)

    def put_aside(self, file_name: str) -> None:
        """Move an image to the leftovers.

        Raises:
            LineaError: it cannot be moved.
        """
        _move(self.folder / file_name, self.leftover(file_name))


def image_name(digest: str, ending: str) -> str:
    """The name of an image below the output folder, as it stands in ``file_name``."""
    return f"images/{digest[:2]}/{digest}.{ending}"


def is_image_name(file_name: object) -> bool:
    """Whether `image_name` could have made a name."""
    if not isinstance(file_name, str):
        return False
    folder, _, name = file_name.rpartition("/")
    return bool(_IMAGE.fullmatch(name)) and folder == f"images/{name[:2]}"


def unfinished_name(name: str, rank: int) -> str:
    """The hidden name of a file that a process is writing."""
    return f".{name}.{rank}.part"


def digest_of(file_name: str) -> str:
    """The job digest in the name of an image."""
    return file_name.rsplit("/", 1)[-1].partition(".")[0]


def rank_of(path: Path) -> int:
    """The process that a shard or lock belongs to."""
    return int(path.stem.rpartition("-")[2])


def is_whole(path: str | Path) -> bool:
    """Whether an image file ends as one of its format does; files that a crash left empty or short do not."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 12))
            end = file.read(12)
    except OSError:
        return False
    if start[:4] == b"RIFF":  # its length, a whole number of pairs of bytes, is that of what follows it
        return start[8:] == b"WEBP" and int.from_bytes(start[4:8], "little") + 8 == size
    return (start[:8] == _PNG and end == _PNG_END) or (start[:2] == b"\xff\xd8" and end[-2:] == b"\xff\xd9")


_LONGEST_PATH = 4096
_RANK = re.compile(r"-[0-9]{1,9}$")
_IMAGE = re.compile(rf"[0-9a-f]+\.(?:{'|'.join(FORMATS)})")
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    if folder.is_dir():
        for inner in sorted(folder.iterdir()):
            if inner.is_dir():
                with os.scandir(inner) as entries:
                    yield from entries


def _move(path: Path, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
    except OSError as error:
        raise LineaError(f"got {str(path)!r}: expected to move it to {str(place)!r} ({reason(error)})") from None
