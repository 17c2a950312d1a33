"""Steering beside LoRA: loaded, scaled, switched off, fused, unfused, in any order.

Evidence: the plain pipeline with the same LoRA, bit for bit at strength 0; at 0.7 the formula in hooks put by hand.
"""

from __future__ import annotations

import pytest
import torch

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps, find_modules

from ..citizen import FOLD, TARGETS, change, check, check_fused, fresh, maps_for, render


@pytest.fixture
def fresh_pipe() -> LinEASDiffusionPipeline:
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


def test_lora_scaled_fused_and_unfused_beside_steering(fresh_pipe, maps, lora):
    fresh_pipe.load_steering(maps)
    bare = check(fresh_pipe, maps)
    fresh_pipe.load_lora_weights(lora, adapter_name="x")
    loud = check(fresh_pipe, maps)
    assert change(loud, bare) > 0.05
    fresh_pipe.set_adapters(["x"], [0.4])
    quiet = check(fresh_pipe, maps)
    assert min(change(quiet, loud), change(quiet, bare)) > 0.02
    fresh_pipe.fuse_lora()
    assert change(check(fresh_pipe, maps), quiet) < 1e-4
    fresh_pipe.unfuse_lora()
    assert change(check(fresh_pipe, maps), quiet) < 1e-4
    fresh_pipe.unload_lora_weights()
    assert change(check(fresh_pipe, maps), bare) < 1e-4


def test_a_layer_with_lora_is_one_module_under_its_own_name(fresh_pipe, lora):
    targets = [*TARGETS, "queries-keys", r"unet.*conv1.*", r"text_encoder.*"]
    before = list(find_modules(fresh_pipe, targets))
    fresh_pipe.load_lora_weights(lora)
    assert list(find_modules(fresh_pipe, targets)) == before
    values = find_modules(fresh_pipe, "values")
    assert all(hasattr(module, "lora_A") for module in values.values())


def test_maps_trained_beside_lora_act_without_it(fresh_pipe, maps, lora, tmp_path):
    plain = render(fresh_pipe.base)
    fresh_pipe.load_lora_weights(lora)
    maps_for(fresh_pipe).save_pretrained(tmp_path)
    fresh_pipe.unload_lora_weights()
    fresh_pipe.load_steering(tmp_path)
    assert change(render(fresh_pipe, strength=0.7), plain) > 0.05


def test_steering_is_not_fused_into_layers_that_lora_adds_to(fresh_pipe, maps, lora):
    fresh_pipe.load_steering(maps)
    fresh_pipe.load_lora_weights(lora, adapter_name="x")
    fusion = check_fused(fresh_pipe)
    wrapped = {name for name, module in find_modules(fresh_pipe, TARGETS).items() if hasattr(module, "lora_A")}
    assert wrapped
    assert wrapped <= set(fusion.hooked)
    assert set(find_modules(fresh_pipe, "norms")) <= set(fusion.folded)


def test_lora_is_switched_scaled_and_fused_while_steering_is_fused(fresh_pipe, maps, lora):
    fresh_pipe.load_steering(maps)
    fresh_pipe.load_lora_weights(lora, adapter_name="x")
    fresh_pipe.disable_lora()
    off = render(fresh_pipe, strength=0.7)
    fresh_pipe.enable_lora()
    fresh_pipe.set_adapters(["x"], [0.4])
    quiet, plain = render(fresh_pipe, strength=0.7), render(fresh_pipe.base)
    assert change(off, quiet) > 0.02
    fresh_pipe.disable_lora()
    fresh_pipe.fuse_steering(0.7, **FOLD)  # with a silent LoRA the layers look as if nothing were added to them
    assert change(render(fresh_pipe), off) < 2e-5
    fresh_pipe.enable_lora()
    assert change(render(fresh_pipe), quiet) < 2e-5
    fresh_pipe.fuse_lora()
    assert change(render(fresh_pipe), quiet) < 1e-4
    fresh_pipe.unfuse_lora()
    assert change(render(fresh_pipe), quiet) < 1e-4
    fresh_pipe.unfuse_steering()
    assert change(render(fresh_pipe.base), plain) < 1e-4


def test_lora_that_stays_fused_is_part_of_the_weights(fresh_pipe, maps, lora):
    fresh_pipe.load_steering(maps)
    fresh_pipe.load_lora_weights(lora)
    steered = render(fresh_pipe, strength=0.7)
    fresh_pipe.fuse_lora()
    fresh_pipe.unload_lora_weights()
    assert change(check(fresh_pipe, maps), steered) < 1e-4
    fusion = check_fused(fresh_pipe)
    assert {name for name in fusion.folded if name.endswith("to_v")} == set(find_modules(fresh_pipe, "values"))


def test_unfusing_under_a_lora_that_was_fused_later_is_refused(fresh_pipe, maps, lora):
    plain = render(fresh_pipe.base)
    fresh_pipe.load_steering(maps)
    fresh_pipe.fuse_steering(0.7, **FOLD)
    fused = render(fresh_pipe)
    fresh_pipe.load_lora_weights(lora)
    with pytest.raises(LineaError, match="LoRA"):  # its part of the layer's output would not be steered
        render(fresh_pipe)
    fresh_pipe.fuse_lora()
    both = render(fresh_pipe.base)
    assert change(both, fused) > 0.05
    with pytest.raises(LineaError, match="unfuse_lora"):
        fresh_pipe.unfuse_steering()
    assert (render(fresh_pipe.base) == both).all()
    fresh_pipe.unfuse_lora()
    fresh_pipe.unload_lora_weights()
    fresh_pipe.unfuse_steering()
    assert change(render(fresh_pipe.base), plain) < 1e-4
