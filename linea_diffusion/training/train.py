"""LinEAS training: all maps at once, end to end, through every denoising step of a pipeline."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..concepts.concept import Concept
from ..errors import LineaError, ZeroMapsWarning
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from .config import TrainingConfig
from .iteration import batches_of
from .learning import for_concept, learn, states_in, stretched
from .models import run_of
from .preview import Preview
from .recipes import recipe_for
from .state.stopping import StopRequest
from .watching import Callback


def train_steering_maps(
    pipe: Any,
    concept: Concept,
    config: TrainingConfig | None = None,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    stop: StopRequest | None = None,
    preview: Preview | None = None,
    callback: Callback | None = None,
) -> SteeringMaps:
    """Learn the maps that carry a model's activations from the source prompts to the target prompts.

    Implements LinEAS (arXiv 2503.10679): target activations are recorded once; in each iteration the source
    prompts run through the model with the maps in place, and the loss, averaged over modules, steps and
    coordinates, is differentiated through all layers and all denoising steps. The base weights stay untouched.

    Started in several processes (``accelerate launch``), each runs its share of the prompts; all return the same maps.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`; or a language model with its tokenizer, as a
            `LanguageModel`, a `LinEASLanguageModel` or a ``text-generation`` pipeline of transformers.
        concept: source and target prompts.
        config: see `TrainingConfig`; `recipe_for` the pipeline when left out.
        checkpoint: folder for the state of an unfinished training. If it holds one with the same settings, training
            goes on there and ends with the maps of an uninterrupted one, bit for bit. The last state stays until the
            maps are saved (`SteeringMaps.save_pretrained` or `push_to_hub`), so that nothing is lost between.
        checkpoint_every: iterations between states.
        stop: asked before each iteration; when it says True, training ends with the maps learned so far, and
            ``metadata["stopped_after"]`` says after how many iterations; 0: nothing is learned. Of several processes
            all end when one is asked to.
        preview: pictures of what is learned so far, see `Preview`.
        callback: called after each iteration with a `TrainingState`: losses, support, and pictures if it asks for them.

    Returns:
        The maps, with the losses and all settings in their metadata. An interrupt from the keyboard ends training
        with a warning and the maps learned so far; ``metadata["stopped_after"]`` then says after how many iterations.
        Maps of zeros only are a `ZeroMapsWarning`, and are not calibrated.

    Raises:
        TrainingDivergedError: a number is no longer finite; the error names module, denoising step and iteration,
            and carries the last good maps.
        LineaError: no module matches, the settings do not fit, a state of another training, another training at work
            in the folder of states, a state that cannot be written, or sources and targets that are the same to the
            text encoders or to the chosen modules.
    """
    config = for_concept(config or recipe_for(pipe, concept), concept)
    if type(checkpoint_every) is not int or checkpoint_every < 1:
        raise LineaError(f"got checkpoint_every={checkpoint_every!r}: expected a whole number of at least 1")
    run = run_of(pipe, config)
    with ExitStack() as stack:
        batches = stack.enter_context(batches_of(run, config))
        config = batches.fit_tokens(concept)
        states = None if checkpoint is None else stack.enter_context(states_in(Path(checkpoint), batches, concept))
        look = run.watched(concept, preview, callback)
        maps = learn(batches, concept, states, every=checkpoint_every, stop=stop, on_iteration=look)
        if not maps.stored and Facts.of(maps.metadata).losses:
            _warn_of_zeros(maps, config)
            return stretched(maps, config.stretch or 1.0)
        return run.finished(maps, concept)


def _warn_of_zeros(maps: SteeringMaps, config: TrainingConfig) -> None:
    causes = [
        f"{name}={getattr(config, name):g}" for name in ("l1", "group_lasso", "sparsity") if getattr(config, name)
    ]
    warnings.warn(
        f"got maps whose {maps.size} numbers are all zero, with {', '.join(causes) or 'these settings'}: expected some "
        "that act; lower l1 or group_lasso (help(TrainingConfig) says how large they can be), or train longer",
        ZeroMapsWarning,
        stacklevel=3,
    )
