"""What is known of jobs: done, failed, asked for; on disk for the length of a run, then written as metadata.jsonl."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .columns import Columns
from .folder import Folder, Row, digest_of, leftover
from .lines import line_of

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
    """How many lines a run wrote.

    Attributes:
        images: of ``metadata.jsonl``.
        failures: of ``failures.jsonl``.
        leftovers: of ``.linea/leftovers.jsonl``: images that no line asks for any more.
    """

    images: int
    failures: int
    leftovers: int


class Ledger:
    """Job digest -> its line and state, in bounded memory: a database of SQLite's that vanishes with the process.

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
        self.close = self._base.close

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
        wanted = set(columns)
        for row in rows:
            if row is None:
                self.damaged += 1
                continue
            entry = (row.get("line", 0), row.get("part", 0), line_of(row))
            if (name := row.get("file_name")) is not None:
                self._base.execute(_NOTE, (digest_of(name), wanted <= row.keys(), len(row), *entry))
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

    def has_line(self, file_name: str) -> bool:
        """Whether there is a line of an image."""
        return self._has("image", digest_of(file_name))

    def is_there(self, digest: str) -> bool:
        """Whether the image of a job was there at the start, though no line may tell of it."""
        return self._has("present", digest)

    def _has(self, table: str, digest: str) -> bool:
        return self._base.execute(f"SELECT 1 FROM {table} WHERE digest = ?", (digest,)).fetchone() is not None

    def count(self, table: str, where: str = "1") -> int:
        """How many of ``image`` or ``failure`` there are."""
        return int(self._base.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])

    def count_left_over(self) -> int:
        """How many of the images that are there no line asks for."""
        return self.count("present", "place = 1 AND digest NOT IN (SELECT digest FROM plan)")

    def finish(self, *, settle: bool) -> Finished:
        """Write ``metadata.jsonl`` and ``failures.jsonl`` anew, whole or not at all, in bounded memory.

        Images that are not there have no line, and neither have failures of jobs that are done by now. The same jobs
        give the same file, however many interruptions there were.

        Args:
            settle: whether the present input decides what is in the files, in which order, and with which further
                columns; other images are put aside, and other failures forgotten. Otherwise, as after a run that was
                stopped, all that is there is in the files, in the order of the input that asked for it.
        """
        if settle:
            self._settle()
        self._look()
        self._base.execute("UPDATE image SET place = (SELECT place FROM present WHERE present.digest = image.digest)")
        self._base.execute("DELETE FROM failure WHERE digest IN (SELECT digest FROM image WHERE place = 1)")
        return Finished(
            self._write("metadata.jsonl", "image", "place = 1"),
            self._write("failures.jsonl", "failure"),
            self._write(".linea/leftovers.jsonl", "image", "place = 2"),
        )

    def _settle(self) -> None:
        for table, columns in (("image", "line, part, meta"), ("failure", "line, part")):
            self._base.execute(
                f"UPDATE {table} SET ({columns}) = (SELECT {columns} FROM plan WHERE plan.digest = {table}.digest) "
                "WHERE digest IN (SELECT digest FROM plan)"
            )
        self._base.execute("DELETE FROM failure WHERE digest NOT IN (SELECT digest FROM plan)")
        for name in self._folder.file_names(whole=False):
            if not (self._has("plan", digest_of(name)) and self._folder.has(name)):
                self._folder.move(name, leftover(name))

    def _write(self, name: str, table: str, where: str = "1") -> int:
        """Files that would be empty are written where there is one already, and metadata.jsonl in any case."""
        count = self.count(table, where)
        if count or name == "metadata.jsonl" or self._folder.fs.exists(self._folder.path(name)):
            self._folder.put_lines(name, self._table(where) if table == "image" else self._rows(table, where))
        return count

    def _table(self, where: str) -> Iterator[Row]:
        columns = Columns()
        for row in self._rows("image", where):
            columns.learn(row)
        return map(columns.table_row, self._rows("image", where))

    def _rows(self, table: str, where: str) -> Iterator[Row]:
        """Rows as they were written, with the line and the further columns that the plan has for them."""
        meta = "meta" if table == "image" else "NULL"
        found = f"SELECT row, line, {meta} FROM {table} WHERE {where} ORDER BY line, part, digest"
        for data, line, columns in self._base.execute(found):
            row = {key: value for key, value in json.loads(data).items() if key != "part"} | {"line": line}
            yield row if columns is None else row | {"meta": json.loads(columns)}
