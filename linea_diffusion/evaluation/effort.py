"""How much work a comparison is, in passes of the denoiser, before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..concepts.concept import Concept
from ..steering.presets import find_modules
from ..training.config import TrainingConfig
from ..training.effort import Effort, picture_effort, training_effort
from ..training.learning import for_concept
from ..training.recipes import recipe_for
from .method_names import PROMPTING
from .methods import CLOSED_FORMS, PAPERS, law_settings


def fitting_effort(method: str, pipe: Any, concept: Concept, config: TrainingConfig) -> list[Effort]:
    """The stages in which a method fits maps.

    Args:
        method: a name of `METHODS`; another, such as a folder of maps or "prompting", fits none.
        pipe: a `LinEASDiffusionPipeline`.
        concept: source and target prompts.
        config: as for `fit`.
    """
    if method in PAPERS:
        return training_effort(pipe, concept, law_settings(pipe, config, **PAPERS[method]))
    if method in CLOSED_FORMS:
        settings = law_settings(pipe, config)
        rounds = len(find_modules(pipe, settings.target_modules)) if method == "lin-act" else 1
        prompts = len(concept.target) + rounds * len(concept.source)
        return [Effort(f"fit {method}", prompts * settings.num_inference_steps)]
    if method in ("lineas", "lineas-dense"):
        return training_effort(pipe, concept, for_concept(config, concept))
    return []


def comparison_effort(
    pipe: Any,
    ways: Mapping[str, str],
    concept: Concept,
    folder: Path,
    prompts: Sequence[str],
    positions: Sequence[float],
    arguments: Mapping[str, Any],
    *,
    seeds: Sequence[int] = (0,),
) -> list[Effort]:
    """The stages of one concept's comparison: methods that have no maps yet are fitted, and all are rendered.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        ways: name -> method or folder of maps.
        concept: that is compared on.
        folder: where maps are kept.
        prompts: that are rendered.
        positions: of the dial.
        arguments: of the pipeline's calls.
        seeds: of the trainings.
    """
    fits, pictures = [], 1
    for way in ways.values():
        kept = Path(way).is_dir() or way == PROMPTING
        places = [folder / way, *(folder / f"seed-{seed}" / way for seed in seeds)]
        missing = 0 if kept else max(0, len(seeds) - sum(place.is_dir() for place in places))
        fits += missing * fitting_effort(way, pipe, concept, recipe_for(pipe, concept))
        pictures += 1 if way == PROMPTING else (len(positions) - 1) * (1 if kept else len(seeds))
    return [*fits, picture_effort(pipe, f"evaluate {concept.name}", len(prompts) * pictures, arguments)]
