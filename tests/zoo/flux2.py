"""FLUX.2, which reads with Mistral 3, and FLUX.2 klein, which reads with Qwen 3."""

from __future__ import annotations

from typing import Any

from diffusers import Flux2KleinPipeline, Flux2Pipeline, Flux2Transformer2DModel
from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE
from transformers import Qwen3ForCausalLM

from .case import Case
from .llm_parts import WIDTH, flux2_autoencoder, louder, mistral3, qwen3_config
from .llm_words import pixtral_processor, qwen_tokenizer
from .parts import flow_scheduler, seeded

SIZE = {"height": 16, "width": 16, "num_inference_steps": 2}
READING = {"text_encoder_out_layers": (1, 2)}


def transformer(**options: Any) -> Flux2Transformer2DModel:
    """A block of two streams and one of a single stream, which read two layers of the text encoder."""
    model = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        **options,
    )
    return louder(model)


@seeded
def flux2() -> Flux2Pipeline:
    """FLUX.2: guidance is an input of the transformer."""
    return Flux2Pipeline(
        scheduler=flow_scheduler(use_dynamic_shifting=True),
        vae=flux2_autoencoder(),
        text_encoder=mistral3(texts=SYSTEM_MESSAGE),
        tokenizer=pixtral_processor(SYSTEM_MESSAGE),
        transformer=transformer(),
    )


@seeded
def flux2_klein() -> Flux2KleinPipeline:
    """FLUX.2 klein, not distilled: guidance takes a second call of the transformer."""
    return Flux2KleinPipeline(
        scheduler=flow_scheduler(use_dynamic_shifting=True),
        vae=flux2_autoencoder(),
        text_encoder=Qwen3ForCausalLM(qwen3_config(3)),
        tokenizer=qwen_tokenizer(),
        transformer=transformer(guidance_embeds=False),
    )


CASES = [
    Case("flux2", flux2, SIZE | READING | {"max_sequence_length": 64}),
    Case("flux2-klein", flux2_klein, SIZE | READING | {"max_sequence_length": 64}),
]
