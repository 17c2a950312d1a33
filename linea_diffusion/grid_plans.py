"""Plans of grids: which prompt, seed and strengths every picture has, for each kind of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .concepts import StyleTexts
from .errors import LineaError
from .maps import SteeringMaps

Source = SteeringMaps | str | Path


@dataclass(frozen=True)
class Row:
    """A row before it is rendered: one prompt, one noise, and per column the strength of every adapter.

    Attributes:
        label: beside the row.
        prompt: what the pictures show.
        seed: of the noise.
        strengths: the position of the dial, per column.
        dials: adapter -> strength, per column.
        style: what the row steers to.
        method: how, where rows are methods.
        asked: per column what the pipeline is given instead of the prompt, or None.
    """

    label: str
    prompt: str
    seed: int
    strengths: tuple[float, ...]
    dials: tuple[Mapping[str, float], ...]
    style: str = ""
    method: str = ""
    asked: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A grid before it is rendered.

    Attributes:
        rows: equally long.
        columns: labels.
        kind: what rows and columns are, such as ``prompts x strengths``.
        title: above the grid.
        style: what the grid is about, for titles and tables.
        maps: adapters that are loaded for the grid and unloaded after it; those of the pipeline act as well.
        texts: style -> what its pictures are scored against, where the maps say it.
    """

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    kind: str
    title: str
    style: str
    maps: Mapping[str, SteeringMaps] = field(default_factory=dict)
    texts: Mapping[str, StyleTexts] = field(default_factory=dict)


def plan_prompts(
    pipe: Any, prompts: Sequence[str], strengths: Sequence[float], *, seeds: int | Sequence[int] = 0, style: str = ""
) -> Plan:
    """Prompts x strengths: all loaded adapters turn together.

    Raises:
        LineaError: no prompts, or seeds that do not fit them.
    """
    prompts = _texts(prompts)
    given = [seeds + i for i in range(len(prompts))] if isinstance(seeds, int) else list(seeds)
    if len(given) != len(prompts) or not prompts:
        raise LineaError(f"got {len(prompts)} prompts and {len(given)} seeds: expected at least one, and equally many")
    values, names = _positions(strengths), _loaded(pipe, strengths)
    dials = tuple(dict.fromkeys(names, value) for value in values)
    rows = [Row(prompt, prompt, seed, values, dials, style) for prompt, seed in zip(prompts, given, strict=True)]
    return _plan(pipe, rows, "prompts x strengths", style, style)


def plan_seeds(pipe: Any, prompt: str, strengths: Sequence[float], *, seeds: Sequence[int], style: str = "") -> Plan:
    """Seeds x strengths of one prompt: all loaded adapters turn together.

    Raises:
        LineaError: no seeds, or one twice.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise LineaError(f"got seeds {list(seeds)}: expected at least one, and none twice")
    values, names = _positions(strengths), _loaded(pipe, strengths)
    dials = tuple(dict.fromkeys(names, value) for value in values)
    rows = [Row(f"seed {seed}", prompt, seed, values, dials, style) for seed in seeds]
    return _plan(pipe, rows, "seeds x strengths", f"{style}: {prompt}" if style else prompt, style)


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
        pipe.steering.known(names)
    return _each(pipe, names, prompt, strengths, seed, maps, kind="styles x strengths", title=prompt)


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
    pipe.steering.known(names)
    first, second = names
    columns, positions = _positions(strengths), _positions(strengths if row_strengths is None else row_strengths)
    rows = [
        Row(f"{first} {position:.3g}", prompt, seed, columns, tuple({first: position, second: c} for c in columns), first)
        for position in positions
    ]
    labels = tuple(f"{second} {value:.3g}" for value in columns)
    return _plan(pipe, rows, f"{first} x {second}", prompt, first, labels=labels)


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
    named = isinstance(maps, Mapping)
    opened = _opened(maps if isinstance(maps, Mapping) else {str(number): source for number, source in enumerate(maps)})
    _expect_rows(list(opened), "maps")
    concepts = {known.metadata["concept"] for known in opened.values() if "concept" in known.metadata}
    if len(concepts) > 1:
        raise LineaError(f"got maps of the concepts {sorted(concepts)}: expected maps of one; for several use styles")
    names = list(opened) if named else sorted(opened, key=lambda name: -opened[name].support)
    labels = {} if named else {name: f"{100 * opened[name].support:.3g}% of the numbers" for name in names}
    style = style or next(iter(concepts), "")
    return _each(
        pipe, names, prompt, strengths, seed, opened,
        kind="sparsity x strengths", title=f"{style}: {prompt}" if style else prompt, labels=labels, style=style,
    )  # fmt: skip


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
    style = style or next((known.metadata["concept"] for known in opened.values() if "concept" in known.metadata), "")
    if None in methods.values() and not style:
        raise LineaError("got asking in words and maps that name no concept: expected style= with what to ask for")
    values = _positions(strengths)
    plan = _each(
        pipe, list(opened), prompt, values, seed, opened,
        kind="methods x strengths", title=f"{style}: {prompt}" if style else prompt, style=style,
    )  # fmt: skip
    by_name = {row.method: row for row in plan.rows}
    asked = tuple(f"{prompt}, {style}" if value else None for value in values)
    still = tuple(dict.fromkeys(opened, 0.0) for _ in values)
    rows = [
        by_name.get(name) or Row(f"{name} (words: on or off)", prompt, seed, values, still, style, name, asked)
        for name in methods
    ]
    return _plan(pipe, rows, plan.kind, plan.title, style, maps=opened)


def _each(
    pipe: Any,
    names: Sequence[str],
    prompt: str,
    strengths: Sequence[float],
    seed: int,
    maps: Mapping[str, SteeringMaps],
    *,
    kind: str,
    title: str,
    labels: Mapping[str, str] | None = None,
    style: str | None = None,
) -> Plan:
    """One row for each adapter, which turns while the others rest."""
    values = _positions(strengths)
    rows = [
        Row(
            (labels or {}).get(name, name), prompt, seed, values,
            tuple({other: value if other == name else 0.0 for other in names} for value in values),
            name if style is None else style, name,
        )  # fmt: skip
        for name in names
    ]
    return _plan(pipe, rows, kind, title, style or "", maps=maps)


def _plan(
    pipe: Any,
    rows: Sequence[Row],
    kind: str,
    title: str,
    style: str,
    *,
    labels: tuple[str, ...] | None = None,
    maps: Mapping[str, SteeringMaps] | None = None,
) -> Plan:
    known = {**pipe.steering, **(maps or {})}
    texts = {}
    for row in rows:
        acting = [name for name in dict.fromkeys(n for dial in row.dials for n, v in dial.items() if v) if name in known]
        found = next((texts_of(known[name]) for name in [row.style, *acting] if name in known), None)
        if found is not None:
            texts.setdefault(row.style, found)
    columns = labels or tuple(f"{value:.3g}" for value in rows[0].strengths)
    return Plan(tuple(rows), columns, kind, title, style, maps or {}, texts)


def texts_of(maps: SteeringMaps) -> StyleTexts | None:
    """What pictures of a set of maps are scored against, if the maps say it."""
    facts = maps.metadata
    if not {"concept", "text", "neutral"} <= facts.keys():
        return None
    return StyleTexts(facts["concept"], facts["text"], facts["neutral"])


def _opened(sources: Mapping[str, Source]) -> dict[str, SteeringMaps]:
    return {
        name: source if isinstance(source, SteeringMaps) else SteeringMaps.from_pretrained(source)
        for name, source in sources.items()
    }


def _loaded(pipe: Any, strengths: Sequence[float]) -> list[str]:
    if not pipe.steering and any(strengths):
        raise LineaError(f"got strengths {list(strengths)} and no maps: call load_steering first")
    return list(pipe.steering)


def _positions(strengths: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(value) for value in strengths)
    if not values:
        raise LineaError("got no strengths: expected at least one column, such as [0, 0.5, 1]")
    return values


def _texts(prompts: Sequence[str]) -> list[str]:
    if isinstance(prompts, str):
        raise LineaError(f"got prompts {prompts!r}: expected a list of them, one row each")
    return list(prompts)


def _expect_rows(names: Sequence[str], what: str) -> None:
    if not names:
        raise LineaError(f"got no {what}: expected at least one row")
