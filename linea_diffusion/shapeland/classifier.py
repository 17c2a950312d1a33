"""The truth classifier: a small CNN trained on renders that reads object, colour, style and amount."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from .objects import COLORS, OBJECTS
from .styles import STYLES

OBJECT_NAMES = tuple(OBJECTS)
COLOR_NAMES = tuple(COLORS)
STYLE_NAMES = ("plain", *STYLES)


@dataclass(frozen=True)
class Verdict:
    """What the classifier says of n pictures; all probabilities in [0, 1].

    Attributes:
        objects: (n, number of objects) probabilities in the order of `OBJECT_NAMES`.
        colors: (n, number of colours) probabilities in the order of `COLOR_NAMES`.
        styles: (n, number of styles) probabilities in the order of `STYLE_NAMES`, plain first.
        amounts: (n,) amount of style, 0 (plain) to 1 (full).
    """

    objects: torch.Tensor
    colors: torch.Tensor
    styles: torch.Tensor
    amounts: torch.Tensor

    def is_object(self, names: Sequence[str]) -> torch.Tensor:
        """(n,) booleans: the likeliest object is the named one."""
        return self.objects.argmax(-1) == torch.tensor([OBJECT_NAMES.index(name) for name in names])

    def is_color(self, names: Sequence[str]) -> torch.Tensor:
        """(n,) booleans: the likeliest colour is the named one."""
        return self.colors.argmax(-1) == torch.tensor([COLOR_NAMES.index(name) for name in names])

    def is_style(self, names: Sequence[str]) -> torch.Tensor:
        """(n,) booleans: the likeliest style is the named one."""
        return self.styles.argmax(-1) == torch.tensor([STYLE_NAMES.index(name) for name in names])

    def style_probability(self, style: str) -> torch.Tensor:
        """(n,) probability of one style."""
        return self.styles[:, STYLE_NAMES.index(style)]

    def amount_of(self, style: str) -> torch.Tensor:
        """(n,) amount of one style, [0, 1]: the amount, times the probability that it is this style and no other."""
        return self.amounts * self.style_probability(style) / (1 - self.style_probability("plain")).clamp(min=1e-6)


class TruthClassifier(nn.Module):
    """Convolutions on (n, 3, 64, 64) pictures in [-1, 1]; one linear head per question."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 64, 96)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.SiLU()]
            blocks += [nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.SiLU()]
        self.features = nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(0.2))
        sizes = {"object": len(OBJECT_NAMES), "color": len(COLOR_NAMES), "style": len(STYLE_NAMES), "amount": 1}
        self.heads = nn.ModuleDict({name: nn.Linear(widths[-1] * 16, size) for name, size in sizes.items()})

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """(n, 3, 64, 64) -> logits (n, classes) for object, color and style; amount (n, 1)."""
        features = self.features(pictures)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def judge(self, images: Sequence[Image.Image] | np.ndarray, *, batch_size: int = 128) -> Verdict:
        """Judge PIL images of any size, or an (n, 64, 64, 3) uint8 array."""
        arrays = [np.asarray(_to_world(image)) for image in images]
        outputs = []
        for start in range(0, len(arrays), batch_size):
            stack = np.stack(arrays[start : start + batch_size]).astype(np.float32) / 127.5 - 1
            outputs.append(self(torch.from_numpy(stack).permute(0, 3, 1, 2)))
        joined = {name: torch.cat([output[name] for output in outputs]).float() for name in self.heads}
        return Verdict(
            objects=joined["object"].softmax(-1),
            colors=joined["color"].softmax(-1),
            styles=joined["style"].softmax(-1),
            amounts=joined["amount"].squeeze(-1).clamp(0, 1),
        )


def _to_world(image: Image.Image | np.ndarray) -> Image.Image | np.ndarray:
    if isinstance(image, Image.Image):
        return image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
    return image


def load_classifier(file: Path) -> TruthClassifier:
    """The classifier from its safetensors file, in evaluation mode and float32."""
    model = TruthClassifier()
    model.load_state_dict({name: value.float() for name, value in load_file(file).items()})
    return model.eval()
