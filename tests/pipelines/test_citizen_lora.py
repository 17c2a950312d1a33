"""Steering beside LoRA: loaded, scaled, switched off, fused, unfused, in any order.

Evidence: the plain pipeline with the same LoRA, bit for bit at strength 0; at 0.7 the formula in hooks put by hand.
"""

from __future__ import annotations

import pytest
import torch

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps, find_modules

from ..citizen import FOLD, TARGETS, change, check, check_fused, fresh, maps_for, render


@pytest.fixture
def own() -> LinEASDiffusionPipeline:
    """An embedded pipeline of this test's own, that it may change."""
    return fresh()


@pytest.fixture(scope="module")
def maps(loaded_pipe) -> SteeringMaps:
    """Random maps of attention, norms, linears and convolutions."""
    return maps_for(loaded_pipe)


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """A folder with LoRA weights for attention, convolutions and the text encoder, loud enough to be seen."""
    peft = pytest.importorskip("peft")
    pipe, folder = fresh(), tmp_path_factory.mktemp("lora")
    layers = {"unet": ["to_q", "to_v", "to_out.0", "conv1"], "text_encoder": ["q_proj", "v_proj"]}
    states = {}
    for part, names in layers.items():
        model = getattr(pipe, part)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.add_adapter(peft.LoraConfig(r=4, lora_alpha=8, target_modules=names, init_lora_weights=False))
        state = peft.get_peft_model_state_dict(model, adapter_name="default")
        states[f"{part}_lora_layers"] = {key: 0.3 * value for key, value in state.items()}
    pipe.save_lora_weights(folder, **states)
    return folder


def test_lora_scaled_fused_and_unfused_beside_steering(own, maps, lora):
    own.load_steering(maps)
    bare = check(own, maps)
    own.load_lora_weights(lora, adapter_name="x")
    loud = check(own, maps)
    assert change(loud, bare) > 0.05
    own.set_adapters(["x"], [0.4])
    quiet = check(own, maps)
    assert min(change(quiet, loud), change(quiet, bare)) > 0.02
    own.fuse_lora()
    assert change(check(own, maps), quiet) < 1e-4
    own.unfuse_lora()
    assert change(check(own, maps), quiet) < 1e-4
    own.unload_lora_weights()
    assert change(check(own, maps), bare) < 1e-4


def test_a_layer_with_lora_is_one_module_under_its_own_name(own, lora):
    targets = [*TARGETS, "queries-keys", r"unet.*conv1.*", r"text_encoder.*"]
    before = list(find_modules(own, targets))
    own.load_lora_weights(lora)
    assert list(find_modules(own, targets)) == before
    values = find_modules(own, "values")
    assert all(hasattr(module, "lora_A") for module in values.values())


def test_maps_trained_beside_lora_act_without_it(own, maps, lora, tmp_path):
    plain = render(own.base)
    own.load_lora_weights(lora)
    maps_for(own).save_pretrained(tmp_path)
    own.unload_lora_weights()
    own.load_steering(tmp_path)
    assert change(render(own, strength=0.7), plain) > 0.05


def test_steering_is_not_fused_into_layers_that_lora_adds_to(own, maps, lora):
    own.load_steering(maps)
    own.load_lora_weights(lora, adapter_name="x")
    fusion = check_fused(own)
    wrapped = {name for name, module in find_modules(own, TARGETS).items() if hasattr(module, "lora_A")}
    assert wrapped
    assert wrapped <= set(fusion.hooked)
    assert set(find_modules(own, "norms")) <= set(fusion.folded)


def test_lora_is_switched_scaled_and_fused_while_steering_is_fused(own, maps, lora):
    own.load_steering(maps)
    own.load_lora_weights(lora, adapter_name="x")
    own.disable_lora()
    off = render(own, strength=0.7)
    own.enable_lora()
    own.set_adapters(["x"], [0.4])
    quiet, plain = render(own, strength=0.7), render(own.base)
    assert change(off, quiet) > 0.02
    own.disable_lora()
    own.fuse_steering(0.7, **FOLD)  # with a silent LoRA the layers look as if nothing were added to them
    assert change(render(own), off) < 2e-5
    own.enable_lora()
    assert change(render(own), quiet) < 2e-5
    own.fuse_lora()
    assert change(render(own), quiet) < 1e-4
    own.unfuse_lora()
    assert change(render(own), quiet) < 1e-4
    own.unfuse_steering()
    assert change(render(own.base), plain) < 1e-4


def test_lora_that_stays_fused_is_part_of_the_weights(own, maps, lora):
    own.load_steering(maps)
    own.load_lora_weights(lora)
    steered = render(own, strength=0.7)
    own.fuse_lora()
    own.unload_lora_weights()
    assert change(check(own, maps), steered) < 1e-4
    fusion = check_fused(own)
    assert {name for name in fusion.folded if name.endswith("to_v")} == set(find_modules(own, "values"))


def test_unfusing_under_a_lora_that_was_fused_later_is_refused(own, maps, lora):
    plain = render(own.base)
    own.load_steering(maps)
    own.fuse_steering(0.7, **FOLD)
    fused = render(own)
    own.load_lora_weights(lora)
    with pytest.raises(LineaError, match="LoRA"):  # its part of the layer's output would not be steered
        render(own)
    own.fuse_lora()
    both = render(own.base)
    assert change(both, fused) > 0.05
    with pytest.raises(LineaError, match="unfuse_lora"):
        own.unfuse_steering()
    assert (render(own.base) == both).all()
    own.unfuse_lora()
    own.unload_lora_weights()
    own.unfuse_steering()
    assert change(render(own.base), plain) < 1e-4
