"""One bar at a time: how far long work is, and how long it will still take, over all its stages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from tqdm.auto import tqdm

_MINUTE = 60.0
_WHOLE: ContextVar[_Whole | None] = ContextVar("whole", default=None)
_BUSY: ContextVar[bool] = ContextVar("busy", default=False)
Heard = Callable[[str, int, int, Mapping[str, Any]], None]
"""Told of a stage: its name, units done, all of them, and facts."""
_HEARD: ContextVar[Heard | None] = ContextVar("heard", default=None)


class Stage:
    """A part of long work, as it goes on.

    Args:
        bar: where it is seen; None if it is not.
        name: what is done.
        total: units of it.
        done: of them, before it began.
        weight: share of the bar that the whole stage is; `total` if the bar is its own.
        unit: what is counted, such as picture.
        tell: told of it instead.
    """

    def __init__(
        self, bar: Any, name: str, total: int, done: int, weight: float | None, unit: str, tell: Heard | None = None
    ) -> None:
        self._bar, self._name, self._total, self.done, self._tell = bar, name, total, done, tell
        self._each = 1 if weight is None else weight / max(1, total)
        self._whole, self._unit = weight is not None, unit
        self._describe()

    def update(self, count: int = 1, **facts: Any) -> None:
        """So many more units are done; facts stand behind the bar."""
        self.done += count
        if self._tell is not None:
            self._tell(self._name, self.done, self._total, facts)
        if self._bar is None:
            return
        if facts:
            self._bar.set_postfix(facts, refresh=False)
        self._describe()
        self._bar.update(count * self._each)

    def end(self) -> None:
        """What is left of the stage was not needed."""
        if self._bar is not None and self._whole and self.done < self._total:
            self._bar.update((self._total - self.done) * self._each)

    def _describe(self) -> None:
        if self._bar is not None and self._whole:
            text = f"{self._name} {self.done}/{self._total} {self._unit}s" if self._total > 1 else self._name
            self._bar.set_description_str(text, refresh=False)


class _Whole:
    """A bar over stages that are known beforehand, with a weight each."""

    def __init__(self, parts: Sequence[tuple[str, float]]) -> None:
        self._waiting = [(name, weight) for name, weight in parts if weight > 0]
        form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left{postfix}"
        first = next((name for name, _ in self._waiting), "work")
        total = sum(weight for _, weight in self._waiting)
        self.bar = bar_of(total=total, desc=first, bar_format=form, smoothing=0.1)

    def begin(self, name: str, total: int, done: int, unit: str) -> Stage:
        """The stage of this name that is next; those before it are passed over, and so is what of it is done."""
        weight = 0.0
        if name in (one for one, _ in self._waiting):
            while self._waiting:
                other, weight = self._waiting.pop(0)
                if other == name:
                    break
                self.bar.total -= weight
            self.bar.total -= weight * min(done, total) / max(1, total)
        self.bar.set_postfix_str("", refresh=False)
        going = Stage(self.bar, name, total, done, weight, unit)
        if draws():
            self.bar.refresh()
        return going


@contextmanager
def whole(parts: Sequence[tuple[str, float]]) -> Iterator[None]:
    """Within the context stages share one bar, which tells the time that is left for all of them.

    Args:
        parts: names of stages in their order, and about how long each takes, in any unit. A stage that is not among
            them is named, and moves nothing.
    """
    shown = _Whole(parts)
    before = _WHOLE.set(shown)
    try:
        yield
    finally:
        _WHOLE.reset(before)
        shown.bar.close()


@contextmanager
def heard(tell: Heard) -> Iterator[None]:
    """Within the context stages tell somebody how far they are, and draw no bars."""
    before = _HEARD.set(tell)
    try:
        yield
    finally:
        _HEARD.reset(before)


@contextmanager
def stage(name: str, total: int, *, unit: str = "step", done: int = 0, shown: bool = True) -> Iterator[Stage]:
    """Within the context a stage of long work goes on: a part of the `whole` bar, or a bar of its own.

    A stage within another one is not seen.

    Args:
        name: what is done.
        total: units of it.
        unit: what is counted.
        done: units that were done before.
        shown: whether this process shows progress.
    """
    seen, bar, all_of_it, tell = shown and not _BUSY.get(), None, _WHOLE.get(), _HEARD.get()
    if seen and tell is not None:
        tell(name, done, total, {})
        going = Stage(None, name, total, done, None, unit, tell)
    elif seen and all_of_it is not None:
        going = all_of_it.begin(name, total, done, unit)
    else:
        bar = bar_of(total=total, initial=done, desc=name, unit=unit) if seen else None
        going = Stage(bar, name, total, done, None, unit)
    before = _BUSY.set(True)
    try:
        yield going
        going.end()
    finally:
        _BUSY.reset(before)
        if bar is not None:
            bar.close()


def say(text: str) -> None:
    """Write a line on standard output, above the bar if one is drawn."""
    tqdm.write(text, file=sys.stdout)


def is_busy() -> bool:
    """Whether a stage goes on, so that no other bar may be seen."""
    return _BUSY.get()


def draws() -> bool:
    """Whether bars are drawn, on a terminal or in a notebook."""
    return sys.stderr.isatty() or any(kind.__name__ == "tqdm_notebook" for kind in tqdm.__mro__)


def bar_of(**options: Any) -> Any:
    """A bar with options of tqdm; where standard error is no terminal and no notebook, lines, one a minute at most."""
    if draws():
        return tqdm(**options)
    done = "{n_fmt}/{total_fmt} {unit}s" if "unit" in options else "{percentage:.0f}%"
    form = f"{{desc}}: {done}, {{elapsed}} gone, {{remaining}} left{{postfix}}"
    return tqdm(file=_Lines(sys.stderr), mininterval=_MINUTE, miniters=0, **options | {"bar_format": form})


class _Lines:
    """A stream in which every state of a bar is a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._last = stream, ""

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line and line != self._last:
            self._stream.write(line + "\n")
            self._stream.flush()
        self._last = line or self._last

    def flush(self) -> None:
        self._stream.flush()
