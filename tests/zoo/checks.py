"""What every pipeline of the matrix must do: each check raises AssertionError, or returns a remark."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from linea_diffusion import Concept, LinEASDiffusionPipeline, SteeringMaps, TrainingConfig, find_modules
from linea_diffusion.errors import LineaError
from linea_diffusion.pipelines.modular import accepts, made_of
from linea_diffusion.steering.activations import record_activations
from linea_diffusion.steering.addresses import is_denoiser, is_text_encoder
from linea_diffusion.steering.calls.layout import Layout
from linea_diffusion.steering.region import Places
from linea_diffusion.training.diffusion import DiffusionRun
from linea_diffusion.training.iteration import batches_of
from linea_diffusion.training.loss.targets import targets_of

from .case import Case

WITHOUT_PLACES = ("ideogram4",)
"""Classes that hand the denoiser the prompt and the picture in one sequence."""
PROMPTS = ["a red heart", "a blue fish"]
TARGETS = ("attention", "norms", "text-norms")


class Subject:
    """One case's pipeline, wrapped, with random maps on all its attention outputs and norms."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.pipe = LinEASDiffusionPipeline(case.build())
        self.plain = self.render(strength=None)
        self.hooks = count_hooks(self.pipe)  # transformers puts some of its own at the first call
        self.maps = self._random_maps()
        self.pipe.load_steering(self.maps)

    def render(self, rows: tuple[int, ...] = (0, 1), **kwargs: Any) -> np.ndarray:
        """Pictures of some of the two prompts, each from its own seed."""
        given = {**self.case.arguments, **self.case.per_image(len(rows))}
        torch.manual_seed(0)  # two classes draw from torch's own generator as well
        generators = [torch.Generator().manual_seed(row) for row in rows]
        output = self.pipe([PROMPTS[row] for row in rows], generator=generators, output_type="np", **given, **kwargs)
        return np.asarray(made_of(output))

    @property
    def denoiser_name(self) -> str:
        """The component that predicts pictures, or what pictures are made of."""
        attention = set(find_modules(self.pipe.base, "attention")) & set(dict(self.maps.named_maps()))
        models = {name.split(".")[0] for name in attention}
        return sorted(filter(is_denoiser, models), key=lambda name: ("prior" in name, name))[0]

    @property
    def denoiser(self) -> torch.nn.Module:
        return self.pipe.components[self.denoiser_name]

    def is_last(self, name: str) -> bool:
        """Whether an activation with maps is in that component."""
        return name.split(".", maxsplit=1)[0] == self.denoiser_name and name in dict(self.maps.named_maps())

    def _random_maps(self) -> SteeringMaps:
        modules = find_modules(self.pipe.base, TARGETS)
        with record_activations(modules) as recorded:
            self.render()
        seen = {name: calls[0] for name, calls in recorded.items() if calls}
        maps = SteeringMaps({name: z.shape[_axis(modules[name], z)] for name, z in seen.items()})
        random = torch.Generator().manual_seed(1)
        for name, affine in maps.named_maps():
            size = float(seen[name].float().std().nan_to_num(1.0))
            with torch.no_grad():
                affine.scale_offset.copy_(0.2 * torch.randn(affine.features, generator=random))
                affine.shift.copy_(0.2 * size * torch.randn(affine.features, generator=random))
        return maps.requires_grad_(False)


def _axis(module: torch.nn.Module, z: torch.Tensor) -> int:
    from linea_diffusion.steering.activations import feature_axis

    return feature_axis(module, z)


def count_hooks(pipe: Any) -> int:
    """Hooks of every kind on all modules of a pipeline."""
    models = [model for model in pipe.components.values() if isinstance(model, torch.nn.Module)]
    modules = [module for model in models for module in model.modules()]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


def strength_0_is_the_base_model(subject: Subject) -> str:
    assert (subject.render(strength=0.0) == subject.plain).all()
    return ""


def strength_1_changes_the_picture(subject: Subject) -> str:
    pictures = subject.render(strength=1.0)
    assert np.isfinite(pictures).all()
    change = np.abs(pictures - subject.plain).reshape(2, -1).mean(axis=1)
    assert change.min() > 1e-3
    return ""


def rows_are_the_pictures_one_by_one(subject: Subject) -> str:
    strengths = [0.3, 0.9]
    together = subject.render(strength=strengths)
    for row, strength in enumerate(strengths):  # a neighbour's strength does not matter
        neighbours = subject.render(strength=[strength, strength])
        np.testing.assert_allclose(together[row], neighbours[row], atol=2e-3)
    assert np.abs(together[0] - subject.render(strength=[0.9, 0.9])[0]).max() > 1e-3
    base = max(np.abs(subject.render((row,), strength=0.0)[0] - subject.plain[row]).max() for row in (0, 1))
    if base > 1e-3:
        return "the base model's own pictures depend on the batch"
    alone = [subject.render((row,), strength=[strength])[0] for row, strength in enumerate(strengths)]
    np.testing.assert_allclose(together, np.stack(alone), atol=2e-3)
    return ""


def fused_is_hooked(subject: Subject) -> str:
    hooked = subject.render(strength=0.6)
    given = {**subject.case.arguments, **subject.case.per_image(1)}
    fusion = subject.pipe.fuse_steering(0.6, **given)
    fused = subject.render()
    subject.pipe.unfuse_steering()
    np.testing.assert_allclose(fused, hooked, atol=5e-3)
    assert (subject.render(strength=0.0) == subject.plain).all()
    assert fusion.folded
    return f"{len(fusion.folded)} of {len(fusion.folded) + len(fusion.hooked)}"


def saved_and_loaded(subject: Subject, folder: Path) -> str:
    before = subject.render(strength=0.7)
    subject.maps.save_pretrained(folder)
    subject.pipe.load_steering(folder, "again")
    after = subject.render(strength={"again": 0.7})
    subject.pipe.unload_steering("again")
    assert (before == after).all()
    return ""


def gradients_reach_all_maps(subject: Subject) -> str:
    given = {**subject.case.arguments, **subject.case.per_image(2)}
    steps = given.pop("num_inference_steps", 2)
    given = {k: v for k, v in given.items() if k != "guidance_scale"}
    if accepts(subject.pipe.base, "guidance_scale") and "guidance_scale" in subject.case.arguments:
        given["guidance_scale"] = subject.case.arguments["guidance_scale"]
    concept = Concept("test", source=tuple(PROMPTS), target=tuple(f"{p} neon" for p in PROMPTS), text="neon")
    config = TrainingConfig(
        iterations=1, batch_size=2, num_inference_steps=steps, guidance_scale=None, target_modules=TARGETS,
        call_arguments=given, sparsity=0.0, rank=2, pairing="rows", strengths=(1.0,),
    )  # fmt: skip
    with batches_of(DiffusionRun(subject.pipe, config), config) as batches:
        (target,), _, recorded = targets_of(batches, concept, config)
        maps = batches.fresh_maps(recorded)
        batches.gradients(maps, list(concept.source), range(2), target)
    sizes: dict[str, float] = {}
    for name, affine in maps.named_maps():
        for parameter in affine.parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all()
                component = name.split(".")[0]
                sizes[component] = sizes.get(component, 0.0) + float(parameter.grad.abs().sum())
    components = {component for component, size in sizes.items() if size > 0}
    assert any(is_text_encoder(component) for component in components), sizes
    assert any(is_denoiser(component) for component in components), sizes
    return ""


def a_mask_is_where_the_picture_is(subject: Subject) -> str:
    """Maps of the last attention layer, after which tokens meet no others, change the half that a mask leaves them."""
    if subject.case.key in WITHOUT_PLACES:
        with pytest.raises(LineaError, match="does not say where"):
            last_layer_changes(subject, [[1.0, 0.0]])
        return ""
    left = last_layer_changes(subject, [[1.0, 0.0]])
    upper = last_layer_changes(subject, [[1.0], [0.0]]).transpose(-1, -2)
    for change in (left, upper):
        inside, outside = change[..., : change.shape[-1] // 2].mean(), change[..., (change.shape[-1] + 1) // 2 :].mean()
        assert inside > 0
        convolved = any(isinstance(one, torch.nn.Conv2d) for one in subject.denoiser.modules())
        assert outside <= (0.01 * inside if not convolved or "transformer" in subject.denoiser_name else float("inf"))
    pictures = subject.render(strength=1.0, mask=[[1.0, 0.0]])
    half = pictures.shape[-2] // 2
    assert (pictures[..., half:, :] == subject.plain[..., half:, :]).all()
    return ""


def last_layer_changes(subject: Subject, mask: list[list[float]]) -> torch.Tensor:
    """How much each place (..., h, w) of the denoiser's first prediction changes with maps of its last attention."""
    modules = {name: one for name, one in find_modules(subject.pipe.base, "attention").items() if subject.is_last(name)}
    with record_activations(modules) as recorded:
        subject.render(strength=0.0)
    maps = subject.maps.subset(re.escape(recorded.order[-1][0]))
    predictions, seen = [], []
    places = Layout.places

    def told(self: Layout, *given: Any) -> Places | None:
        seen.append(places(self, *given))
        return seen[-1]

    def keep(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        first = output if isinstance(output, torch.Tensor) else output[0]
        predictions.append(torch.stack(first) if isinstance(first, list) else first)

    subject.pipe.load_steering(maps, "last")
    with subject.denoiser.register_forward_hook(keep), mock.patch.object(Layout, "places", told):
        subject.render(strength={"last": 0.0})
        subject.render(strength={"last": 1.0}, mask=mask, masking="activations")
    subject.pipe.unload_steering("last")
    change = (predictions[len(predictions) // 2] - predictions[0]).abs().float()
    if change.ndim > 3:
        return change
    first = next(one for one in seen if one is not None)
    start = first.starts[0] if change.shape[1] == first.tokens else 0
    _, height, width = first.grid
    return change[:, start : start + height * width].reshape(len(change), height, width, -1).movedim(-1, 1)


CHECKS: dict[str, Callable[..., str]] = {
    "strength 0 is the base model, bit for bit": strength_0_is_the_base_model,
    "strength 1 changes the picture": strength_1_changes_the_picture,
    "gradients reach text-encoder and denoiser maps": gradients_reach_all_maps,
    "rows of a batch are the pictures one by one": rows_are_the_pictures_one_by_one,
    "fused is hooked; unfused is the base model": fused_is_hooked,
    "saved and loaded": saved_and_loaded,
    "a mask is where the picture is": a_mask_is_where_the_picture_is,
}
