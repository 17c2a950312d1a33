"""One metadata.jsonl and one failures.jsonl from the shards of all processes, in the order of the input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from ...errors import LineaError, reason
from .columns import Columns, Row
from .index import Planned, open_base, shard_rows
from .layout import Layout, digest_of, is_image_name, is_whole


@dataclass(frozen=True)
class Merged:
    """What a merge found.

    Attributes:
        images: lines of ``metadata.jsonl``.
        failures: lines of ``failures.jsonl``.
        leftovers: images that no line asks for any more, lines of ``.linea/leftovers.jsonl``.
    """

    images: int
    failures: int
    leftovers: int


def merge(layout: Layout, rank: int = 0, plan: Iterable[Planned] | None = None) -> Merged:
    """Write ``metadata.jsonl`` and ``failures.jsonl`` anew, whole or not at all, in bounded memory.

    An image that several shards know has the line of the last; images that are not there have none, and neither have
    failures of jobs that are done by now. The same jobs give the same file, however many processes and interruptions
    there were.

    Args:
        layout: of the output folder.
        rank: this process', in the names of unfinished files.
        plan: all that the present input asks for. It decides what is in the files, in which order, and with which
            further columns; other images are put aside, and other failures forgotten. Without it, as after a run that
            was stopped, all that is there is in the files, in the order of the input that asked for it.

    Raises:
        LineaError: the files cannot be written.
    """
    base = open_base()
    try:
        base.execute("CREATE TABLE image (digest TEXT PRIMARY KEY, line, part, shard, place, meta, at) WITHOUT ROWID")
        base.execute("CREATE TABLE failure (digest TEXT PRIMARY KEY, line, part, shard, place, meta) WITHOUT ROWID")
        manifests, failed = layout.manifests(), [*layout.failure_shards(), layout.bad_lines]
        base.executemany(
            "INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?, NULL, NULL)", _places(manifests, "file_name")
        )
        base.executemany("INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?, ?, NULL)", _places(failed, "job"))
        if plan is not None:
            _settle(layout, base, plan, len(failed) - 1)
        for at, entries in ((_HERE, layout.images_there()), (_ASIDE, layout.leftovers_there())):
            names = ((at, digest_of(entry.name)) for entry in entries)
            base.executemany("UPDATE image SET at = ? WHERE digest = ? AND at IS NULL", names)
        base.execute("DELETE FROM failure WHERE digest IN (SELECT digest FROM image WHERE at = ?)", (_HERE,))

        def table(at: int) -> Iterator[Row]:
            rows = "SELECT shard, place, line, meta FROM image WHERE at = ? ORDER BY line, part, digest"
            return _in_columns(lambda: _rows(manifests, base.execute(rows, (at,))))

        images = _write(layout.metadata, rank, table(_HERE))
        leftovers = _write(layout.leftover_rows, rank, table(_ASIDE))
        failures = base.execute("SELECT shard, place, line, meta FROM failure ORDER BY line, part, digest")
        return Merged(images, _write(layout.failures, rank, _rows(failed, failures)), leftovers)
    finally:
        base.close()


_HERE, _ASIDE = 1, 2


def _settle(layout: Layout, base: Connection, plan: Iterable[Planned], bad_lines: int) -> None:
    """Let the plan decide: where each job stands in the input, which images are of it, which failures."""
    base.execute("CREATE TABLE plan (digest TEXT PRIMARY KEY, line, part, meta) WITHOUT ROWID")
    base.executemany("INSERT INTO plan VALUES (?, ?, ?, coalesce(?, '{}'))", plan)
    for table in ("image", "failure"):
        meta = "meta" if table == "image" else "NULL"
        base.execute(
            f"UPDATE {table} SET (line, part, meta) = "
            f"(SELECT line, part, {meta} FROM plan WHERE plan.digest = {table}.digest) "
            "WHERE digest IN (SELECT digest FROM plan)"
        )
    base.execute("DELETE FROM failure WHERE shard != ? AND digest NOT IN (SELECT digest FROM plan)", (bad_lines,))
    for entry in layout.files():
        name = f"images/{entry.name[:2]}/{entry.name}"
        if is_image_name(name):
            row = base.execute("SELECT 1 FROM plan WHERE digest = ?", (digest_of(name),)).fetchone()
            if row is None or not is_whole(entry.path):
                layout.put_aside(name)


def is_current(layout: Layout) -> bool:
    """Whether ``metadata.jsonl`` is not older than any shard."""
    if not layout.metadata.exists():
        return not layout.manifests()
    merged = layout.metadata.stat().st_mtime_ns
    return all(shard.stat().st_mtime_ns <= merged for shard in layout.manifests())


def _places(shards: Iterable[Path], key: str) -> Iterator[tuple[str, int, int, int, int]]:
    for number, shard in enumerate(shards):
        for offset, row in shard_rows(shard, key):
            if row is not None:
                yield digest_of(row[key]), row.get("line", 0), row.get("part", 0), number, offset


def _rows(shards: list[Path], places: Iterable[tuple[int, int, int, str | None]]) -> Iterator[Row]:
    """The rows at places of shards, with the line and the further columns that the plan has for them."""
    with ExitStack() as stack:
        files = [stack.enter_context(shard.open("rb")) if shard.exists() else None for shard in shards]
        for shard, offset, line, meta in places:
            file: Any = files[shard]
            file.seek(offset)
            row: Row = json.loads(file.readline())
            row = {key: value for key, value in row.items() if key != "part"}
            yield row | {"line": line} | ({} if meta is None else {"meta": json.loads(meta)})


def _in_columns(rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """Rows with the columns of all of them; read twice."""
    columns = Columns()
    for row in rows():
        columns.learn(row)
    for row in rows():
        yield columns.table_row(row)


def _write(path: Path, rank: int, rows: Iterable[Row]) -> int:
    partial, count = path.with_name(f".{path.name}.{rank}.part"), 0
    try:
        with partial.open("w", encoding="utf-8", errors="surrogatepass") as out:
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
            out.flush()
            os.fsync(out.fileno())
        if count or path.exists() or path.name.startswith("metadata"):
            os.replace(partial, path)
        else:
            partial.unlink()
    except OSError as error:
        raise LineaError(
            f"got {str(path)!r}: expected to write it ({reason(error)}); make room and start again"
        ) from None
    return count
