"""A scene in words that make the same picture elsewhere: a few lines of Python, and one command."""

from __future__ import annotations

import shlex
from typing import Any

from .scenes import Scene


def as_python(pipe: Any, model: str, scene: Scene) -> str:
    """Lines of Python that make the picture of a scene; a mask is a file that they open.

    Args:
        pipe: with the styles of the scene.
        model: its name.
        scene: which picture.
    """
    acting = _acting(scene)
    lines = ["import torch", "", "from linea_diffusion import LinEASDiffusionPipeline", ""]
    if "mask" in scene.how:
        lines.insert(2, "from PIL import Image")
    lines += [f"pipe = LinEASDiffusionPipeline.from_pretrained({model!r})"]
    lines += [f"pipe.load_steering({_source(pipe, name)!r}, {name!r})" for name in acting]
    how = "".join(
        '\n    mask=Image.open("mask.png"),' if name == "mask" else f"\n    {name}={value!r},"
        for name, value in scene.how.items()
    )
    turned = f"\n    strength={acting!r}," if acting else ""
    lines += [
        f"image = pipe(\n    {scene.prompt!r},{turned}{how}"
        f"\n    generator=torch.Generator().manual_seed({scene.seed}),\n).images[0]"
    ]
    return "\n".join([*lines, 'image.save("picture.png")'])


def as_command(pipe: Any, model: str, scene: Scene) -> str:
    """The command line that makes the picture of a scene; empty where it has no words for what was set.

    Args:
        pipe: with the styles of the scene.
        model: its name.
        scene: which picture.
    """
    if scene.how.keys() - {"mask"}:
        return ""
    acting, words = _acting(scene), ["linea", "generate", scene.prompt]
    if not model.startswith("shapeland-unet") or not acting:
        words += ["--model", model]
    for name in acting:
        words += ["--steering", f"{name}={_source(pipe, name)}"]
    if acting:
        words += ["--strength", ",".join(f"{name}={value:g}" for name, value in acting.items())]
    if "mask" in scene.how:
        words += ["--mask", "mask.png"]
    return shlex.join([*words, "--seed", str(scene.seed), "--out", "picture.png"])


def _acting(scene: Scene) -> dict[str, float]:
    return {name: value for name, value in scene.dials if value}


def _source(pipe: Any, name: str) -> str:
    return str(pipe.steering.sources.get(name, name))
