"""The command that shares maps: push."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import LineaError
from ..maps.facts import Facts
from .options.next_steps import say_next
from .options.sessions import Session
from .options.steering import Steered


def push(
    steering: Annotated[str, typer.Argument(help="Folder of steering maps.")],
    repo_id: Annotated[str, typer.Argument(help="NAMESPACE/NAME on the Hugging Face Hub, or a name of your own.")],
    *,
    prompt: Annotated[
        str | None,
        typer.Option(help="Of the pictures on the model card, a row of strengths; the first that was learned from."),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples/--no-samples", help="Render those pictures, with the model that is to be loaded.")
    ] = True,
    model: Annotated[
        str | None, typer.Option(help="That makes the pictures; the one that the maps were learned on when left out.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, made when missing; main when left out.")] = None,
    session: Session,
) -> None:
    """Put steering maps on the Hugging Face Hub, with a model card that shows them."""
    steered = Steered([steering], model)
    (maps,) = steered.maps.values()
    if prompt is not None and not samples:
        raise LineaError("got --prompt and --no-samples: expected one of them, the prompt is that of the pictures")
    prompt = prompt or next(iter(Facts.of(maps.metadata).source_prompts or ()), None)
    pictures = None
    if samples and prompt is None:
        raise LineaError(
            "got maps that name no prompt: expected --prompt for the pictures on the card, or --no-samples"
        )
    if samples:
        from ..pipelines.rendering.samples import render_samples

        pipe = steered.open(session, load=False)
        pictures = render_samples(pipe, maps, str(prompt), seed=session.seed, **session.arguments)
    typer.echo(maps.push_to_hub(repo_id, private=private, revision=revision, samples=pictures))
    say_next(use=f"linea generate PROMPT --steering {repo_id} --strength 0.7")
