"""What `linea batch` says: of what it would do, of what it did, and of every event for machines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ...batch.engine import BatchPlan, BatchSummary


def print_plan(plan: BatchPlan, out: str) -> None:
    """What a dry run counts."""
    typer.echo(f"{plan.images} images in {plan.batches} batches; {_others(plan)}")
    if plan.columns:
        typer.echo(f"columns for metadata.jsonl, which are no fields: {', '.join(plan.columns)}")
    if plan.leftovers:
        typer.echo(f"{_images(plan.leftovers)} that no line asks for would be put aside in {out}/.linea/leftovers")
    _print_reasons(plan)


def print_summary(summary: BatchSummary, out: str, grid: Path | None, *, prune: bool = False) -> None:
    """What a batch did, and where its files are."""
    speed = f", {summary.done / summary.seconds:.2f} a second" if summary.done else ""
    typer.echo(f"{summary.done} images made in {summary.seconds:.1f} s{speed}; {_others(summary)}")
    typer.echo(f"{out}/metadata.jsonl: {summary.images} images")
    if summary.failures:
        many = "failure" if summary.failures == 1 else "failures"
        typer.echo(f"{out}/failures.jsonl: {summary.failures} {many}, each with its line and reason")
    _print_reasons(summary)
    if summary.pruned:
        typer.echo(f"{_images(summary.pruned)} that no line asks for removed")
    elif summary.leftovers:
        typer.echo(
            f"{_images(summary.leftovers)} that no line asks for put aside in {out}/.linea/leftovers, named in "
            f"{out}/.linea/leftovers.jsonl; {_how_to_remove(summary, prune)}"
        )
    if summary.damaged:
        typer.echo(f"{out}/.linea: {summary.damaged} lines or files that no batch wrote, passed over")
    if grid is not None:
        typer.echo(f"look at {grid}")


def _others(counts: BatchPlan | BatchSummary) -> str:
    return (
        f"{counts.skipped} there already, {counts.duplicates} asked for more than once, {counts.failed} failed, "
        f"{counts.bad_lines} bad lines"
    )


def _how_to_remove(summary: BatchSummary, prune: bool) -> str:
    if not prune:
        return "--prune removes them"
    return f"kept, because {'no line asks for an image' if not summary.images else 'bad lines may have asked for them'}"


def _print_reasons(counts: BatchPlan | BatchSummary) -> None:
    """Why images are missing, each reason once, the most frequent first."""
    reasons = sorted(counts.reasons.items(), key=lambda one: -one[1].count)
    for reason, where in reasons[:_REASONS]:
        often = f" (and {where.count - 1} more)" if where.count > 1 else ""
        typer.echo(f"line {where.line}{often}: {reason}", err=True)
    if len(reasons) > _REASONS:
        typer.echo(f"and {len(reasons) - _REASONS} other reasons", err=True)


_REASONS = 5
"""That are printed."""


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def print_event(event: dict[str, Any]) -> None:
    """A line for each event but those that only pass something over, which the end counts."""
    from datetime import UTC, datetime

    if event["event"] not in ("skipped", "duplicate", "failed_before"):
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)
