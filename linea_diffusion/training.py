"""LinEAS training: all maps at once, end to end, through every denoising step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from .activations import mean_pool, record_activations
from .calling import accepts, call_with_gradients, frozen, generators
from .concepts import Concept
from .errors import LineaError
from .losses import interpolate_laws, steering_loss
from .maps import SteeringMaps
from .modules import find_modules

Place = tuple[str, int, int]
Places = dict[Place, torch.Tensor]


@dataclass(frozen=True)
class TrainingConfig:
    """How maps are learned. The defaults are the quick recipe measured on Shapeland.

    Attributes:
        iterations: optimiser steps.
        lr: Adam's learning rate, with cosine decay to zero.
        batch_size: source prompts per iteration; None takes all of them, the exact loss.
        num_inference_steps: denoising steps of the schedule; every one of them enters the loss.
        guidance_scale: classifier-free guidance while training; 1 turns it off, None is the pipeline's default.
        target_modules: presets or patterns, see `find_modules`.
        strengths: the strengths at which iterations train, taken in turn. At 1 the steered activations shall follow
            the targets' law; at s between 0 and 1 the law on the way from the unsteered sources' to the targets',
            so that the dial is even. ``(1.0,)`` is the paper's training.
        dial_exponent: how far on that way: the fraction s**dial_exponent. Below 1 the style begins earlier.
        seed: noise and order of the prompts; the same seed gives the same maps on one machine.
        call_arguments: further arguments of the base pipeline, such as height and width.
    """

    iterations: int = 60
    lr: float = 2e-2
    batch_size: int | None = None
    num_inference_steps: int = 4
    guidance_scale: float | None = 1.0
    target_modules: str | tuple[str, ...] = "norms"
    strengths: tuple[float, ...] = (1.0, 0.5, 0.75, 0.25)
    dial_exponent: float = 0.8
    seed: int = 0
    call_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("iterations", 1), ("num_inference_steps", 1), ("batch_size", 2)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise LineaError(f"got {name}={value!r}: expected a whole number of at least {least}")
        if not self.strengths or not all(0 < strength <= 1 for strength in self.strengths):
            raise LineaError(f"got strengths={self.strengths!r}: expected numbers above 0 and up to 1, such as (1.0,)")
        for name in ("lr", "dial_exponent"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise LineaError(f"got {name}={value!r}: expected a positive number such as 0.02")


def train_steering_maps(pipe: Any, concept: Concept, config: TrainingConfig | None = None) -> SteeringMaps:
    """Learn the maps that carry a model's activations from the source prompts to the target prompts.

    Implements LinEAS (arXiv 2503.10679): target activations are recorded once; in each iteration the source
    prompts run through the pipeline with the maps in place, and the loss, averaged over modules, steps and
    coordinates, is differentiated through all layers and all denoising steps. The base weights stay untouched.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        concept: source and target prompts.
        config: see `TrainingConfig`.

    Returns:
        The maps, with the losses and all settings in their metadata.

    Raises:
        LineaError: no module matches, the settings do not fit, or the loss is no longer finite.
    """
    config = config or TrainingConfig()
    pipe = getattr(pipe, "base", pipe)
    modules = find_modules(pipe, config.target_modules)
    run = _Run(pipe, modules, config)
    with frozen(pipe):
        targets = run.targets(concept)
        maps = SteeringMaps({name: run.features[name] for name in modules if name in run.features})
        maps.to(pipe.device)
        losses = run.learn(maps, concept.source, targets)
    maps.metadata = {
        "concept": concept.name,
        "text": concept.text,
        "neutral": concept.neutral,
        "prompts_sha256": concept.digest,
        "base_model": str(getattr(pipe, "name_or_path", "") or pipe.config.get("_name_or_path", "") or "unknown"),
        "base_class": type(pipe).__name__,
        "training": {f.name: asdict(config)[f.name] for f in fields(config)},
        "losses": [round(loss, 8) for loss in losses],
    }
    return maps.requires_grad_(False)


class _Run:
    """One training: the pipeline, the modules and the settings that its passes share."""

    def __init__(self, pipe: Any, modules: Mapping[str, nn.Module], config: TrainingConfig) -> None:
        self.pipe, self.modules, self.config = pipe, modules, config
        self.features: dict[str, int] = {}
        self.fractions = [strength**config.dial_exponent for strength in config.strengths]

    def _record(self, prompts: list[str], seeds: list[int]) -> Places:
        """Pooled activations of a batch: (module, call, block) -> (n, d).

        The call counts denoising steps; a block is one half of a batch that guidance has doubled.
        """
        arguments: dict[str, Any] = dict(self.config.call_arguments)
        arguments["num_inference_steps"] = self.config.num_inference_steps
        if self.config.guidance_scale is not None and accepts(self.pipe, "guidance_scale"):
            arguments["guidance_scale"] = self.config.guidance_scale
        with record_activations(self.modules, pool=mean_pool) as recorded:
            call_with_gradients(
                self.pipe, prompt=prompts, output_type="latent", generator=generators(seeds), **arguments
            )
        return {
            (name, call, block): rows
            for name, calls in recorded.items()
            for call, pooled in enumerate(calls)
            for block, rows in enumerate(pooled.split(len(prompts)))
        }

    def targets(self, concept: Concept) -> list[Places]:
        """What iterations train towards, one entry for each of the config's strengths."""
        target = self.unsteered(concept.target)
        self.features = {place[0]: rows.shape[1] for place, rows in target.items()}
        if all(strength == 1 for strength in self.config.strengths):
            return [target] * len(self.config.strengths)
        source = self.unsteered(concept.source)
        return [
            {place: interpolate_laws(source[place], target[place], fraction) for place in target}
            for fraction in self.fractions
        ]

    @torch.no_grad()
    def unsteered(self, prompts: tuple[str, ...]) -> Places:
        """Activations of all prompts without maps, recorded once."""
        size = self.config.batch_size or len(prompts)
        parts: dict[Place, list[torch.Tensor]] = {}
        for start in range(0, len(prompts), size):
            chunk = list(prompts[start : start + size])
            for place, rows in self._record(chunk, self._seeds(range(start, start + len(chunk)))).items():
                parts.setdefault(place, []).append(rows)
        return {place: torch.cat(rows) for place, rows in parts.items()}

    def learn(self, maps: SteeringMaps, prompts: tuple[str, ...], targets: list[Places]) -> list[float]:
        """Fit the maps in place; the loss of every iteration."""
        config = self.config
        optimizer = torch.optim.Adam(maps.parameters(), lr=config.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.iterations)
        order = torch.Generator().manual_seed(config.seed)
        losses = []
        with tqdm(range(config.iterations), desc="train", unit="it") as bar:
            for iteration in bar:
                rows = torch.randperm(len(prompts), generator=order)[: config.batch_size].tolist()
                seeds = self._seeds(rows)
                with ExitStack() as stack:
                    stack.enter_context(torch.enable_grad())
                    turn = iteration % len(targets)
                    stack.enter_context(maps.apply(self.pipe, config.strengths[turn]))
                    source = self._record([prompts[row] for row in rows], seeds)
                    loss = steering_loss(source, targets[turn]) / self.fractions[turn] ** 2
                    optimizer.zero_grad()
                    loss.backward()
                if not math.isfinite(loss.item()):
                    raise LineaError(
                        f"got loss {loss.item()} in iteration {iteration}: expected a finite number; "
                        f"lower lr (now {config.lr}) or use float32"
                    )
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                bar.set_postfix(loss=f"{_mean(losses[-len(targets) :]):.4f}")
        return losses

    def _seeds(self, rows: Any) -> list[int]:
        """A prompt's noise: sources and targets of the same row share it."""
        return [self.config.seed * 1_000_003 + row for row in rows]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
