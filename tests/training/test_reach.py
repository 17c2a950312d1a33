"""How far maps should go: to where pictures are nearest to those of the target prompts."""

from __future__ import annotations

import torch

from linea_diffusion import TrainingConfig, train_steering_maps
from linea_diffusion.training.calibration.reach import STRETCHES, reach_of

from ..conftest import NEON, SHORT

CALL = {"num_inference_steps": 2, "guidance_scale": 1.0}
PROMPTS = ["a red heart", "a blue fish"]


def test_it_is_where_pictures_are_nearest(pipe, random_maps):
    small = 0.2 * random_maps
    noise = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    with small.apply(pipe.base, 1.2):
        wanted = pipe.base(PROMPTS, generator=noise, output_type="latent", **CALL).images
    distances = []
    for stretch in STRETCHES:
        noise = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
        with small.apply(pipe.base, stretch):
            made = pipe.base(PROMPTS, generator=noise, output_type="latent", **CALL).images
        distances.append((made - wanted).norm().item())
    assert STRETCHES[distances.index(min(distances))] == 1.2


def test_among_the_targets_own_pictures_the_nearest_wins(pipe, random_maps):
    target = [f"{prompt}, neon" for prompt in PROMPTS]
    reach = reach_of(pipe.base, random_maps, PROMPTS, target, (3, 4), batch_size=5, **CALL)
    assert reach == reach_of(pipe.base, random_maps, PROMPTS, target, (3, 4), **CALL)
    assert reach in STRETCHES


def test_training_stretches_what_it_learned(pipe):
    settings = {**vars(SHORT), "calibrate": False}
    plain = train_steering_maps(pipe, NEON, TrainingConfig(**{**settings, "stretch": 1.0}))
    wide = train_steering_maps(pipe, NEON, TrainingConfig(**{**settings, "stretch": 1.5}))
    for (_, a), (_, b) in zip(plain.named_maps(), wide.named_maps(), strict=True):
        assert torch.allclose(1.5 * a.shift, b.shift)
    auto = train_steering_maps(pipe, NEON, TrainingConfig(**{**settings, "stretch": None}))
    assert auto.metadata["stretch"] in STRETCHES
    law = train_steering_maps(pipe, NEON, TrainingConfig(**{**settings, "stretch": None, "pairing": "law"}))
    assert law.metadata["stretch"] == 1.0
