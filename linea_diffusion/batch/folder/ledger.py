"""What is known of jobs: done, failed, asked for; on disk for the length of a run, then written as metadata.jsonl."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import chain, islice
from typing import Any

from .columns import Columns
from .folder import Folder, Row, digest_of, leftover

_CACHE_KIB = 16 * 1024
_NOTE = """
    INSERT INTO image VALUES (?, ?, ?, ?, ?, ?, NULL, NULL) ON CONFLICT DO UPDATE SET
    (complete, width, line, part, row) = (excluded.complete, excluded.width, excluded.line, excluded.part, excluded.row)
    WHERE excluded.width >= width
"""


class State(Enum):
    """What is known of a job that is not to be done, or not from the beginning."""

    DONE = "done"
    FAILED = "failed"
    PLANNED = "planned"
    UNSCORED = "unscored"


@dataclass(frozen=True)
class Finished:
    """What a run wrote.

    Attributes:
        images: lines of ``metadata.jsonl``.
        failures: lines of ``failures.jsonl``.
        leftovers: images that no line asks for any more, lines of ``.linea/leftovers.jsonl``.
    """

    images: int
    failures: int
    leftovers: int


class Ledger:
    """Job digest -> its line and state, in bounded memory: a database of SQLite's that vanishes with the process.

    Args:
        folder: that it is of.

    Attributes:
        damaged: lines that no batch wrote; their jobs are done again.
    """

    def __init__(self, folder: Folder) -> None:
        self.damaged, self._folder = 0, folder
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.executescript(f"""
            PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA journal_mode = OFF; PRAGMA temp_store = FILE;
            CREATE TABLE image (digest TEXT PRIMARY KEY, complete, width, line, part, row, meta, place) WITHOUT ROWID;
            CREATE TABLE failure (digest TEXT PRIMARY KEY, line, part, row) WITHOUT ROWID;
            CREATE TABLE plan (digest TEXT PRIMARY KEY, line, part, meta) WITHOUT ROWID;
            CREATE TABLE present (digest TEXT PRIMARY KEY, place) WITHOUT ROWID;
            BEGIN;
        """)

    def read(self, *, failures: bool = True, columns: Iterable[str] = ()) -> None:
        """Take in what earlier runs did. Images that are not there, or not whole, are not done, whatever lines say.

        Args:
            failures: whether jobs that failed count as dealt with.
            columns: what the line of a finished image must have, or it is `State.UNSCORED`: it gets a new line.
        """
        self.add(self._folder.rows(), failures=failures, columns=columns)
        self._look()
        self._base.execute("DELETE FROM image WHERE digest NOT IN (SELECT digest FROM present)")
        self._base.execute("DELETE FROM failure WHERE digest IN (SELECT digest FROM image)")

    def _look(self) -> None:
        """See which images are there (1), or among the leftovers (2)."""
        self._base.execute("DELETE FROM present")
        for place, aside in ((1, False), (2, True)):
            names = ((digest_of(name), place) for name in self._folder.file_names(aside=aside))
            self._base.executemany("INSERT OR IGNORE INTO present VALUES (?, ?)", names)

    def add(
        self, rows: Iterable[Mapping[str, Any] | None], *, failures: bool = True, columns: Iterable[str] = ()
    ) -> None:
        """Note images and failures; of two lines of an image that with more columns counts, or the later one."""
        wanted = tuple(columns)
        for row in rows:
            if row is None:
                self.damaged += 1
                continue
            entry = (
                row.get("line", 0),
                row.get("part", 0),
                json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"),
            )
            if (name := row.get("file_name")) is not None:
                complete = all(column in row for column in wanted)
                self._base.execute(_NOTE, (digest_of(name), complete, len(row), *entry))
            elif failures:
                self._base.execute("INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?)", (row["job"], *entry))

    def meet(self, digest: str, line: int, part: int, meta: Mapping[str, Any]) -> State | None:
        """Note that the present input asks for a job; where it does so first is its place. None: it is to be done."""
        text = json.dumps(meta, ensure_ascii=False) if meta else "{}"
        new = self._base.execute("INSERT OR IGNORE INTO plan VALUES (?, ?, ?, ?)", (digest, line, part, text))
        if new.rowcount == 0:
            return State.PLANNED
        if found := self._base.execute("SELECT complete FROM image WHERE digest = ?", (digest,)).fetchone():
            return State.DONE if found[0] else State.UNSCORED
        return State.FAILED if self._has("failure", digest) else None

    def has_line(self, row: Mapping[str, Any]) -> bool:
        """Whether there is a line of a row's image already."""
        return "file_name" in row and self._has("image", digest_of(row["file_name"]))

    def is_there(self, digest: str) -> bool:
        """Whether the image of a job was there at the start, though no line may tell of it."""
        return self._has("present", digest)

    def _has(self, table: str, digest: str) -> bool:
        return self._base.execute(f"SELECT 1 FROM {table} WHERE digest = ?", (digest,)).fetchone() is not None

    def count(self, table: str) -> int:
        """How many of ``image`` or ``failure`` there are."""
        return int(self._base.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def count_left_over(self) -> int:
        """How many of the images that are there no line asks for."""
        return sum(not self._has("plan", digest_of(name)) for name in self._folder.file_names())

    def finish(self, *, settle: bool) -> Finished:
        """Write ``metadata.jsonl`` and ``failures.jsonl`` anew, whole or not at all, in bounded memory.

        Images that are not there have no line, and neither have failures of jobs that are done by now. The same jobs
        give the same file, however many interruptions there were.

        Args:
            settle: whether the present input decides what is in the files, in which order, and with which further
                columns; other images are put aside, and other failures forgotten. Otherwise, as after a run that was
                stopped, all that is there is in the files, in the order of the input that asked for it.

        Raises:
            LineaError: the files cannot be written.
        """
        if settle:
            self._settle()
        self._look()
        self._base.execute("UPDATE image SET place = (SELECT place FROM present WHERE present.digest = image.digest)")
        self._base.execute("DELETE FROM failure WHERE digest IN (SELECT digest FROM image WHERE place = 1)")
        images, aside = self._put("metadata.jsonl", 1), self._put(".linea/leftovers.jsonl", 2)
        failures = "SELECT row, line, NULL FROM failure ORDER BY line, part, digest"
        return Finished(images, self._write("failures.jsonl", _rows(self._base.execute(failures))), aside)

    def _settle(self) -> None:
        base = self._base
        for table, columns in (("image", "line, part, meta"), ("failure", "line, part")):
            base.execute(
                f"UPDATE {table} SET ({columns}) = (SELECT {columns} FROM plan WHERE plan.digest = {table}.digest) "
                "WHERE digest IN (SELECT digest FROM plan)"
            )
        base.execute("DELETE FROM failure WHERE digest NOT IN (SELECT digest FROM plan)")
        for name in self._folder.file_names(whole=False):
            if not (self._has("plan", digest_of(name)) and self._folder.has(name)):
                self._folder.move(name, leftover(name))

    def _put(self, name: str, place: int) -> int:
        rows = "SELECT row, line, meta FROM image WHERE place = ? ORDER BY line, part, digest"
        columns = Columns()
        for row in _rows(self._base.execute(rows, (place,))):
            columns.learn(row)
        return self._write(name, map(columns.table_row, _rows(self._base.execute(rows, (place,)))))

    def _write(self, name: str, rows: Iterable[Row]) -> int:
        """Files that would be empty are written where there is one already, and metadata.jsonl in any case."""
        first = list(islice(rows := iter(rows), 1))
        if not first and name != "metadata.jsonl" and not self._folder.fs.exists(self._folder.path(name)):
            return 0
        return self._folder.put_lines(name, chain(first, rows))

    def close(self) -> None:
        """Forget everything."""
        self._base.close()


def _rows(found: Iterable[tuple[bytes, int, str | None]]) -> Iterator[Row]:
    """Rows as they were written, with the line and the further columns that the plan has for them."""
    for data, line, meta in found:
        row: Row = json.loads(data)
        row = {key: value for key, value in row.items() if key != "part"}
        yield row | {"line": line} | ({} if meta is None else {"meta": json.loads(meta)})
