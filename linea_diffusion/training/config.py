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
Rule = tuple[str, Callable[[Any], bool]]
"""What a setting is expected to be, and whether it is."""


def _at_least(least: int) -> Rule:
    return f"a whole number of at least {least}", lambda value: type(value) is int and value >= least


def _number(expected: str, allowed: Callable[[float], bool]) -> Rule:
    def fits(value: Any) -> bool:
        number = as_number(value) if isinstance(value, int | float) else None
        return number is not None and allowed(number)

    return expected, fits


def _one_of(*choices: str) -> Rule:
    return f"one of {', '.join(choices)}", lambda value: value in choices


def _or_none(rule: Rule) -> Rule:
    return f"{rule[0]}, or None", lambda value: value is None or rule[1](value)


_STRENGTH = _number("", lambda x: 0 < x <= 1)[1]
_POSITIVE = _number("a positive number such as 0.02", lambda x: x > 0)
_WEIGHT = _number("a number of at least 0, such as 0.001", lambda x: x >= 0)
_FLAG: Rule = ("True or False", lambda value: isinstance(value, bool))
_RULES: dict[str, Rule] = {
    "iterations": _at_least(1),
    "num_inference_steps": _at_least(1),
    "batch_size": _or_none(_at_least(2)),
    "micro_batch_size": _or_none(_at_least(1)),
    "step_bins": _at_least(1),
    "tokens_per_sample": _at_least(1),
    "rank": _at_least(0),
    "optimizer": _one_of("adam", "sgd"),
    "reduction": _one_of("mean", "sum"),
    "pooling": _one_of("auto", *POOLINGS),
    "pairing": _one_of("auto", "rows", "law"),
    "strengths": (
        "some numbers above 0 and up to 1, such as (1.0,)",
        lambda value: isinstance(value, Sequence) and len(value) > 0 and all(map(_STRENGTH, value)),
    ),
    "lr": _POSITIVE,
    "dial_exponent": _POSITIVE,
    "stretch": _or_none(_POSITIVE),
    "l1": _WEIGHT,
    "group_lasso": _WEIGHT,
    "warm_start": _number("a share from 0 to 1", lambda x: 0 <= x <= 1),
    "sparsity": _number("the share of zeros, at least 0 and below 1", lambda x: 0 <= x < 1),
    "map_dropout": _number("a share, at least 0 and below 1", lambda x: 0 <= x < 1),
    "guidance_scale": _or_none(_number("a number such as 1.0", lambda x: True)),
    "call_arguments": ("a dict such as {'height': 512}", lambda value: isinstance(value, Mapping)),
    **dict.fromkeys(("scale", "shift", "calibrate", "use_levels", "scale_by_variance"), _FLAG),
    **dict.fromkeys(("backprop_through_steps", "gradient_checkpointing"), _FLAG),
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
        tokens_per_sample: how many, for ``"tokens"``; an error where means are taken.
        warm_start: the share of a regression in closed form that U and V begin with, from activations that are recorded
            anyway; 0 starts at the identity. For pairs of rows; with laws, or without U and V, it is an error.
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
        map_dropout: chance of each map to be left out of an iteration, [0, 1), so that maps learn to do without each
            other (as stochastic depth does with layers, arXiv 1603.09382). With 0, the paper's training, those of
            early layers may do all there is to do with what was read, and those of later ones nothing.
        l1: weight of the penalty, the sum of |w-1|, |b|, |U| and |V|, imposed by a proximal step after each optimiser
            step. It is weighed against the loss as it is minimised. With ``reduction="mean"`` that is the paper's sum
            of distances divided by the number P of places (modules * denoising steps), so that the paper's
            gamma * lambda_1 is here gamma * lambda_1 / P: divided by 256 for all norms of SDXL's U-Net in one step.
            With ``reduction="sum"`` it is gamma * lambda_1. To convert, turn ``scale_by_variance`` off, which divides
            each distance by the variance of its targets, and train at strength 1 only. A number whose gradients are
            never larger than l1 stays at zero, so that an l1 above the largest of them leaves zeros only.
        group_lasso: weight of the penalty that turns whole modules off: sqrt(n) * norm of each module's n numbers, w-1,
            b, U and V together. It converts as l1 does; n is 2 d for the paper's maps of d features, so that
            weights that were meant for sqrt(d) are divided by sqrt(2) besides.
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
    map_dropout: float = 0.0
    l1: float = 0.0
    group_lasso: float = 0.0
    calibrate: bool = True
    seed: int = 0
    call_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (expected, fits) in _RULES.items():
            if not fits(getattr(self, name)):
                raise LineaError(f"got {name}={short(getattr(self, name))}: expected {expected}")
        object.__setattr__(self, "seed", check_seed(self.seed))
        if self.step_bins > self.num_inference_steps:
            raise LineaError(
                f"got step_bins={self.step_bins} with num_inference_steps={self.num_inference_steps}: expected at most "
                "as many bins as steps; a bin without a step would learn nothing"
            )
        if not (self.rank or self.scale or self.shift):
            raise LineaError("got rank=0, scale=False and shift=False: expected one of them; nothing would be learned")
        self._refuse_idle("tokens_per_sample", self.pooled != "tokens" and self._is_settled, "pooling='tokens'")
        self._refuse_idle("warm_start", self.pairing == "law" or not self.rank, "pairs of rows and a rank above 0")

    def _refuse_idle(self, name: str, idle: bool, expected: str) -> None:
        """Raise if a setting was changed that others leave without effect."""
        if idle and getattr(self, name) != getattr(TrainingConfig, name):
            raise LineaError(
                f"got {name}={getattr(self, name)} with pairing={self.pairing!r}, pooling={self.pooling!r} and "
                f"rank={self.rank}, which have no use for it: expected {expected}, or {name} left out"
            )

    @property
    def _is_settled(self) -> bool:
        """Whether it is known what one sample of the loss is, before the concept is."""
        return self.pooling != "auto" or self.pairing != "auto"

    @property
    def pooled(self) -> Pooling:
        """The pooling that is meant."""
        if self.pooling != "auto":
            return self.pooling
        return "tokens" if self.pairing == "rows" else "mean"
