"""What is told of prompts while pipelines run, once for a whole call, grid or batch."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from diffusers import DiffusionPipeline
from transformers import PreTrainedTokenizerBase

from ..errors import short
from .signs import hint_at_syntax
from .words import tell_spelled

_CUT = re.compile(r"input was truncated because.*?(\d+) tokens", re.DOTALL)
_LONG = "Token indices sequence length is longer"
_MOST = 10_000
"""Cut prompts that are told apart; a batch may have any number."""


class _Notices(logging.Filter):
    """What is known so far. As a filter it keeps back what is logged of cut prompts by this thread's own calls."""

    def __init__(self) -> None:
        super().__init__()
        self.hinted = self.spelled = False
        self.loggers: set[logging.Logger] = set()
        self._limits: list[int] = []
        self._cut: set[int] = set()
        self._first, self._limit = "", 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        if _CURRENT.get() is not self:
            return True
        text = record.getMessage()
        cut = _CUT.search(text)
        if cut:
            self._limits.append(int(cut.group(1)))
        return not cut and _LONG not in text

    def count(self, pipe: Any, prompts: Sequence[str]) -> None:
        """Note which of these prompts were cut, if records came since the last count."""
        limits, self._limits = self._limits, []
        if limits and prompts and len(self._cut) < _MOST:
            cut = _longer(pipe, prompts, min(limits)) or [max(prompts, key=len)]
            self._first, self._limit = self._first or cut[0], min(limits)
            self._cut |= {hash(prompt) for prompt in cut}

    def tell(self) -> None:
        """Warn of the prompts that were cut, if any were."""
        if self._cut:
            many = f"{_MOST} or more" if len(self._cut) >= _MOST else len(self._cut)
            warnings.warn(
                f"got {many} prompt{'s' * (many != 1)} longer than the {self._limit} tokens that a text encoder reads, "
                f"such as {short(self._first)}: expected shorter ones; the words behind had no effect there",
                stacklevel=4,
            )


_CURRENT: ContextVar[_Notices | None] = ContextVar("linea_diffusion_notices", default=None)


@contextmanager
def noticing(pipe: Any, prompts: Sequence[str] = (), *, hint: bool = True) -> Iterator[None]:
    """Within the context prompts are told of in one warning each, whatever the number of calls and of contexts within.

    Signs of other programs' prompts are told at the beginning (see `hint_at_syntax`), and how many prompts a text
    encoder cut at the end, in place of what diffusers and transformers log each time. Loggers get a filter while the
    context lasts, and are otherwise left as their user has them.

    Args:
        pipe: a diffusers pipeline.
        prompts: that it is called with here.
        hint: whether to tell of signs.
    """
    outer = _CURRENT.get()
    notices = outer or _Notices()
    with ExitStack() as stack:
        if outer is None:
            stack.callback(notices.tell)
            stack.callback(_CURRENT.reset, _CURRENT.set(notices))
        for logger in _loggers(pipe) - notices.loggers:
            logger.addFilter(notices)
            notices.loggers.add(logger)
            stack.callback(notices.loggers.discard, logger)
            stack.callback(logger.removeFilter, notices)
        if hint and not notices.hinted:
            notices.hinted = hint_at_syntax(prompts, stacklevel=5)
        if hint and not notices.spelled:
            notices.spelled = tell_spelled(pipe, prompts, stacklevel=6)
        yield
        notices.count(pipe, prompts)


def texts_in(prompt: Any, arguments: Mapping[str, Any]) -> list[str]:
    """The texts that a pipeline is called with: prompts and negative prompts, also second ones."""
    values = [prompt, *(value for name, value in arguments.items() if name.startswith(("prompt", "negative_prompt")))]
    entries = [one for value in values for one in ([value] if isinstance(value, str) else _listed(value))]
    return list(dict.fromkeys(one for one in entries if isinstance(one, str)))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _loggers(pipe: Any) -> set[logging.Logger]:
    """Where what is cut is logged: the modules of the pipeline's classes, those of its stages, and of tokenizers."""
    pipes = [pipe, *(value for value in vars(pipe).values() if isinstance(value, DiffusionPipeline))]
    modules = {one.__module__ for each in pipes for one in type(each).__mro__ if one is not object}
    return {logging.getLogger(name) for name in modules | {PreTrainedTokenizerBase.__module__}}


def _longer(pipe: Any, prompts: Sequence[str], limit: int) -> list[str]:
    """The prompts of more than `limit` tokens, by the first tokenizer that has some."""
    for tokenizer in pipe.components.values():
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            cut = [one for one in prompts if len(tokenizer(one, verbose=False)["input_ids"]) > limit]
            if cut:
                return cut
    return []
