"""The command that says what is here and what is missing: doctor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from ...errors import LineaError, reason
from ..options import checks
from ..options.machines import RANDOM_HELP, Device, Dtype, device_of, dtype_of

Told = Mapping[str, str]


def doctor(
    model: Annotated[
        str,
        typer.Argument(
            help="Whose largest batch is counted: an embedded model, a diffusers folder or a Hub id; its weights are "
            f"not read. {RANDOM_HELP}"
        ),
    ] = "shapeland-unet",
    *,
    device: Device = "auto",
    dtype: Dtype = "auto",
    height: Annotated[int | None, typer.Option(help="Pixels; the model's own default when left out.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; the model's own default when left out.")] = None,
    memory: Annotated[
        float | None,
        typer.Option(help="GiB to count with, of a machine that is not this one.", callback=checks.above_0),
    ] = None,
) -> None:
    """Say what is here and what is missing: versions, device and memory, CLIP weights, extras, the largest batch.

    Nothing is loaded and no network is asked, but for the configuration of a Hub id.
    """

    def batch() -> Told:
        from .memory import GIB, batch_facts, memory_of

        at = device_of(device)
        room = memory_of(at)[0] if memory is None else int(memory * GIB)
        size = {name: value for name, value in (("height", height), ("width", width)) if value is not None}
        return batch_facts(model, dtype_of(dtype, at, model), room, size)

    _tell("versions", _versions)
    _tell("machine", lambda: _machine(device))
    _tell("CLIP weights on this disk", _clips)
    _tell("extras", _extras)
    _tell(f"pictures of {model}", batch)
    typer.echo("shell completion: linea --install-completion, once; then open a new shell")


def _tell(title: str, look: Callable[[], Told]) -> None:
    """A section; what cannot be told is one line of it."""
    try:
        told = look()
    except (LineaError, ImportError, OSError, RuntimeError, ValueError) as error:
        told = {"unknown": reason(error)}
    width = max(map(len, told), default=0)
    typer.echo(f"{title}:")
    for name, text in told.items():
        typer.echo(f"  {name:<{width}}  {text}")
    typer.echo()


def _versions() -> Told:
    from .packages import versions

    return versions()


def _machine(device: str) -> Told:
    from .memory import device_name, gib, memory_of

    at = device_of(device)
    free, total = memory_of(at)
    dtype = str(dtype_of("auto", at)).removeprefix("torch.")
    return {"device": device_name(at), "memory": f"{gib(free)} free of {gib(total)}", "real models run in": dtype}


def _clips() -> Told:
    from ...scoring.clip_weights import clip_weights_on_disk

    here = clip_weights_on_disk()
    others = {} if len(here) > 1 else {"no others": "real models' pictures want one; it is fetched when it is named"}
    return {one: f"--clip {one.replace('/', ' --clip-weights ')}" for one in here} | others


def _extras() -> Told:
    from .packages import DISTRIBUTION, EXTRAS, missing_extras

    return {
        extra: f'{EXTRAS[extra]}: missing {", ".join(missing)}; pip install "{DISTRIBUTION}[{extra}]"'
        if missing
        else f"{EXTRAS[extra]}: here"
        for extra, missing in missing_extras().items()
    }
