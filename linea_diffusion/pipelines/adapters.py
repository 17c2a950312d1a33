"""The maps that a pipeline has loaded, and how strong each of them is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..concepts.files import read_text
from ..errors import LineaError, nearest_hint, short
from ..maps.digests import maps_digest
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..steering.curves import StrengthCurve, read_curve
from ..steering.dial import Dial, check_strength, is_curve
from ..steering.steer import Layer
from ..steering.weights.fusing import Fusion

StrengthArgument = (
    float | torch.Tensor | Sequence[float] | Sequence[tuple[float, float]] | Callable[[float], float] | Sequence[Any]
)
Strengths = StrengthArgument | Mapping[str, StrengthArgument]
"""What a call takes: for all adapters, by adapter, or a list with either for each row."""


@dataclass(frozen=True, eq=False)
class Setting:
    """The loaded maps as one call wants them.

    Attributes:
        strengths: adapter name -> at which strength its maps act, () or (n,), or a curve of that.
        layers: the same for `steer`.
        key: all that embeddings depend on which such a call makes.
    """

    strengths: Mapping[str, torch.Tensor | StrengthCurve]
    layers: Sequence[Layer]
    key: tuple[object, ...]

    @property
    def rows(self) -> int | None:
        """How many strengths there are for the rows of a batch; None where each adapter has one for all of them.

        Raises:
            LineaError: lists of different lengths.
        """
        lengths = {_rows(values) for values in self.strengths.values() if _rows(values)}
        if len(lengths) > 1:
            raise LineaError(f"got strength lists of lengths {sorted(lengths)}: expected equal lengths")
        return lengths.pop() if lengths else None

    @property
    def acts(self) -> bool:
        """Whether some strength is not 0."""
        return any(map(_acts, self.strengths.values()))


class Adapters(dict[str, SteeringMaps]):
    """Adapter name -> maps, in the order of loading, with what `set_steering` chose.

    Attributes:
        enabled: False between ``disable_steering`` and ``enable_steering``.
        choice: adapter name -> strength of the calls that give none; None before the first choice, when all loaded
            adapters act at 1.
        fusion: what `fuse_steering` did to the weights, if it did.
        sources: adapter name -> the folder or Hub id that its maps came from, whose last part is another name of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.sources: dict[str, str] = {}
        self.choice: dict[str, torch.Tensor] | None = None
        self.fusion: Fusion | None = None

    def choose(self, names: str | Sequence[str], strengths: Any) -> None:
        """Let these adapters act, at these strengths, in calls that give no strength; the others rest.

        Raises:
            LineaError: an adapter that is not loaded, or lists of different lengths.
        """
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, Sequence):
            raise LineaError(f"got adapters {short(names)}: expected a name, or a list of names")
        names = [self.find(name) for name in names]
        values: Sequence[Any] = _each(strengths, len(names))
        if len(values) != len(names) or len(set(names)) != len(names):
            raise LineaError(
                f"got adapters {short(names)} and {len(values)} strengths: expected one strength for each of them"
            )
        self.choice = {name: check_strength(value) for name, value in zip(names, values, strict=True)}

    def remove(self, name: str | None = None) -> None:
        """Forget one set of maps, or all of them and the choice."""
        if name is not None:
            name = self.find(name)
            del self[name]
            self.sources.pop(name, None)
            if self.choice is not None:
                self.choice.pop(name, None)
            return
        if self.fusion is not None:
            self.fusion.undo()
            self.fusion = None
        self.clear()
        self.sources.clear()
        self.choice, self.enabled = None, True

    def at(self, strength: Strengths | None, dial: Dial) -> Setting:
        """Every loaded adapter at the strength of a call; each set of maps reads it on its own dial.

        Args:
            strength: of a call; None leaves it to what was chosen.
            dial: of the call.

        Raises:
            LineaError: a strength for maps that are not loaded or not enabled, or that is not finite;
                ``calibrated=True`` with maps that never were.
        """
        strengths = {name: self._read(name, value, dial) for name, value in self._strengths(strength).items()}
        layers = [(dict(maps.named_maps()), strengths[name]) for name, maps in self.items() if name in strengths]
        numbers = {
            name: values.key if isinstance(values, StrengthCurve) else values.reshape(-1).tolist()
            for name, values in strengths.items()
        }
        curve = None if dial.curve is None else dial.curve.key
        return Setting(strengths, layers, (numbers, curve, dial.composition, dial.guidance, *self.values()))

    def _read(self, name: str, strength: torch.Tensor | StrengthCurve, dial: Dial) -> torch.Tensor | StrengthCurve:
        """Where an adapter's maps stand when its dial shows a strength; a list of one is one for all rows."""
        if isinstance(strength, StrengthCurve):
            return strength.through(self[name].dial(dial.calibrated).positions) if name in self else strength
        strength = strength.reshape(()) if strength.numel() == 1 else strength
        return self[name].dial(dial.calibrated).positions(strength) if name in self else strength

    def _strengths(self, strength: Strengths | None) -> dict[str, torch.Tensor | StrengthCurve]:
        """What the dial of every loaded adapter shows in a call, () or (n,) each, or a curve of that."""
        if strength is None:
            if not self.enabled or self.fusion is not None:
                return {}
            choice = dict.fromkeys(self, torch.tensor(1.0)) if self.choice is None else self.choice
            return {name: choice.get(name, torch.tensor(0.0)) for name in self}
        if self.fusion is not None:
            raise LineaError(f"got strength {short(strength)} while steering is fused: call unfuse_steering first")
        if isinstance(strength, Mapping):
            named = self._named(strength)
            values = {name: _read_strength(named.get(name, 0.0)) for name in self}
        elif isinstance(strength, list | tuple) and any(isinstance(one, Mapping) for one in strength):
            values = self._by_row(strength)
        else:
            value = _read_strength(strength)
            values = dict.fromkeys(self, value) or {"": value}
        acts = any(map(_acts, values.values()))
        if acts and not self:
            raise LineaError(f"got strength {short(strength)} and no maps: call load_steering first")
        if acts and not self.enabled:
            raise LineaError(f"got strength {short(strength)} while steering is disabled: call enable_steering first")
        return values

    def _by_row(self, strengths: Sequence[Any]) -> dict[str, torch.Tensor | StrengthCurve]:
        """Strengths of rows, each one for all adapters or one by adapter, as those of every adapter."""
        names = list(self) or [""]
        rows: list[dict[str, Any]] = [
            self._named(one) if isinstance(one, Mapping) else dict.fromkeys(names, one) for one in strengths
        ]
        return {name: _read_strength([row.get(name, 0.0) for row in rows]) for name in names}

    def _named(self, strength: Mapping[str, Any]) -> dict[str, Any]:
        """Strengths by the adapters' own names."""
        named = {self.find(name): value for name, value in strength.items()}
        if len(named) != len(strength):
            raise LineaError(f"got strength {short(strength)}, which names an adapter twice: expected each once")
        return named

    def active(self) -> dict[str, float | list[float]]:
        """Adapter name -> strength, of those that act in a call without strength."""
        chosen = self._strengths(None).items()
        values = {name: strength.tolist() for name, strength in chosen if isinstance(strength, torch.Tensor)}
        return {name: value for name, value in values.items() if value not in (0.0, [0.0])}

    def refuse_fusion(self, what: str) -> None:
        """Raise if steering is fused.

        Raises:
            LineaError: it is.
        """
        if self.fusion is not None:
            raise LineaError(f"got {what} while steering is fused into the weights: call unfuse_steering first")

    def refuse_stale_fusion(self, pipe: Any) -> None:
        """Raise if steering is fused into layers that a pipeline no longer runs.

        Raises:
            LineaError: it is.
        """
        if self.fusion is not None:
            self.fusion.refuse_stale(pipe)

    def save(self, folder: Path) -> None:
        """Write the adapters below a pipeline's folder, in their order."""
        if not self:
            return
        for number, maps in enumerate(self.values()):
            maps.save_pretrained(folder / _FOLDER / str(number))
        choice = None if self.choice is None else {name: one.tolist() for name, one in self.choice.items()}
        facts = {"names": list(self), "chosen": choice, "enabled": self.enabled}
        (folder / _FOLDER / "adapters.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote below a pipeline's folder; nothing if it wrote nothing.

        Raises:
            LineaError: something else is there.
        """
        file = folder / _FOLDER / "adapters.json"
        if file.is_file():
            facts = _saved(file)
            for number, name in enumerate(facts["names"]):
                check_adapter_name(name)
                self[name] = SteeringMaps.from_pretrained(folder / _FOLDER / str(number))
            if facts["chosen"] is not None:
                self.choose(list(facts["chosen"]), list(facts["chosen"].values()))
            self.enabled = facts["enabled"]

    def check_names(self, names: Sequence[str] | Mapping[str, object] | Iterator[str]) -> None:
        """Check that adapters are loaded.

        Raises:
            LineaError: one is not; the error names the nearest.
        """
        for name in names:
            self.find(name)

    def find(self, name: str) -> str:
        """The name of a loaded adapter: its own, or the last part of the folder or Hub id that it came from.

        Raises:
            LineaError: none is called so, or several came from folders of that name.
        """
        check_adapter_name(name)
        if name in self:
            return name
        close = [own for own, source in self.sources.items() if last_part(source) == name]
        if len(close) > 1:
            raise LineaError(f"got adapter {name!r}, which {' and '.join(close)} both came from: expected one of them")
        if not close:
            loaded = f"one of {', '.join(self)}{nearest_hint(name, self)}" if self else "a loaded one; none are loaded"
            raise LineaError(f"got adapter {name!r}: expected {loaded}")
        return close[0]

    def add(self, maps: SteeringMaps, name: str | None, source: str | None, *, replace: bool) -> str:
        """Keep maps under a name; returns it.

        Args:
            maps: to be kept.
            name: of the adapter; when left out the concept of the maps, else the last part of `source`, else
                ``default``.
            source: folder or Hub id that they came from.
            replace: whether other maps may be called so already.

        Raises:
            LineaError: they are, and may not.
        """
        name = adapter_name_of(maps, source) if name is None else name
        check_adapter_name(name)
        if name in self and not replace and maps_digest(maps) != maps_digest(self[name]):
            raise LineaError(
                f"got maps for the adapter {name!r}, and other maps are loaded under that name: expected another "
                "adapter_name=, or replace=True"
            )
        self[name] = maps
        self.sources.pop(name, None)
        if source is not None:
            self.sources[name] = source
        return name


def _read_strength(strength: Any) -> torch.Tensor | StrengthCurve:
    return read_curve(strength) if is_curve(strength) else check_strength(strength)


def _acts(strength: torch.Tensor | StrengthCurve) -> bool:
    """Whether it may be other than 0."""
    return isinstance(strength, StrengthCurve) or bool(torch.any(strength != 0))


def _rows(strength: torch.Tensor | StrengthCurve) -> int:
    """How many pictures a strength is for; 0 for all."""
    if isinstance(strength, StrengthCurve):
        return strength.rows
    return len(strength) if strength.ndim else 0


def last_part(source: str) -> str:
    """The name of a folder or of a repository on the Hub."""
    return Path(source).resolve().name if source in (".", "..") else Path(source).name


def adapter_name_of(maps: SteeringMaps, source: str | None) -> str:
    """What maps are called when nobody says it: by their concept, else by the folder that they came from."""
    return Facts.of(maps.metadata).concept or (last_part(source) if source else "") or "default"


def check_adapter_name(name: object) -> None:
    """Whether an adapter can be called so.

    Raises:
        LineaError: no text, or one without a letter.
    """
    if not isinstance(name, str) or not name.strip():
        raise LineaError(f"got adapter name {short(name)}: expected a text that is not empty, such as 'neon'")


def _each(strengths: Any, count: int) -> Sequence[Any]:
    """One strength for each of `count` adapters: the same for all, or one entry each."""
    if isinstance(strengths, Sequence) and not isinstance(strengths, str | bytes):
        return strengths
    values = check_strength(strengths)
    return list(values) if values.ndim else [values] * count


_FOLDER = "steering"


def _saved(file: Path) -> dict[str, Any]:
    text = read_text(file, what="list of adapters")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if isinstance(facts, list):  # of version 0.1, without what was chosen
        facts = {"names": facts, "chosen": None, "enabled": True}
    kinds = {"names": list, "chosen": dict | None, "enabled": bool}
    if not isinstance(facts, dict) or not all(isinstance(facts.get(key, ()), kind) for key, kind in kinds.items()):
        raise LineaError(
            f"got list of adapters {str(file)!r}: expected their names and strengths in JSON; save the pipeline anew"
        )
    return facts
