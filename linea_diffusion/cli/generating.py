"""The command that makes pictures of one prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LineaError, make_folder
from .options import checks
from .options.machines import Task
from .options.next_steps import quoted, say_next
from .options.sessions import Session
from .options.steering import Steered, strength_option

if TYPE_CHECKING:
    from ..pipelines.language.language_model import LinEASLanguageModel


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The picture, image.png when left out; with several strengths their numbers are added. Texts are "
            "printed, and written there if it is given."
        ),
    ] = None,
    steered: Steered,
    strength: Annotated[str | None, strength_option("One or several, of one noise; 1 when left out")] = None,
    task: Task = None,
    new_tokens: Annotated[
        int | None, typer.Option(help="Of a text, at most; 40 when left out.", callback=checks.at_least(1))
    ] = None,
    session: Session,
) -> None:
    """Render one prompt, steered; or continue it, with a language model."""
    from ..pipelines.rendering.render import images_of
    from ..pipelines.rendering.requests import requests_of
    from ..scoring.images.opening import check_image_name

    dials: Sequence[float | dict[str, float] | None] = [1.0 if steered.steering else None]
    if strength is not None:
        dials = steered.dials(strength)
    if steered.is_about_texts(task):
        if session.arguments:
            raise LineaError(
                f"got {', '.join(session.arguments)} for a language model: expected none, for pictures alone"
            )
        _write(prompt, dials, out, steered.open_text(session, task), new_tokens or 40, session.seed, steered.calibrated)
        return
    if new_tokens is not None:
        raise LineaError(f"got --new-tokens {new_tokens} for a picture: expected it with a language model alone")
    out = out or Path("image.png")
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


def _write(
    prompt: str,
    dials: Sequence[Any],
    out: Path | None,
    model: LinEASLanguageModel,
    tokens: int,
    seed: int,
    calibrated: Any,
) -> None:
    """Continue a prompt at some strengths, from the same draws, and print what comes."""
    lines = []
    for dial in dials:
        settings = {"max_new_tokens": tokens, "do_sample": True, "seed": seed, "calibrated": calibrated}
        text = model.generate(prompt, strength=dial, **settings)[0]
        lines.append(f"{'' if dial is None else f'{_label(dial)}: '}{prompt} {text}".strip())
    typer.echo("\n".join(lines))
    if out is not None:
        make_folder(out.parent)
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _label(dial: float | Mapping[str, float] | None) -> str:
    if isinstance(dial, Mapping):
        return "-".join(f"{name.replace(' ', '-')}{value:g}" for name, value in dial.items())
    return f"{dial:g}"
