"""Training of wordland-lm: a Llama of four layers, from nothing, on texts that the grammar writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ..wordland.grammar import write_text
from .loop import Recipe, train
from .word_tokenizer import CONTEXT_LENGTH, build

RECIPE = Recipe(steps=2000, batch=32, lr=3e-3, decay=0.5, renders=0)


def fresh_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The model before its training."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=320, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=CONTEXT_LENGTH, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def pretrain(work: Path, out: Path, recipe: Recipe, *, device: str) -> None:
    """Train the model, each step on texts written for it, and save ``out/language``, a folder of transformers."""
    torch.manual_seed(recipe.seed)
    tokenizer = build()
    model = fresh_model(tokenizer).to(device)

    def loss(rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
        texts = [f"{write_text(rng)} {tokenizer.eos_token}" for _ in range(recipe.batch)]
        read = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt").to(device)
        ids, mask = read["input_ids"], read["attention_mask"]
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        counts = mask[:, 1:].bool()
        return cross_entropy(logits[:, :-1][counts], ids[:, 1:][counts])

    average = train(model, loss, recipe, work / "language.pt", device=device, name="language")
    average.half().save_pretrained(out / "language")
    tokenizer.save_pretrained(out / "language")
