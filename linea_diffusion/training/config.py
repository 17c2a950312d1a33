"""The settings of training, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import LineaError, as_number, check_seed, short
from .loss.distances import Reduction
from .loss.pooling import POOLINGS, Pooling

Optimizer = Literal["adam", "sgd"]
Pairing = Literal["auto", "rows", "law"]
_CHOICES = {
    "optimizer": ("adam", "sgd"),
    "reduction": ("mean", "sum"),
    "pooling": ("auto", *POOLINGS),
    "pairing": ("auto", "rows", "law"),
}
_LEAST = {
    "iterations": 1,
    "num_inference_steps": 1,
    "batch_size": 2,
    "micro_batch_size": 1,
    "step_bins": 1,
    "tokens_per_sample": 1,
    "rank": 0,
}


@dataclass(frozen=True)
class TrainingConfig:
    """How maps are learned. The defaults are the recipe for U-Nets and concepts in pairs; `recipe_for` chooses.

    Attributes:
        iterations: optimiser steps.
        lr: learning rate, with cosine decay to zero.
        optimizer: ``"adam"`` or ``"sgd"`` (no momentum).
        batch_size: source prompts per iteration; None takes all of them, the exact loss.
        micro_batch_size: prompts that run through the model at once. None runs the batch in one piece. Smaller pieces
            need less memory and give the same gradients: activations of the whole batch are recorded first without
            gradients, then each piece runs again and gets its part of the whole batch's gradient.
        num_inference_steps: denoising steps of the schedule; every one of them enters the loss.
        guidance_scale: classifier-free guidance while training; 1 turns it off, None is the pipeline's default.
        target_modules: presets or patterns, see `find_modules`.
        rank: columns of U and V in T(z) = w*z + U V^T z + b, at most d; 0 is the paper's map.
        scale: whether w is learned; otherwise it stays 1.
        shift: whether b is learned; otherwise it stays 0.
        pairing: ``"rows"``: the activations of source prompt i shall be those of target prompt i, token by token, which
            keeps what both name; at s between 0 and 1 those on the way, see `Concept.levels`. ``"law"``: the sources'
            activations shall have the targets' law, whatever row they come from (the paper). ``"auto"``: rows where the
            prompts name the same contents row by row.
        pooling: what one sample of the loss is. ``"mean"``: the mean over tokens or pixels (the paper).
            ``"masked-mean"``: in text encoders the mean over the tokens that are no padding. ``"tokens"``: some tokens
            or pixels of each activation, each a sample. ``"auto"``: tokens where rows are paired, else the mean.
        tokens_per_sample: how many, for ``"tokens"``.
        warm_start: where rows are paired, the share of a regression in closed form that U and V begin with, from
            activations that are recorded anyway; 0 starts at the identity.
        reduction: ``"mean"`` over modules and steps, or the paper's ``"sum"``.
        scale_by_variance: divide each module's distance by the variance of its targets.
        strengths: the strengths at which iterations train, taken in turn. At 1 the steered activations shall be the
            targets' (as `pairing` says); at s between 0 and 1 those on the way from the unsteered sources' to them,
            so that the dial is even. ``(1.0,)`` is the paper's training.
        dial_exponent: how far on that way: the fraction s**dial_exponent. Below 1 the style begins earlier. Levels of
            a concept in pairs are their own way: there s is at s.
        use_levels: whether the way of paired rows leads through the levels of a concept that has some, or straight on.
        stretch: what maps are multiplied with when training ends: fitted at all strengths, they may stop short of the
            last of the style, or pass it. None: where pictures are nearest to those of the target prompts if rows are
            paired (`reach_of`), and 1 if not.
        step_bins: denoiser maps per schedule: 1 shares one map between all steps; with n, each n-th part of the
            schedule has a map of its own, also when images are generated with another number of steps.
        backprop_through_steps: whether gradients run through the whole trajectory. False cuts them between denoising
            steps: each step's backward runs at once, in the memory of one step.
        gradient_checkpointing: keep only each denoising step's inputs for the backward pass and run the step again
            when its turn comes: the memory of one step, the same gradients, one more forward pass.
        sparsity: share of the numbers that shall be exactly zero, [0, 1). Numbers are taken out during training by
            what each contributes to lowering the loss, and the others are fitted on.
        l1: weight of the penalty sum |w-1| + |b|, imposed by a proximal step after each optimiser step.
        group_lasso: weight of the penalty that turns whole modules off: sqrt(size) * norm of each module's numbers.
        calibrate: whether the dial is calibrated by the progress of latents when training ends, see
            `calibrate_progress`.
        seed: noise and order of the prompts; the same seed gives the same maps on one machine.
        call_arguments: further arguments of the base pipeline, such as height and width.
    """

    iterations: int = 80
    lr: float = 1e-2
    optimizer: Optimizer = "adam"
    batch_size: int | None = 8
    micro_batch_size: int | None = None
    num_inference_steps: int = 4
    guidance_scale: float | None = 1.0
    target_modules: str | tuple[str, ...] = "attention"
    rank: int = 2
    scale: bool = True
    shift: bool = True
    pairing: Pairing = "auto"
    pooling: Pooling | Literal["auto"] = "auto"
    tokens_per_sample: int = 64
    warm_start: float = 0.3
    reduction: Reduction = "mean"
    scale_by_variance: bool = True
    strengths: tuple[float, ...] = (1.0, 0.5, 1.0, 1.0, 0.75, 1.0, 1.0, 0.25, 1.0)
    dial_exponent: float = 0.8
    use_levels: bool = True
    stretch: float | None = None
    step_bins: int = 1
    backprop_through_steps: bool = True
    gradient_checkpointing: bool = False
    sparsity: float = 0.6
    l1: float = 0.0
    group_lasso: float = 0.0
    calibrate: bool = True
    seed: int = 0
    call_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_counts()
        object.__setattr__(self, "seed", check_seed(self.seed))
        if self.step_bins > self.num_inference_steps:
            raise LineaError(
                f"got step_bins={self.step_bins} with num_inference_steps={self.num_inference_steps}: expected at most "
                "as many bins as steps; a bin without a step would learn nothing"
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise LineaError(f"got {name}={short(getattr(self, name))}: expected one of {', '.join(choices)}")
        if not isinstance(self.strengths, Sequence) or not self.strengths:
            raise LineaError(f"got strengths={short(self.strengths)}: expected some numbers, such as (1.0,)")
        for strength in self.strengths:
            _check_number("strengths", strength, "numbers above 0 and up to 1, such as (1.0,)", lambda x: 0 < x <= 1)
        for name in ("lr", "dial_exponent", *(["stretch"] if self.stretch is not None else [])):
            _check_number(name, getattr(self, name), "a positive number such as 0.02", lambda x: x > 0)
        for name in ("l1", "group_lasso"):
            _check_number(name, getattr(self, name), "a number of at least 0, such as 0.001", lambda x: x >= 0)
        _check_number("warm_start", self.warm_start, "a share from 0 to 1", lambda x: 0 <= x <= 1)
        _check_number("sparsity", self.sparsity, "the share of zeros, at least 0 and below 1", lambda x: 0 <= x < 1)
        if self.guidance_scale is not None:
            _check_number("guidance_scale", self.guidance_scale, "a number such as 1.0, or None", lambda x: True)
        if not isinstance(self.call_arguments, Mapping):
            raise LineaError(
                f"got call_arguments={short(self.call_arguments)}: expected a dict such as {{'height': 512}}"
            )
        if not (self.rank or self.scale or self.shift):
            raise LineaError("got rank=0, scale=False and shift=False: expected one of them; nothing would be learned")
        for name in (
            "scale",
            "shift",
            "calibrate",
            "use_levels",
            "scale_by_variance",
            "backprop_through_steps",
            "gradient_checkpointing",
        ):
            if not isinstance(getattr(self, name), bool):
                raise LineaError(f"got {name}={short(getattr(self, name))}: expected True or False")

    @property
    def pooled(self) -> Pooling:
        """The pooling that is meant."""
        if self.pooling != "auto":
            return self.pooling
        return "tokens" if self.pairing == "rows" else "mean"

    def _check_counts(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            optional = name in ("batch_size", "micro_batch_size")
            if not (value is None and optional) and (type(value) is not int or value < least):
                raise LineaError(f"got {name}={short(value)}: expected a whole number of at least {least}")
        if self.pooling not in ("auto", "tokens") and self.tokens_per_sample != 64:
            raise LineaError(
                f"got tokens_per_sample={self.tokens_per_sample} with pooling={self.pooling!r}, which has no use for "
                "it: expected pooling='tokens'"
            )


def _check_number(name: str, value: Any, expected: str, allowed: Callable[[float], bool]) -> None:
    number = as_number(value) if isinstance(value, int | float) else None
    if number is None or not allowed(number):
        raise LineaError(f"got {name}={short(value)}: expected {expected}")
