"""The command that opens the page in the browser: studio."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from ..errors import make_folder
from ..training.state.stopping import Stopped
from .options import checks
from .options.machines import Machine
from .options.sessions import MODEL_HELP, PromptedCall, Scoring
from .options.steering import Steered, Steering


def studio(
    *,
    steering: Steering = (),  # type: ignore[assignment]
    model: Annotated[
        str | None, typer.Option(help=f"{MODEL_HELP} When left out: the one that the maps were learned on.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for all that the page keeps: styles that are learned, choices of a comparison.")
    ] = Path("studio"),
    host: Annotated[str, typer.Option(help="Who can reach it: this machine alone, or 0.0.0.0 for the network.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int | None, typer.Option(help="The first free one from 7860 on when left out.", callback=checks.at_least(1))
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Let Gradio's servers lend it a public address.")] = False,
    call: PromptedCall,
    scoring: Scoring,
    machine: Machine,
) -> None:
    """Open a page in the browser where styles are turned, compared, learned and kept.

    Without --steering it begins with the styles that are packaged for an embedded model, and those in OUT/styles.
    """
    from ..studio.page import require_gradio

    require_gradio()
    make_folder(out)
    steered = Steered(list(steering), model)
    base, pipe = steered.base(), steered.open(machine)
    from ..pipelines.choices.calls import check_call
    from ..studio.page.app import served
    from ..studio.workbench import SharedModel, load_known_styles

    check_call(pipe, call.arguments)
    if not steering:
        load_known_styles(pipe, base, out)
    shared = SharedModel(
        pipe, out, call.arguments, lambda: scoring.scorer(machine.device, base),
        is_private=host in ("127.0.0.1", "localhost") and not share,
    )  # fmt: skip
    with served(shared, host=host, port=port, share=share) as address:
        typer.echo(f"open {address} ({len(pipe.steering)} styles; Ctrl-C ends it)")
        try:
            threading.Event().wait()
        except Stopped:
            raise Stopped(f"the page is closed; what it kept is in {out}") from None
