"""Tiny language models of real classes with random weights, and the vocabulary that all of them read."""

from __future__ import annotations

from functools import cache

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from linea_diffusion import Concept, LanguageModel, SteeringMaps
from linea_diffusion.shapeland.pretrain.word_tokenizer import build
from linea_diffusion.shapeland.wordland.grammar import write_sentences
from linea_diffusion.steering.affine.affine_map import AffineMap

from ..conftest import seeded

_LLAMA = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64, "head_dim": 8,
}  # fmt: skip
_GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
FAMILIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "olmo": _LLAMA,
    "olmo2": _LLAMA,
    "phi": _LLAMA,
    "phi3": _LLAMA,
    "granite": _LLAMA,
    "stablelm": _LLAMA,
    "cohere": _LLAMA,
    "smollm3": _LLAMA,
    "glm4": _LLAMA,
    "starcoder2": _LLAMA,
    "gpt_neox": {**_LLAMA, "num_key_value_heads": None},
    "mixtral": {**_LLAMA, "num_local_experts": 2},
    "falcon": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "gpt2": _GPT,
    "gptj": {**_GPT, "rotary_dim": 4},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "opt": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 24, "word_embed_proj_dim": 16,
        "max_position_embeddings": 64,
    },
}  # fmt: skip
"""Model type of transformers -> its sizes."""

TOKENIZER = build()
FRIENDLY = Concept(
    "friendly",
    tuple(write_sentences(6, 0, tone="rude")),
    tuple(write_sentences(6, 1, tone="friendly")),
    "a friendly text",
)
PROMPTS = ["so ben cooked the soup .", "yeah", "hey anna , that cake is so lovely !"]


@cache
def model_of(family: str) -> LanguageModel:
    """A tiny model of a family; weights are large enough that inputs make a difference."""
    ids = {name: getattr(TOKENIZER, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    sizes = {name: value for name, value in FAMILIES[family].items() if value is not None}
    config = AutoConfig.for_model(family, **{"vocab_size": len(TOKENIZER), **ids, **sizes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    draw = seeded(7)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    model.generation_config.eos_token_id = None  # so that all texts are as long as is asked
    return LanguageModel(model, TOKENIZER)


def random_maps(names: dict[str, int], size: float = 0.3) -> SteeringMaps:
    """Maps that move all of some activations, name -> features, in random directions."""
    draw, maps = seeded(3), {}
    for name, features in names.items():
        maps[name] = AffineMap(features)
        for tensor in maps[name].tensors().values():
            tensor.data.copy_(size * torch.randn(tensor.shape, generator=draw))
    return SteeringMaps.of(maps).requires_grad_(False)


def hooks_in(model: torch.nn.Module) -> int:
    """How many hooks there are."""
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules())
