"""The kinds of grids: prompts, seeds, styles, a second dial, sparsity or methods against strengths, each as a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import LineaError, as_python, as_whole, check_seed, short
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..pipelines.adapters import check_adapter_name
from ..steering.dial import check_positions
from .plans import Plan, PlanRow, make_plan, texts_of

Source = SteeringMaps | str | Path
Columns = Sequence[float] | Sequence[Mapping[str, float]]
"""One strength of all adapters for each column, or {adapter: strength}."""
_Key = TypeVar("_Key")


def plan_prompts(
    pipe: Any,
    prompts: Sequence[str],
    strengths: Columns,
    *,
    seeds: int | Sequence[int] = 0,
    style: str = "",
) -> Plan:
    """Prompts x strengths: all loaded adapters turn together, or each as a column's {adapter: strength} says.

    Raises:
        LineaError: no prompts, seeds that do not fit them, or adapters that are not loaded.
    """
    prompts = _texts(prompts)
    first = as_whole(seeds)
    row_seeds = _seeds(seeds if first is None else [first + i for i in range(len(prompts))])
    if len(row_seeds) != len(prompts) or not prompts:
        raise LineaError(
            f"got {len(prompts)} prompts and {len(row_seeds)} seeds: expected at least one, and equally many"
        )
    values, dials, labels = _columns(pipe, strengths)
    rows = [
        PlanRow(prompt, prompt, seed, values, dials, style) for prompt, seed in zip(prompts, row_seeds, strict=True)
    ]
    return make_plan(pipe, rows, "prompts x strengths", style, style, labels=labels)


def plan_seeds(
    pipe: Any,
    prompt: str,
    strengths: Columns,
    *,
    seeds: Sequence[int],
    style: str = "",
) -> Plan:
    """Seeds x strengths of one prompt: adapters turn as in `plan_prompts`.

    Raises:
        LineaError: no seeds, or one twice; adapters that are not loaded.
    """
    seeds = _seeds(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise LineaError(f"got seeds {seeds}: expected at least one, and none twice")
    values, dials, labels = _columns(pipe, strengths)
    rows = [PlanRow(f"seed {seed}", prompt, seed, values, dials, style) for seed in seeds]
    title = f"{style}: {prompt}" if style else prompt
    return make_plan(pipe, rows, "seeds x strengths", title, style, labels=labels)


def plan_styles(
    pipe: Any,
    prompt: str,
    strengths: Sequence[float],
    *,
    styles: Mapping[str, Source] | Sequence[str] | None = None,
    seed: int = 0,
) -> Plan:
    """Styles x strengths of one prompt from one noise: each row turns one adapter, the others rest.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        prompt: for all rows.
        strengths: one column each.
        styles: names of loaded adapters, or name -> maps, which are loaded for the grid only; all loaded adapters
            when left out.
        seed: of the noise.

    Raises:
        LineaError: no styles, or adapters that are not loaded.
    """
    maps = {} if styles is None or not isinstance(styles, Mapping) else _opened(styles)
    names = list(pipe.steering if styles is None else styles)
    _expect_rows(names, "styles")
    if not maps:
        pipe.steering.check_names(names)
    rows = _rows(names, prompt, _positions(strengths), seed)
    return make_plan(pipe, rows, "styles x strengths", prompt, ", ".join(names), maps=maps)


def plan_dials(
    pipe: Any,
    prompt: str,
    strengths: Sequence[float],
    *,
    adapters: tuple[str, str] | None = None,
    row_strengths: Sequence[float] | None = None,
    seed: int = 0,
) -> Plan:
    """Style A x style B of one prompt from one noise: rows turn the first adapter, columns the second.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        prompt: for all pictures.
        strengths: of the second adapter, one column each.
        adapters: two loaded ones; the only two when left out.
        row_strengths: of the first adapter, one row each; as the columns' when left out.
        seed: of the noise.

    Raises:
        LineaError: not two adapters.
    """
    names = list(adapters if adapters is not None else pipe.steering)
    if len(names) != 2 or names[0] == names[1]:
        raise LineaError(f"got adapters {names} for two dials: expected two different ones; name them with adapters=")
    pipe.steering.check_names(names)
    first, second = names
    columns, positions = _positions(strengths), _positions(strengths if row_strengths is None else row_strengths)
    rows = [
        PlanRow(
            f"{first} {position:.3g}",
            prompt,
            seed,
            columns,
            tuple({first: position, second: c} for c in columns),
            first,
        )
        for position in positions
    ]
    labels = tuple(f"{second} {value:.3g}" for value in columns)
    plan = make_plan(pipe, rows, f"{first} x {second}", prompt, first, labels=labels)
    texts = {name: pair for name in names if (pair := texts_of(pipe.steering[name])) is not None}
    return replace(plan, texts={**plan.texts, **texts})


def plan_sparsity(
    pipe: Any,
    prompt: str,
    strengths: Sequence[float],
    *,
    maps: Mapping[str, Source] | Sequence[Source],
    style: str = "",
    seed: int = 0,
) -> Plan:
    """Sparsity x strengths of one prompt from one noise: each row has other maps of one concept.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        prompt: for all rows.
        strengths: one column each.
        maps: of one concept; rows are labelled by their support, the densest first, or by the names given.
        style: name for titles and tables; the concept of the maps when left out.
        seed: of the noise.

    Raises:
        LineaError: no maps, or maps of several concepts.
    """
    opened = _opened(maps) if isinstance(maps, Mapping) else _by_support(maps)
    _expect_rows(list(opened), "maps")
    concepts = set(_concepts(opened))
    if len(concepts) > 1:
        raise LineaError(f"got maps of the concepts {sorted(concepts)}: expected maps of one; for several use styles")
    style = style or next(iter(concepts), "")
    rows = _rows(list(opened), prompt, _positions(strengths), seed, style)
    title = f"{style}: {prompt}" if style else prompt
    return make_plan(pipe, rows, "sparsity x strengths", title, style, maps=opened)


def plan_methods(
    pipe: Any,
    prompt: str,
    strengths: Sequence[float],
    *,
    methods: Mapping[str, Source | None],
    style: str = "",
    seed: int = 0,
) -> Plan:
    """Methods x strengths of one prompt from one noise.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        prompt: for all rows.
        strengths: one column each.
        methods: name -> maps. None stands for asking in words, the prompt with ", STYLE" behind it: words know no
            strength, so that this row has the plain prompt's picture at 0 and the asked one's everywhere else.
        style: name for titles and tables; the concept of the maps when left out.
        seed: of the noise.

    Raises:
        LineaError: no methods, or asking in words for a style without a name.
    """
    _expect_rows(list(methods), "methods")
    opened = _opened({name: source for name, source in methods.items() if source is not None})
    style = style or next(_concepts(opened), "")
    if None in methods.values() and not style:
        raise LineaError("got asking in words and maps that name no concept: expected style= with what to ask for")
    values = _positions(strengths)
    steered = {row.method: row for row in _rows(list(opened), prompt, values, seed, style)}
    wordings = tuple(f"{prompt}, {style}" if value else None for value in values)
    still = tuple(dict.fromkeys(opened, 0.0) for _ in values)
    rows = [
        steered.get(name) or PlanRow(f"{name} (words: on or off)", prompt, seed, values, still, style, name, wordings)
        for name in methods
    ]
    title = f"{style}: {prompt}" if style else prompt
    return make_plan(pipe, rows, "methods x strengths", title, style, maps=opened)


def _rows(
    names: Sequence[str], prompt: str, values: tuple[float, ...], seed: int, style: str | None = None
) -> list[PlanRow]:
    """One row for each adapter, which turns while the others rest; the adapter is the style where none is given."""
    return [
        PlanRow(name, prompt, seed, values, _turned(name, names, values), name if style is None else style, name)
        for name in names
    ]


def _turned(name: str, names: Sequence[str], values: Sequence[float]) -> tuple[Mapping[str, float], ...]:
    return tuple({other: value if other == name else 0.0 for other in names} for value in values)


def _opened(sources: Mapping[_Key, Source]) -> dict[_Key, SteeringMaps]:
    return {
        name: source if isinstance(source, SteeringMaps) else SteeringMaps.from_pretrained(source)
        for name, source in sources.items()
    }


def _concepts(opened: Mapping[Any, SteeringMaps]) -> Iterator[str]:
    """The concepts that maps name."""
    named = (Facts.of(maps.metadata).concept for maps in opened.values())
    return (concept for concept in named if concept is not None)


def _by_support(sources: Sequence[Source]) -> dict[str, SteeringMaps]:
    """Maps named by the share of their numbers that is not zero, or how many those are, the most first.

    Shares are told where all sets have as many numbers; those of maps of other ranks or modules say little.
    """
    opened = sorted(_opened(dict(enumerate(sources))).values(), key=lambda maps: -maps.stored)
    alike = len({maps.size for maps in opened}) == 1
    named: dict[str, SteeringMaps] = {}
    for maps in opened:
        label = f"{100 * maps.support:.3g}% of the numbers" if alike else f"{maps.stored} numbers"
        again = sum(name.startswith(label) for name in named)
        named[f"{label} ({again + 1})" if again else label] = maps
    return named


def _columns(
    pipe: Any, strengths: Columns
) -> tuple[tuple[float, ...], tuple[dict[str, float], ...], tuple[str, ...] | None]:
    """Positions, the strength of every adapter at each, and labels where adapters have strengths of their own.

    The position of such a column is the strength of the first adapter that turns.
    """
    columns = [one for one in strengths if isinstance(one, Mapping)] if isinstance(strengths, Sequence) else []
    if not columns:
        values = _positions(strengths)  # type: ignore[arg-type]
        if not pipe.steering and any(values):
            raise LineaError(f"got strengths {list(values)} and no maps: call load_steering first")
        return values, tuple(dict.fromkeys(pipe.steering, value) for value in values), None
    if len(columns) != len(strengths):
        raise LineaError(f"got strengths {short(strengths)}: expected numbers only, or a dict for each column")
    named = [{pipe.steering.find(name): one for name, one in column.items()} for column in columns]
    dials = tuple({name: check_positions([column.get(name, 0.0)])[0] for name in pipe.steering} for column in named)
    names = list(dict.fromkeys(name for column in named for name in column))
    turning = next((name for name in names if len({dial[name] for dial in dials}) > 1), names[0])
    labels = tuple(", ".join(f"{name} {dial[name]:.3g}" for name in names) for dial in dials)
    return tuple(dial[turning] for dial in dials), dials, labels


def _positions(strengths: Sequence[float]) -> tuple[float, ...]:
    if isinstance(strengths, Sequence) and not strengths:
        raise LineaError("got no strengths: expected at least one column, such as [0, 0.5, 1]")
    return check_positions(strengths)


def _seeds(seeds: Any) -> list[int]:
    values = as_python(seeds)
    if not isinstance(values, Sequence):
        raise LineaError(f"got seeds {short(seeds)}: expected a list of whole numbers")
    return [check_seed(seed) for seed in values]


def _texts(prompts: Sequence[str]) -> list[str]:
    if isinstance(prompts, str):
        raise LineaError(f"got prompts {prompts!r}: expected a list of them, one row each")
    return list(prompts)


def _expect_rows(names: Sequence[str], what: str) -> None:
    if not names:
        raise LineaError(f"got no {what}: expected at least one row")
    for name in names:
        check_adapter_name(name)
