"""No picture is made in silence on which maps were lost: errors, warnings, and calls in which nothing is missing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from linea_diffusion import (
    LineaError,
    LinEASDiffusionPipeline,
    SteeringMaps,
    TrainingConfig,
    find_modules,
    load_concept,
    train_steering_maps,
)

from .. import citizen
from ..citizen import change, fresh, maps_for, render
from ..zoo.cases import CASES
from ..zoo.checks import Subject

GUIDED = {"num_inference_steps": 2, "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def made():
    pipe = fresh()
    return pipe, maps_for(pipe)


@pytest.fixture
def pipe(made) -> Iterator[LinEASDiffusionPipeline]:
    pipe, maps = made
    pipe.load_steering(maps)
    encoder = pipe.text_encoder
    yield pipe
    pipe.text_encoder = encoder
    pipe.unload_steering()


@pytest.fixture
def maps(made) -> SteeringMaps:
    return made[1]


@contextmanager
def silence() -> Iterator[None]:
    """Within the context a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def _encoded(pipe, prompt="a red heart", **kwargs):
    """Call arguments in place of a prompt."""
    with torch.no_grad():
        made = pipe.encode_prompt(prompt, "cpu", 1, True, **kwargs)
    return {"prompt_embeds": made[0], "negative_prompt_embeds": made[1], **GUIDED}


# --- text encoders that do not run


def test_maps_of_a_text_encoder_that_embeddings_pass_by_are_named(pipe, maps):
    arguments = _encoded(pipe)
    with silence():
        render(pipe, strength=0.7, **GUIDED)
        plain = render(pipe, None, strength=0.0, **arguments)
    with pytest.warns(UserWarning, match=r"maps of 'text_encoder' \(3 activations\) rest.*encode_prompt") as seen:
        steered = render(pipe, None, strength=0.7, **arguments)
    assert len([one for one in seen if one.category is UserWarning]) == 1
    assert change(steered, plain) > 0.02
    pipe.load_steering(maps.subset("unet"), "default", replace=True)
    with silence():
        assert (render(pipe, None, strength=0.7, **arguments) == steered).all()
    pipe.load_steering(maps.subset("text_encoder"), "default", replace=True)
    with pytest.raises(LineaError, match=r"'text_encoder', and a call in which it did not run, so that nothing"):
        render(pipe, None, strength=0.7, **arguments)
    with silence():
        assert (render(pipe, None, strength=0.0, **arguments) == plain).all()


def test_maps_of_a_text_encoder_that_was_freed_rest(pipe, maps):
    arguments = _encoded(pipe)
    pipe.load_steering(maps.subset("unet"), "default", replace=True)
    expected, plain = render(pipe, None, strength=0.7, **arguments), render(pipe.base, None, **arguments)
    pipe.text_encoder = None
    with pytest.warns(UserWarning, match=r"maps of 'text_encoder' \(3 activations\) rest"):
        pipe.load_steering(maps, "default", replace=True)
    with pytest.warns(UserWarning, match=r"maps of 'text_encoder' \(3 activations\) rest.*the other maps act"):
        assert (render(pipe, None, strength=0.7, **arguments) == expected).all()
    with silence():
        assert (render(pipe, None, strength=0.0, **arguments) == plain).all()
    with pytest.warns(UserWarning, match="rest"):
        assert pipe.fuse_steering(0.7, **{**arguments, "prompt": None, "num_inference_steps": 1}).folded
    assert change(render(pipe, None, **arguments), expected) < 1e-4
    pipe.unfuse_steering()


def test_a_pipeline_made_without_its_text_encoder(pipe):
    arguments = _encoded(pipe)
    with pytest.warns(UserWarning, match=r"maps of 'text_encoder' \(3 activations\) rest"):
        bare = LinEASDiffusionPipeline.from_pipe(pipe, text_encoder=None)
    bare.set_progress_bar_config(disable=True)
    with pytest.warns(UserWarning, match="the other maps act"):
        steered = render(bare, None, strength=0.7, **arguments)
    with pytest.warns(UserWarning, match="rest"):
        assert (render(pipe, None, strength=0.7, **arguments) == steered).all()


@pytest.mark.parametrize("dial", [{}, {"composition": "chain"}, {"steering_guidance": "cond"}])
def test_prompts_that_are_encoded_ahead_are_steered_as_in_the_call(pipe, dial):
    expected = render(pipe, strength=0.7, **dial, **GUIDED)
    arguments = _encoded(pipe, strength=0.7, **dial)
    with silence():
        assert (render(pipe, None, strength=0.7, **dial, **arguments) == expected).all()
    pipe.text_encoder = None
    with silence():
        assert (render(pipe, None, strength=0.7, **dial, **arguments) == expected).all()
    with pytest.warns(UserWarning, match="at the strength of the call"):
        render(pipe, None, strength=0.6, **dial, **arguments)


def test_a_row_of_strengths_is_encoded_ahead(pipe):
    strengths = [0.0, 0.5, 1.0]
    expected = render(pipe, ["a red heart"] * 3, seeds=(0, 0, 0), strength=strengths, **GUIDED)
    arguments = _encoded(pipe, strength=strengths)
    assert len(arguments["prompt_embeds"]) == len(arguments["negative_prompt_embeds"]) == 3
    with silence():
        assert (render(pipe, None, seeds=(0, 0, 0), strength=strengths, **arguments) == expected).all()


def test_encoding_without_a_strength_is_the_base_models(pipe, maps):
    for one, other in ((_encoded(pipe), _encoded(pipe.base)), (_encoded(pipe, strength=0.0), _encoded(pipe.base))):
        assert torch.equal(one["prompt_embeds"], other["prompt_embeds"])
    assert not torch.equal(_encoded(pipe, strength=1.0)["prompt_embeds"], _encoded(pipe)["prompt_embeds"])


def test_embeddings_of_other_maps_under_the_same_name_are_told(pipe, maps):
    made = _encoded(pipe, strength=0.7)
    with silence():
        assert pipe(strength=0.7, output_type="latent", **made).images.isfinite().all()
    pipe.load_steering(2 * maps, next(iter(pipe.steering)), replace=True)
    with pytest.warns(UserWarning, match="in place of prompt embeddings"):
        pipe(strength=0.7, output_type="latent", **made)


def test_second_encoders_and_pooled_embeddings_are_encoded_ahead():
    subject = Subject(CASES["stable-diffusion-xl"])
    pipe, settings = subject.pipe, {**subject.case.arguments, "generator": torch.Generator(), "output_type": "np"}
    made = pipe.encode_prompt("a red heart", num_images_per_prompt=1, strength=0.7)
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    settings["generator"].manual_seed(0)
    expected = pipe("a red heart", strength=0.7, **settings).images
    settings["generator"].manual_seed(0)
    with silence():
        assert (pipe(strength=0.7, **dict(zip(names, made, strict=True)), **settings).images == expected).all()


def test_an_encoder_that_is_run_layer_by_layer_has_run():
    """The pipeline calls the layers itself, far below the model."""
    subject = Subject(CASES["ideogram4"])
    with silence():
        steered = subject.render((0,), strength=0.7)
    assert change(steered, subject.render((0,), strength=0.0)) > 1e-3


# --- projections that another layer replaces


def test_projections_that_run_as_one_layer_are_refused(pipe, maps):
    expected, plain = render(pipe, strength=0.7), render(pipe.base)
    values = sum(name.endswith("to_v") for name, _ in maps.named_maps())
    pipe.base.fuse_qkv_projections(vae=False)
    with pytest.raises(LineaError, match=rf"maps of {values} projections .*to_v.*unfuse_qkv_projections"):
        render(pipe, strength=0.7)
    with pytest.raises(LineaError, match="unfuse_qkv_projections"), maps.apply(pipe):
        pass
    with pytest.raises(LineaError, match="unfuse_qkv_projections"):
        pipe.fuse_steering(0.7)
    assert change(render(pipe, strength=0.0), plain) < 1e-4
    pipe.load_steering(maps.subset(r"(?!.*\.to_v$).*"), "default", replace=True)
    with silence():
        render(pipe, strength=0.7)
    pipe.load_steering(maps, "default", replace=True)
    pipe.base.unfuse_qkv_projections(vae=False)
    with silence():
        assert (render(pipe, strength=0.7) == expected).all()


@pytest.mark.parametrize("targets", ["values", r"unet.*attn1\.to_k"])
def test_training_projections_that_never_run_is_refused(pipe, targets):
    pipe.base.fuse_qkv_projections(vae=False)
    config = TrainingConfig(iterations=1, target_modules=targets)
    with pytest.raises(LineaError, match="never run while fuse_qkv_projections"):
        train_steering_maps(pipe, load_concept("neon"), config)
    seen = find_modules(pipe, "queries-keys")
    pipe.base.unfuse_qkv_projections(vae=False)
    assert set(seen) == {name for name in find_modules(pipe, "queries-keys") if name.endswith("attn2.to_q")}


def test_training_modules_that_never_run_is_refused(pipe):
    config = TrainingConfig(target_modules=r".*\.idle", num_inference_steps=1, batch_size=64)
    pipe.unet.mid_block.idle = torch.nn.Linear(2, 2)
    try:
        with pytest.raises(LineaError, match=r"'unet\.mid_block\.idle'\) did not run"):
            train_steering_maps(pipe, load_concept("neon"), config)
    finally:
        del pipe.unet.mid_block.idle


@pytest.mark.parametrize("key", ["flux", "stable-diffusion-3"])
def test_joint_projections_of_transformers(key):
    base = CASES[key].build()
    names = set(find_modules(base, ["queries-keys", "values"]))
    base.transformer.fuse_qkv_projections()
    with pytest.raises(LineaError, match="never run"):
        find_modules(base, "values")
    base.transformer.unfuse_qkv_projections()
    assert set(find_modules(base, ["queries-keys", "values"])) == names


def test_projections_that_are_fused_after_the_steering(pipe):
    plain = render(pipe.base)
    pipe.fuse_steering(0.7)
    expected = render(pipe)
    pipe.base.fuse_qkv_projections(vae=False)
    with pytest.raises(LineaError, match="fuse_qkv_projections"):
        render(pipe)
    with pytest.raises(LineaError, match="unfuse_qkv_projections first"):
        pipe.unfuse_steering()
    pipe.base.unfuse_qkv_projections(vae=False)
    assert (render(pipe) == expected).all()
    pipe.unfuse_steering()
    assert (render(pipe.base) == plain).all()


def test_a_model_that_is_replaced_while_steering_is_fused(pipe):
    original, other = pipe.unet, fresh().unet
    pipe.fuse_steering(0.7)
    pipe.unet = other
    with pytest.raises(LineaError, match="another model"):
        render(pipe)
    pipe.unet = original
    pipe.unfuse_steering()


# --- models that run past their hooks


def test_a_model_whose_forward_calls_no_hooks_is_named(pipe, maps):
    other = fresh().unet
    pipe.unet.forward = other.forward
    try:
        with pytest.raises(LineaError, match=r"'unet' that ran past 81 of 81"):
            render(pipe, strength=0.7)
        with pytest.raises(LineaError, match="ran past"), maps.apply(pipe):
            render(pipe.base)
    finally:
        del pipe.unet.forward


def test_a_layer_that_is_skipped_is_named_in_a_warning(pipe):
    layer = pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn1
    layer.forward = lambda hidden_states, **kwargs: hidden_states
    try:
        with pytest.warns(UserWarning, match=r"1 of 81 .*attn1\.to_v'\) in 'unet' .*maps\.subset") as seen:
            render(pipe, strength=0.7)
        assert [one.filename for one in seen if "maps.subset" in str(one.message)] == [citizen.__file__]  # who called
    finally:
        del layer.forward


def test_a_part_of_the_schedule_that_no_step_falls_into(pipe, maps):
    with silence():
        render(pipe, strength=0.7, steering_start=0.5, num_inference_steps=4)
    with pytest.warns(UserWarning, match="no denoising step of 'unet' fell between"):
        pictures = render(pipe, strength=0.7, steering_start=0.9, num_inference_steps=4)
    assert (pictures == render(pipe.base, num_inference_steps=4)).all()
    pipe.load_steering(maps.subset("text_encoder"), "default", replace=True)
    with pytest.warns(UserWarning, match="maps of 'text_encoder' act before the first step"):
        render(pipe, strength=0.7, steering_start=0.5)


def test_a_warning_from_code_without_a_module_name():
    """As of a notebook's cell, or of what ``exec`` runs in a plain dict."""
    names: dict = {}
    exec(
        "from linea_diffusion.steering.calls.acted import tell_resting\ntell = lambda: tell_resting(['unet.conv_in'])",
        names,
    )
    del names["__builtins__"]
    with pytest.warns(UserWarning, match="rest, because it does not run"):
        names["tell"]()
