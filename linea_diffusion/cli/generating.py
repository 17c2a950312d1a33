"""The command that makes pictures of one prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import LineaError, make_folder
from ..steering.parsing import parse_strengths
from .options.sessions import Calibrated, Model, Session, Steering


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    *,
    out: Annotated[Path, typer.Option(help="The picture; with several strengths their numbers are added.")] = Path(
        "image.png"
    ),
    steering: Steering = [],  # noqa: B006
    strength: Annotated[
        str | None,
        typer.Option(
            help="A number, or several (0,0.5,1, or FIRST:LAST:COUNT such as 0:1:5): one noise, one batch. 1 when left "
            "out."
        ),
    ] = None,
    calibrated: Calibrated = None,
    model: Model = "shapeland-unet",
    session: Session,
) -> None:
    """Render one prompt, steered."""
    from ..pipelines.rendering.render import images_of
    from ..pipelines.rendering.requests import requests_of
    from ..scoring.images.opening import check_image_name

    strengths = parse_strengths(strength or ("1" if steering else "0"))
    check_image_name(out)
    places = [out if len(strengths) == 1 else out.with_stem(f"{out.stem}-{value:g}") for value in strengths]
    if len(set(places)) != len(places):
        raise LineaError(f"got strengths {strength}, of which two have one file name: expected different numbers")
    make_folder(out.parent)
    pipe = session.open(model, steering)
    rows = [(prompt, session.seed, dict.fromkeys(pipe.steering, one) or one) for one in strengths]
    requests = requests_of(pipe, rows, {"calibrated": calibrated, **session.arguments})
    images = list(images_of(pipe, requests, len(strengths)))
    for path, image in zip(places, images, strict=True):
        image.save(path)
        typer.echo(str(path))
