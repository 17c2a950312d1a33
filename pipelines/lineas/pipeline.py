"""Steering for diffusers' ``custom_pipeline``: whatever class a folder holds, loaded with a dial.

    from diffusers import DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained(base, custom_pipeline="pipelines/lineas", trust_remote_code=True)
    pipe.load_steering("neon")
    image = pipe("a red heart", strength=0.7).images[0]

A pipeline that is loaded already is wrapped: ``LinEASDiffusionPipeline(pipe)``.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from typing import Any

import diffusers
from diffusers import DiffusionPipeline

from linea_diffusion import LineaError, LinEASDiffusionPipeline


class LinEASPipeline(DiffusionPipeline):
    """What diffusers loads as a pipeline of unknown components; what it gets is a `LinEASDiffusionPipeline`.

    diffusers asks a custom class for its components before it reads which pipeline the folder holds. So this one names
    none, learns the true class from the folder's configuration, and makes it of what diffusers has loaded.
    """

    _optional_components = ["components"]  # noqa: RUF012  # a parameter of __init__ that is none

    def __init__(self, base_class: Any = None, given: Any = None, **components: Any) -> None:
        """For diffusers, which reads the signature."""

    def __new__(cls, base_class: Any, given: dict[str, Any], **components: Any) -> Any:
        """The wrapper over a pipeline of the folder's own class."""
        components.pop("components", None)
        expected, _ = base_class._get_signature_keys(base_class)
        absent = dict.fromkeys(name for name in expected if name in base_class._optional_components)
        return LinEASDiffusionPipeline(base_class(**{**absent, **components, **given}))

    @classmethod
    def extract_init_dict(
        cls, config_dict: dict[str, Any], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """What is to be loaded, what nobody knows, and what stays in the configuration; as diffusers' own."""
        base_class = getattr(diffusers, str(config_dict["_class_name"]), None)
        if base_class is None:
            raise LineaError(f"got a folder of {config_dict['_class_name']}: expected a pipeline class of diffusers")
        expected, settings = base_class._get_signature_keys(base_class)
        given = {name: kwargs.pop(name) for name in [*expected, *settings] if name in kwargs}
        found, unused, hidden = base_class.extract_init_dict(config_dict, **kwargs)
        own = {name: found.pop(name) for name in settings if name in found}
        parts = {name: value for name, value in found.items() if name not in given}
        return {**parts, "base_class": base_class, "given": {**own, **given}}, unused, hidden

    @classmethod
    def _get_signature_types(cls) -> dict[str, tuple[Any, ...]]:
        return defaultdict(lambda: (inspect.Signature.empty,))
