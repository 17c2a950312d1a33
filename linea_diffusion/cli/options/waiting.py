"""How long a command will take: said at its start, shown in one bar, and all that a dry run does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ...training.effort import Effort

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only say what would be done, in how many passes, and for about how long."),
]
_LONG = 10.0
"""Seconds from which on a command says how long it will take."""


@contextmanager
def waiting(pipe: Any, efforts: Sequence[Effort], arguments: Mapping[str, Any], *, dry_run: bool) -> Iterator[None]:
    """Within the context stages of work share one bar; before it, what they will take is said.

    Args:
        pipe: a `LinEASDiffusionPipeline`, of which one pass is measured.
        efforts: the stages in their order.
        arguments: of the pipeline's calls.
        dry_run: print them, and end the command.
    """
    from ...progress import whole
    from ...training.effort import seconds_of_pass

    pipe.set_progress_bar_config(disable=True)
    each = seconds_of_pass(pipe, arguments)
    where = f"on {pipe.device} in {str(pipe.dtype).removeprefix('torch.')}"
    total = sum(one.passes for one in efforts) * each
    if dry_run:
        _print_efforts(efforts, each, where)
        raise typer.Exit
    if total >= _LONG:
        stages = ", ".join(dict.fromkeys(one.stage for one in efforts))
        typer.echo(f"linea: about {duration(total)} {where}: {stages}", err=True)
    with whole([(one.stage, one.passes * each) for one in efforts]):
        yield


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _print_efforts(efforts: Sequence[Effort], each: float, where: str) -> None:
    typer.echo(f"{'stage':<28} {'passes':>9} {'pictures':>9} {'about':>8}")
    for one in efforts:
        typer.echo(f"{one.stage:<28} {one.passes:>9.0f} {one.pictures or '':>9} {duration(one.passes * each):>8}")
    passes, pictures = sum(one.passes for one in efforts), sum(one.pictures for one in efforts)
    typer.echo(f"{'all':<28} {passes:>9.0f} {pictures or '':>9} {duration(passes * each):>8}")
    typer.echo(
        f"a pass is the denoiser for one row of a batch: {each:.3g} s measured {where}; one with gradients counts three. "
        "Nothing was done."
    )
