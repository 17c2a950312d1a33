"""Steering beside what saves memory: dtypes, casting layer by layer, offloading, quantised layers; fusing beside it.

Evidence: the plain pipeline with the same feature, bit for bit at strength 0; at 0.7 the formula in hooks put by hand.
"""

from __future__ import annotations

import accelerate
import pytest
import torch
from diffusers.hooks import apply_group_offloading
from torch import nn

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps, find_modules

from ..citizen import FOLD, change, check, check_fused, fresh, maps_for, render

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="offloading from an accelerator")


@pytest.fixture
def fresh_pipe() -> LinEASDiffusionPipeline:
    """An embedded pipeline of this test's own, that it may change."""
    return fresh()


@pytest.fixture(scope="module")
def maps(loaded_pipe) -> SteeringMaps:
    """Random maps of attention, norms, linears and convolutions."""
    return maps_for(loaded_pipe)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.06), (torch.float16, 0.01)])
def test_half_precision_with_maps_in_full(fresh_pipe, maps, dtype, tolerance):
    plain = render(fresh_pipe.base, num_inference_steps=2)
    fresh_pipe.load_steering(maps)
    fresh_pipe.to(dtype=dtype)
    check(fresh_pipe, maps, tolerance=tolerance, num_inference_steps=2)
    assert {parameter.dtype for parameter in fresh_pipe.steering["default"].parameters()} == {torch.float32}
    assert change(render(fresh_pipe.base, num_inference_steps=2), plain) > 0
    check_fused(fresh_pipe, tolerance=tolerance, num_inference_steps=2)


def test_weights_that_change_their_dtype_while_steering_is_fused(fresh_pipe, maps):
    fresh_pipe.load_steering(maps)
    fresh_pipe.fuse_steering(0.7, **FOLD)
    fresh_pipe.to(dtype=torch.bfloat16)
    fused = render(fresh_pipe)
    fresh_pipe.unfuse_steering()
    other = fresh()
    other.to(dtype=torch.bfloat16)
    assert (render(fresh_pipe.base) == render(other.base)).all()
    assert change(fused, render(fresh_pipe.base)) > 0.05


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 0.06)])
def test_layers_cast_one_by_one(fresh_pipe, maps, dtype, tolerance):
    fresh_pipe.to(dtype=dtype)
    fresh_pipe.load_steering(maps)
    exact = render(fresh_pipe, strength=0.7)
    fresh_pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    assert fresh_pipe.unet.conv_in.weight.dtype == torch.float8_e4m3fn
    assert change(check(fresh_pipe, maps, tolerance=tolerance), exact) > 0.02
    fusion = check_fused(fresh_pipe, tolerance=tolerance)
    assert set(find_modules(fresh_pipe, "values")) <= set(fusion.hooked)
    assert set(find_modules(fresh_pipe, "norms")) <= set(fusion.folded)


def test_layers_cast_one_by_one_while_steering_is_fused(fresh_pipe, maps):
    fresh_pipe.load_steering(maps)
    fresh_pipe.fuse_steering(0.7, **FOLD)
    fresh_pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    fresh_pipe.unfuse_steering()
    other = fresh()
    other.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    assert (render(fresh_pipe.base) == render(other.base)).all()


@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("kind", ["block_level", "leaf_level"])
def test_weights_fetched_in_groups(fresh_pipe, maps, kind, disk, tmp_path):
    fresh_pipe.load_steering(maps)
    present = render(fresh_pipe, strength=0.7)
    blocks = {"num_blocks_per_group": 1} if kind == "block_level" else {}
    where = {"offload_to_disk_path": str(tmp_path)} if disk else {}
    apply_group_offloading(fresh_pipe.unet, onload_device=CPU, offload_device=CPU, offload_type=kind, **blocks, **where)
    assert change(check(fresh_pipe, maps), present) < 1e-4
    fusion = check_fused(fresh_pipe)
    assert {name for name, _ in maps.acting() if name.startswith("unet")} == set(fusion.hooked)


def test_weights_fetched_one_by_one(fresh_pipe, maps):
    fresh_pipe.load_steering(maps)
    present = render(fresh_pipe, strength=0.7)
    accelerate.cpu_offload(fresh_pipe.unet, CPU)
    assert fresh_pipe.unet.conv_in.weight.device.type == "meta"
    assert change(check(fresh_pipe, maps), present) < 1e-4
    fusion = check_fused(fresh_pipe)
    assert {name for name, _ in maps.acting() if name.startswith("unet")} == set(fusion.hooked)


def test_offloading_whole_models_is_asked_of_the_base(fresh_pipe, maps):
    fresh_pipe.load_steering(maps)
    fresh_pipe.enable_model_cpu_offload(device="cpu")
    check(fresh_pipe, maps)
    assert check_fused(fresh_pipe).folded


@needs_cuda
@pytest.mark.parametrize("way", ["enable_model_cpu_offload", "enable_sequential_cpu_offload", "groups"])
def test_offloading_from_an_accelerator(fresh_pipe, maps, way):
    fresh_pipe.load_steering(maps)
    if way == "groups":
        fresh_pipe.enable_group_offload(torch.device("cuda"), offload_type="leaf_level", use_stream=True)
    else:
        getattr(fresh_pipe, way)()
    check(fresh_pipe, maps, tolerance=1e-3)
    check_fused(fresh_pipe, tolerance=1e-3)


@needs_cuda
def test_a_model_that_moves_while_steering_is_fused(fresh_pipe, maps):
    plain = render(fresh_pipe.base)
    fresh_pipe.load_steering(maps)
    fresh_pipe.fuse_steering(0.7, **FOLD)
    fresh_pipe.to("cuda")
    fresh_pipe.unfuse_steering()
    fresh_pipe.to("cpu")
    assert (render(fresh_pipe.base) == plain).all()


def _torchao(unet: nn.Module) -> None:
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(unet, Int8WeightOnlyConfig())


def _bitsandbytes(bits: int):
    def quantise(unet: nn.Module) -> None:
        layers = pytest.importorskip("bitsandbytes").nn
        for name, layer in list(unet.named_modules()):
            if isinstance(layer, nn.Linear):
                sizes = (layer.in_features, layer.out_features, layer.bias is not None)
                if bits == 8:
                    made = layers.Linear8bitLt(*sizes, has_fp16_weights=False)
                else:
                    made = layers.Linear4bit(*sizes, compute_dtype=torch.float32, quant_type="nf4")
                made.load_state_dict(layer.state_dict())
                unet.set_submodule(name, made.to(CPU).requires_grad_(False))

    return quantise


@pytest.mark.parametrize("quantise", [_torchao, _bitsandbytes(8), _bitsandbytes(4)], ids=["torchao", "bnb 8", "bnb 4"])
def test_quantised_layers(fresh_pipe, maps, quantise):
    fresh_pipe.load_steering(maps)
    exact = render(fresh_pipe, strength=0.7)
    quantise(fresh_pipe.unet)
    quantised = check(fresh_pipe, maps, tolerance=1e-4)
    assert change(quantised, exact) > 0
    fusion = check_fused(fresh_pipe, tolerance=1e-4)
    assert set(find_modules(fresh_pipe, "values")) <= set(fusion.hooked)
    assert set(find_modules(fresh_pipe, "norms")) <= set(fusion.folded)


def test_unfusing_layers_that_were_quantised_later_is_refused(fresh_pipe, maps):
    fresh_pipe.load_steering(maps)
    fresh_pipe.fuse_steering(0.7, **FOLD)
    _torchao(fresh_pipe.unet)
    fused = render(fresh_pipe)
    with pytest.raises(LineaError, match="quantisation"):
        fresh_pipe.unfuse_steering()
    assert (render(fresh_pipe) == fused).all()
