"""LoRA files of steering maps: the same pictures in programs with a slider, in diffusers, and back as maps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps
from linea_diffusion.pipelines.calling import measure_activations
from linea_diffusion.steering.presets import find_modules

from ..conftest import seeded
from ..zoo.cases import CASES
from .lora_loader import applied, groups_of, sdxl_layers, transformer_layers, unet_layers

STRENGTHS = (-0.5, 0.0, 0.5, 1.0)
N = r"(\d+)"
SD3_CLIPS = r"text_encoder(_2)?\..*self_attn"
SD3 = {
    rf"lora_unet_joint_blocks_{N}_x_block_attn_proj": r"transformer_blocks.\1.attn.to_out.0",
    rf"lora_unet_joint_blocks_{N}_context_block_attn_proj": r"transformer_blocks.\1.attn.to_add_out",
    rf"lora_unet_joint_blocks_{N}_x_block_attn2_proj": r"transformer_blocks.\1.attn2.to_out.0",
    rf"lora_unet_joint_blocks_{N}_x_block_attn_qkv": r"transformer_blocks.\1.attn.to_q transformer_blocks.\1.attn.to_k "
    r"transformer_blocks.\1.attn.to_v",
    rf"lora_unet_joint_blocks_{N}_x_block_attn2_qkv": r"transformer_blocks.\1.attn2.to_q "
    r"transformer_blocks.\1.attn2.to_k transformer_blocks.\1.attn2.to_v",
    rf"lora_unet_joint_blocks_{N}_context_block_attn_qkv": r"transformer_blocks.\1.attn.add_q_proj "
    r"transformer_blocks.\1.attn.add_k_proj transformer_blocks.\1.attn.add_v_proj",
}
FLUX = {
    rf"lora_unet_double_blocks_{N}_img_attn_proj": r"transformer_blocks.\1.attn.to_out.0",
    rf"lora_unet_double_blocks_{N}_txt_attn_proj": r"transformer_blocks.\1.attn.to_add_out",
    rf"lora_unet_single_blocks_{N}_linear2": r"single_transformer_blocks.\1.proj_out",
}
FLUX2 = {
    rf"diffusion_model\.double_blocks\.{N}\.img_attn\.proj": r"transformer_blocks.\1.attn.to_out.0",
    rf"diffusion_model\.double_blocks\.{N}\.txt_attn\.proj": r"transformer_blocks.\1.attn.to_add_out",
    rf"diffusion_model\.single_blocks\.{N}\.linear2": r"single_transformer_blocks.\1.attn.to_out",
}
ZIMAGE = {rf"diffusion_model\.layers\.{N}\.attention\.to_out\.0": r"layers.\1.attention.to_out.0"}
QWEN = {
    rf"lora_unet_transformer_blocks_{N}_attn_to_out_0": r"transformer_blocks.\1.attn.to_out.0",
    rf"lora_unet_transformer_blocks_{N}_attn_to_add_out": r"transformer_blocks.\1.attn.to_add_out",
}


def _transformer(rules):
    return lambda pipe: transformer_layers(pipe, rules)


MODELS = {
    "stable-diffusion": (unet_layers, ("attention", "norms", "text-norms"), "whole"),
    "stable-diffusion-xl": (sdxl_layers, ("attention",), "whole"),
    "stable-diffusion-3": (_transformer(SD3), ("denoiser-attention", "queries-keys", SD3_CLIPS), "whole"),
    "flux": (_transformer(FLUX), (r"transformer\..*attn(:1)?", r"text_encoder\..*self_attn"), "whole"),
    "flux2": (_transformer(FLUX2), ("denoiser-attention",), "rank"),
    "z-image": (_transformer(ZIMAGE), (r"transformer\.layers.*attention",), "rank"),
    "qwenimage": (_transformer(QWEN), ("denoiser-attention",), "whole"),
}


def _random_maps(pipe, targets, parts: str) -> SteeringMaps:
    """Maps with a rank, but for norms, and with scale and shift unless it is the rank alone."""
    modules = find_modules(pipe, targets)
    seen = measure_activations(pipe, modules)
    norms = {name for name, module in modules.items() if "Norm" in type(module).__name__}
    shapes = {name: (1, d) if name in norms else (1, d, 2) for name, (_, d) in seen.items()}
    made = SteeringMaps(shapes, metadata={"concept": "loud"}).requires_grad_(False)
    for name, affine in made.named_maps():
        random = seeded(len(name))
        for part, tensor in affine.tensors().items():
            if parts == "whole" or tensor.ndim == 2:
                few = part == "scale_offset" and name not in norms
                size = 0.1 * torch.randn(tensor.shape, generator=random)
                tensor.copy_(size * (torch.rand(tensor.shape, generator=random) < (0.2 if few else 1.0)))
    return made


@pytest.fixture(scope="module", params=list(MODELS))
def model(request):
    """A tiny pipeline of a family, with random maps."""
    case = CASES[request.param]
    pipe = LinEASDiffusionPipeline(case.build())
    pipe.set_progress_bar_config(disable=True)
    pipe.default_arguments.update(case.arguments)
    layers, targets, parts = MODELS[request.param]
    return SimpleNamespace(
        name=request.param, pipe=pipe, layers=layers(pipe.base), maps=_random_maps(pipe, targets, parts)
    )


def _picture(model, **kwargs) -> np.ndarray:
    torch.manual_seed(0)
    call = {**model.pipe.default_arguments, **kwargs}
    return model.pipe("a red heart", generator=seeded(), output_type="np", **call).images


def _change(first, second) -> float:
    return float(np.abs(first - second).max())


def test_a_file_for_a_slider_gives_the_same_pictures(model, tmp_path):
    report = model.maps.save_lora(tmp_path / "x.safetensors", model.pipe, dtype=torch.float32)
    assert not report.lost
    assert report.loss < 1e-4
    model.pipe.load_steering(model.maps, "loud", replace=True)
    plain = _picture(model, strength=0.0)
    for strength in STRENGTHS:
        expected = _picture(model, strength=strength)
        with applied(tmp_path / "x.safetensors", strength, model.layers) as used:
            assert used == len(groups_of(tmp_path / "x.safetensors"))
            assert _change(_picture(model, strength=0.0), expected) < 2e-3 * max(_change(expected, plain), 0.05), (
                strength
            )
    assert _change(_picture(model, strength=1.0), plain) > 0.005
    assert _change(_picture(model, strength=0.0), plain) == 0


def test_a_file_comes_back_as_maps(model, tmp_path):
    model.maps.save_lora(tmp_path / "x.safetensors", model.pipe, dtype=torch.float32)
    back = SteeringMaps.from_lora(tmp_path / "x.safetensors", model.pipe)
    assert back.metadata["concept"] == "loud"
    pictures = []
    for maps in (model.maps, back):
        model.pipe.load_steering(maps, "loud", replace=True)
        pictures.append(_picture(model, strength=0.7))
    plain = _picture(model, strength=0.0)
    if model.name == "flux":  # what single blocks' attention puts out has no layer of its own
        assert len(list(back.named_maps())) == len(list(model.maps.named_maps()))
    assert _change(*pictures) < 2e-3 * max(_change(pictures[0], plain), 0.05)


def test_diffusers_own_loader_turns_it(model, tmp_path):
    pytest.importorskip("peft")
    file, whole = tmp_path / "x.safetensors", {"dtype": torch.float32, "largest_loss": 9}
    report, carried = model.maps.save_lora(file, model.pipe, "diffusers", **whole), model.maps
    if report.lost:
        assert all("norm" in name for name in report.lost), report.lost
        carried = SteeringMaps.of({name: one for name, one in model.maps.named_maps() if "norm" not in name}, {})
    model.pipe.load_steering(carried, "loud", replace=True)
    expected = {strength: _picture(model, strength=strength) for strength in STRENGTHS}
    base = model.pipe.base
    base.load_lora_weights(tmp_path, weight_name="x.safetensors", adapter_name="loud")
    try:
        for strength in STRENGTHS:
            base.set_adapters("loud", strength)
            change = _change(_picture(model, strength=0.0), expected[strength])
            assert change < 2e-3 * max(_change(expected[strength], expected[0.0]), 0.05), strength
    finally:
        base.unload_lora_weights()


def test_what_a_program_cannot_carry_is_refused(tmp_path):
    case = CASES["stable-diffusion"]
    pipe = LinEASDiffusionPipeline(case.build())
    pipe.default_arguments.update(case.arguments)
    maps = _random_maps(pipe, ("attention",), "whole")
    with pytest.raises(LineaError, match=r"got maps of which AUTOMATIC1111 would lose \d+% of the effect .*\(bias\)"):
        maps.save_lora(tmp_path / "x.safetensors", pipe, "a1111")
    assert not list(tmp_path.iterdir())
    dropped = maps.save_lora(tmp_path / "x.safetensors", pipe, "a1111", largest_loss=9)
    assert not any(name.endswith(".diff_b") for name in _keys(tmp_path / "x.safetensors"))
    nearly = maps.save_lora(tmp_path / "x.safetensors", pipe, "a1111", largest_loss=9, approximate_bias=True)
    assert nearly.loss < 0.8 * dropped.loss
    assert "but nearly" in str(nearly)
    norms = _random_maps(pipe, ("norms",), "whole")
    with pytest.raises(LineaError, match="use load_steering, which takes all of it"):
        norms.save_lora(tmp_path / "x.safetensors", pipe, "diffusers")
    assert norms.save_lora(tmp_path / "x.safetensors", pipe, "a1111").loss < 0.01
    assert "lora_unet_out_0.w_norm" in _keys(tmp_path / "x.safetensors")
    ranks = _random_maps(pipe, ("attention",), "rank")
    for program in ("comfyui", "forge", "diffusers"):
        assert ranks.save_lora(tmp_path / "x.safetensors", pipe, program).loss < 0.01, program
    with pytest.raises(LineaError, match=r"got program 'comfy': expected one of comfyui, .*nearest: comfyui"):
        maps.save_lora(tmp_path / "x.safetensors", pipe, "comfy")
    with pytest.raises(LineaError, match=r"ends in \.safetensors"):
        maps.save_lora(tmp_path / "x.bin", pipe)


def test_norms_without_a_bias_are_told_and_change_nothing(tmp_path):
    case = CASES["z-image"]
    pipe = LinEASDiffusionPipeline(case.build())
    pipe.default_arguments.update(case.arguments)
    maps = _random_maps(pipe, (r"transformer\.layers.*attention_norm1",), "whole")
    report = maps.save_lora(tmp_path / "x.safetensors", pipe, largest_loss=9)
    assert report.layers == 0
    assert len(report.lost) == len(maps.maps)
    assert report.loss == pytest.approx(1, abs=1e-3)


def test_the_header_says_what_it_is(tmp_path):
    case = CASES["stable-diffusion-xl"]
    pipe = LinEASDiffusionPipeline(case.build())
    pipe.default_arguments.update(case.arguments)
    maps = _random_maps(pipe, ("attention",), "rank")
    maps.metadata["calibration"] = {"strengths": [0.0, 0.6, 1.0], "values": [0.0, 0.5, 1.0], "measure": "x"}
    report = maps.save_lora(tmp_path / "loud.safetensors", pipe)
    assert str(report).endswith("; even steps at 0.30, 0.60, 0.80, 1.00")
    with safe_open(tmp_path / "loud.safetensors", "pt") as file:
        header = file.metadata()
    assert header["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert header["ss_base_model_version"] == "sdxl_base_v1-0"
    assert header["modelspec.usage_hint"].endswith("even steps at 0.30, 0.60, 0.80, 1.00")
    assert {tensor.dtype for name, tensor in _tensors(tmp_path / "loud.safetensors") if ".lora_" in name} == {
        torch.float16
    }


def test_files_that_hold_no_maps_are_refused(tmp_path, loaded_pipe):
    from safetensors.torch import save_file

    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0"
    bad = {
        "other": ({"lora_unet_nowhere.lora_up.weight": torch.ones(1, 1)}, "whose layer 'lora_unet_nowhere' is not in"),
        "part": ({f"{name}.hada_w1_a": torch.ones(1, 1)}, "expected low-rank pairs, biases and normalisations only"),
    }
    for case, (tensors, message) in bad.items():
        save_file(tensors, tmp_path / f"{case}.safetensors")
        with pytest.raises(LineaError, match=message):
            SteeringMaps.from_lora(tmp_path / f"{case}.safetensors", loaded_pipe)
    with pytest.raises(LineaError, match=r"expected a \.safetensors file"):
        SteeringMaps.from_lora(tmp_path / "missing.safetensors", loaded_pipe)


def _tensors(file):
    with safe_open(file, "pt") as opened:
        return [(name, opened.get_tensor(name)) for name in opened.keys()]  # noqa: SIM118


def _keys(file) -> list[str]:
    return [name for name, _ in _tensors(file)]
