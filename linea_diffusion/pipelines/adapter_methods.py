"""Loading, choosing and fusing maps: the methods of a steered pipeline, in the manner of diffusers' LoRA methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import LineaError
from ..maps.steering_maps import SteeringMaps
from ..steering.addresses import absent, model_name
from ..steering.calls.acted import tell_resting
from ..steering.calls.caches import forgetting
from ..steering.dial import Composition, Dial
from ..steering.weights.fusing import Fusion, fuse
from .adapters import Adapters, StrengthArgument, check_adapter_name
from .modular import accepts, called
from .packaged import load_maps


class SteeringMethods:
    """What `LinEASDiffusionPipeline` does with maps between calls.

    Attributes:
        base: the wrapped pipeline.
        steering: adapter name -> `SteeringMaps`, in the order of loading.
        default_arguments: what a call passes to the base pipeline unless told otherwise.
    """

    base: Any
    steering: Adapters
    default_arguments: dict[str, Any]

    def load_steering(
        self, source: SteeringMaps | str | Path, adapter_name: str | None = None, *, replace: bool = False
    ) -> str:
        """Add maps under a name.

        Args:
            source: maps, a folder that ``save_pretrained`` wrote, a Hub id, or the name of a style that comes with an
                embedded model.
            adapter_name: what ``strength={...}`` calls them. When left out: the concept that the maps name, else the
                last part of the folder or Hub id, else ``default``.
            replace: put these maps in the place of others of that name.

        Returns:
            The name. Maps that came from a folder or the Hub are also found by its last part.

        Raises:
            LineaError: unreadable maps, maps of another model, a name that is no text, or one that other maps have.

        Maps of a component that the pipeline does without rest; a warning names them.
        """
        if adapter_name is not None:
            check_adapter_name(adapter_name)
        origin = None if isinstance(source, SteeringMaps) else str(source)
        if not isinstance(source, SteeringMaps):
            source = load_maps(source, model_name(self.base))
        maps = source
        maps.modules_in(self.base)
        tell_resting(absent(self.base, dict(maps.acting())))
        return self.steering.add(maps.to(self.base.device), adapter_name, origin, replace=replace)

    def set_steering(
        self, adapter_names: str | Sequence[str], strengths: float | Sequence[StrengthArgument] = 1.0
    ) -> None:
        """Let these adapters act in calls that give no ``strength``; the others rest. As diffusers' ``set_adapters``.

        Args:
            adapter_names: one or several loaded adapters.
            strengths: one number for all of them, or one entry each, a number or a list with one per prompt.

        Raises:
            LineaError: an adapter that is not loaded, or not one strength for each.

        Each call reads them on the dial that its ``calibrated`` says, as it reads a ``strength``.
        """
        self.steering.choose(adapter_names, strengths)

    def get_list_steering(self) -> list[str]:
        """Names of the loaded adapters, in the order of loading."""
        return list(self.steering)

    def get_active_steering(self) -> dict[str, float | list[float]]:
        """Adapter name -> strength, of those that act in a call without ``strength``."""
        return self.steering.active()

    def disable_steering(self) -> None:
        """Calls without ``strength`` are the base model's until `enable_steering`; the adapters stay loaded."""
        self.steering.enabled = False

    def enable_steering(self) -> None:
        """Undo `disable_steering`."""
        self.steering.enabled = True

    def unload_steering(self, adapter_name: str | None = None) -> None:
        """Remove one adapter, or all of them."""
        self.steering.remove(adapter_name)

    def fuse_steering(
        self,
        strength: float | Mapping[str, float] | None = None,
        *,
        composition: Composition = "sum",
        calibrated: bool | None = None,
        **kwargs: Any,
    ) -> Fusion:
        """Fold the loaded maps into the weights: calls cost what the base model's cost, until `unfuse_steering`.

        Unless all maps are on single layers (such as the norms), the pipeline is run once to see which layers make the
        activations. What no layer makes alone stays a hook; other pipelines that share the model are steered too.
        A LoRA has to be loaded before and unloaded after, because it puts other modules into the model.

        Args:
            strength: as for a call, one number for each adapter.
            composition: as for a call.
            calibrated: as for a call.
            **kwargs: of that run, for pipelines that need more than a prompt; one step unless told otherwise.

        Returns:
            Which activations were ``folded`` into layers, and which stay ``hooked``.

        Raises:
            LineaError: fused already, nothing to fuse, a strength per picture, maps per part of the schedule, or
                ``calibrated=True`` with maps that never were.
        """
        arguments = {"prompt": "a picture", **self.default_arguments}
        if accepts(self.base, "num_inference_steps"):
            arguments["num_inference_steps"] = 1
        arguments.update(kwargs)
        dial = Dial(composition, calibrated=calibrated)
        with forgetting(self.base):
            return self._fused(strength, dial, lambda: called(self.base, **arguments))

    def _fused(self, strength: Any, dial: Dial, run: Callable[[], Any]) -> Fusion:
        """`fuse_steering`, with how the model is run once."""
        setting = self.steering.at(strength, dial)
        if not setting.acts:
            raise LineaError("got nothing to fuse: expected loaded maps and a strength other than 0, not fused already")
        self.steering.fusion = fuse(self.base, setting.layers, run, dial=dial)
        return self.steering.fusion

    def unfuse_steering(self) -> None:
        """Give the layers their own weights back, bit for bit.

        Raises:
            LineaError: nothing is fused.
        """
        if self.steering.fusion is None:
            raise LineaError("got nothing to unfuse: call fuse_steering first")
        self.steering.fusion.undo()
        self.steering.fusion = None
