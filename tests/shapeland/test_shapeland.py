"""The world and its models: deterministic pictures, the held-out split, and the figures the models must reach."""

from __future__ import annotations

import re
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from benchmarks.measured import measure_quality, quality_scenes
from linea_diffusion import ClipScorer, LinEASDiffusionPipeline
from linea_diffusion.shapeland import MODELS, WEIGHTS, load_truth_classifier
from linea_diffusion.shapeland.captions import (
    HELD_OUT_PAIRS,
    is_held_out,
    plain_captions,
    styled_captions,
    training_scenes,
)
from linea_diffusion.shapeland.objects import COLORS, OBJECTS
from linea_diffusion.shapeland.pretrain.classifier import shows_color
from linea_diffusion.shapeland.styles import STYLES
from linea_diffusion.shapeland.truth import content_of, held_out_prompts
from linea_diffusion.shapeland.world import Scene, render, render_array


@pytest.fixture(scope="module")
def fresh():
    """600 scenes from a seed that no recipe uses."""
    scenes = [scene for scene, _ in islice(training_scenes(123_456), 600)]
    return scenes, [render(scene) for scene in scenes]


def test_the_world_is_large_enough():
    assert len(OBJECTS) >= 8
    assert len(COLORS) >= 6
    assert len(STYLES) >= 7


def test_pictures_are_deterministic_by_seed():
    for style in STYLES:
        scene = Scene("cat", "red", style, 0.7, 5)
        assert render(scene).tobytes() == render(scene).tobytes()
        assert render(scene).tobytes() != render(Scene("cat", "red", style, 0.7, 6)).tobytes()


@pytest.mark.parametrize("style", STYLES)
def test_the_amount_goes_steadily_from_the_plain_picture_to_the_full_style(style):
    plain = render_array(Scene("boat", "purple", seed=3))
    distances = [
        np.abs(render_array(Scene("boat", "purple", style, amount, 3)) - plain).mean()
        for amount in np.linspace(0.1, 1, 10)
    ]
    assert distances[0] < 0.25 * distances[-1]
    assert all(after > before for before, after in pairwise(distances))


def test_an_impossible_scene_is_refused():
    for arguments in (("dog", "red"), ("cat", "pink"), ("cat", "red", "neon", 0.0), ("cat", "red", "plain", 0.5)):
        with pytest.raises(ValueError, match=r"got|unknown"):
            Scene(*arguments)


def test_held_out_captions_and_pairs_are_never_trained_on():
    for scene, caption in islice(training_scenes(7), 2000):
        assert (scene.object, scene.style) not in HELD_OUT_PAIRS
        assert not is_held_out(caption)
    assert {style for _, style in HELD_OUT_PAIRS} == set(STYLES)
    assert not set(plain_captions(held_out=True)) & set(plain_captions(held_out=False))
    for style in STYLES:
        assert not any((content_of(c)[0], style) in HELD_OUT_PAIRS for c in styled_captions(style, held_out=False))


def test_captions_tell_the_amount():
    words = {"a hint of": (0.15, 0.35), "slightly": (0.15, 0.35), "half": (0.4, 0.6), "strongly": (0.65, 0.85)}
    seen = set()
    for scene, caption in islice(training_scenes(8), 1000):
        for word, (low, high) in words.items():
            if re.search(rf"\b{word}\b", caption):
                seen.add(word)
                assert low <= scene.amount <= high
    assert seen == set(words)


def test_held_out_prompts_cover_all_objects():
    assert {content_of(prompt)[0] for prompt in held_out_prompts(32)} == set(OBJECTS)
    assert len(set(held_out_prompts(32))) == 32


def test_a_fifth_of_the_quality_scenes_are_held_out_pairs():
    held = sum((scene.object, scene.style) in HELD_OUT_PAIRS for scene, _ in quality_scenes())
    assert held == 52


def test_truth_classifier_on_fresh_renders(fresh):
    scenes, pictures = fresh
    verdict = load_truth_classifier().judge(pictures)
    shown = torch.tensor([shows_color(scene) for scene in scenes])
    assert verdict.is_object([s.object for s in scenes]).float().mean() >= 0.98
    assert verdict.is_color([s.color for s in scenes])[shown].float().mean() >= 0.98
    assert verdict.is_style([s.style for s in scenes]).float().mean() >= 0.98
    assert (verdict.amounts - torch.tensor([s.amount for s in scenes])).abs().mean() <= 0.1


def test_clip_zero_shot_on_fresh_renders(fresh):
    scenes, pictures = zip(*((s, p) for s, p in zip(*fresh, strict=True) if s.amount in (0, 1)), strict=True)
    scorer = ClipScorer()

    def accuracy(texts: dict[str, str], truth: list[str]) -> float:
        names = list(texts)
        chosen = scorer.zero_shot(pictures, list(texts.values())).argmax(-1).tolist()
        return float(np.mean([names[i] == name for i, name in zip(chosen, truth, strict=True)]))

    styles = {"plain": "a picture of something", **{s: f"a picture of something, {s}" for s in STYLES}}
    assert accuracy({o: f"a picture of a {o}" for o in OBJECTS}, [s.object for s in scenes]) >= 0.95
    assert accuracy(styles, [s.style for s in scenes]) >= 0.98
    shown = [s.style == "plain" or STYLES[s.style].shows_color for s in scenes]
    pictures = [p for p, show in zip(pictures, shown, strict=True) if show]
    colors = [s.color for s, show in zip(scenes, shown, strict=True) if show]
    assert accuracy({c: f"a picture of something {c}" for c in COLORS}, colors) >= 0.95


@pytest.mark.parametrize("name", list(MODELS))
def test_the_models_draw_what_they_are_asked_for(name):
    pipe = LinEASDiffusionPipeline.from_pretrained(name)
    pipe.set_progress_bar_config(disable=True)
    quality = measure_quality(pipe, classifier=load_truth_classifier(), count=128)
    assert quality["object"] >= 0.85
    assert quality["color"] >= 0.90
    assert quality["style"] >= 0.95


def test_text_enters_the_denoiser_at_two_resolutions(pipe):
    widths = {m.to_q.in_features for n, m in pipe.unet.named_modules() if n.endswith("attn2")}
    assert len(widths) >= 2


def test_weights_are_small_half_precision_and_never_pickles():
    files = [file for file in WEIGHTS.rglob("*") if file.is_file()]
    for folder in WEIGHTS.iterdir():
        assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 16 * 2**20
    assert max(file.stat().st_size for file in files) <= 12 * 2**20
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".md", ".png"}
    for folder in (*MODELS, "shapeland-clip", "truth-classifier"):
        assert (WEIGHTS / folder / "README.md").is_file()
        assert (WEIGHTS / folder / "samples.png").is_file()
