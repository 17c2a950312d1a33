"""Wuerstchen and Stable Cascade: a prior in a very small latent space, a decoder, and a VQ autoencoder."""

from __future__ import annotations

from diffusers import (
    DDPMWuerstchenScheduler,
    StableCascadeCombinedPipeline,
    StableCascadeUNet,
    WuerstchenCombinedPipeline,
)
from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel, WuerstchenDiffNeXt, WuerstchenPrior
from torch import nn

from .case import Case
from .parts import clip_encoder, louder, projected_clip_encoder, seeded
from .words import clip_tokenizer


def _vqgan(gain: float) -> PaellaVQModel:
    """Paella's autoencoder: four by four pixels per latent one, centred on gray, with its contrast scaled."""
    vqgan = PaellaVQModel(levels=2, bottleneck_blocks=1, embed_dim=16, num_vq_embeddings=16)
    vqgan.out_block[0].weight.data *= gain
    vqgan.out_block[0].bias.data.fill_(0.5)
    return vqgan


def _calm_(head: nn.Conv2d, log_odds: float) -> None:
    """Make the last layer, which predicts a correction and its weight, correct little: two steps amplify the rest."""
    nn.init.normal_(head.weight, std=0.03)
    nn.init.normal_(head.bias, std=0.03)
    head.bias.data[head.out_channels // 2 :] += log_odds


def _prior() -> WuerstchenPrior:
    """Wuerstchen's prior, which reads every word."""
    prior = louder(WuerstchenPrior(c_in=4, c=32, c_cond=32, c_r=8, depth=2, nhead=2), 3.0)
    _calm_(prior.out[1], 0.0)
    return prior


def _wuerstchen(decoder_levels: list[str]) -> WuerstchenCombinedPipeline:
    """Wuerstchen whose decoder has a level of convolutions, timesteps and attention per string of C, T and A."""
    decoder = WuerstchenDiffNeXt(
        c_r=8,
        c_cond=32,
        c_hidden=[16, 32],
        nhead=[-1, 2],
        blocks=[1, 1],
        level_config=decoder_levels,
        inject_effnet=[False, True],
        effnet_embd=4,
        clip_embd=32,
    )
    for name, parameter in decoder.named_parameters():
        if name.endswith("channelwise.4.weight"):  # shrunk to nothing by the class, once for each of its modules
            nn.init.xavier_uniform_(parameter)
        elif name.startswith("effnet_mappers"):  # drowns the words
            parameter.data *= 0.1
    _calm_(decoder.clf[1], 8.0)
    return WuerstchenCombinedPipeline(
        tokenizer=clip_tokenizer(),
        text_encoder=clip_encoder(),
        decoder=decoder,
        scheduler=DDPMWuerstchenScheduler(),
        vqgan=_vqgan(0.8),
        prior_tokenizer=clip_tokenizer(),
        prior_text_encoder=clip_encoder(),
        prior_prior=_prior(),
        prior_scheduler=DDPMWuerstchenScheduler(),
    )


_CASCADE_SIZES = {
    "timestep_ratio_embedding_dim": 8,
    "conditioning_dim": 32,
    "block_out_channels": (16, 32),
    "num_attention_heads": (2, 2),
    "down_num_layers_per_block": (1, 1),
    "up_num_layers_per_block": (1, 1),
    "clip_text_pooled_in_channels": 32,
    "clip_seq": 2,
}
_LAYER = ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock")


def _stage_c() -> StableCascadeUNet:
    """Cascade's prior, which reads every word and a picture embedding."""
    return StableCascadeUNet(
        **_CASCADE_SIZES,
        in_channels=4,
        out_channels=4,
        clip_text_in_channels=32,
        clip_image_in_channels=32,
        block_types_per_layer=(_LAYER, _LAYER),
        switch_level=(False,),
    )


def _stage_b() -> StableCascadeUNet:
    """Cascade's decoder, which reads the pooled words and the prior's result."""
    return StableCascadeUNet(
        **_CASCADE_SIZES,
        in_channels=4,
        out_channels=4,
        patch_size=2,
        effnet_in_channels=4,
        block_types_per_layer=(_LAYER[:2], _LAYER),
        timestep_conditioning_type=("sca",),
    )


@seeded
def _cascade() -> StableCascadeCombinedPipeline:
    return StableCascadeCombinedPipeline(
        tokenizer=clip_tokenizer(),
        text_encoder=projected_clip_encoder(),
        decoder=_stage_b(),
        scheduler=DDPMWuerstchenScheduler(),
        vqgan=_vqgan(0.04),
        prior_prior=louder(_stage_c(), 2.0),
        prior_text_encoder=projected_clip_encoder(),
        prior_tokenizer=clip_tokenizer(),
        prior_scheduler=DDPMWuerstchenScheduler(),
    )


_TWO_STEPS = {"num_inference_steps": 2, "prior_num_inference_steps": 2, "height": 128, "width": 128}

# Given n prompts, the decoder class of Wuerstchen repeats each of them n times, which its attention to words cannot
# take. So the case for lists of prompts has a decoder without that attention, deaf to words as in diffusers' own tests,
# and the other one, built like the published checkpoint, is called with one prompt at a time.
CASES: list[Case] = [
    Case("wuerstchen", seeded(lambda: _wuerstchen(["CT", "CT"])), _TWO_STEPS),
    Case("cascade", _cascade, _TWO_STEPS),
]
ONE_PROMPT_CASES: list[Case] = [
    Case("wuerstchen-one-prompt", seeded(lambda: _wuerstchen(["CT", "CTA"])), _TWO_STEPS),
]
