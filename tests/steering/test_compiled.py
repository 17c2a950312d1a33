"""torch.compile beside steering: the same pictures, no break in the graph, no new code for another strength.

Evidence: dynamo's own counters; the "eager" backend traces and guards as the real one does, without its minutes. One
test runs inductor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo import config
from torch._dynamo.utils import counters

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps

from ..batches import tiny_base, tiny_pipe, tiny_style
from ..conftest import count_hooks, seeded

SMALL = {"height": 16, "width": 16}


def _base() -> Any:
    """Made without a wrapper, which would tell dynamo at once to look at hooks."""
    base = tiny_base()
    base.set_progress_bar_config(disable=True)
    return base


def _fresh() -> LinEASDiffusionPipeline:
    pipe = LinEASDiffusionPipeline(_base())
    pipe.default_arguments.update(SMALL, guidance_scale=1.0)
    return pipe


@pytest.fixture(scope="module")
def random_maps():
    """Maps with random directions for the tiny pipeline, which is traced in a fraction of the embedded one's time."""
    return tiny_style(tiny_pipe(), 7)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


class Backend:
    """Counts the graphs that dynamo hands over."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def _array(pipe, **kwargs) -> np.ndarray:
    return pipe("a red heart", generator=seeded(), output_type="np", num_inference_steps=2, **kwargs).images


def _compile(pipe, how: str, backend) -> None:
    if how == "module":
        pipe.unet = torch.compile(pipe.unet, backend=backend, fullgraph=True)
    elif how == "in place":
        pipe.unet.compile(backend=backend, fullgraph=True)
    else:
        pipe.unet.compile_repeated_blocks(backend=backend, fullgraph=True)


@pytest.mark.parametrize("how", ["module", "in place", "regional"])
def test_compiled_is_eager_and_another_strength_needs_no_other_code(random_maps, how):
    """``fullgraph=True`` makes a break in the graph an error."""
    eager, pipe, backend = _fresh(), _fresh(), Backend()
    for one in (eager, pipe):
        one.load_steering(random_maps)
    _compile(pipe, how, backend)
    hooks = count_hooks(pipe)
    np.testing.assert_allclose(_array(pipe, strength=0.3), _array(eager, strength=0.3), atol=1e-3)
    steered = backend.graphs
    assert steered > 0
    for strength in (0.7, 1.0, -0.4, 0.31):
        np.testing.assert_allclose(_array(pipe, strength=strength), _array(eager, strength=strength), atol=1e-3)
    assert backend.graphs == steered
    np.testing.assert_allclose(_array(pipe, strength=0.0), _array(eager, strength=0.0), atol=1e-5)
    plain = backend.graphs
    assert plain > steered  # the base model has code of its own, without any steering
    for strength in (0.5, 0.0, 0.9):
        np.testing.assert_allclose(_array(pipe, strength=strength), _array(eager, strength=strength), atol=1e-3)
    assert backend.graphs == plain
    assert not counters["graph_break"]
    assert count_hooks(pipe) == hooks


def test_maps_that_mix_features(random_maps):
    """Low-rank parts: no break, and strengths, one or a row of them, share their code."""
    mixing = SteeringMaps({name: (1, affine.features, 3) for name, affine in random_maps.named_maps()})
    for parameter in mixing.requires_grad_(False).parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=seeded(parameter.numel())))
    eager, pipe, backend = _fresh(), _fresh(), Backend()
    for one in (eager, pipe):
        one.load_steering(mixing)
    pipe.unet = torch.compile(pipe.unet, backend=backend, fullgraph=True)
    graphs = []
    for strength in (0.3, -0.4, [0.2, 0.8], [0.5, -0.5]):
        np.testing.assert_allclose(_array(pipe, strength=strength), _array(eager, strength=strength), atol=1e-3)
        graphs.append(backend.graphs)
    assert graphs[0] == graphs[1] > 0
    assert graphs[2] == graphs[3]
    assert not counters["graph_break"]


def test_rows_and_parts_of_the_schedule(random_maps):
    eager, pipe, backend = _fresh(), _fresh(), Backend()
    for one in (eager, pipe):
        one.load_steering(random_maps)
    pipe.unet = torch.compile(pipe.unet, backend=backend, fullgraph=True)
    graphs = []
    for rows in ([0.2, 0.8], [0.0, 1.0], [0.5, -0.5]):
        np.testing.assert_allclose(_array(pipe, strength=rows), _array(eager, strength=rows), atol=1e-3)
        graphs.append(backend.graphs)
    assert graphs == [graphs[0]] * 3
    part = {"strength": [0.2, 0.8], "steering_start": 0.5}
    np.testing.assert_allclose(_array(pipe, **part), _array(eager, **part), atol=1e-3)


def test_only_conditional_rows_of_compiled_models(random_maps):
    """A model that is compiled in place hides its inputs: an error, where both halves would have been steered."""
    eager, pipe = _fresh(), _fresh()
    for one in (eager, pipe):
        one.load_steering(random_maps)
    call = {"strength": 0.7, "guidance_scale": 3.0, "steering_guidance": "cond"}
    plain = pipe.unet
    pipe.unet = torch.compile(plain, backend="eager")
    np.testing.assert_allclose(_array(pipe, **call), _array(eager, **call), atol=1e-3)
    pipe.unet = plain
    pipe.unet.compile(backend="eager")
    with pytest.raises(LineaError, match=r"pipe\.unet = torch\.compile"):
        _array(pipe, **call)


def test_fused_steering_compiles_as_the_base_model(random_maps):
    eager, pipe, backend = _fresh(), _fresh(), Backend()
    for one in (eager, pipe):
        one.load_steering(random_maps)
    pipe.fuse_steering(0.6)
    pipe.unet = torch.compile(pipe.unet, backend=backend, fullgraph=True)
    np.testing.assert_allclose(_array(pipe), _array(eager, strength=0.6), atol=2e-3)
    pipe.unfuse_steering()
    np.testing.assert_allclose(_array(pipe), _array(eager, strength=1.0), atol=2e-3)


@config.patch(skip_nnmodule_hook_guards=True)
@pytest.mark.parametrize("how", ["module", "in place", "regional"])
def test_code_that_knows_of_no_steering_is_an_error(random_maps, how):
    """Compiled and called before the pipeline was wrapped, with dynamo's default: hooks would be ignored in silence.

    The maps outside of a compiled block act and hide nothing.
    """
    base = _base()
    blocks = base.unet.mid_block.attentions[0].transformer_blocks
    if how == "module":
        blocks[0] = torch.compile(blocks[0], backend="eager")
    elif how == "in place":
        blocks[0].compile(backend="eager")
    else:
        base.unet.compile_repeated_blocks(backend="eager")
    expected = base("a red heart", generator=seeded(), output_type="np", num_inference_steps=2).images
    pipe = LinEASDiffusionPipeline(base)
    pipe.load_steering(random_maps)
    assert (_array(pipe, strength=0, guidance_scale=7.5) == expected).all()
    with pytest.raises(LineaError, match=r"torch\.compiler\.reset"):
        _array(pipe, strength=0.7)
    with pytest.raises(LineaError, match=r"torch\.compiler\.reset"), random_maps.apply(base):
        base("a red heart", num_inference_steps=1)
    pipe.load_steering(
        random_maps.subset("text_encoder"), "default", replace=True
    )  # what does not act there is none of its business
    assert np.abs(_array(pipe, strength=0.7, guidance_scale=7.5) - expected).max() > 1e-3
    pipe.load_steering(random_maps, "default", replace=True)
    torch.compiler.reset()
    assert np.abs(_array(pipe, strength=0.7, guidance_scale=7.5) - expected).max() > 0.05


@config.patch(skip_nnmodule_hook_guards=True)
def test_code_that_was_made_within_apply_is_left_behind_with_it(random_maps):
    """No wrapper was there to let dynamo check hooks."""
    base = _base()
    plain = _array(base)
    base.unet.mid_block.attentions[0].transformer_blocks[0].compile(backend="eager")
    with random_maps.apply(base, 0.5):
        weak = _array(base)
    with random_maps.apply(base, 1.0):
        strong = _array(base)
    assert np.abs(weak - strong).max() > 0.02
    np.testing.assert_allclose(_array(base), plain, atol=1e-5)


def test_a_compiled_text_encoder_that_embeddings_pass_by(random_maps):
    """It did not run, so that nothing says its code were old."""
    pipe = _fresh()
    pipe.text_encoder.compile(backend="eager")
    pipe.load_steering(random_maps)
    with torch.no_grad():
        embeddings = pipe.encode_prompt("a red heart", "cpu", 1, False)[0]
    with pytest.warns(UserWarning, match="'text_encoder'"):
        pipe(prompt_embeds=embeddings, strength=0.7, num_inference_steps=1, guidance_scale=1.0)


@pytest.mark.skipif(not torch._inductor.cpp_builder.get_cpp_compiler(), reason="inductor needs a compiler")
def test_with_inductor(random_maps):
    maps = {name: affine for name, affine in random_maps.named_maps() if "mid_block" in name}
    pipe = _fresh()
    pipe.load_steering(type(random_maps).of(maps))
    expected = _array(pipe, strength=0.7)
    pipe.unet.mid_block.attentions[0] = torch.compile(pipe.unet.mid_block.attentions[0], fullgraph=True)
    np.testing.assert_allclose(_array(pipe, strength=0.7), expected, atol=2e-3)
    assert np.abs(_array(pipe, strength=0.0) - expected).max() > 1e-3
