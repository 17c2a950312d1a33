"""What the LoRA loaders of other programs can carry, and what they need beside it.

Read in the programs' own code and tried with it where that was possible (ComfyUI 0.3.64 and newer, Forge 2025-06, A1111
1.10, InvokeAI 6.14, diffusers 0.42 with peft 0.21).
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import LineaError, nearest_hint
from .names import FAMILIES

_ALL = tuple(FAMILIES)
_WITHOUT_SD3 = tuple(one for one in _ALL if one != "sd3")


@dataclass(frozen=True)
class Program:
    """How a program reads a LoRA file.

    Attributes:
        name: as it is called on the command line.
        title: as people call it.
        families: of models whose LoRA files it reads.
        bias: whether it adds a bias beside a low-rank pair.
        norms: whether it changes normalisations.
        text_norms: whether it changes those of text encoders.
        peft: whether it reads names and parts as peft writes them.
    """

    name: str
    title: str
    families: tuple[str, ...] = _ALL
    bias: bool = True
    norms: bool = True
    text_norms: bool = False
    peft: bool = False


PROGRAMS = {
    one.name: one
    for one in (
        Program("comfyui", "ComfyUI", text_norms=True),
        Program("forge", "Forge"),
        Program("a1111", "AUTOMATIC1111", ("sd1", "sdxl"), bias=False, text_norms=True),
        Program("invokeai", "InvokeAI", _WITHOUT_SD3, bias=False, text_norms=True),
        Program("diffusers", "diffusers", norms=False, peft=True),
    )
}
"""Those that a file can be made for; the first is the default, because its files are read by most."""


def program_of(name: str) -> Program:
    """A program by name.

    Raises:
        LineaError: no such program.
    """
    if name not in PROGRAMS:
        raise LineaError(f"got program {name!r}: expected one of {', '.join(PROGRAMS)}{nearest_hint(name, PROGRAMS)}")
    return PROGRAMS[name]
