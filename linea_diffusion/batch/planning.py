"""What a run is told, which part of the jobs it does, and what became of the images, in numbers and reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LineaError
from ..pipelines.rendering.batch_size import BatchSize, BatchSizeArgument
from .describing import COLUMNS, SCORED
from .folder.folder import FORMATS, Folder
from .jobs.expanding import Texts

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer
    from .cluster import RayCluster

Event = dict[str, Any]
MOST_REASONS = 100
"""Different ones that are kept; a batch may go wrong in a million ways."""
_MOST_FAR = 64


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What `generate_batch` is told beside pipeline, jobs and folder, by the same names."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    batch_size: BatchSizeArgument = "auto"
    window: int = 1024
    image_format: str = "png"
    scorer: ClipScorer | None = None
    strict: bool = False
    retry_failed: bool = False
    prune: bool = False
    templates: bool | str | Path = False
    shard: str | None = None
    cluster: RayCluster | None = None
    progress: bool = False
    stop: Callable[[], bool] = lambda: False
    on_event: Callable[[Event], None] | None = None

    def __post_init__(self) -> None:
        if self.image_format not in FORMATS:
            raise LineaError(f"got image format {self.image_format!r}: expected one of {', '.join(FORMATS)}")
        if not isinstance(self.window, int) or self.window < 1:
            raise LineaError(f"got window {self.window!r}: expected a whole number above 0")

    @property
    def columns(self) -> tuple[str, ...]:
        """What the line of a finished image must have."""
        return (*COLUMNS, *(SCORED if self.scorer else ()))

    @property
    def texts(self) -> Texts | None:
        """What reads prompts, see `expand`."""
        if self.templates is False:
            return None
        from .jobs.templates import Templates

        return Templates(None if self.templates is True else self.templates)

    def size(self, pipe: Any) -> BatchSize:
        """Of batches; for GPUs elsewhere the largest that they may take, of which each makes what fits."""
        far = self.batch_size == "auto" and self.cluster is not None and self.cluster.gpus > 0
        return BatchSize(_MOST_FAR if far else self.batch_size, pipe)


@dataclass
class Reason:
    """Why some images are not there.

    Attributes:
        line: the first line of which it is so.
        count: of how many images, or lines of which no job can be made.
    """

    line: int
    count: int = 0


@dataclass
class Counts:
    """What became of the images that were asked for.

    Attributes:
        done: made now.
        skipped: there already.
        duplicates: asked for before by the same input.
        failed: failed now, or failed earlier and not tried again.
        bad_lines: lines, or images of lines, of which no job can be made.
        reasons: why images failed now and lines are bad, each once; the first `MOST_REASONS` of them.
        columns: of lines that are no fields, and are carried into the metadata, by their names there.
    """

    done: int = 0
    skipped: int = 0
    duplicates: int = 0
    failed: int = 0
    bad_lines: int = 0
    reasons: dict[str, Reason] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)

    def note(self, line: int, reason: str) -> None:
        """Count a reason up."""
        if reason in self.reasons or len(self.reasons) < MOST_REASONS:
            self.reasons.setdefault(reason, Reason(line)).count += 1


@dataclass(frozen=True)
class Shard:
    """A part of all jobs, dealt out by digest, so that those who do the parts need not talk to each other.

    Attributes:
        number: which part, from 1.
        of: how many there are.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """The part that a text such as ``2/4`` names; None means all.

        Raises:
            LineaError: it names none.
        """
        if text is None:
            return cls()
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise LineaError(f"got shard {text!r}: expected I/N with 1 <= I <= N, such as 2/4")
        return cls(int(number), int(of))

    def owns(self, digest: str) -> bool:
        """Whether a job is of this part."""
        return int(digest[:15], 16) % self.of == self.number - 1

    def folder(self, out: str | Path) -> Folder:
        """The folder of a batch, or that of its part within it."""
        return Folder(out if self.of == 1 else f"{str(out).rstrip('/')}/shard-{self.number}-of-{self.of}")
