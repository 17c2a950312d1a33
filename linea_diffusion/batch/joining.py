"""`join_shards`: the folders of the parts of a batch become one, as if one process had made it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from ..errors import LineaError
from .folder.folder import Folder, Row
from .folder.ledger import Finished, Ledger
from .folder.lines import LineFile, parsed
from .folder.locks import release, take

_SHARD = re.compile(r"shard-([0-9]+)-of-([0-9]+)")
_BAD_LINE = re.compile(r"line ([0-9]+) image ([0-9]+)")
_LINES_AT_ONCE = 1024


def join_shards(out: str | Path) -> Finished:
    """Move the images of all ``out/shard-I-of-N`` to ``out``, write its ``metadata.jsonl``, and remove the shards.

    Killed in between, the same call goes on. The same jobs without a shard go on in ``out``, too.

    Args:
        out: a folder on this machine.

    Raises:
        LineaError: there are no shards, one is missing, or a batch is running in one.
    """
    whole = Folder(out)
    sure = whole.here / ".linea" / "joined.part"  # all is moved, and only removing was not finished
    shards = [Folder(path) for path in _found(whole, complete=not sure.exists())]
    with ExitStack() as stack:
        for folder in (whole, *shards):
            take(folder)
            stack.callback(release, folder)
        stack.callback((manifest := LineFile(whole.manifest)).close)
        stack.callback((ledger := Ledger(whole)).close)
        for shard in shards:
            moved = _moved(shard, whole)
            while rows := list(islice(moved, _LINES_AT_ONCE)):
                manifest.append(rows)
            ledger.add(_bad_lines(shard))
        ledger.read()
        finished = ledger.finish(settle=False)
        sure.touch()
    for shard in shards:
        shutil.rmtree(shard.here)
    sure.unlink()
    return finished


def _found(whole: Folder, *, complete: bool) -> list[Path]:
    """The folders of shards, of which none may be missing."""
    found = {match: path for path in sorted(whole.here.glob("shard-*")) if (match := _SHARD.fullmatch(path.name))}
    numbers: dict[int, set[int]] = {}
    for match in found:
        numbers.setdefault(int(match[2]), set()).add(int(match[1]))
    if not found:
        raise LineaError(f"got {whole.name!r} without shards: expected folders such as shard-1-of-4")
    for of, there in numbers.items() if complete else ():
        if missing := sorted(set(range(1, of + 1)) - there):
            raise LineaError(
                f"got {whole.name!r} without shard {', '.join(map(str, missing))} of {of}: expected all; run it with "
                f"--shard {missing[0]}/{of} first"
            )
    return list(found.values())


def _moved(shard: Folder, whole: Folder) -> Iterator[Row]:
    """The lines of a shard, each when its image is in the whole."""
    for row in shard.rows():
        name = "" if row is None else row.get("file_name", "")
        if name and shard.has(name):
            Path(place := whole.path(name)).parent.mkdir(parents=True, exist_ok=True)
            os.replace(shard.path(name), place)
        if row is not None:
            yield row


def _bad_lines(shard: Folder) -> Iterator[Row]:
    path = shard.here / "failures.jsonl"
    for line in path.read_bytes().splitlines() if path.exists() else ():
        row = parsed(line)
        if row is not None and (match := _BAD_LINE.fullmatch(str(row.get("job")))):
            yield row | {"part": int(match[2])}
