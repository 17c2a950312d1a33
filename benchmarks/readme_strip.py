"""Render the strip of the README's first screen: one prompt at strengths 0, 1/3, 2/3, 1, three styles.

python -m benchmarks readme_strip --maps "runs/maps/shapeland-unet/lineas/{style}-0"

Without --maps the styles are trained with the default recipe.
"""

from __future__ import annotations

import argparse

import torch
from PIL import Image, ImageDraw, ImageFont

from linea_diffusion import SteeringMaps, load_concept, train_steering_maps

from .workbench import DOCS, opened

STRENGTHS = (0.0, 1 / 3, 2 / 3, 1.0)
ROWS = (("neon", "a red mushroom", 11), ("blueprint", "a teal house", 5), ("watercolor", "a blue boat", 3))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--maps", help="folders of maps, as runs/{style}; trained when left out")


def main(options: argparse.Namespace) -> None:
    pipe = opened()
    side, gap, left, top = 192, 8, 150, 34
    font = ImageFont.load_default(17)
    sheet = Image.new("RGB", (left + 4 * (side + gap), top + len(ROWS) * (side + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(("0", "1/3", "2/3", "1")):
        x = left + column * (side + gap) + side / 2
        draw.text((x, top / 2), f"strength {label}", font=font, fill=(40, 40, 46), anchor="mm")
    for row, (style, prompt, seed) in enumerate(ROWS):
        maps = SteeringMaps.from_pretrained(options.maps.format(style=style)) if options.maps else None
        pipe.unload_steering()
        pipe.load_steering(maps or train_steering_maps(pipe, load_concept(style)))
        images = pipe(prompt, strength=list(STRENGTHS), generator=torch.Generator().manual_seed(seed)).images
        y = top + row * (side + gap)
        draw.multiline_text((4, y + side / 2), f"{style}\n\n“{prompt}”", font=font, fill=(40, 40, 46), anchor="lm")
        for column, image in enumerate(images):
            sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (left + column * (side + gap), y))
    sheet.save(DOCS / "strip.png")
    print(DOCS / "strip.png")
