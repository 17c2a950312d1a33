"""The block for modular pipelines, loaded as diffusers loads blocks of others, against the wrapper."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxAutoBlocks, FluxModularPipeline, FluxPipeline, ModularPipelineBlocks

from linea_diffusion import LineaError, LinEASBlocks, LinEASDiffusionPipeline

from ..zoo.cases import CASES
from ..zoo.checks import Subject, count_hooks
from ..zoo.modular import modular_case

FOLDER = Path(__file__).parents[2] / "pipelines" / "lineas_blocks"


@cache
def subject() -> Subject:
    return Subject(modular_case(CASES["flux"]))


def over(blocks) -> FluxModularPipeline:
    """A pipeline of blocks over the components of the tiny FLUX."""
    pipe = blocks.init_pipeline()
    pipe.update_components(**subject().pipe.components)
    return pipe


@pytest.fixture(scope="module")
def pipe():
    loaded = ModularPipelineBlocks.from_pretrained(str(FOLDER), trust_remote_code=True, blocks=FluxAutoBlocks())
    assert type(loaded) is LinEASBlocks
    return over(loaded)


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = count_hooks(subject().pipe)
    yield
    assert count_hooks(subject().pipe) == before


def picture(pipe, prompt="a red heart", **given) -> np.ndarray:
    call = {**subject().case.arguments, "output": "images", "output_type": "np", **given}
    return pipe(prompt=prompt, generator=torch.Generator().manual_seed(0), **call)


def test_it_steers_as_the_wrapper_does(pipe, tmp_path):
    assert isinstance(pipe, FluxModularPipeline)
    maps, wrapper = subject().maps, subject().pipe
    plain = picture(wrapper.base)
    assert (picture(pipe) == plain).all()
    assert (picture(pipe, steering=maps, steering_strength=0.0) == plain).all()
    assert (picture(pipe, steering=maps, steering_strength=0.7) == picture(wrapper, strength=0.7)).all()
    assert (picture(pipe, steering=maps) == picture(wrapper, strength=1.0)).all()
    maps.save_pretrained(tmp_path)
    two = {"steering": {"one": tmp_path, "two": maps}, "steering_strength": {"one": 0.3, "two": 0.4}}
    np.testing.assert_allclose(picture(pipe, **two), picture(wrapper, strength=0.7), atol=1e-4)


@pytest.mark.parametrize(
    "dial",
    [{"steering_end": 0.5}, {"strength_curve": [(0, 0.5), (1, 1)]}, {"composition": "chain"}, {"calibrated": False}],
)
def test_what_else_a_call_takes(pipe, dial):
    steered = picture(pipe, steering=subject().maps, **dial)
    assert (steered == picture(subject().pipe, strength=1.0, **dial)).all()
    with pytest.raises(LineaError, match="got composition 'product'"):
        picture(pipe, steering=subject().maps, composition="product")


def test_a_strength_for_each_picture(pipe):
    maps, strengths = subject().maps, [0.0, 0.4, 0.9]
    row = picture(pipe, steering=maps, steering_strength=strengths)
    assert (row == picture(subject().pipe, strength=strengths)).all()
    both = picture(pipe, ["a red heart", "a blue fish"], steering=maps, steering_strength=[0.4, 0.9])
    assert len(both) == 2
    np.testing.assert_allclose(both[0], row[1], atol=1e-4)


def test_one_block_of_a_workflow():
    blocks = FluxAutoBlocks()
    blocks.sub_blocks["denoise"] = LinEASBlocks(blocks.sub_blocks["denoise"])
    pipe, maps = over(blocks), subject().maps
    with pytest.warns(UserWarning, match="maps of 'text_encoder', 'text_encoder_2' .* rest"):
        steered = picture(pipe, steering=maps, steering_strength=0.7)
    other = LinEASDiffusionPipeline(subject().pipe.base)
    other.load_steering(maps.subset("transformer"))
    assert (steered == picture(other, strength=0.7)).all()
    row = picture(pipe, ["a red heart"] * 2, steering=maps.subset("transformer"), steering_strength=[0.7, 0.0])
    np.testing.assert_allclose(row[:1], steered, atol=1e-4)


def test_a_workflow_of_it_and_its_bars(pipe, capfd):
    few = over(pipe.blocks.get_workflow("text2image"))
    assert type(few._blocks) is LinEASBlocks
    given = {"steering": subject().maps, "steering_strength": 0.7}
    assert (picture(few, **given) == picture(pipe, **given)).all()
    assert "steering_strength" in pipe.blocks.doc
    capfd.readouterr()
    wrapper = LinEASDiffusionPipeline(few)
    wrapper.set_progress_bar_config(disable=True)
    picture(few, **given)
    assert "it/s" not in capfd.readouterr().err


def test_another_pipeline_that_a_block_calls_is_not_steered():
    parts = subject().pipe.components
    classic = FluxPipeline(**{name: part for name, part in parts.items() if name != "image_processor"})
    call = {**subject().case.arguments, "output_type": "np"}

    class Other(ModularPipelineBlocks):
        def __call__(self, components, state):
            state.set("other", classic("a red heart", generator=torch.Generator().manual_seed(0), **call).images)
            return components, state

    blocks = FluxAutoBlocks()
    blocks.sub_blocks.insert("other", Other(), 1)
    pipe = over(LinEASBlocks(blocks))
    both = picture(pipe, steering=subject().maps, steering_strength=0.7, output=["other", "images"])
    np.testing.assert_allclose(both["other"], picture(subject().pipe.base), atol=1e-5)
    assert (both["images"] == picture(subject().pipe, strength=0.7)).all()


def test_a_block_that_fails_leaves_nothing(pipe, monkeypatch):
    monkeypatch.setattr(pipe.vae, "decode", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        picture(pipe, steering=subject().maps)


def test_what_it_is_not_made_of():
    with pytest.raises(LineaError, match=r"expected those of a modular pipeline, such as blocks=FluxAutoBlocks\(\)"):
        ModularPipelineBlocks.from_pretrained(str(FOLDER), trust_remote_code=True)
    with pytest.raises(ValueError, match="trust_remote_code"):
        ModularPipelineBlocks.from_pretrained(str(FOLDER), trust_remote_code=False, blocks=FluxAutoBlocks())
