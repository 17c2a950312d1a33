"""The command that shares maps: push."""

from __future__ import annotations

from typing import Annotated

import typer

from .options.next_steps import say_next
from .options.sessions import Session
from .options.steering import Steered


def push(
    steering: Annotated[str, typer.Argument(help="Folder of steering maps.")],
    repo_id: Annotated[str, typer.Argument(help="NAMESPACE/NAME on the Hugging Face Hub, or a name of your own.")],
    *,
    prompt: Annotated[
        str | None, typer.Option(help="Of the pictures on the model card, a row of strengths; none when left out.")
    ] = None,
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
    samples = None
    if prompt is not None:
        from ..pipelines.rendering.samples import render_samples

        pipe = steered.open(session, load=False)
        samples = render_samples(pipe, maps, prompt, seed=session.seed, **session.arguments)
    typer.echo(maps.push_to_hub(repo_id, private=private, revision=revision, samples=samples))
    say_next(use=f"linea generate PROMPT --steering {repo_id} --strength 0.7")
