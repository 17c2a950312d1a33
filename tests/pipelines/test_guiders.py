"""Guiders of modular pipelines, and attention backends: what else runs a model changes nothing of steering.

Evidence: real classes with random weights; plain hooks (`SteeringMaps.apply`), and the base pipeline.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import (
    AdaptiveProjectedGuidance,
    ClassifierFreeGuidance,
    ClassifierFreeZeroStarGuidance,
    PerturbedAttentionGuidance,
    SkipLayerGuidance,
    SmoothedEnergyGuidance,
    TangentialClassifierFreeGuidance,
)
from diffusers.hooks import LayerSkipConfig
from diffusers.models import attention_dispatch

from ..zoo.cases import CASES
from ..zoo.checks import Subject
from ..zoo.modular import modular_case

_SKIP = LayerSkipConfig(indices=[1], fqn="transformer_blocks", skip_attention=False, skip_ff=True)
GUIDERS = {
    "classifier-free": lambda: ClassifierFreeGuidance(3.0),
    "projected": lambda: AdaptiveProjectedGuidance(3.0),
    "zero star": lambda: ClassifierFreeZeroStarGuidance(3.0, zero_init_steps=0),
    "tangential": lambda: TangentialClassifierFreeGuidance(3.0),
    "skip layer": lambda: SkipLayerGuidance(
        3.0, skip_layer_guidance_start=0.0, skip_layer_guidance_stop=1.0, skip_layer_config=_SKIP
    ),
    "perturbed attention": lambda: PerturbedAttentionGuidance(
        3.0, perturbed_guidance_start=0.0, perturbed_guidance_stop=1.0, perturbed_guidance_layers=[1]
    ),
    "smoothed energy": lambda: SmoothedEnergyGuidance(
        3.0, seg_guidance_start=0.0, seg_guidance_stop=1.0, seg_guidance_layers=[1]
    ),
}


@pytest.fixture(scope="module")
def qwen() -> Subject:
    return Subject(modular_case(CASES["qwenimage"]))


@pytest.mark.parametrize("kind", GUIDERS)
def test_a_guider_and_a_strength(qwen, kind):
    pipe = qwen.pipe
    pipe.base.update_components(guider=GUIDERS[kind]())
    call = {"num_inference_steps": 2, "height": 16, "width": 16, "output": "images", "output_type": "np"}
    call["negative_prompt"] = "blurry"

    def made(one, **given):
        return one(prompt="a red heart", generator=torch.Generator().manual_seed(0), **call, **given)

    plain, steered = made(pipe.base), made(pipe, strength=0.7)
    assert (made(pipe, strength=0.0) == plain).all()
    with qwen.maps.apply(pipe.base, 0.7):
        np.testing.assert_allclose(made(pipe.base), steered, atol=1e-5)
    row = made(pipe, strength=[0.3, 0.7])
    np.testing.assert_allclose(row[1:], steered, atol=1e-5)
    only_prompt = made(pipe, strength=0.7, steering_guidance="cond")
    for other in (plain, row[:1], only_prompt):
        assert np.abs(steered - other).mean() > 1e-3


@pytest.mark.parametrize("backend", ["native", "_native_math"])
def test_attention_backends(backend, monkeypatch):
    registry = attention_dispatch._AttentionBackendRegistry
    monkeypatch.setattr(registry, "_active_backend", registry._active_backend)  # put back at the end
    one = Subject(CASES["flux"])
    wanted = one.render(strength=[0.3, 0.9])
    one.pipe.transformer.set_attention_backend(backend)
    np.testing.assert_allclose(one.render(strength=[0.3, 0.9]), wanted, atol=1e-3)
    assert np.abs(one.render(strength=0.0) - wanted).max() > 1e-2
