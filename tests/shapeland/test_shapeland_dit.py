"""The second embedded model: a joint-attention transformer, loaded, steered and trained on as the first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from linea_diffusion import (
    ClipScorer,
    LinEASDiffusionPipeline,
    SteeringMaps,
    TrainingConfig,
    find_modules,
    train_steering_maps,
)
from linea_diffusion.shapeland import LOAD_ARGUMENTS, MODELS
from linea_diffusion.shapeland.pretrain import dit

from ..conftest import NEON, count_hooks, seeded

NAME = "shapeland-dit"


@pytest.fixture(scope="module")
def loaded():
    pipe = LinEASDiffusionPipeline.from_pretrained(NAME)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(loaded):
    hooks = count_hooks(loaded)
    yield loaded
    loaded.unload_steering()
    assert count_hooks(loaded) == hooks


@pytest.fixture(scope="module")
def maps(loaded) -> SteeringMaps:
    config = TrainingConfig(
        iterations=4, num_inference_steps=2, lr=0.02, sparsity=0.0, target_modules="norms", rank=0, scale=True,
        stretch=1.0, pairing="law", calibrate=False,
    )  # fmt: skip
    return train_steering_maps(loaded, NEON, config)


def _array(pipe, **kwargs) -> np.ndarray:
    return pipe("a red heart", generator=seeded(), output_type="np", **{"num_inference_steps": 4, **kwargs}).images


def test_plain_diffusers_loads_the_folder(pipe, maps):
    plain = StableDiffusion3Pipeline.from_pretrained(MODELS[NAME], **LOAD_ARGUMENTS[NAME])
    plain.set_progress_bar_config(disable=True)
    assert {plain.transformer.dtype, plain.vae.dtype, plain.text_encoder.dtype} == {torch.float32}
    settings = {"guidance_scale": 1.0, "max_sequence_length": 1}
    pipe.load_steering(maps)
    assert (_array(plain, **settings) == _array(pipe, strength=0)).all()
    assert np.abs(_array(plain, **settings) - _array(pipe, strength=1)).max() > 0.01


def test_the_classs_default_number_of_zeros_makes_pictures_too(pipe):
    few, many = (_array(pipe, num_inference_steps=12, max_sequence_length=n) for n in (1, 256))
    assert np.abs(few - many).mean() < 0.1
    assert (_array(pipe, num_inference_steps=12) == few).all()


def test_both_text_encoders_are_the_clips(pipe):
    scorer = ClipScorer()
    tokens = scorer.tokenizer(["a red heart, neon", "one blue fish"])
    with torch.no_grad():
        expected = scorer.model.encode_text(tokens)
        for encoder in (pipe.text_encoder, pipe.text_encoder_2):
            assert torch.allclose(encoder(tokens).text_embeds, expected, atol=2e-2)


def test_training_calls_it_as_its_user_does(maps):
    """One token of zeros: the wrapper's default arguments hold in training; all maps learn."""
    assert len(list(maps.named_maps())) == len(find_modules(LinEASDiffusionPipeline.from_pretrained(NAME), "norms"))
    assert maps.support == 1.0
    losses = maps.metadata["losses"]
    assert len(losses) == 4


def test_a_row_of_strengths_is_the_pictures_one_by_one(pipe, maps):
    pipe.load_steering(maps)
    row = _array(pipe, strength=[0.0, 0.5, 1.0])
    np.testing.assert_allclose(row, np.concatenate([_array(pipe, strength=s) for s in (0.0, 0.5, 1.0)]), atol=2e-3)


def test_a_fresh_transformer_begins_as_nothing():
    """The modulations and the output begin at zero: no velocity, whatever goes in."""
    model = dit.build()
    with torch.no_grad():
        flow = model(
            torch.randn(2, 4, 16, 16), torch.randn(2, 25, 256), torch.randn(2, 256), torch.tensor([1.0, 900.0])
        )
    assert not flow.sample.any()


def test_the_recipe_trains_and_saves_a_pipeline(tmp_path: Path, monkeypatch):
    """Two steps on eight pictures, from the packaged autoencoder and text encoder."""
    import shutil
    from dataclasses import replace

    from linea_diffusion.shapeland import WEIGHTS
    from linea_diffusion.shapeland.pretrain import data

    out = tmp_path / "out"
    for part in ("vae", "text_encoder", "tokenizer"):
        shutil.copytree(WEIGHTS / "shapeland-unet" / part, out / part)
    shutil.copytree(WEIGHTS / "shapeland-clip", out / "clip")
    monkeypatch.setattr(data, "render_scenes", lambda scenes: np.stack([np.asarray(data.render(s)) for s in scenes]))
    dit.pretrain(tmp_path / "work", out, replace(dit.RECIPE, steps=2, batch=4, renders=8), device="cpu")
    made = StableDiffusion3Pipeline.from_pretrained(out / "dit", **LOAD_ARGUMENTS[NAME])
    made.set_progress_bar_config(disable=True)
    assert np.isfinite(_array(made, max_sequence_length=1)).all()
    own = dict(LinEASDiffusionPipeline.from_pretrained(NAME).text_encoder.named_parameters())
    assert all(torch.equal(p, own[name]) for name, p in made.text_encoder.named_parameters())
