"""One metadata.jsonl and one failures.jsonl from the shards of all processes, in the order of the input."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import LineaError
from ..wording import reason
from .index import open_base
from .layout import Layout, digest_of
from .lines import read_lines


def merge(layout: Layout, rank: int = 0) -> tuple[int, int]:
    """Write ``metadata.jsonl`` and ``failures.jsonl`` anew, whole or not at all, in bounded memory.

    An image that several shards know has the line of the last; images that are not there have none, and neither have
    failures of jobs that are done by now. The same jobs give the same file, however many processes and interruptions
    there were.

    Args:
        layout: of the output folder.
        rank: this process', in the names of unfinished files.

    Returns:
        How many images and how many failures.

    Raises:
        LineaError: the files cannot be written.
    """
    base = open_base()
    try:
        base.execute("CREATE TABLE image (digest TEXT PRIMARY KEY, line, part, shard, place, there) WITHOUT ROWID")
        base.execute("CREATE TABLE failure (job TEXT PRIMARY KEY, line, part, shard, place) WITHOUT ROWID")
        manifests, failed = layout.manifests(), [*layout.failure_shards(), layout.bad_lines]
        base.executemany("INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?, 0)", _places(manifests, "file_name"))
        names = ((digest_of(entry.name),) for entry in layout.image_files() if not entry.name.startswith("."))
        base.executemany("UPDATE image SET there = 1 WHERE digest = ?", names)
        base.executemany("INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?, ?)", _places(failed, "job"))
        base.execute("DELETE FROM failure WHERE job IN (SELECT digest FROM image WHERE there)")
        rows = base.execute("SELECT shard, place FROM image WHERE there ORDER BY line, part, digest")
        images = _write(layout.metadata, rank, manifests, rows)
        rows = base.execute("SELECT shard, place FROM failure ORDER BY line, part, job")
        return images, _write(layout.failures, rank, failed, rows)
    finally:
        base.close()


def is_current(layout: Layout) -> bool:
    """Whether ``metadata.jsonl`` is not older than any shard."""
    if not layout.metadata.exists():
        return not layout.manifests()
    merged = layout.metadata.stat().st_mtime_ns
    return all(shard.stat().st_mtime_ns <= merged for shard in layout.manifests())


def _places(shards: Iterable[Path], key: str) -> Iterator[tuple[str, int, int, int, int]]:
    for number, shard in enumerate(shards):
        for offset, row in read_lines(shard):
            if row is not None and isinstance(row.get(key), str):
                yield digest_of(row[key]), row.get("line", 0), row.get("part", 0), number, offset


def _write(path: Path, rank: int, shards: list[Path], rows: Iterable[tuple[int, int]]) -> int:
    partial, count = path.with_name(f".{path.name}.{rank}.part"), 0
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(shard.open("rb")) if shard.exists() else None for shard in shards]
            out = stack.enter_context(partial.open("w", encoding="utf-8", errors="surrogatepass"))
            for shard, offset in rows:
                out.write(json.dumps(_row(files[shard], offset), ensure_ascii=False) + "\n")
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


def _row(file: Any, offset: int) -> dict[str, Any]:
    file.seek(offset)
    row: dict[str, Any] = json.loads(file.readline())
    return {key: value for key, value in row.items() if key != "part"}
