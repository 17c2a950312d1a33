"""Masks as people bring them, and where activations have the picture's places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from linea_diffusion.errors import LineaError
from linea_diffusion.steering.activations import Site
from linea_diffusion.steering.calls.layout import Layout
from linea_diffusion.steering.region import Places, Region

LEFT = [[1.0, 0.0]]


def picture(mode: str = "L", colour: object = 255) -> Image.Image:
    image = Image.new(mode, (4, 2))
    image.paste(colour, (0, 0, 2, 2))
    return image


@pytest.mark.parametrize(
    "mask",
    [
        LEFT, np.array(LEFT), torch.tensor(LEFT), torch.tensor(LEFT)[None], torch.tensor(LEFT)[None, None],
        np.array([[True, False]]), np.array([[255, 0]], np.uint8), picture(), picture("1", 1),
        picture("RGB", (255, 255, 255)), picture("RGBA", (255, 255, 255, 255)), [picture()],
    ],
)  # fmt: skip
def test_masks_of_all_kinds_are_the_same(mask):
    region = Region(mask)
    assert len(region) == 1
    assert region.at((1, 1, 2)).flatten().tolist() == [1.0, 0.0]


def test_what_is_transparent_is_not_steered():
    assert Region(picture("RGBA", (255, 255, 255, 0))).at((1, 1, 1)).item() == 0


def test_places_have_the_mean_of_what_they_cover():
    assert Region([[1.0, 0.0, 0.0, 0.0]]).at((1, 1, 2)).flatten().tolist() == [0.5, 0.0]
    assert Region(LEFT).at((2, 4, 4)).shape == (1, 2, 4, 4)


def test_several_masks_are_one_for_each_picture():
    assert len(Region([picture(), np.array(LEFT)])) == len(Region(torch.zeros(2, 1, 4, 4))) == 2


@pytest.mark.parametrize(
    "mask", ["left", [1.0, 0.0], torch.zeros(2, 3, 4, 4), [[2.0]], [[-0.1]], [[float("nan")]], torch.zeros(0, 4, 4)]
)
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(LineaError, match="mask"):
        Region(mask)


def shares(region: Region, places: Places | None, z: torch.Tensor, owners=None) -> list[float]:
    assert places is not None
    return region.weights(places, owners, z).expand(len(z), *z.shape[1:-1], 1).flatten().tolist()


def test_tokens_of_a_grid_beside_a_prompt():
    layout, site = Layout(), Site.of("transformer.block.norm", nn.LayerNorm(8))
    tokens, prompt = torch.randn(1, 4, 8), torch.randn(1, 3, 8)
    layout.meet_model([torch.randn(1, 4, 4, 4), prompt], patch=2)
    for order, expected in (((tokens, prompt), [1, 0, 1, 0, 0, 0, 0]), ((prompt, tokens), [0, 0, 0, 1, 0, 1, 0])):
        layout.meet_model([torch.randn(1, 4, 4, 4), prompt], patch=2)
        layout.meet(tokens)
        joint = torch.cat(order, dim=1)
        layout.meet(joint)
        assert shares(Region(LEFT), layout.places(site, joint, 2), joint) == expected
        with_text = [1 if at >= 4 else share for at, share in enumerate(expected)] if order[0] is tokens else None
        if with_text:
            assert shares(Region(LEFT, text=False), layout.places(site, joint, 2), joint) == with_text
    assert layout.places(site, prompt, 2) is None
    assert layout.places(site, torch.randn(1, 8), 1) is None


def test_each_row_may_have_its_prompt_at_another_length():
    layout, site = Layout(), Site.of("transformer.block.norm", nn.LayerNorm(8))
    tokens = torch.randn(2, 4, 8)
    layout.meet_model([torch.randn(2, 4, 2, 2)])
    layout.meet(tokens)
    joint = torch.randn(2, 9, 8)
    joint[0, 3:7], joint[1, 5:9] = tokens
    layout.meet(joint)
    row = [1.0, 0.0, 1.0, 0.0]
    expected = [0.0] * 3 + row + [0.0] * 2 + [0.0] * 5 + row
    assert shares(Region(LEFT), layout.places(site, joint, 2), joint) == expected


def test_images_and_heads():
    layout = Layout()
    layout.meet_model([torch.randn(1, 4, 8, 8)])
    image = torch.randn(1, 6, 4, 2)
    weights = Region(LEFT).weights(layout.places(Site.of("unet.conv", nn.Conv2d(6, 6, 1)), image, 1), None, image)
    assert weights.shape == (1, 1, 4, 2)
    assert weights[0, 0, 0].tolist() == [1.0, 0.0]
    heads = torch.randn(1, 3, 16, 5)  # heads, then 4 x 4 tokens
    weights = Region(LEFT).weights(layout.places(Site.of("unet.norm_q", nn.LayerNorm(5)), heads, 3), None, heads)
    assert weights.shape == (1, 1, 16, 1)
    assert weights.flatten().tolist() == [1.0, 1.0, 0.0, 0.0] * 4


def test_packed_samples_are_known_by_their_ids_or_the_size_of_the_call():
    ids = torch.tensor([[0, row, column] for row in range(2) for column in range(6)])
    for layout, arguments in ((Layout(), [torch.randn(1, 12, 8), ids]), (Layout((20, 60)), [torch.randn(1, 12, 8)])):
        layout.meet_model(arguments)
        places = layout.places(Site.of("transformer.norm", nn.LayerNorm(4)), torch.randn(1, 12, 4), 2)
        assert places is not None
        assert places.grid == (1, 2, 6)


def test_a_layout_that_cannot_be_told_is_refused():
    layout = Layout()
    layout.meet_model([torch.randn(1, 4, 8, 8)])
    with pytest.raises(LineaError, match="does not say where"):
        layout.places(Site.of("unet.norm", nn.LayerNorm(4)), torch.randn(1, 70, 4), 2)
