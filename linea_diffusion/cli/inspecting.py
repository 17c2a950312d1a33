"""Commands that tell what there is: concepts, modules, info."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..steering.preset_names import PRESET_MEANINGS
from .bench.command import BenchMachine, is_random
from .options.machines import RANDOM_HELP, makes_texts
from .options.sessions import MODEL_HELP, Modules
from .options.steering import FIRST_MODEL

if TYPE_CHECKING:
    from ..concepts.concept import Concept
    from ..maps.steering_maps import SteeringMaps


def concepts(
    name: Annotated[str | None, typer.Argument(help="A concept, or a file of one, to show whole.")] = None,
    template: Annotated[
        bool, typer.Option("--template", help="Write a file for a concept of your own, to be filled in: > mine.toml")
    ] = False,
) -> None:
    """List the concepts that come with the package, show one with all its prompts, or write a file for your own."""
    from ..concepts.concept import WORLDS, list_concepts, load_concept
    from ..concepts.prompt_values import KINDS
    from ..concepts.template import CONCEPT_FILE

    if template:
        typer.echo(CONCEPT_FILE, nl=False)
        return

    if name is not None:
        _print_concept(load_concept(name))
        return
    for world, models in WORLDS.items():
        for kind in KINDS:
            if names := list_concepts(kind, world=world):
                typer.echo(f"{kind}, {models}:")
                for one in names:
                    concept = load_concept(one)
                    counts = f"{len(concept.source)} -> {len(concept.target)}"
                    shown = concept.source if kind == "object removal" else concept.target
                    typer.echo(f"  {one:<28} {counts} prompts, e.g. {shown[0]!r}")


def modules(
    model: Annotated[str, typer.Argument(help=f"{MODEL_HELP} {RANDOM_HELP}")],
    modules: Modules = None,
) -> None:
    """List what would be steered: activations, their shapes for one prompt, and how many numbers maps of them have.

    Without --modules also how many each preset chooses.
    """
    from ..pipelines.calling import measure_activations
    from ..steering.language import is_language_model
    from ..steering.presets import find_modules, find_presets
    from ..training.recipes import recipe_for

    machine = BenchMachine("meta" if is_random(model) else "auto")
    pipe: Any = machine.load_text(model) if makes_texts(None, model) else machine.load(model)
    if not is_language_model(pipe):
        pipe.set_progress_bar_config(disable=True)
    recipe = recipe_for(pipe)
    each = recipe.scale + recipe.shift + 2 * recipe.rank
    chosen = find_modules(pipe, modules or recipe.target_modules)
    presets = {} if modules else find_presets(pipe)
    everything = {name: one for some in (chosen, *presets.values()) for name, one in some.items()}
    shapes = measure_activations(pipe.base if is_random(model) else pipe, everything)
    typer.echo(f"{'activation':<72} {'class':<24} {'shape':<20} {'numbers':>9}")
    for name, module in chosen.items():
        shape, features = shapes.get(name, ((), 0))
        seen = " x ".join(map(str, shape)) or "never run"
        typer.echo(f"{name:<72} {type(module).__name__:<24} {seen:<20} {each * features:>9}")

    def count(names: Iterable[str]) -> int:
        return sum(each * shapes[name][1] for name in names if name in shapes)

    typer.echo(f"{len(chosen)} modules, {count(chosen)} numbers in dense maps")
    if presets:
        typer.echo(f"\n{'--modules':<20} {'activations':>11} {'numbers':>9}")
    for preset, some in presets.items():
        typer.echo(f"{preset:<20} {len(some):>11} {count(some):>9}  {PRESET_MEANINGS[preset]}")


def info(
    steering: Annotated[str, typer.Argument(help="Folder or Hub id of steering maps.")],
    modules: Annotated[bool, typer.Option("--modules", help="Also a line for each activation.")] = False,
) -> None:
    """Show what a set of steering maps holds and how it was learned."""
    from ..maps.description import aligned, by_component, described
    from ..pipelines.packaged import load_maps
    from ..training.history import history

    maps = load_maps(steering, FIRST_MODEL)
    typer.echo(aligned({**described(maps), **history(maps), "as a LoRA": _as_lora(maps)}))
    typer.echo(f"\n{by_component(maps)}")
    if modules:
        typer.echo(f"\n{maps.summary()}")


def _as_lora(maps: SteeringMaps) -> str:
    """Which programs can have these maps whole, and how to learn maps that more of them can."""
    if any(affine.bins > 1 for _, affine in maps.named_maps()):
        return "none, because a file knows no parts of the schedule"
    return (
        "linea export; whole in ComfyUI, Forge and diffusers where layers carry it; A1111 and InvokeAI drop biases, "
        "and lose least of maps learned with --rank 8 --set scale=False --set shift=False"
    )


def _print_concept(concept: Concept) -> None:
    for key in ("name", "kind", "text", "neutral"):
        typer.echo(f"{key}: {getattr(concept, key)}")
    typer.echo(f"rows: {'pairs' if concept.is_paired else 'not in pairs'}")
    levels = ((f"level {level.strength}", level.target) for level in concept.levels)
    for side, prompts in (("source", concept.source), ("target", concept.target), *levels):
        typer.echo(f"\n{side}, {len(prompts)} prompts:")
        for prompt in prompts:
            typer.echo(f"  {prompt}")
