"""HunyuanDiT: a bilingual CLIP beside T5, with and without perturbed attention."""

from __future__ import annotations

from typing import Any

from diffusers import DDPMScheduler, HunyuanDiT2DModel, HunyuanDiTPAGPipeline, HunyuanDiTPipeline
from transformers import BertConfig, BertModel

from .case import Case
from .parts import kl_autoencoder, louder, seeded, t5_encoder
from .words import bert_tokenizer, t5_tokenizer


def _bert() -> BertModel:
    """The encoder of the bilingual CLIP."""
    return BertModel(
        BertConfig(
            vocab_size=len(bert_tokenizer()),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.3,
        ),
        add_pooling_layer=False,
    )


def _transformer() -> HunyuanDiT2DModel:
    """Two layers, the second one joined to the first by a skip connection; T5 is made heard among its padding."""
    transformer = HunyuanDiT2DModel(
        sample_size=4,
        num_layers=2,
        patch_size=2,
        attention_head_dim=16,
        num_attention_heads=2,
        hidden_size=32,
        in_channels=4,
        cross_attention_dim=32,
        cross_attention_dim_t5=32,
        pooled_projection_dim=16,
    )
    return louder(transformer, 8.0, only="text_embedder.linear_2")


def _parts() -> dict[str, Any]:
    """The components of HunyuanDiT, whose position grid takes an autoencoder of factor eight for granted."""
    return {
        "vae": kl_autoencoder(levels=4),
        "text_encoder": _bert(),
        "tokenizer": bert_tokenizer(),
        "transformer": _transformer(),
        "scheduler": DDPMScheduler(beta_start=0.00085, beta_end=0.03, beta_schedule="scaled_linear", clip_sample=False),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
        "text_encoder_2": t5_encoder(),
        "tokenizer_2": t5_tokenizer(),
    }


def _hunyuan(pipeline_class: type) -> Any:
    return seeded(lambda: pipeline_class(**_parts()))


_TWO_STEPS = {"num_inference_steps": 2, "height": 32, "width": 32, "use_resolution_binning": False}

CASES: list[Case] = [
    Case("hunyuan", _hunyuan(HunyuanDiTPipeline), _TWO_STEPS),
    Case("hunyuan-pag", _hunyuan(HunyuanDiTPAGPipeline), _TWO_STEPS),
]
