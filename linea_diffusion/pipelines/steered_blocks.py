"""A block for modular pipelines of diffusers that steers the blocks within it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffusers import ModularPipelineBlocks
from diffusers.modular_pipelines.modular_pipeline_utils import InputParam

from ..errors import LineaError, short
from ..maps.steering_maps import SteeringMaps
from ..steering.addresses import Address
from ..steering.calls.acted import guard_hooks, tell_resting
from ..steering.curves import curve_of
from ..steering.dial import Dial
from ..steering.steer import steer
from .adapters import Adapters, Setting
from .overflow import look_out, tell_unusable
from .prompts import running_call, spread
from .rendering.requests import DIAL

_DIAL = {name: value for name, value in DIAL.items() if name not in ("mask", "masking")}
_WORDS = {
    "steering": "Maps: a folder, a Hub id or SteeringMaps, or a dict {name: one of these}; nothing is steered without.",
    "steering_strength": "As strength= of LinEASDiffusionPipeline: a number, a list, a dict by name, a curve.",
    **dict.fromkeys(_DIAL, "As for LinEASDiffusionPipeline."),
}


class LinEASBlocks(ModularPipelineBlocks):
    """Blocks of a modular pipeline with a dial: they run as they are, steered, and nothing else is.

    What steers comes as inputs of the pipeline: ``steering`` and ``steering_strength`` (``strength`` is the name of
    image-to-image blocks' own), and those of `LinEASDiffusionPipeline`'s call. Steering lasts as long as the blocks
    run, however they end.

    Args:
        blocks: a whole workflow, such as ``FluxAutoBlocks()``, or one of its blocks. Maps of components that these do
            not use rest, and a warning says so.
    """

    def __init__(self, blocks: Any = None) -> None:
        if not isinstance(blocks, ModularPipelineBlocks):
            raise LineaError(
                f"got blocks {short(blocks)}: expected those of a modular pipeline, such as blocks=FluxAutoBlocks()"
            )
        super().__init__()
        self.blocks = blocks  # not among sub_blocks: diffusers would take them out of here to make a workflow
        self._loaded: dict[str, SteeringMaps] = {}

    @property
    def model_name(self) -> str | None:
        """Of the blocks within: it chooses the class of the pipeline."""
        return self.blocks.model_name

    @property
    def description(self) -> str:
        """What it does, and what the blocks within do."""
        return f"Steers, by maps of linea-diffusion, what runs in: {self.blocks.description}"

    @property
    def expected_components(self) -> list[Any]:
        """Those of the blocks within."""
        return list(self.blocks.expected_components)

    @property
    def expected_configs(self) -> list[Any]:
        """Those of the blocks within."""
        return list(self.blocks.expected_configs)

    @property
    def inputs(self) -> list[Any]:
        """Those of the blocks within, and what steers."""
        usual = {"steering": None, "steering_strength": 1.0, **_DIAL}
        own = [InputParam(name, default=value, description=_WORDS[name]) for name, value in usual.items()]
        return [*self.blocks.inputs, *own]

    @property
    def intermediate_outputs(self) -> list[Any]:
        """Those of the blocks within."""
        return list(self.blocks.intermediate_outputs)

    @property
    def available_workflows(self) -> Any:
        """Those of the blocks within."""
        return self.blocks.available_workflows

    def get_workflow(self, workflow_name: str) -> LinEASBlocks:
        """The blocks of one workflow, steered likewise."""
        return type(self)(self.blocks.get_workflow(workflow_name))

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """As diffusers' blocks with a bar."""
        for block in (self.blocks, *self.blocks.sub_blocks.values()):
            if hasattr(block, "set_progress_bar_config"):
                block.set_progress_bar_config(**kwargs)

    def __call__(self, components: Any, state: Any) -> tuple[Any, Any]:
        """Run the blocks within, steered as the state says.

        Raises:
            LineaError: as for a call of `LinEASDiffusionPipeline`.
        """
        guard_hooks()
        dial = _dial_of(state)
        setting = self._setting(state, dial)
        arguments = {one.name: state.get(one.name) for one in self.blocks.inputs if one.name}
        rest = {name: value for name, value in arguments.items() if name != "prompt" and value is not None}
        prompt, rest = spread(arguments.get("prompt"), setting.rows, rest, components)
        for name, value in {"prompt": prompt, **rest}.items():
            if value is not arguments.get(name):
                state.set(name, value)
        call = running_call(prompt, rest, inside=True)
        with steer(components, setting.layers, dial, call) as sites, look_out(components) as outlook:
            components, state = self.blocks(components, state)
            call.refuse_nothing()
        if sites and outlook.why:
            raise LineaError(outlook.why)
        tell_unusable(outlook)
        return components, state

    def _setting(self, state: Any, dial: Dial) -> Setting:
        """The maps of the components that the blocks use, at the strengths of the call."""
        adapters, given = Adapters(), state.get("steering")
        for name, one in (given if isinstance(given, Mapping) else {"default": given}).items():
            if one is not None:
                adapters[name] = one if isinstance(one, SteeringMaps) else self._maps(str(one))
        setting = adapters.at(state.get("steering_strength") if adapters else 0.0, dial)
        used, names = set(self.blocks.component_names), {name for maps, _ in setting.layers for name in maps}
        tell_resting(sorted(name for name in names if Address.of(name).component not in used))
        layers = [
            ({name: one for name, one in maps.items() if Address.of(name).component in used}, strength)
            for maps, strength in setting.layers
        ]
        return replace(setting, layers=layers)

    def _maps(self, place: str) -> SteeringMaps:
        """Those of a folder or Hub id, which is read once."""
        if place not in self._loaded:
            self._loaded[place] = SteeringMaps.from_pretrained(place)
        return self._loaded[place]


def _dial_of(state: Any) -> Dial:
    """How the maps act."""
    values = {name: state.get(name) for name in _DIAL}
    curve = None if values["strength_curve"] is None else curve_of(values["strength_curve"])
    return Dial(
        values["composition"],
        values["steering_guidance"],
        values["steering_start"],
        values["steering_end"],
        values["calibrated"],
        curve,
    )
