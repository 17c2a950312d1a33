"""One prompt at several strengths is the single calls, whatever else the call is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import to_tensor

from linea_diffusion import LineaError, LinEASDiffusionPipeline

from ..zoo.cases import CASES
from ..zoo.checks import Subject
from ..zoo.parts import pictures

STRENGTHS = [0.0, 0.5, 1.0]


@pytest.fixture(scope="module")
def subjects():
    made: dict[str, Subject] = {}
    return lambda key: made.setdefault(key, Subject(CASES[key]))


def _call(pipe, strength, prompt="a red heart", **arguments) -> np.ndarray:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(3)
    return pipe(prompt, strength=strength, generator=generator, output_type="np", **arguments).images


def check_row(subject: Subject, prompt: str | None = "a red heart", **settings) -> np.ndarray:
    """A row is the three single calls; returns it."""
    settings = {**subject.case.arguments, **settings}
    row = _call(subject.pipe, STRENGTHS, prompt, **settings)
    alone = np.concatenate([_call(subject.pipe, strength, prompt, **settings) for strength in STRENGTHS])
    np.testing.assert_allclose(row, alone, atol=2e-3)
    assert np.abs(row[0] - row[2]).max() > 0.01
    return row


def encoded(pipe, key: str) -> dict[str, torch.Tensor]:
    """What a pipeline's own encode_prompt makes, as arguments of its call."""
    made = pipe.base.encode_prompt(**({"prompt_3": None} if key == "stable-diffusion-3" else {}), **_TEXTS[key])
    names = _NAMES[key]
    return {name: value for name, value in zip(names, made, strict=False) if value is not None}


_GUIDED = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
_NAMES = {
    "stable-diffusion-xl": _GUIDED,
    "stable-diffusion-3": _GUIDED,
    "flux": ("prompt_embeds", "pooled_prompt_embeds"),
    "pixart-sigma": (
        "prompt_embeds",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "negative_prompt_attention_mask",
    ),
    "z-image": ("prompt_embeds", "negative_prompt_embeds"),
    "qwenimage": ("prompt_embeds", "prompt_embeds_mask"),
}
_TEXTS = {key: {"prompt": "a red heart"} for key in _NAMES}
for _key in ("stable-diffusion-3", "flux"):
    _TEXTS[_key]["prompt_2"] = None


@pytest.mark.parametrize("key", list(_NAMES))
@pytest.mark.filterwarnings("ignore:maps of")
def test_everything_that_is_encoded_from_the_prompt(subjects, key):
    subject = subjects(key)
    free = {"negative_prompt": None} if key == "pixart-sigma" else {}  # its own default fits no embeddings
    check_row(subject, None, **encoded(subject.pipe, key), **free)


KINDS = {
    "picture": lambda picture: picture,
    "list": lambda picture: [picture],
    "tensor": lambda picture: to_tensor(picture)[None],
    "tensor without batch": to_tensor,
    "array": lambda picture: np.asarray(picture, dtype=np.float32)[None] / 255,
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("key", ["stable-diffusion-xl-img2img", "stable-diffusion-xl-inpaint"])
def test_pictures_that_are_painted_over(subjects, key, kind):
    """Given once, SDXL's inpainting pipeline would paint only the first row over it."""
    subject = subjects(key)
    pictures = {name: value[0] for name, value in subject.case.per_image(1).items()}
    arguments = {name: KINDS[kind](picture) for name, picture in pictures.items()}
    if key.endswith("inpaint") and kind == "tensor without batch":
        arguments["mask_image"] = arguments["mask_image"][:1]
    check_row(subject, **arguments)


@pytest.mark.parametrize("kind", ["picture", "list"])
@pytest.mark.parametrize(
    "key",
    ["stable-diffusion-controlnet", "stable-diffusion-xl-controlnet-inpaint", "flux-control", "flux-kontext-image",
     "stable-diffusion-3-controlnet", "z-image-controlnet-inpaint"],
)  # fmt: skip
def test_pictures_that_guide(subjects, key, kind):
    subject = subjects(key)
    check_row(subject, **{name: KINDS[kind](value[0]) for name, value in subject.case.per_image(1).items()})


def test_a_list_of_pictures_for_several_controlnets(subjects):
    from diffusers import StableDiffusionControlNetPipeline

    subject = subjects("stable-diffusion-controlnet")
    base = StableDiffusionControlNetPipeline.from_pipe(
        subject.pipe.base, controlnet=[subject.pipe.controlnet, subject.pipe.controlnet]
    )
    base.set_progress_bar_config(disable=True)
    pipe = LinEASDiffusionPipeline(base)
    pipe.load_steering(subject.maps)
    side = {**subject.case.arguments, "image": pictures(2), "controlnet_conditioning_scale": [0.3, 0.7]}
    row = _call(pipe, STRENGTHS, **side)
    alone = np.concatenate([_call(pipe, strength, **side) for strength in STRENGTHS])
    np.testing.assert_allclose(row, alone, atol=2e-3)


def test_latents_and_several_pictures_of_a_prompt(subjects):
    subject = subjects("stable-diffusion-xl")
    pipe = subject.pipe
    side = pipe.unet.config.sample_size
    latents = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(5))
    settings = {**subject.case.arguments, "latents": latents, "num_images_per_prompt": 2}
    row = _call(pipe, [0.0, 1.0], **settings)
    alone = np.concatenate([_call(pipe, strength, **settings) for strength in (0.0, 1.0)])
    np.testing.assert_allclose(row, alone, atol=2e-3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"negative_prompt": ["one", "two"]},
        {"latents": torch.zeros(2, 4, 8, 8)},
        {"negative_pooled_prompt_embeds": torch.zeros(2, 8)},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_what_cannot_be_spread_is_refused_before_anything_runs(subjects, arguments, monkeypatch):
    pipe = subjects("stable-diffusion-xl").pipe
    monkeypatch.setattr(pipe.base, "encode_prompt", None)
    with pytest.raises(LineaError, match=rf"got {next(iter(arguments))} of 2 rows, one prompt and 3 strengths"):
        _call(pipe, STRENGTHS, **arguments)


def test_pictures_of_another_number_are_refused(subjects):
    pipe = subjects("stable-diffusion-xl-inpaint").pipe
    arguments = subjects("stable-diffusion-xl-inpaint").case.per_image(2)
    with pytest.raises(LineaError, match="got image of 2 pictures, one prompt and 3 strengths"):
        _call(pipe, STRENGTHS, **arguments)
    with pytest.raises(LineaError, match="padding_mask_crop"):
        _call(pipe, STRENGTHS, padding_mask_crop=8)
