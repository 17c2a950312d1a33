"""The recipes run, stop, go on to the same result, and leave folders that the standard loaders load."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from linea_diffusion import ClipScorer
from linea_diffusion.shapeland import CLIPS
from linea_diffusion.shapeland.classifier import load_classifier
from linea_diffusion.shapeland.pretrain import classifier, clip, concepts, unet
from linea_diffusion.shapeland.pretrain.loop import Recipe, train
from linea_diffusion.shapeland.pretrain.tokenizer import build, caption_words

TINY = {"steps": 2, "batch": 4, "renders": 12, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All four models after two steps each, by the command line of the recipes."""
    folder = tmp_path_factory.mktemp("pretrain")
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    command = [sys.executable, "-m", "linea_diffusion.shapeland.pretrain", "all"]
    places = ["--work", folder / "work", "--out", folder / "out", "--device", "cpu", "--threads", "1"]
    subprocess.run([*command, *places, *sizes], check=True, capture_output=True)
    return folder


def test_plain_diffusers_runs_the_pipeline_that_was_made(made):
    pipe = StableDiffusionPipeline.from_pretrained(made / "out")
    pipe.set_progress_bar_config(disable=True)
    assert pipe("a red heart", num_inference_steps=2, output_type="np").images.shape == (1, 64, 64, 3)


def test_open_clip_loads_the_clip_that_was_made(made):
    scorer = ClipScorer(str(made / "out" / "clip"))
    assert scorer.embed_texts(["a red heart"]).shape == (1, 128)


def test_the_classifier_loads(made):
    verdict = load_classifier(made / "out" / "classifier" / "model.safetensors").judge(
        np.zeros((2, 64, 64, 3), np.uint8)
    )
    assert torch.allclose(verdict.objects.sum(-1), torch.ones(2))


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path):
    recipe = Recipe(steps=6, batch=8, lr=0.1, checkpoint_every=2)

    def fit(name: str, *, stop_at: int | None = None) -> torch.nn.Linear:
        torch.manual_seed(0)
        model, calls = torch.nn.Linear(1, 1), []

        def loss(rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
            calls.append(1)
            if len(calls) - 1 == stop_at:
                raise KeyboardInterrupt
            x = torch.from_numpy(rng.normal(size=(8, 1)).astype(np.float32))
            return (model(x) + 0.1 * torch.randn(8, 1, generator=torch_rng)).square().mean()

        return train(model, loss, recipe, tmp_path / name, device="cpu", name=name)

    whole = fit("whole.pt")
    with pytest.raises(KeyboardInterrupt):
        fit("stopped.pt", stop_at=5)
    assert torch.load(tmp_path / "stopped.pt", weights_only=True)["step"] == 4
    resumed = fit("stopped.pt")
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


def test_the_loop_fits_a_line(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)

    def loss(rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
        x = torch.from_numpy(rng.normal(size=(16, 1)).astype(np.float32))
        return (model(x) - (3 * x - 1)).square().mean()

    recipe = Recipe(steps=400, batch=16, lr=0.05, ema=0.9)
    average = train(model, loss, recipe, tmp_path / "line.pt", device="cpu", name="line")
    assert average.weight.item() == pytest.approx(3, abs=0.05)
    assert average.bias.item() == pytest.approx(-1, abs=0.05)


def test_the_learning_rate_warms_up_stays_and_falls_to_zero():
    recipe = Recipe(steps=1000, batch=1, lr=1.0, decay=0.3)
    assert recipe.lr_at(0) < 0.1
    assert recipe.lr_at(500) == 1.0
    assert recipe.lr_at(850) == pytest.approx(0.5)
    assert recipe.lr_at(999) < 0.01


def test_every_caption_word_is_one_token_and_strange_text_still_encodes():
    tokenizer = build()
    assert all(len(tokenizer(word).input_ids) == 3 for word in caption_words())
    ids = tokenizer("Zoé draws a heart!").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == "zoédrawsaheart!"


def test_the_text_encoder_is_the_clips_text_tower():
    scorer = ClipScorer()
    encoder = clip.text_encoder_from(scorer.model.state_dict()).eval()
    tokens = scorer.tokenizer(["a red heart, neon", "one blue fish"])
    with torch.no_grad():
        states = encoder(tokens).last_hidden_state[torch.arange(2), tokens.argmax(-1)]
        assert torch.allclose(states @ scorer.model.text_projection, scorer.model.encode_text(tokens), atol=1e-4)


def test_the_packaged_concepts_are_what_the_recipe_writes(tmp_path):
    from linea_diffusion import list_concepts, load_concept

    concepts.write(tmp_path)
    for name in list_concepts(world="shapeland"):
        assert load_concept(tmp_path / f"{name}.toml") == load_concept(name)


def test_the_packaged_clip_has_the_recipes_shape():
    import json

    config = json.loads((CLIPS["shapeland-clip"] / "open_clip_config.json").read_text())
    assert config["model_cfg"] == clip.model_config()
    assert unet.build().config.cross_attention_dim == config["model_cfg"]["text_cfg"]["width"]
    assert classifier.RECIPE.seed != unet.RECIPE.seed
