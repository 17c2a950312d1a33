"""Measure the embedded models and write their cards: ``README.md`` and ``samples.png`` beside each one's weights.

python -m benchmarks model_cards [shapeland-unet] [shapeland-dit]
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import date
from itertools import islice
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from linea_diffusion import ClipScorer
from linea_diffusion.pipelines.rendering.render import render_prompts
from linea_diffusion.shapeland import WEIGHTS
from linea_diffusion.shapeland.captions import training_scenes
from linea_diffusion.shapeland.classifier import COLOR_NAMES, OBJECT_NAMES, STYLE_NAMES
from linea_diffusion.shapeland.objects import COLORS, OBJECTS
from linea_diffusion.shapeland.pretrain import classifier, clip, dit, unet, vae
from linea_diffusion.shapeland.pretrain.classifier import shows_color
from linea_diffusion.shapeland.styles import STYLES
from linea_diffusion.shapeland.world import Scene, render

from .measured import measure_quality, truth
from .workbench import opened, table

FRESH = 2000
COMPUTE = "two cores of an x86-64 CPU, no accelerator"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", help="whose cards; all, and those of CLIP and classifier, when left out")


def main(options: argparse.Namespace) -> None:
    for name, card in {"shapeland-unet": _unet_card, "shapeland-dit": _dit_card}.items():
        if not options.models or name in options.models:
            card()
    if options.models:
        return
    scenes = [scene for scene, _ in islice(training_scenes(987_654), FRESH)]
    pictures = [render(scene) for scene in scenes]
    _clip_card(scenes, pictures)
    _classifier_card(scenes, pictures)


def _unet_card() -> None:
    _pipeline_card(
        "shapeland-unet",
        "a Stable Diffusion pipeline for Shapeland",
        "`CLIPTokenizer`, `CLIPTextModel` (the frozen text tower of shapeland-clip), `AutoencoderKL` (4 x 16 x 16), "
        "`UNet2DConditionModel`, `DPMSolverMultistepScheduler` on flow matching. 64 x 64 pictures in 8 steps.",
        f"Autoencoder: `{asdict(vae.RECIPE)}`.\n\n"
        f"U-Net: `{asdict(unet.RECIPE)}`. These weights warmed up over 180 steps and kept the full learning "
        "rate until step 2250; otherwise as the recipe. Autoencoder 12 minutes on one core, U-Net about an hour "
        "on two cores that were shared with other work.",
    )


def _dit_card() -> None:
    _pipeline_card(
        "shapeland-dit",
        "a Stable Diffusion 3 pipeline for Shapeland",
        "Twice `CLIPTokenizer` and `CLIPTextModelWithProjection` (both the frozen text tower of shapeland-clip), no "
        "T5, `AutoencoderKL` (that of shapeland-unet), `SD3Transformer2DModel` (6 joint layers of width 160), "
        "`FlowMatchEulerDiscreteScheduler`. 64 x 64 pictures in 12 steps.\n\nPlain diffusers loads it as every Stable "
        "Diffusion 3 without its T5: `StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, "
        "tokenizer_3=None)`. For the T5 the class puts `max_sequence_length` tokens of zeros, 256 by default, which "
        "cost time and carry nothing: `max_sequence_length=1` is how it was mostly trained, and the default here.",
        f"Transformer: `{asdict(dit.RECIPE)}`. These weights were begun with 6000 steps in mind, and the end was "
        "brought nearer twice: warm-up over 120 steps, the full learning rate until step 2940, down to 63% of it at "
        "step 3400, then 35% and linearly down to zero. About an hour and a half on one core, shared with other work.",
    )


def _pipeline_card(name: str, title: str, parts: str, recipe: str) -> None:
    folder, pipe = WEIGHTS / name, opened(name)
    figures = measure_quality(pipe, classifier=truth(), count=256)
    colors = list(COLORS)
    rows = [
        [f"a {colors[(i + j) % len(colors)]} {thing}{suffix}" for i, thing in enumerate(OBJECTS)]
        for j, suffix in enumerate(["", *(f", {style}" for style in STYLES)])
    ]
    images = render_prompts(pipe, [prompt for row in rows for prompt in row], range(64))
    _sheet([[images[8 * j + i] for i in range(8)] for j in range(8)]).save(folder / "samples.png")
    shares = [(key.replace("_", " "), f"{value:.3f}") for key, value in figures.items()]
    call = pipe.default_arguments
    _write(
        folder,
        f"{name}: {title}",
        parts,
        recipe,
        f"256 prompts, a fifth of them object-style pairs that no training saw, {call['num_inference_steps']} steps, "
        f"guidance {call['guidance_scale']}; shares judged by the truth classifier.\n\n"
        + "\n".join(table(("right", "share"), shares)),
        "One row per style (plain, " + ", ".join(STYLES) + "), one column per object.",
    )
    print(name, figures)


def _clip_card(scenes: list[Scene], pictures: list[Image.Image]) -> None:
    full = [i for i, scene in enumerate(scenes) if scene.amount in (0, 1)]
    scorer = ClipScorer()
    embedded = scorer.embed_images(pictures)
    questions = {
        "object": ({o: f"a picture of a {o}" for o in OBJECTS}, [s.object for s in scenes], full),
        "color": (
            {c: f"a picture of something {c}" for c in COLORS},
            [s.color for s in scenes],
            [i for i in full if shows_color(scenes[i])],
        ),
        "style": (
            {"plain": "a picture of something", **{s: f"a picture of something, {s}" for s in STYLES}},
            [s.style for s in scenes],
            full,
        ),
    }
    lines, answers = [], {}
    for name, (texts, right, rows) in questions.items():
        choice = (embedded @ scorer.embed_texts(list(texts.values())).T).argmax(-1).tolist()
        answers[name] = [list(texts)[i] for i in choice]
        share = sum(answers[name][i] == right[i] for i in rows) / len(rows)
        lines.append((name, f"{share:.3f}", len(rows)))
    labels = [f"{answers['color'][i]} {answers['object'][i]}\n{answers['style'][i]}" for i in full[:32]]
    folder = WEIGHTS / "shapeland-clip"
    _labelled([pictures[i] for i in full[:32]], labels).save(folder / "samples.png")
    _write(
        folder,
        "shapeland-clip: an open_clip model for Shapeland",
        "A residual network and a text tower of three layers in open_clip's own folder format "
        '(`open_clip.create_model_and_transforms("local-dir:...")`).',
        f"`{asdict(clip.RECIPE)}`.",
        "Zero-shot on fresh renders in plain or full style (color where the style shows it).\n\n"
        + "\n".join(table(("question", "right", "pictures"), lines)),
        "Renders with the model's own answers.",
    )
    print(lines)


def _classifier_card(scenes: list[Scene], pictures: list[Image.Image]) -> None:
    verdict = truth().judge(pictures)
    shown = torch.tensor([shows_color(scene) for scene in scenes])
    figures = {
        "object": verdict.is_object([s.object for s in scenes]).float().mean().item(),
        "color, where shown": verdict.is_color([s.color for s in scenes])[shown].float().mean().item(),
        "style": verdict.is_style([s.style for s in scenes]).float().mean().item(),
        "mean error of the amount": (verdict.amounts - torch.tensor([s.amount for s in scenes])).abs().mean().item(),
    }
    labels = [
        f"{COLOR_NAMES[verdict.colors[i].argmax()]} {OBJECT_NAMES[verdict.objects[i].argmax()]}\n"
        f"{STYLE_NAMES[verdict.styles[i].argmax()]} {verdict.amounts[i]:.2f}"
        for i in range(32)
    ]
    folder = WEIGHTS / "truth-classifier"
    _labelled(pictures[:32], labels).save(folder / "samples.png")
    cells = [(name, f"{value:.3f}") for name, value in figures.items()]
    _write(
        folder,
        "truth-classifier: reads object, colour, style and amount off a Shapeland picture",
        "A small CNN (`linea_diffusion.shapeland.classifier.TruthClassifier`).",
        f"`{asdict(classifier.RECIPE)}`.",
        f"{FRESH} fresh renders.\n\n" + "\n".join(table(("figure", "value"), cells)),
        "Renders with the classifier's own answers.",
    )
    print(figures)


def _write(folder: Path, title: str, what: str, recipe: str, figures: str, samples: str) -> None:
    (folder / "README.md").write_text(
        f"---\nlicense: apache-2.0\n---\n\n# {title}\n\n{what}\n\n"
        f"## Recipe\n\n`python -m linea_diffusion.shapeland.pretrain`, on renders made by the package; {COMPUTE}. "
        f"Held-out captions and object-style pairs are in no training.\n\n{recipe}\n\n"
        f"## Figures\n\n{date.today()}. {figures}\n\n## Samples\n\n{samples}\n\n![samples](samples.png)\n"
    )


def _sheet(rows: list[list[Image.Image]], *, scale: int = 2) -> Image.Image:
    side = 64 * scale
    sheet = Image.new("RGB", (len(rows[0]) * (side + 4), len(rows) * (side + 4)), "white")
    for j, row in enumerate(rows):
        for i, image in enumerate(row):
            sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (i * (side + 4), j * (side + 4)))
    return sheet


def _labelled(images: list[Image.Image], labels: list[str], *, across: int = 8) -> Image.Image:
    font = ImageFont.load_default(13)
    rows = -(-len(images) // across)
    sheet = Image.new("RGB", (across * 136, rows * 172), "white")
    draw = ImageDraw.Draw(sheet)
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        x, y = (n % across) * 136, (n // across) * 172
        sheet.paste(image.resize((128, 128), Image.Resampling.NEAREST), (x, y))
        draw.multiline_text((x, y + 130), label, font=font, fill=(40, 40, 46))
    return sheet
