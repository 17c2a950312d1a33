"""Training of the truth classifier, on fresh noise-free and slightly disturbed renders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, smooth_l1_loss

from ..classifier import COLOR_NAMES, OBJECT_NAMES, STYLE_NAMES, TruthClassifier
from ..styles import STYLES
from ..world import Scene
from .data import load_renders
from .loop import Recipe, train
from .vae import to_tensor

RECIPE = Recipe(steps=3000, batch=128, lr=2e-3, renders=48_000, seed=1)
_COLORLESS_FROM = 0.7


def shows_color(scene: Scene) -> bool:
    """Whether a scene's picture shows its colour: not sketches and blueprints beyond amount 0.7."""
    return scene.style == "plain" or STYLES[scene.style].shows_color or scene.amount < _COLORLESS_FROM


def pretrain(work: Path, out: Path, recipe: Recipe, *, device: str) -> None:
    """Train the classifier and save it to ``out/classifier/model.safetensors``.

    Pictures are blurred, brightened and given noise a little, so that a generated picture that looks right
    is not misjudged for a faint texture.
    """
    torch.manual_seed(recipe.seed)
    renders = load_renders(work, recipe.renders)
    answers = {
        "object": torch.tensor([OBJECT_NAMES.index(scene.object) for scene in renders.scenes]),
        "color": torch.tensor(
            [COLOR_NAMES.index(scene.color) if shows_color(scene) else -100 for scene in renders.scenes]
        ),
        "style": torch.tensor([STYLE_NAMES.index(scene.style) for scene in renders.scenes]),
        "amount": torch.tensor([scene.amount for scene in renders.scenes], dtype=torch.float32),
    }
    model = TruthClassifier().to(device)

    def loss(rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
        rows = rng.integers(len(renders.pictures), size=recipe.batch)
        pictures = to_tensor(np.stack([renders.pictures[row] for row in rows]), device)
        logits = model(_disturb(pictures, torch_rng))
        truth = {name: answer[rows].to(device) for name, answer in answers.items()}
        total = smooth_l1_loss(logits["amount"].squeeze(-1), truth["amount"], beta=0.1) * 4
        for name in ("object", "color", "style"):
            total = total + cross_entropy(logits[name], truth[name], label_smoothing=0.02)
        return total

    average = train(model, loss, recipe, work / "classifier.pt", device=device, name="classifier")
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in average.state_dict().items()
    }
    (out / "classifier").mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "classifier" / "model.safetensors")


def _disturb(pictures: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Per picture: a blur of random weight, gain, offset, pixel noise and a shift by up to 3 pixels."""
    n, device = len(pictures), pictures.device

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1, generator=rng, device=device)

    blurred = torch.nn.functional.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    mixed = torch.lerp(pictures, blurred, uniform(0.0, 0.6))
    mixed = mixed * uniform(0.95, 1.05) + uniform(-0.04, 0.04)
    noise = torch.randn(pictures.shape, generator=rng, device=device)
    mixed = mixed + noise * uniform(0.0, 0.05)
    dy, dx = torch.randint(-3, 4, (2,), generator=rng, device=device).tolist()
    return torch.roll(mixed, (dy, dx), (2, 3))
