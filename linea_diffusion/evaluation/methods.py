"""Ways to steer, by name: LinEAS, the paper's settings of it, its baselines, and asking in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..concepts.concept import Concept
from ..errors import LineaError
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..progress import stage
from ..training.config import TrainingConfig
from ..training.iteration import facts_of
from ..training.models import run_of
from ..training.recipes import PAPER, recipe_for
from ..training.train import train_steering_maps
from .baselines import gaussian_act, linear_act, mean_shift
from .method_names import PROMPTING, check_method
from .ways import MapsOfSeed, training_seed_of

Method = Callable[..., SteeringMaps]


_CALLS = (
    "num_inference_steps",
    "guidance_scale",
    "call_arguments",
    "micro_batch_size",
    "gradient_checkpointing",
    "backprop_through_steps",
    "seed",
)
"""Settings that say how the pipeline is called, and in which memory; the same for all methods."""


def _by_laws(method: Callable[..., SteeringMaps], **changes: Any) -> Method:
    """A method of coordinate-wise maps and laws, with the recipe for such maps, and calls as the settings say."""

    def fitted(pipe: Any, concept: Concept, config: TrainingConfig, **training: Any) -> SteeringMaps:
        return method(pipe, concept, law_settings(pipe, config, **changes), **training)

    return fitted


def law_settings(pipe: Any, config: TrainingConfig, **changes: Any) -> TrainingConfig:
    """The recipe for laws, with calls as other settings say, and some changes."""
    calls = {name: getattr(config, name) for name in _CALLS}
    return recipe_for(pipe, pairing="law", **calls, **changes)


PAPERS: dict[str, dict[str, Any]] = {"lineas-laws": {}, "lineas-paper": PAPER}
"""Ways to train for laws -> what they change of their recipe."""
CLOSED_FORMS: dict[str, Callable[..., SteeringMaps]] = {
    "mean-shift": mean_shift,
    "gaussian-act": gaussian_act,
    "lin-act": linear_act,
    "lin-act-at-once": partial(linear_act, sequential=False),
}
"""The baselines."""


METHODS: dict[str, Method] = {
    "lineas": train_steering_maps,
    "lineas-dense": lambda pipe, concept, config, **training: train_steering_maps(
        pipe, concept, replace(config, sparsity=0.0), **training
    ),
    **{name: _by_laws(train_steering_maps, **changes) for name, changes in PAPERS.items()},
    **{name: _by_laws(method) for name, method in CLOSED_FORMS.items()},
}
"""Name -> function of (pipeline, concept, settings) and, where it trains, options of `train_steering_maps`: this
project's default recipe; the same without sparsity; with coordinate-wise maps that are learned as laws; that at
strength 1 only and dense, as in the paper; and the closed forms of `baselines`. "prompting" needs no maps."""


def fit(
    method: str, pipe: Any, concept: Concept, config: TrainingConfig | None = None, *, checkpoint: Path | None = None
) -> SteeringMaps | None:
    """Maps of a concept by a method; None for prompting.

    Args:
        method: a name of `METHODS`, or "prompting".
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        concept: source and target prompts.
        config: of LinEAS by the default recipe; `recipe_for` pipeline and concept when left out. Methods of
            coordinate-wise maps have a recipe of their own, and take from it how the pipeline is called: steps,
            guidance, further arguments, memory and seed.
        checkpoint: folder for the state of an unfinished training; closed forms leave none.

    Raises:
        LineaError: no such method.
    """
    check_method(method)
    if method == PROMPTING:
        return None
    config = config or recipe_for(pipe, concept)
    if method in CLOSED_FORMS:
        with stage(f"fit {method}", 1):
            return METHODS[method](pipe, concept, config)
    return METHODS[method](pipe, concept, config, checkpoint=checkpoint)


def maps_by_seed(method: str, pipe: Any, concept: Concept, folder: Path) -> SteeringMaps | MapsOfSeed | None:
    """What `evaluate` takes for a method: maps by training seed, which are kept; those of a folder; None for words.

    The maps of the first seed are in ``folder/method``, those of the others in ``folder/seed-SEED/method``.

    Args:
        method: a name of `METHODS`, "prompting", or a folder of maps.
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        concept: source and target prompts.
        folder: of the concept.

    Raises:
        LineaError: no such method, or maps of another model or of other prompts in the folder.
    """
    if method not in METHODS and Path(method).is_dir():
        return SteeringMaps.from_pretrained(method)
    check_method(method)
    if method == PROMPTING:
        return None

    def fitted(seed: int) -> SteeringMaps | None:
        first = folder / method
        mine = not first.is_dir() or training_seed_of(SteeringMaps.from_pretrained(first)) == seed
        place = folder if mine else folder / f"seed-{seed}"
        return kept_maps(method, pipe, concept, recipe_for(pipe, concept, seed=seed), place)

    return fitted


def kept_maps(method: str, pipe: Any, concept: Concept, config: TrainingConfig, folder: Path) -> SteeringMaps | None:
    """Maps of a concept by a method: those that an earlier run left in ``folder/method``, or fitted and left there.

    A training that was killed goes on.

    Args:
        method: a name of `METHODS`, or "prompting", which has no maps.
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        concept: source and target prompts.
        config: as for `fit`.
        folder: of the concept.

    Raises:
        LineaError: no such method, or maps of another model, of other prompts or another seed in the folder.
    """
    place = folder / method
    if place.is_dir():
        return _check_facts(SteeringMaps.from_pretrained(place), facts_of(run_of(pipe, config), concept, config), place)
    maps = fit(method, pipe, concept, config, checkpoint=folder / f"{method}-unfinished")
    if maps is not None:
        maps.save_pretrained(place)
    return maps


def _check_facts(maps: SteeringMaps, facts: Facts, folder: Path) -> SteeringMaps:
    """Maps that an earlier run left, if they are of this model, these prompts and this seed."""
    made, ours = (
        [one.base_model, one.prompts_sha256, (one.training or {}).get("seed")]
        for one in (Facts.of(maps.metadata), facts)
    )
    if made != ours:
        raise LineaError(
            f"got maps in {str(folder)!r} of base model, prompts and seed {made}: expected {ours}; remove the folder, "
            "or choose another --out"
        )
    return maps
