"""Where activations are: names that do not move, and what a pipeline has there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from linea_diffusion import LineaError
from linea_diffusion.steering.activations import Site
from linea_diffusion.steering.addresses import Address, absent, canonical_name, locate, steerable_modules


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("unet", ("unet", "", 0)),
        ("unet.mid_block.attn", ("unet", "mid_block.attn", 0)),
        ("transformer.blocks.0.attn:1", ("transformer", "blocks.0.attn", 1)),
    ],
)
def test_an_address_is_its_name(name, parts):
    address = Address.of(name)
    assert (address.component, address.path, address.entry) == parts
    assert address.name == name
    assert Address.of("unet.a:0") == Address.of("unet.a")


@pytest.mark.parametrize(
    ("component", "role"),
    [
        ("text_encoder_2", (True, False)),
        ("prior_text_encoder", (True, False)),
        ("unconditional_transformer", (False, True)),
        ("prior_prior", (False, True)),
        ("image_encoder", (False, False)),
        ("vae", (False, False)),
    ],
)
def test_a_component_has_one_role(component, role):
    address = Address.of(f"{component}.layer")
    assert (address.in_text_encoder, address.in_denoiser) == role


def test_a_site_reads_and_writes_its_entry():
    site, output = Site.of("unet.attn:1", nn.Linear(2, 2)), (torch.zeros(1), torch.ones(1), "rest")
    assert torch.equal(site.read(output), torch.ones(1))
    written = site.write(output, torch.full((1,), 5.0))
    assert (written[0], written[1], written[2]) == (output[0], torch.full((1,), 5.0), "rest")
    with pytest.raises(LineaError, match=r"'unet\.attn:1', whose entry 1 is NoneType in an output of 1"):
        site.read(torch.zeros(1))


def test_what_is_missing_names_the_nearest_and_what_is_absent_rests(pipe):
    names = ["unet.conv_in", "text_encoder.encoder.layers.0.self_attn"]
    assert list(locate(pipe, names)) == names
    with pytest.raises(LineaError, match=r"maps of a U-Net whose module 'unet.conv_inn' .*nearest: unet.conv_in"):
        locate(pipe, ["unet.conv_inn"], base="a U-Net")
    encoder = pipe.text_encoder
    try:
        pipe.text_encoder = None
        assert list(locate(pipe, names)) == names[:1]
        assert absent(pipe, names) == names[1:]
    finally:
        pipe.text_encoder = encoder


def test_canonical_names_do_not_move():
    assert canonical_name("unet._orig_mod.mid_block.attn") == "unet.mid_block.attn"
    assert canonical_name("text_encoder.text_model.encoder.layers.0") == "text_encoder.encoder.layers.0"


def test_a_compiled_denoiser_keeps_its_names(pipe):
    names = [name for name, _ in steerable_modules(pipe)]
    plain = pipe.unet
    try:
        pipe.unet = torch.compile(plain)
        assert [name for name, _ in steerable_modules(pipe)][-5:] == names[-5:]
    finally:
        pipe.unet = plain
