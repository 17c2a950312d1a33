"""Blocks of code of a page, in its order.

A comment before a block, which readers do not see, says why it is not run where pages are tested::

    <!-- not run: needs weights from the Hub -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^>]+) -->\n+)?```(?P<language>.*)\n(?P<code>(?:.*\n)*?)```$", re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A block: its language ("" for a terminal), its code, its first line, and why it is not run ("" if it is)."""

    language: str
    code: str
    line: int
    reason: str = ""


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, but for those of Sphinx itself."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(one["language"], one["code"], text.count("\n", 0, one.start("code")) + 1, one["reason"] or "")
        for one in _BLOCK.finditer(text)
    ]
    return [one for one in found if not one.language.startswith("{")]


def commands(code: str) -> Iterator[str]:
    """The commands of a terminal's block, each as one line without its comment."""
    for line in code.replace("\\\n", " ").splitlines():
        command = re.sub(r"\s+# .*", "", line).strip()
        if command and not command.startswith("#"):
            yield command


def run(block: Block, page: Path, names: dict[str, object]) -> None:
    """Run a block of Python in the present folder; what it defines is added to the names."""
    lines = "\n" * (block.line - 1)  # so that an error names the line of the page
    exec(compile(lines + block.code, str(page), "exec"), names)
