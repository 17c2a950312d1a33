"""PRX: a transformer whose picture tokens attend to words of a Gemma-like T5 encoder."""

from __future__ import annotations

from diffusers import PRXPipeline
from diffusers.models.transformers.transformer_prx import PRXTransformer2DModel
from transformers.models.t5gemma.configuration_t5gemma import T5GemmaConfig, T5GemmaModuleConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from .case import Case
from .parts import flow_autoencoder, flow_scheduler, louder, seeded
from .words import t5_tokenizer


def _text_encoder() -> T5GemmaEncoder:
    """T5Gemma's encoder; its class reads the same sizes from the whole configuration and from the encoder's part."""
    sizes = {
        "vocab_size": len(t5_tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 64,
        "layer_types": ["sliding_attention", "full_attention"],
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 50.0,
        "sliding_window": 64,
        "attention_bias": False,
        "is_decoder": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "initializer_range": 0.1,
    }
    config = T5GemmaConfig(encoder=T5GemmaModuleConfig(**sizes), is_encoder_decoder=False, **sizes)
    return T5GemmaEncoder(config)


@seeded
def _prx() -> PRXPipeline:
    transformer = PRXTransformer2DModel(
        patch_size=2,
        in_channels=4,
        context_in_dim=32,
        hidden_size=32,
        mlp_ratio=2.0,
        num_heads=2,
        depth=2,
        axes_dim=[8, 8],
    )
    return PRXPipeline(
        transformer=louder(transformer, 2.0),
        scheduler=flow_scheduler(shift=3.0),
        text_encoder=_text_encoder(),
        tokenizer=t5_tokenizer(max_length=32),
        vae=flow_autoencoder(),
    )


# Sizes other than those of the published checkpoints go without resolution bins.
_TWO_STEPS = {"num_inference_steps": 2, "height": 16, "width": 16, "use_resolution_binning": False}

# With guidance the class makes two timesteps whatever the number of prompts, and fails for more than one prompt. So the
# case for lists of prompts does without guidance, and the other one is called with one prompt at a time.
CASES: list[Case] = [Case("prx", _prx, {**_TWO_STEPS, "guidance_scale": 1.0})]
ONE_PROMPT_CASES: list[Case] = [Case("prx-one-prompt", _prx, _TWO_STEPS)]
