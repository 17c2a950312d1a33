"""Order along the depth of a model, against the order in which modules really run."""

from __future__ import annotations

import random

import pytest

from linea_diffusion import LinEASDiffusionPipeline
from linea_diffusion.grids.report.depth import by_depth, stage_of
from linea_diffusion.steering.presets import find_modules


def _run_order(pipe, modules) -> list[str]:
    """Names of modules in the order in which one step of one call ran them first."""
    seen: dict[str, None] = {}
    hooks = [m.register_forward_pre_hook(lambda *_, n=n: seen.setdefault(n)) for n, m in modules.items()]
    try:
        pipe("a red heart", num_inference_steps=1, output_type="latent")
    finally:
        for hook in hooks:
            hook.remove()
    return list(seen)


def test_unet_and_text_encoder_run_in_this_order(pipe):
    modules = find_modules(pipe, ("norms", "text-norms"))
    assert list(modules) != _run_order(pipe, modules), "then nothing needed to be sorted"
    assert by_depth(modules) == _run_order(pipe, modules)


def test_a_transformers_blocks_run_in_this_order():
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-dit")
    pipe.set_progress_bar_config(disable=True)
    modules = find_modules(pipe, "attention")
    names = list(modules)
    random.Random(0).shuffle(names)
    assert by_depth(names) == _run_order(pipe, modules)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("unet.down_blocks.1.attentions.0.norm", "down"),
        ("unet.mid_block.resnets.1.norm2", "middle"),
        ("unet.up_blocks.0.resnets.0.norm1", "up"),
        ("unet.conv_norm_out", "end"),
        ("transformer.time_text_embed", "start"),
        ("transformer.layers.3.attn", "other"),
        ("text_encoder_2.encoder.layers.3.self_attn", "text encoder 2"),
        ("transformer.transformer_blocks.2.attn:1", "blocks"),
        ("transformer.single_transformer_blocks.2.attn", "single blocks"),
    ],
)
def test_parts_of_models(name, stage):
    assert stage_of(name) == stage


def test_numbers_are_numbers_and_parts_are_in_order():
    names = [
        "transformer.norm_out.linear",
        "transformer.single_transformer_blocks.0.attn",
        "transformer.transformer_blocks.10.attn",
        "transformer.transformer_blocks.2.attn",
        "transformer.time_text_embed",
        "text_encoder_2.encoder.block.0",
        "text_encoder.encoder.layers.0.self_attn",
    ]
    assert by_depth(names) == [names[6], names[5], names[4], names[3], names[2], names[1], names[0]]
