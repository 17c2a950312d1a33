"""How long a command will take: said at its start, shown in one bar, and all that a dry run does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import checks

if TYPE_CHECKING:
    from ...training.effort import Effort
    from ...training.preview import Preview
    from ...training.watching import Callback

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only say what would be done, in how many passes, and for about how long."),
]


@dataclass(frozen=True)
class Watched:
    """What is seen of a training, before and while it goes on."""

    preview: Annotated[
        int,
        typer.Option(
            help="Iterations between pictures of one prompt at strengths 0, 0.5 and 1 in OUT/preview.png; 0 for none.",
            callback=checks.at_least(0),
        ),
    ] = 20
    track: Annotated[
        str | None,
        typer.Option(
            help="Trackers, with commas, as accelerate knows them: tensorboard, wandb, trackio ...; they write to "
            "OUT/tracking, and get losses, support, and the pictures of previews.",
            metavar="NAMES",
        ),
    ] = None
    dry_run: DryRun = False

    @property
    def trackers(self) -> list[str]:
        """Their names."""
        return [name.strip() for name in (self.track or "").split(",") if name.strip()]

    def check(self) -> None:
        """Raise if a tracker is unknown, or not there.

        Raises:
            LineaError: see `check_trackers`.
        """
        if self.trackers:
            from ...training.tracking import check_trackers

            check_trackers(self.trackers)

    @contextmanager
    def tracked(self, out: Path, concept: str, settings: Mapping[str, Any]) -> Iterator[Callback | None]:
        """Within the context trackers are told of a training by what is yielded; None without trackers."""
        if not self.trackers:
            yield None
            return
        from ...training.tracking import tracked

        with tracked(self.trackers, out / "tracking", concept, settings, pictures_every=self.preview) as callback:
            yield callback

    def pictures(self, out: Path) -> Preview | None:
        """The previews, in a folder; none if none are wanted."""
        from ...training.preview import Preview

        return Preview(out / "preview.png", self.preview) if self.preview else None

    def hint(self, out: Path) -> str:
        """Where to look meanwhile."""
        return f"look at {out / 'preview.png'} while it learns" if self.preview else ""


_LONG = 10.0
"""Seconds from which on a command says how long it will take."""


@contextmanager
def waiting(
    pipe: Any, efforts: Sequence[Effort], arguments: Mapping[str, Any], *, dry_run: bool, hint: str = ""
) -> Iterator[None]:
    """Within the context stages of work share one bar; before it, what they will take is said.

    Args:
        pipe: a `LinEASDiffusionPipeline`, of which one pass is measured.
        efforts: the stages in their order.
        arguments: of the pipeline's calls.
        dry_run: print them, and end the command.
        hint: what to do meanwhile.
    """
    from ...progress import whole
    from ...training.effort import seconds_of_pass

    each = seconds_of_pass(pipe, arguments)
    where = f"on {pipe.device} in {str(pipe.dtype).removeprefix('torch.')}"
    total = sum(one.passes for one in efforts) * each
    if dry_run:
        print_efforts(efforts, each, where)
        raise typer.Exit
    if total >= _LONG:
        stages = ", ".join(dict.fromkeys(one.stage for one in efforts))
        typer.echo(f"linea: about {duration(total)} {where}: {stages}", err=True)
    if hint:
        typer.echo(f"linea: {hint}", err=True)
    with whole([(one.stage, one.passes * each) for one in efforts]):
        yield


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_efforts(efforts: Sequence[Effort], each: float, where: str) -> None:
    """What stages will take.

    Args:
        efforts: the stages in their order.
        each: seconds of a pass.
        where: on which device, in which numbers.
    """
    typer.echo(f"{'stage':<28} {'passes':>9} {'pictures':>9} {'about':>8}")
    for one in efforts:
        typer.echo(f"{one.stage:<28} {one.passes:>9.0f} {one.pictures or '':>9} {duration(one.passes * each):>8}")
    passes, pictures = sum(one.passes for one in efforts), sum(one.pictures for one in efforts)
    typer.echo(f"{'all':<28} {passes:>9.0f} {pictures or '':>9} {duration(passes * each):>8}")
    typer.echo(
        f"a pass is one row of the denoiser, {each:.3g} s measured {where}; one with gradients counts three. "
        "Nothing was done."
    )
