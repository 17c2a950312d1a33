"""The wrapper is taken for the pipeline that it wraps, wherever diffusers, Python or a notebook looks at it."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings

import diffusers
import numpy as np
import pytest
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    DiffusionPipeline,
    FluxPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)

from linea_diffusion import LineaError, LinEASDiffusionPipeline
from linea_diffusion.pipelines.modular import accepts
from linea_diffusion.pipelines.steered_class import class_over

from ..conftest import seeded
from ..zoo.cases import CASES
from ..zoo.checks import Subject

OURS = {"strength", "composition", "calibrated", "steering_guidance", "steering_start", "denoising_strength"}
FEW = {"num_inference_steps": 2, "output_type": "np"}


def test_the_signature_shows_the_base_pipelines_parameters_beside_ours(pipe):
    shown, base = (inspect.signature(kind.__call__).parameters for kind in (type(pipe), StableDiffusionPipeline))
    assert set(shown) == {*base, *OURS, "steering_end", "strength_curve", "mask", "masking"}
    assert all(shown[name].default == base[name].default for name in base)
    assert list(shown)[:3] == list(base)[:3] == ["self", "prompt", "height"]
    assert shown["strength"].kind is inspect.Parameter.KEYWORD_ONLY
    assert inspect.signature(pipe.__call__).parameters["guidance_scale"].default == 7.5


@pytest.mark.parametrize("name", [name for name in dir(diffusers) if name.endswith("Img2ImgPipeline")])
def test_a_name_that_both_have_is_ours(name):
    made = class_over(LinEASDiffusionPipeline, getattr(diffusers, name))
    shown = inspect.signature(made.__call__).parameters
    assert shown["strength"].default is None
    assert set(inspect.signature(getattr(diffusers, name).__call__).parameters) <= set(shown)


def test_it_is_both_a_steered_pipeline_and_one_of_its_base_class(pipe):
    for kind in (LinEASDiffusionPipeline, StableDiffusionPipeline, DiffusionPipeline):
        assert isinstance(pipe, kind)
    assert not isinstance(pipe, FluxPipeline)
    assert type(pipe).__name__ == "LinEASStableDiffusionPipeline"
    assert type(pipe) is type(LinEASDiffusionPipeline(pipe.base)) is type(type(pipe)(pipe.base))
    assert accepts(pipe, "height")
    assert not accepts(pipe, "strength")  # of the base pipeline
    with pytest.raises(LineaError, match="steered already"):
        LinEASDiffusionPipeline(pipe)


def test_a_subclass_of_ones_own_stays_one(pipe):
    class Mine(LinEASDiffusionPipeline):
        pass

    mine = Mine(pipe.base)
    assert isinstance(mine, Mine)
    assert isinstance(LinEASDiffusionPipeline(pipe.base), LinEASDiffusionPipeline)
    assert not isinstance(LinEASDiffusionPipeline(pipe.base), Mine)


def test_what_its_class_does_not_have_is_the_base_classes(pipe):
    kind = type(pipe)
    assert kind._optional_components == StableDiffusionPipeline._optional_components
    assert kind.encode_prompt is StableDiffusionPipeline.encode_prompt
    assert kind.from_pretrained.__func__ is LinEASDiffusionPipeline.from_pretrained.__func__
    assert not hasattr(kind, "nothing")
    assert repr(pipe).startswith("LinEASStableDiffusionPipeline over StableDiffusionPipeline")
    assert repr(pipe).endswith("no adapters")


def test_dir_shows_the_names_of_both(pipe):
    assert {"vae", "unet", "encode_prompt", "load_lora_weights", "load_steering", "steering", "base"} <= set(dir(pipe))
    assert all(hasattr(pipe, name) for name in ("scheduler", "load_steering", "_callback_tensor_inputs"))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda pipe: pickle.loads(pickle.dumps(pipe))])
def test_copied_and_pickled(pipe, random_maps, again):
    pipe.load_steering(random_maps, "one")
    pipe.set_steering("one", 0.6)
    other = again(pipe)
    assert type(other) is type(pipe)
    assert other.unet is not pipe.unet
    assert other.get_active_steering() == pipe.get_active_steering()
    assert other.default_arguments == pipe.default_arguments
    pictures = [one("a red heart", generator=seeded(), **FEW).images for one in (pipe, other)]
    assert (pictures[0] == pictures[1]).all()


@pytest.mark.parametrize("kind", [AutoPipelineForText2Image, AutoPipelineForImage2Image, AutoPipelineForInpainting])
def test_auto_pipelines_keep_adapters(pipe, random_maps, kind):
    pipe.load_steering(random_maps, "neon")
    pipe.set_steering("neon", 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made, plain = kind.from_pipe(pipe), kind.from_pipe(pipe.base)
    assert isinstance(made, LinEASDiffusionPipeline)
    assert not isinstance(plain, LinEASDiffusionPipeline)
    assert type(made.base) is type(plain)
    assert made.unet is plain.unet is pipe.unet
    assert made.get_active_steering() == {"neon": 0.5}
    again = AutoPipelineForText2Image.from_pipe(made)
    assert type(again.base) is type(pipe.base)
    pictures = [one("a red heart", generator=seeded(), **FEW).images for one in (pipe, again)]
    assert np.array_equal(*pictures)


def test_from_pipe_of_one_class_says_what_it_leaves_behind(pipe, random_maps):
    pipe.load_steering(random_maps, "neon")
    kind = StableDiffusionImg2ImgPipeline
    advice = rf"without the steering neon: .* LinEASDiffusionPipeline.from_pipe\(pipe, {kind.__name__}\)"
    with pytest.warns(UserWarning, match=advice) as notices:
        plain = kind.from_pipe(pipe)
    assert len(notices) == 1
    assert notices[0].filename == __file__
    assert plain.unet is pipe.unet
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = LinEASDiffusionPipeline.from_pipe(pipe, kind)
    assert type(kept.base) is type(plain)
    assert kept.get_list_steering() == ["neon"]
    pipe.unload_steering()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind.from_pipe(pipe)


def test_embeddings_made_in_isolation_with_the_calls_own_defaults(pipe):
    """As diffusers' tests do it: what ``encode_prompt`` needs and nobody gave is read off ``__call__``."""
    call = inspect.signature(pipe.__call__).parameters
    wanted = inspect.signature(pipe.encode_prompt).parameters
    values = {name: call[name].default for name in wanted if name in call and name != "prompt"}
    embeds, negative = pipe.encode_prompt("a red heart", device=pipe.device, do_classifier_free_guidance=True, **values)
    settings = {"guidance_scale": 2.0, **FEW}
    made = pipe(prompt_embeds=embeds, negative_prompt_embeds=negative, generator=seeded(), **settings).images
    assert np.abs(made - pipe("a red heart", generator=seeded(), **settings).images).max() < 1e-5


@pytest.mark.parametrize("name", ["stable-diffusion-3", "flux", "pixart-sigma", "sana"])
def test_other_families(name):
    pipe = Subject(CASES[name]).pipe
    base = type(pipe.base)
    assert isinstance(pipe, base)
    assert set(inspect.signature(base.__call__).parameters) <= set(inspect.signature(type(pipe).__call__).parameters)
    assert type(AutoPipelineForText2Image.from_pipe(pipe.base)) is base
    assert type(AutoPipelineForText2Image.from_pipe(pipe).base) is base
