"""Finding modules on the embedded model, whose structure is known."""

from __future__ import annotations

import pytest
from torch import nn

from linea_diffusion import LineaError, find_modules
from linea_diffusion.steering.preset_names import PRESET_MEANINGS, presets_help
from linea_diffusion.steering.presets import PRESETS, find_presets


def test_attention_is_three_text_layers_and_fourteen_denoiser_layers(pipe):
    names = list(find_modules(pipe, "attention"))
    assert [name for name in names if name.startswith("text_encoder")] == [
        f"text_encoder.encoder.layers.{i}.self_attn" for i in range(3)
    ]
    denoiser = [name for name in names if name.startswith("unet")]
    assert len(denoiser) == 14
    assert all(name.endswith(("attn1", "attn2")) for name in denoiser)


def test_presets_differ_and_are_not_empty(pipe):
    choice = {preset: frozenset(modules) for preset, modules in find_presets(pipe).items()}
    assert choice.pop("post-norms") == frozenset(), "they are for language models"
    assert len(set(choice.values())) == len(PRESETS) - 1
    assert choice["text-attention"] | choice["denoiser-attention"] == choice["attention"]


def test_norms_are_the_denoisers_groupnorms_and_layernorms(pipe):
    expected = {m for m in pipe.unet.modules() if isinstance(m, nn.GroupNorm | nn.LayerNorm)}
    assert set(find_modules(pipe, "norms").values()) == expected


def test_a_pattern_must_match_the_whole_name(pipe):
    assert list(find_modules(pipe, r"unet\.mid_block.*attn2")) == [
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2"
    ]
    with pytest.raises(LineaError, match="no module"):
        find_modules(pipe, r"mid_bl")


def test_an_ending_chooses_whole_parts_of_names_as_in_peft(pipe):
    """A list of PEFT's takes endings; a text alone is a regular expression there, and either here."""
    assert find_modules(pipe, ["to_q", "to_k"]) == find_modules(pipe, r".*\.to_[qk]")
    assert list(find_modules(pipe, "mid_block.attentions.0.transformer_blocks.0.attn2")) == list(
        find_modules(pipe, r"unet\.mid_block.*attn2")
    )
    with pytest.raises(LineaError, match="an ending such as attn2"):
        find_modules(pipe, "o_v")


def test_every_preset_says_what_it_is_for():
    assert list(PRESET_MEANINGS) == list(PRESETS)
    assert all(name in presets_help() for name in PRESETS)


def test_no_match_names_the_nearest(pipe):
    with pytest.raises(LineaError, match=r"nearest: attention"):
        find_modules(pipe, "atention")
    with pytest.raises(LineaError, match="regular expression"):
        find_modules(pipe, "unet.(")


def test_feed_forward_and_projection_presets(pipe):
    mlps = find_modules(pipe, "mlps")
    assert len(mlps) == 7
    assert all(name.endswith(".ff") for name in mlps)
    assert all(name.endswith(".mlp") for name in find_modules(pipe, "text-mlps"))
    projections = find_modules(pipe, "queries-keys")
    assert len(projections) == 2 * 14
    assert {name.rsplit(".", 1)[1] for name in projections} == {"to_q", "to_k"}
    assert {name.rsplit(".", 1)[1] for name in find_modules(pipe, "values")} == {"to_v"}
    assert all(name.startswith("text_encoder") for name in find_modules(pipe, "text-norms"))


def test_an_entry_of_a_tuple_output_is_addressed_behind_a_colon(pipe):
    plain = find_modules(pipe, "text-attention")
    assert find_modules(pipe, "text-attention:0") == plain
    second = find_modules(pipe, ["text-attention", "text-attention:1"])
    assert list(second)[:2] == [next(iter(plain)), f"{next(iter(plain))}:1"]
    assert len(second) == 2 * len(plain)
