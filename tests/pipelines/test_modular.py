"""Modular pipelines of diffusers behind the wrapper: called as their users call them, and with a strength.

Evidence: the pictures of the classic class of the same weights, maps, prompts and seeds.
"""

from __future__ import annotations

import copy
import inspect
import json
from functools import cache

import numpy as np
import pytest
import torch
from diffusers import FluxModularPipeline, ModularPipeline, StableDiffusionXLModularPipeline
from diffusers.modular_pipelines.modular_pipeline import PipelineState
from PIL import Image

from linea_diffusion import LineaError, LinEASDiffusionPipeline
from linea_diffusion.pipelines.modular import accepts, made_of, parameters
from linea_diffusion.pipelines.rendering.render import render
from linea_diffusion.pipelines.rendering.requests import Request

from ..zoo.cases import CASES
from ..zoo.checks import Subject, count_hooks
from ..zoo.modular import KEYS, modular_case

LIKE_CLASSIC = [*(key for key in KEYS if key not in ("flux2", "helios")), "ideogram4"]
"""Those whose unsteered pictures are the classic class's."""
FEW = {"num_inference_steps": 2, "height": 16, "width": 16}


@cache
def subject(key: str) -> Subject:
    """One for all tests of a key: they leave it as it was."""
    return Subject(modular_case(CASES[key]))


def seeded(count: int = 1):
    made = [torch.Generator().manual_seed(seed) for seed in range(count)]
    return made if count > 1 else made[0]


@pytest.fixture
def xl():
    pipe = subject("stable-diffusion-xl").pipe
    before = count_hooks(pipe)
    yield pipe
    assert count_hooks(pipe) == before


def unguided(key: str, kind: str) -> dict:
    """What turns guidance off in both, where they mean the same by it."""
    if "true_cfg_scale" in CASES[key].arguments or key == "ideogram4":
        return {}
    return {"guidance_scale": 2.0 if (key, kind) == ("z-image", "modular") else 1.0}


@pytest.mark.parametrize("key", LIKE_CLASSIC)
def test_pictures_are_those_of_the_classic_class(key):
    one = subject(key)
    classic = LinEASDiffusionPipeline(CASES[key].build())
    classic.load_steering(one.maps)
    pictures = []
    for kind, pipe, case in (("modular", one.pipe, one.case), ("classic", classic, CASES[key])):
        given = {**case.arguments, **case.per_image(2), **unguided(key, kind)}
        given |= {"strength": [0.3, 0.9], "generator": seeded(2), "output_type": "np"}
        pictures.append(np.asarray(made_of(pipe(["a red heart", "a blue fish"], **given))))
    np.testing.assert_allclose(*pictures, atol=1e-5)


def test_a_call_gives_back_what_a_modular_one_does(xl):
    given = {"strength": 0.7, **FEW}
    state = xl("a red heart", generator=seeded(), **given)
    assert isinstance(state, PipelineState)
    picture = np.asarray(state.images[0])
    (named,) = xl("a red heart", generator=seeded(), output="images", **given)
    several = xl(prompt="a red heart", generator=seeded(), output=["images", "latents"], **given)
    assert (np.asarray(named) == picture).all()
    assert (np.asarray(several["images"][0]) == picture).all()
    assert several["latents"].shape == (1, 4, 8, 8)
    plain = xl.base(prompt="a red heart", generator=seeded(), output="images", **FEW)[0]
    assert (np.asarray(plain) != picture).any()
    rest = xl("a red heart", generator=seeded(), output="images", strength=0, **FEW)[0]
    assert (np.asarray(plain) == np.asarray(rest)).all()


def test_a_state_of_other_blocks_goes_on():
    """Texts are encoded by one pipeline of blocks, pictures made by another one."""
    whole = subject("flux")
    blocks = whole.pipe.blocks
    encoding = blocks.sub_blocks.pop("text_encoder")
    nodes = []
    for part, components in ((encoding, ("text_encoder", "text_encoder_2")), (blocks, ("transformer",))):
        node = LinEASDiffusionPipeline(part.init_pipeline())
        node.base.update_components(**{name: whole.pipe.components[name] for name in node.components})
        node.load_steering(whole.maps.subset(*components))
        nodes.append(node)
    texts, pictures = nodes
    call = {"output": "images", "output_type": "np", **whole.case.arguments}
    del call["max_sequence_length"]
    state = texts("a red heart", strength=0.7, max_sequence_length=32)
    once = pictures(state, strength=0.7, generator=seeded(), **call)
    wanted = whole.pipe("a red heart", strength=0.7, generator=seeded(), max_sequence_length=32, **call)
    np.testing.assert_allclose(once, wanted, atol=1e-5)
    row = pictures(state=state, strength=[0.7, 0.0], generator=seeded(), **call)
    np.testing.assert_allclose(row[:1], once, atol=1e-5)
    assert np.abs(row[1] - row[0]).max() > 1e-3
    with pytest.raises(LineaError, match="expected the state that a modular pipeline gave back"):
        pictures(state={"prompt": "a red heart"})


def test_a_mask_limits_steering(xl):
    mask = np.zeros((16, 16), np.float32)
    mask[:8] = 1
    given = {"strength": 0.7, "output_type": "np", **FEW}
    steered, plain = (
        xl("a red heart", generator=seeded(), output="images", **given | more) for more in ({}, {"strength": 0.0})
    )
    for output in (None, "images", ["images", "latents"]):
        made = xl("a red heart", generator=seeded(), mask=mask, output=output, **given)
        made = made if output == "images" else made.images if output is None else made["images"]
        assert (made[:, 8:] == plain[:, 8:]).all()
        np.testing.assert_allclose(made[:, :8], steered[:, :8], atol=1e-6)


def test_guidance_is_the_guiders_for_one_call(xl):
    scale = xl.guider.guidance_scale
    assert parameters(xl)["guidance_scale"] == scale == 7.5
    pictures = [
        xl("a red heart", strength=0.7, generator=seeded(), output="images", output_type="np", **FEW, **given)
        for given in ({"guidance_scale": 1.0}, {"guidance_scale": 7.5}, {})
    ]
    assert (pictures[1] == pictures[2]).all()
    assert np.abs(pictures[0] - pictures[1]).max() > 1e-3
    assert xl.guider.guidance_scale == scale


def test_only_what_runs_with_the_prompt_is_steered(xl):
    def made(guidance: str, scale: float) -> np.ndarray:
        given = {"steering_guidance": guidance, "guidance_scale": scale, "output": "images", "output_type": "np"}
        return xl("a red heart", strength=0.7, generator=seeded(), **given, **FEW)

    np.testing.assert_allclose(made("both", 1.0), made("cond", 1.0), atol=1e-5)
    classic = LinEASDiffusionPipeline(CASES["stable-diffusion-xl"].build())
    classic.load_steering(subject("stable-diffusion-xl").maps)
    wanted = {
        guidance: classic(
            "a red heart", strength=0.7, generator=seeded(), guidance_scale=3.0, steering_guidance=guidance,
            output_type="np", **FEW,
        ).images
        for guidance in ("both", "cond")
    }  # fmt: skip
    assert np.abs(wanted["both"] - wanted["cond"]).max() > 1e-3
    for guidance, picture in wanted.items():
        np.testing.assert_allclose(made(guidance, 3.0), picture, atol=1e-4)
    flux = subject("flux").pipe
    with pytest.raises(LineaError, match="does not tell what runs with the prompt"):
        flux("a red heart", steering_guidance="cond", **subject("flux").case.arguments)


def test_what_a_call_takes(xl):
    assert accepts(xl, "height")
    assert not accepts(xl, "nothing")
    assert list(inspect.signature(type(xl).__call__).parameters)[:2] == ["self", "prompt"]
    assert type(xl).__name__ == "LinEASStableDiffusionXLModularPipeline"
    assert isinstance(xl, ModularPipeline)
    assert repr(xl).startswith("LinEASStableDiffusionXLModularPipeline over StableDiffusionXLModularPipeline")
    with pytest.raises(LineaError, match="1 arguments behind the prompt by place"):
        xl("a red heart", "images", strength=0.5)
    with pytest.raises(LineaError, match="steered already"):
        LinEASDiffusionPipeline(xl)


def test_bars_of_blocks_within_blocks(xl, capfd):
    xl.set_progress_bar_config(disable=True)
    xl("a red heart", strength=0.5, **FEW)
    assert "it/s" not in capfd.readouterr().err
    xl.set_progress_bar_config()
    xl("a red heart", strength=0.5, **FEW)
    assert "it/s" in capfd.readouterr().err
    xl.set_progress_bar_config(disable=True)


def test_a_callback_and_a_failing_call_leave_nothing(xl, monkeypatch):
    before = count_hooks(xl)
    monkeypatch.setattr(xl.vae, "decode", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        xl("a red heart", strength=0.5, guidance_scale=2.0, **FEW)
    assert count_hooks(xl) == before
    assert xl.guider.guidance_scale == 7.5


def test_from_pipe_takes_adapters_there_and_back(xl):
    classic = LinEASDiffusionPipeline(CASES["stable-diffusion-xl"].build())
    classic.load_steering(subject("stable-diffusion-xl").maps)
    there = LinEASDiffusionPipeline.from_pipe(classic, StableDiffusionXLModularPipeline)
    assert isinstance(there.base, StableDiffusionXLModularPipeline)
    assert there.unet is classic.unet
    assert there.get_active_steering() == classic.get_active_steering()
    again = LinEASDiffusionPipeline.from_pipe(there, scheduler=copy.deepcopy(there.scheduler))
    assert again.unet is there.unet
    assert again.scheduler is not there.scheduler
    given = {"strength": 0.7, "output": "images", "output_type": "np", **FEW}
    pictures = [pipe("a red heart", generator=seeded(), **given) for pipe in (there, again)]
    assert (pictures[0] == pictures[1]).all()


def test_requests_of_grids_and_batches(xl):
    requests = [Request("a red heart", seed=seed, strengths=0.7, arguments=FEW) for seed in (0, 1)]
    made = [image for _, image in render(xl, requests, 2)]
    assert all(isinstance(image, Image.Image) for image in made)
    one = xl("a red heart", strength=0.7, generator=torch.Generator().manual_seed(1), **FEW).images[0]
    assert np.abs(np.asarray(one, float) - np.asarray(made[1], float)).max() <= 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("modular") / "flux"
    subject("flux").pipe.save_pretrained(place, overwrite_modular_index=True)
    return place


def test_saved_and_loaded(folder):
    assert json.loads((folder / "modular_model_index.json").read_text())["_class_name"] == "FluxModularPipeline"
    again = LinEASDiffusionPipeline.from_pretrained(folder)
    assert isinstance(again.base, FluxModularPipeline)
    given = {"generator": seeded(), "output": "images", "output_type": "np", **subject("flux").case.arguments}
    pictures = [
        pipe("a red heart", strength=0.7, **given | {"generator": seeded()}) for pipe in (subject("flux").pipe, again)
    ]
    assert (pictures[0] == pictures[1]).all()
    half = LinEASDiffusionPipeline.from_pretrained(
        folder, dtype={"transformer": torch.bfloat16, "default": torch.float32}
    )
    assert (half.transformer.dtype, half.vae.dtype) == (torch.bfloat16, torch.float32)
    (folder / "vae" / "config.json").rename(folder / "vae" / "gone.json")
    with pytest.raises(LineaError, match="whose vae did not load"):
        LinEASDiffusionPipeline.from_pretrained(folder)
    (folder / "vae" / "gone.json").rename(folder / "vae" / "config.json")


def test_the_command_line_takes_its_folder(folder, linea, tmp_path):
    made = []
    for strength in (0, 1):
        steering = ("--steering", folder / "steering" / "0", "--strength", strength)
        out = tmp_path / f"{strength}.png"
        code, _, err = linea("generate", "a red heart", "--model", folder, *steering, "--steps", 1, "--out", out)
        assert code == 0, err
        made.append(np.asarray(Image.open(out)))
    assert (made[0] != made[1]).any()
