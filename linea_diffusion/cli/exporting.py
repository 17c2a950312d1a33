"""Commands for other programs: export, a LoRA file of steering maps; import, maps of such a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LineaError, make_folder
from .options import checks
from .options.next_steps import quoted, say_next
from .options.sessions import Machine, Model
from .options.steering import Steered

if TYPE_CHECKING:
    from ..maps.lora.export import LoraReport

NAMES = ("comfyui", "forge", "a1111", "invokeai", "diffusers")


def export(
    steering: Annotated[str, typer.Argument(help="Folder or Hub id of steering maps.")],
    *,
    program: Annotated[
        str,
        typer.Option("--for", help=f"Program that reads the file: {', '.join(NAMES)}.", callback=checks.one_of(*NAMES)),
    ] = "comfyui",
    out: Annotated[
        Path | None, typer.Option(help="The .safetensors file; named after the concept and the program when left out.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The checkpoint it is for; the one that the maps were learned on when left out.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--float32", help="Matrices in float32; half precision when left out.")
    ] = False,
    largest_loss: Annotated[float, typer.Option(help="Share of the effect that may be lost; more is refused.")] = 0.05,
    approximate_bias: Annotated[
        bool, typer.Option("--approximate-bias", help="Carry a bias that the program drops as one more rank, nearly.")
    ] = False,
    preview: Annotated[
        str | None,
        typer.Option(help="A prompt: its picture at strength 1 goes beside the file; programs show it."),
    ] = None,
    machine: Machine,
) -> None:
    """Write steering maps as a LoRA file: in the program the weight of the LoRA is the strength, negative too.

    A file is for one checkpoint's weights, and for one program: none reads what all of them need. What a program cannot
    carry is named and measured.
    """
    import torch

    steered = Steered([steering], model)
    ((name, maps),) = steered.maps.items()
    path = out or Path(f"{name.replace(' ', '-')}_{program}.safetensors")
    pipe = steered.open(machine)
    report = maps.save_lora(
        path, pipe, program, dtype=torch.float32 if whole else torch.float16, largest_loss=largest_loss,
        approximate_bias=approximate_bias,
    )  # fmt: skip
    typer.echo(f"{path}: {report}")
    _write_beside(path, name, report)
    if preview is not None:
        pipe(preview, strength=1.0, generator=torch.Generator("cpu").manual_seed(0)).images[0].save(
            path.with_suffix(".png")
        )
        typer.echo(str(path.with_suffix(".png")))
    say_next(use=_use(path, program))


def _write_beside(path: Path, name: str, report: LoraReport) -> None:
    """What A1111, Forge and InvokeAI show of a file, in a file of its name."""
    facts: dict[str, Any] = {
        "description": f"{name}: weight 0 is the model, 1 the style; {report}",
        "activation text": "",
        "preferred weight": 1.0,
        "notes": "no trigger words; negative weights turn the other way; made for one checkpoint",
    }
    versions = {"sd1": "SD1", "sdxl": "SDXL"}
    if report.family in versions:
        facts["sd version"] = versions[report.family]
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _use(path: Path, program: str) -> str:
    ways = {
        "diffusers": f"pipe.load_lora_weights({str(path)!r}, adapter_name='style'); pipe.set_adapters('style', 0.7)",
        "comfyui": "put it into models/loras, node Load LoRA, strength_model and strength_clip alike",
        "invokeai": "import it in the model manager, and turn its weight",
    }
    return ways.get(program, f"put it into models/Lora, and write <lora:{path.stem}:0.7>")


def import_lora(
    file: Annotated[Path, typer.Argument(help="A .safetensors file, such as one of `linea export`.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the maps.")],
    model: Model = "shapeland-unet",
    machine: Machine,
) -> None:
    """Read a LoRA file into steering maps, where it is something done to activations, as those of `export` are."""
    from ..maps.steering_maps import SteeringMaps
    from ..maps.storage import CONFIG

    if (out / CONFIG).exists():
        raise LineaError(f"got --out {out}, which holds maps already: expected another folder")
    make_folder(out)
    maps = SteeringMaps.from_lora(file, machine.load(model))
    maps.save_pretrained(out)
    typer.echo(f"{len(maps.maps)} maps in {out}")
    say_next(turn=f"linea generate PROMPT --steering {quoted(out)} --strength 0.7")
