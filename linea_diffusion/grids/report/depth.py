"""Where in a model a module stands, read from its name: for pictures of maps along the depth."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from ...steering.addresses import Address

_STAGES = {
    "down_blocks": (1, "down"),
    "mid_block": (2, "middle"),
    "up_blocks": (3, "up"),
    "transformer_blocks": (1, "blocks"),
    "single_transformer_blocks": (2, "single blocks"),
}
_START, _BETWEEN, _END = 0, 5, 9
_ENDINGS = ("out", "final", "post")


def stage_of(name: str) -> str:
    """The part of a model that an activation belongs to, in a word or two: ``text encoder``, ``down``, ``blocks``...

    Args:
        name: canonical activation name, such as ``unet.down_blocks.1.attentions.0.norm``.
    """
    component, *rest = name.split(".")
    if Address.of(name).in_text_encoder:
        return component.replace("_", " ")
    if rest and rest[0] in _STAGES:
        return _STAGES[rest[0]][1]
    return {_START: "start", _END: "end"}.get(_rank(rest[0] if rest else ""), "other")


def by_depth(names: Iterable[str]) -> list[str]:
    """Activation names in the order in which a picture passes them; what a name does not tell stays as given.

    Modules are registered in another order than they run (``mid_block`` comes last). Text encoders come first, then
    the denoiser's embeddings, its blocks one after the other (in a U-Net each resnet before its attention), its end.
    """
    return sorted(names, key=_key)


def _key(name: str) -> tuple[bool, str, int, list[tuple[int, int]]]:
    component, *rest = name.split(".")
    return not Address.of(name).in_text_encoder, component, _rank(rest[0] if rest else ""), _position(rest)


def _rank(part: str) -> int:
    if part in _STAGES:
        return _STAGES[part][0]
    if "embed" in part:
        return _START
    return _END if any(word in part for word in _ENDINGS) else _BETWEEN


def _position(rest: list[str]) -> list[tuple[int, int]]:
    """(number, 1 for an attention beside a resnet of the same number) of every numbered list on the way."""
    pairs = pairwise(rest)
    return [(int(number), int(part == "attentions")) for part, number in pairs if number.isdecimal()]
