"""The command that makes pictures of one prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LineaError, make_folder
from .options.next_steps import quoted, say_next
from .options.sessions import Session
from .options.steering import Steered, strength_option


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    *,
    out: Annotated[Path, typer.Option(help="The picture; with several strengths their numbers are added.")] = Path(
        "image.png"
    ),
    steered: Steered,
    strength: Annotated[str | None, strength_option("One or several, of one noise; 1 when left out")] = None,
    session: Session,
) -> None:
    """Render one prompt, steered."""
    from ..pipelines.rendering.render import images_of
    from ..pipelines.rendering.requests import requests_of
    from ..scoring.images.opening import check_image_name

    dials: Sequence[float | dict[str, float] | None] = [1.0 if steered.steering else None]
    if strength is not None:
        dials = steered.dials(strength)
    check_image_name(out)
    places = [out if len(dials) == 1 else out.with_stem(f"{out.stem}-{_label(one)}") for one in dials]
    if len(set(places)) != len(places):
        raise LineaError(f"got strengths {strength}, of which two have one file name: expected different numbers")
    make_folder(out.parent)
    dial = steered.call()
    pipe = steered.open(session)
    rows = [
        (prompt, session.seed, (dict.fromkeys(pipe.steering, one) or one) if isinstance(one, float) else one)
        for one in dials
    ]
    requests = requests_of(pipe, rows, {**dial, **session.arguments})
    images = list(images_of(pipe, requests, len(dials)))
    for path, image in zip(places, images, strict=True):
        image.save(path)
        typer.echo(str(path))
    if steered.steering:
        sources = " ".join(f"--steering {quoted(one)}" for one in steered.steering)
        say_next(see_the_whole_dial=f"linea grid {quoted(prompt)} {sources} --report")


def _label(dial: float | Mapping[str, float] | None) -> str:
    if isinstance(dial, Mapping):
        return "-".join(f"{name.replace(' ', '-')}{value:g}" for name, value in dial.items())
    return f"{dial:g}"
