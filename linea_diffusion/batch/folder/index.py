"""Which jobs are done, failed or planned: an index on disk, made anew from the shards at each start."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from .layout import Layout, digest_of, is_image_name
from .lines import read_lines

_CACHE_KIB = 16 * 1024


class State(IntEnum):
    """What is known of a job."""

    DONE = 1
    FAILED = 2
    PLANNED = 3
    UNSCORED = 4


Planned = tuple[str, int, int, str | None]
"""Digest of a job, its line and part, and the columns that its line carries into the metadata, as JSON."""


class JobIndex:
    """Job digest -> state, in bounded memory: a database of SQLite's that vanishes with the process.

    Attributes:
        damaged: lines of shards that are none of ours; their jobs are done again.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._base = open_base()
        self._base.execute("CREATE TABLE job (digest BLOB PRIMARY KEY, state INTEGER NOT NULL) WITHOUT ROWID")
        self._base.execute("CREATE TABLE plan (digest TEXT PRIMARY KEY, line, part, meta) WITHOUT ROWID")

    def read(self, layout: Layout, *, failures: bool = True, columns: Iterable[str] = ()) -> None:
        """Take in what earlier runs did.

        Args:
            layout: of the output folder.
            failures: whether jobs that failed count as dealt with.
            columns: what the line of a finished image must have, or it is `State.UNSCORED`: it gets a new line.
        """
        if failures:
            self._read(layout.failure_shards(), "job", State.FAILED, ())
        self._read(layout.manifests(), "file_name", State.DONE, tuple(columns))
        self._forget_missing(layout)

    def _read(self, shards: Iterable[Any], key: str, state: State, columns: tuple[str, ...]) -> None:
        for shard in shards:
            for _, row in shard_rows(shard, key):
                if row is None:
                    self.damaged += 1
                else:
                    complete = all(column in row for column in columns)
                    self.put(digest_of(row[key]), state if complete else State.UNSCORED)

    def _forget_missing(self, layout: Layout) -> None:
        """Images that were deleted, or torn or lost with the power, are not done, whatever their lines say."""
        self._base.execute("CREATE TEMP TABLE present (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        for entries in (layout.images_there(), layout.leftovers_there()):
            self._base.executemany(
                "INSERT OR IGNORE INTO present VALUES (?)", ((_key(digest_of(entry.name)),) for entry in entries)
            )
        self._base.execute(
            "DELETE FROM job WHERE state IN (?, ?) AND digest NOT IN (SELECT digest FROM present)",
            (State.DONE, State.UNSCORED),
        )
        self._base.execute("DROP TABLE present")

    def put(self, digest: str, state: State) -> None:
        """Note the state of a job."""
        self._base.execute("INSERT OR REPLACE INTO job VALUES (?, ?)", (_key(digest), state))

    def claim(self, digest: str) -> State | None:
        """What was known of a job; if nothing, it is planned from now on."""
        row = self._base.execute("SELECT state FROM job WHERE digest = ?", (_key(digest),)).fetchone()
        if row is not None:
            return State(row[0])
        self.put(digest, State.PLANNED)
        return None

    def meet(self, digest: str, line: int, part: int, meta: Mapping[str, Any]) -> None:
        """Note that the present input asks for a job, of any process' share; where it does so first is its place."""
        text = json.dumps(meta, ensure_ascii=False) if meta else None
        self._base.execute("INSERT OR IGNORE INTO plan VALUES (?, ?, ?, ?)", (digest, line, part, text))

    def plan(self) -> Iterator[Planned]:
        """What `meet` was told."""
        yield from self._base.execute("SELECT digest, line, part, meta FROM plan")

    def count_left_over(self, layout: Layout) -> int:
        """How many of the images that are there no line asks for."""
        query = "SELECT 1 FROM plan WHERE digest = ?"
        names = (digest_of(entry.name) for entry in layout.images_there())
        return sum(self._base.execute(query, (name,)).fetchone() is None for name in names)

    def count(self, state: State) -> int:
        """How many jobs are in a state."""
        return int(self._base.execute("SELECT count(*) FROM job WHERE state = ?", (state,)).fetchone()[0])

    def close(self) -> None:
        """Forget everything."""
        self._base.close()


def shard_rows(shard: Path, key: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The lines of a shard with their offsets; None for what this program did not write.

    Args:
        shard: of a manifest (key ``file_name``) or of failures (key ``job``).
        key: names the job.
    """
    for offset, row in read_lines(shard):
        valid = row is not None and (is_image_name if key == "file_name" else _is_text)(row.get(key))
        places = [row.get(name, 0) for name in ("line", "part")] if row is not None and valid else [None]
        yield offset, row if all(type(place) is int and 0 <= place < 2**63 for place in places) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def open_base() -> sqlite3.Connection:
    """A private database that spills to a temporary file and is never kept."""
    base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    base.execute("PRAGMA journal_mode = OFF")
    base.execute("PRAGMA temp_store = FILE")
    base.execute("BEGIN")
    return base


def _key(digest: str) -> bytes:
    return digest.encode()
