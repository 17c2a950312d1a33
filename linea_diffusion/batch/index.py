"""Which jobs are done, failed or planned: an index on disk, made anew from the shards at each start."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from .layout import Layout, digest_of
from .lines import read_lines

_CACHE_KIB = 16 * 1024


class State(IntEnum):
    """What is known of a job."""

    DONE = 1
    FAILED = 2
    PLANNED = 3
    UNSCORED = 4


class JobIndex:
    """Job digest -> state, in bounded memory: a database of SQLite's that vanishes with the process.

    Attributes:
        damaged: lines of shards that could not be read; their jobs are done again.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._base = open_base()
        self._base.execute("CREATE TABLE job (digest BLOB PRIMARY KEY, state INTEGER NOT NULL) WITHOUT ROWID")

    def read(self, layout: Layout, *, failures: bool = True, columns: Iterable[str] = ()) -> None:
        """Take in what earlier runs did.

        Args:
            layout: of the output folder.
            failures: whether jobs that failed count as dealt with.
            columns: what the line of a finished image must have, or it is `State.UNSCORED`.
        """
        if failures:
            self._read(layout.failure_shards(), "job", State.FAILED, ())
        self._read(layout.manifests(), "file_name", State.DONE, tuple(columns))
        self._forget_missing(layout)

    def _read(self, shards: Iterable[Any], key: str, state: State, columns: tuple[str, ...]) -> None:
        for shard in shards:
            for _, row in read_lines(shard):
                if row is None or not isinstance(row.get(key), str):
                    self.damaged += 1
                else:
                    whole = all(column in row for column in columns)
                    self.put(digest_of(row[key]), state if whole else State.UNSCORED)

    def _forget_missing(self, layout: Layout) -> None:
        """Images that were deleted, or lost with the power, are not done, whatever their lines say."""
        self._base.execute("CREATE TEMP TABLE present (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        names = (entry.name for entry in layout.image_files())
        self._base.executemany(
            "INSERT OR IGNORE INTO present VALUES (?)",
            ((_key(digest_of(name)),) for name in names if not name.startswith(".")),
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
        found = self._base.execute("SELECT state FROM job WHERE digest = ?", (_key(digest),)).fetchone()
        if found is not None:
            return State(found[0])
        self.put(digest, State.PLANNED)
        return None

    def count(self, state: State) -> int:
        """How many jobs are in a state."""
        return int(self._base.execute("SELECT count(*) FROM job WHERE state = ?", (state,)).fetchone()[0])

    def close(self) -> None:
        """Forget everything."""
        self._base.close()


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
