"""A part of the picture is steered, and the rest is the base model's picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from linea_diffusion import LinEASDiffusionPipeline
from linea_diffusion.errors import LineaError
from linea_diffusion.pipelines.rendering.render import images_of
from linea_diffusion.pipelines.rendering.requests import requests_of

from ..conftest import seeded

LEFT, RIGHT = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])


@pytest.fixture
def steered_unet(pipe, random_maps):
    pipe.load_steering(random_maps, "random")
    return pipe


def call(pipe: LinEASDiffusionPipeline, prompt="a red heart", **arguments) -> np.ndarray:
    return pipe(prompt, generator=seeded(), output_type="np", **arguments).images


def test_inside_all_of_the_style_and_outside_nothing(steered_unet):
    plain, full = call(steered_unet, strength=0.0), call(steered_unet, strength=1.0)
    half = call(steered_unet, strength=1.0, mask=LEFT)
    assert np.abs(full - plain).mean() > 0.01
    assert (half[:, :, :32] == full[:, :, :32]).all()
    assert (half[:, :, 32:] == plain[:, :, 32:]).all()


def test_grey_is_in_between(steered_unet):
    plain, full = call(steered_unet, strength=0.0), call(steered_unet, strength=1.0)
    np.testing.assert_allclose(call(steered_unet, strength=1.0, mask=[[0.25]]), 0.75 * plain + 0.25 * full, atol=1e-6)


def test_output_types_are_alike(steered_unet):
    made = {
        kind: steered_unet("a fish", generator=seeded(), output_type=kind, strength=1.0, mask=LEFT).images
        for kind in ("pil", "np", "pt")
    }
    np.testing.assert_allclose(made["pt"].permute(0, 2, 3, 1), made["np"], atol=1e-6)
    np.testing.assert_allclose(np.asarray(made["pil"][0]) / 255, made["np"][0], atol=0.003)
    tuple_ = steered_unet("a fish", generator=seeded(), strength=1.0, mask=LEFT, return_dict=False)
    assert (np.asarray(tuple_[0][0]) == np.asarray(made["pil"][0])).all()


def test_a_list_of_masks_renders_one_prompt_once_for_each(steered_unet):
    both = call(steered_unet, strength=1.0, mask=[LEFT, RIGHT])
    for row, mask in zip(both, (LEFT, RIGHT), strict=True):
        np.testing.assert_allclose(row, call(steered_unet, strength=1.0, mask=mask)[0], atol=1e-4)
    turned = call(steered_unet, strength=[0.5, 1.0], mask=[LEFT, RIGHT], masking="activations")
    np.testing.assert_allclose(
        turned[1], call(steered_unet, strength=1.0, mask=RIGHT, masking="activations")[0], atol=1e-4
    )
    images = call(steered_unet, strength=1.0, mask=[LEFT, RIGHT], num_images_per_prompt=2, masking="activations")
    assert len(images) == 2


def test_activations_are_steered_where_the_mask_is_white(steered_unet):
    plain, full = call(steered_unet, strength=0.0), call(steered_unet, strength=1.0)
    everywhere = call(steered_unet, strength=1.0, mask=[[1.0]], masking="activations+text")
    np.testing.assert_allclose(everywhere, full, atol=1e-4)
    assert (call(steered_unet, strength=1.0, mask=[[0.0]], masking="activations") == plain).all()
    change = np.abs(call(steered_unet, strength=1.0, mask=LEFT, masking="activations") - plain)
    assert change[:, :, :32].mean() > change[:, :, 32:].mean() > 0


def test_noise_of_torch_is_drawn_once(steered_unet):
    torch.manual_seed(3)
    half = steered_unet("a fish", strength=1.0, mask=LEFT, output_type="np").images
    torch.manual_seed(3)
    plain = steered_unet("a fish", strength=0.0, output_type="np").images
    assert (half[:, :, 32:] == plain[:, :, 32:]).all()


def test_requests_with_masks_are_pictures_with_masks(steered_unet):
    requests = requests_of(steered_unet, [("a red heart", 0, 1.0)], {"mask": LEFT})
    (picture,) = images_of(steered_unet, requests, 1)
    expected = call(steered_unet, strength=1.0, mask=LEFT)[0]
    np.testing.assert_allclose(np.asarray(picture) / 255, expected, atol=0.003)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": LEFT, "masking": "latents"}, "expected one of pictures"),
        ({"mask": "left"}, "expected a picture"),
        ({"mask": [LEFT, RIGHT, LEFT], "strength": [0.5, 1.0]}, "2 strengths and 3 masks"),
    ],
)
def test_wrong_masks(steered_unet, arguments, message):
    with pytest.raises(LineaError, match=message):
        call(steered_unet, **{"strength": 1.0, **arguments})


def test_fused_maps_have_no_mask(steered_unet):
    steered_unet.fuse_steering(0.5)
    with pytest.raises(LineaError, match="unfuse_steering"):
        call(steered_unet, mask=LEFT)
    steered_unet.unfuse_steering()


def test_maps_without_places_are_refused(steered_unet):
    steered_unet.load_steering(steered_unet.steering["random"].subset("text_encoder"), "texts")
    call(steered_unet, strength={"texts": 1.0}, mask=LEFT)
    with pytest.raises(LineaError, match="no places"):
        call(steered_unet, strength={"texts": 1.0}, mask=LEFT, masking="activations")
