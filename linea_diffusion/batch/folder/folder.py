"""The output folder of a batch: where everything lies, on a disk or in an object store, and what is there."""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from ...errors import LineaError, reason
from .lines import line_of, parsed, write_whole, writing

FORMATS = ("png", "jpg", "webp")
"""Image formats that a batch writes, named by their endings."""
Row = dict[str, Any]
_LONGEST_PATH = 4096
_IMAGE = re.compile(rf"images/([0-9a-f]{{2}})/\1[0-9a-f]*\.(?:{'|'.join(FORMATS)})")
_LINES = re.compile(r"(manifest|failures)-[0-9]{1,9}\.jsonl")
_FOLDERS = re.compile("leftovers|rows")
_FILES = re.compile(rf"{_LINES.pattern}|lock-[0-9]{{1,9}}|(bad-lines|leftovers)\.jsonl|.*\.part")
_OWN = {
    "metadata.jsonl": Path.is_file, "failures.jsonl": Path.is_file, ".linea/leftovers.jsonl": Path.is_file,
    "images": Path.is_dir, ".linea/leftovers": Path.is_dir,
}  # fmt: skip
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"


class Folder:
    """An ``imagefolder`` data set with a hidden folder, ``.linea/``, for the work in progress.

    ``images/`` has a folder for each first byte of a digest, so that none grows too large. ``.linea/manifest-*.jsonl``
    (one process) and ``.linea/rows/`` (Ray) have a line for each image and failure, ``.linea/leftovers/`` images that
    no line asks for any more, where no data set finds them. What cannot be written is a `LineaError`.

    Args:
        place: a folder, which need not exist, or the URL of one for fsspec.

    Raises:
        LineaError: an empty name, or a URL of no file system that is installed.
    """

    def __init__(self, place: str | Path) -> None:
        self.name = str(place)
        if not self.name.strip() or "\0" in self.name:
            raise LineaError(f"got {self.name!r} as the name of the output folder: expected one such as batch")
        self.fs, self.root = LocalFileSystem(auto_mkdir=True), os.path.abspath(self.name)
        if "://" in self.name:
            try:
                self.fs, self.root = url_to_fs(self.name)
            except (ImportError, ValueError) as error:
                raise LineaError(
                    f"got output folder {self.name!r}: expected a URL for fsspec ({reason(error)})"
                ) from None
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """Where something of the folder is, for its file system."""
        return f"{self.root}/{name}"

    @property
    def here(self) -> Path:
        """The folder on this machine."""
        return Path(self.root)

    @property
    def manifest(self) -> Path:
        """The lines that one process writes."""
        return self.here / ".linea" / "manifest-0.jsonl"

    def prepare(self) -> None:
        """Make a folder on this machine, and try whether the longest name that a batch may write can be written."""
        longest = Path(self.path(f".linea/leftovers/00/{'0' * 32}.webp"))
        try:
            for name, is_right in _OWN.items():
                if (path := self.here / name).exists() and not is_right(path):
                    raise LineaError(
                        f"got {str(path)!r}, which is no {'folder' if is_right is Path.is_dir else 'file'}: expected "
                        "none, or that of a batch; move it away or choose another folder"
                    )
            (self.here / ".linea").mkdir(parents=True, exist_ok=True)
            if len(os.fsencode(longest)) + len("..12345678.part") >= _LONGEST_PATH:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            (self.here / "images").mkdir(exist_ok=True)
            (probe := self.here / "images" / f".{longest.name}.12345678.part").touch()
            probe.unlink()
        except OSError as error:
            raise LineaError(f"got output folder {self.name!r}: expected a writable place ({reason(error)})") from None

    def file_names(self, *, aside: bool = False, whole: bool = True) -> Iterator[str]:
        """The images that are there, as ``file_name`` in metadata; those of a disk that are cut off only when asked."""
        for path in self._listed(".linea/leftovers" if aside else "images"):
            name = "images/" + "/".join(path.split("/")[-2:])
            if is_image_name(name) and not (whole and self.is_local and not is_whole(path)):
                yield name

    def clear_unfinished(self) -> None:
        """Remove what killed processes left unfinished on a disk."""
        if self.is_local:
            images = (Path(path) for path in self._listed("images") if path.endswith(".part"))
            for path in (*self.here.glob(".*.part"), *self.here.glob(".linea/.*.part"), *images):
                path.unlink(missing_ok=True)

    def _listed(self, top: str) -> Iterator[str]:
        """The files in the folders of a folder, one of these at a time."""
        self.fs.invalidate_cache()
        with suppress(FileNotFoundError):
            for inner in sorted(self.fs.ls(self.path(top), detail=False)):
                if self.fs.isdir(inner):
                    yield from self.fs.ls(inner, detail=False)

    def rows(self) -> Iterator[Row | None]:
        """What was written about images and failures, in the order of writing; None for what no batch wrote."""
        self.fs.invalidate_cache()
        for path in sorted(self.fs.glob(self.path(".linea/*.jsonl"))):
            if _LINES.fullmatch(path.rsplit("/", 1)[-1]) and self.fs.isfile(path):
                with self.fs.open(path, "rb") as file:
                    yield from (known(parsed(line)) for line in file if line.endswith(b"\n"))
        yield from self.rows_of("*")

    def rows_of(self, run: str) -> Iterator[Row | None]:
        """The rows of one run on Ray; a file that its writer could not end has none."""
        for path in sorted(self.fs.glob(self.path(f".linea/rows/{run}/*.parquet"))):
            yield from (known(parsed(text)) for text in _texts(self.fs.cat_file(path)))

    def foreign(self) -> list[str]:
        """What lies in the hidden folder of a disk and is not ours."""
        paths = (self.here / ".linea").glob("*") if self.is_local else ()
        return sorted(path.name for path in paths if not (_FOLDERS if path.is_dir() else _FILES).fullmatch(path.name))

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is never seen unfinished; its folder is made when missing, the one above that is not."""
        if self.is_local:
            path = Path(self.path(name))
            with writing(path):
                path.parent.mkdir(exist_ok=True)
            write_whole(path, [data])
        else:
            self.fs.pipe_file(self.path(name), data)  # object stores show whole objects only

    def has(self, name: str) -> bool:
        """Whether an image is there, and whole."""
        return is_whole(self.path(name)) if self.is_local else bool(self.fs.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return bytes(self.fs.cat_file(self.path(name)))

    def move(self, name: str, place: str) -> None:
        """Move a file within the folder."""
        try:
            self.fs.mv(self.path(name), self.path(place))
        except OSError as error:
            raise LineaError(f"got {self.path(name)!r}: expected to move it to {place!r} ({reason(error)})") from None

    def prune(self) -> None:
        """Remove the leftovers."""
        for name in (".linea/leftovers", ".linea/leftovers.jsonl"):
            with suppress(FileNotFoundError):
                self.fs.rm(self.path(name), recursive=True)

    def put_lines(self, name: str, rows: Iterable[Row]) -> None:
        """Write a file of JSON lines anew, whole or not at all."""
        if self.is_local:
            write_whole(Path(self.path(name)), map(line_of, rows))
            return
        with TemporaryDirectory() as folder:
            write_whole(Path(folder) / "lines", map(line_of, rows))
            with writing(Path(self.path(name))):
                self.fs.put_file(f"{folder}/lines", self.path(name))


def known(row: Row | None) -> Row | None:
    """A line that a batch wrote, of an image (``file_name``) or a failure (``job``); None for any other."""
    if row is None or not (is_image_name(row.get("file_name")) or isinstance(row.get("job"), str)):
        return None
    places = [row.get(name, 0) for name in ("line", "part")]
    return row if all(type(place) is int and 0 <= place < 2**63 for place in places) else None


def failure(job: str, line: int, part: int, reason: str, fields: Any, *, nsfw: bool = False) -> Row:
    """The line of a failure: of which job, or of which image of a line, why, and a line that asks for it again."""
    return {"job": job, "line": line, "part": part, "reason": reason, "nsfw": nsfw, "fields": fields}


def image_name(digest: str, ending: str) -> str:
    """The name of an image below the output folder, as it stands in ``file_name``."""
    return f"images/{digest[:2]}/{digest}.{ending}"


def is_image_name(file_name: object) -> bool:
    """Whether `image_name` could have made a name."""
    return isinstance(file_name, str) and bool(_IMAGE.fullmatch(file_name))


def leftover(file_name: str) -> str:
    """Where an image lies while no line asks for it."""
    return file_name.replace("images/", ".linea/leftovers/", 1)


def digest_of(file_name: str) -> str:
    """The job digest in the name of an image."""
    return file_name.rsplit("/", 1)[-1].partition(".")[0]


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


def _texts(data: bytes) -> list[str]:
    import pyarrow
    from pyarrow.parquet import read_table

    try:
        return list(read_table(io.BytesIO(data), columns=["row"])["row"].to_pylist())
    except (pyarrow.ArrowException, OSError):
        return []
