"""What does end-to-end training of a real-size model need? Counted on the meta device, without a GPU.

    python -m benchmarks memory_counted

calls pipelines of real size in bfloat16 without numbers, one prompt for one denoising step, with the maps of the
default recipe, and adds up every tensor that autograd keeps for the backward pass, text encoders included (T5-XXL in
its real size). With ``gradient_checkpointing`` one denoising step is alive at a time, whatever their number and
whatever the number of prompts (``micro_batch_size=1``), so that this, the weights and what is small beside them are
what a GPU must hold. Attention keeps what flash attention keeps (queries, keys, values, output, and one number for
each query), or, without it, the attention matrices. It is a count and no measurement: workspaces of kernels and
fragmentation of the allocator come on top. Passes are those of `training_effort`, for a concept of 32 pairs without
levels; a picture has the pipeline's own steps and guidance.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
import transformers
from torch import nn

from linea_diffusion import Concept, SteeringMaps, TrainingConfig, find_modules, recipe_for
from linea_diffusion.cli.bench.random_models import RANDOM_MODELS, random_pipeline
from linea_diffusion.pipelines.calling import accepts, call_with_gradients, frozen, measure_activations
from linea_diffusion.pipelines.choices.calls import is_guided
from linea_diffusion.pipelines.sizing.memory import models_of
from linea_diffusion.steering.affine.affine_map import AffineMap
from linea_diffusion.training.effort import passes_of_picture, training_effort
from linea_diffusion.training.learning import for_concept

from .workbench import RESULTS, add_shared, line, table, write

GIB = 2**30
T5_XXL = {
    "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu",
}  # fmt: skip
T5_AT = {"random-sd3.5-medium": "_3", "random-flux.1": "_2"}
"""Where pipelines have their T5."""
CONCEPT = Concept.from_template([f"a {thing}" for thing in map(str, range(32))], "{prompt}, painted", name="counted")
HEADER = (
    "model", "weights, GiB", "of which T5, GiB", "maps, gradients, Adam, GiB", "kept, flash attention, GiB",
    "**sum**, GiB", "kept, attention matrices, GiB", "passes of a training", "the same in pieces of 1, checkpointed",
    "passes of a picture", "a training in pictures",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser)


def main(options: argparse.Namespace) -> None:
    rows = [_row(name) for name in RANDOM_MODELS]
    print(*map(line, rows), sep="\n")
    about = (
        "Real configurations on the meta device, 1024 x 1024, bfloat16, guidance 1 while training, maps of the default "
        "recipe, `gradient_checkpointing=True`, `micro_batch_size=1`: any number of denoising steps and prompts. "
        "Counted, not measured, and never run on real weights; `python -m benchmarks memory_counted --help` says how."
    )
    write(RESULTS / "memory_counted.md", "What end-to-end training needs, counted", about, table(HEADER, rows))


def _row(name: str) -> tuple[str, ...]:
    pipe = real_size(name)
    config = for_concept(recipe_for(pipe, CONCEPT), CONCEPT)
    pieces = for_concept(recipe_for(pipe, CONCEPT, micro_batch_size=1, gradient_checkpointing=True), CONCEPT)
    maps = shapes_of_maps(pipe, config)
    weights, small, flash = training_memory(pipe, maps)
    t5 = models_of(pipe).get(f"text_encoder{T5_AT.get(name)}")
    encoder = sum(_bytes(one) for one in t5.parameters()) if t5 else 0
    sizes = (weights, encoder, small, flash, weights + small + flash, kept_for_backward(pipe, maps))
    whole, split = (sum(one.passes for one in training_effort(pipe, CONCEPT, some)) for some in (config, pieces))
    picture = passes_of_picture(pipe, {})
    pictures = f"{whole / picture:.0f}, in pieces {split / picture:.0f}"
    return (
        name, *(f"{size / GIB:.2f}" for size in sizes), f"{whole:.0f}", f"{split:.0f}",
        f"{picture}{' (guided)' if is_guided(pipe, {}) else ''}", pictures,
    )  # fmt: skip


def real_size(name: str) -> Any:
    """A pipeline of real size without numbers, with the whole T5 where the real one has it."""
    pipe = random_pipeline(name, device="meta", dtype=torch.bfloat16)
    if name in T5_AT:
        with torch.device("meta"):
            t5 = transformers.T5EncoderModel(transformers.T5Config(**T5_XXL)).to(torch.bfloat16).eval()
        place = T5_AT[name]
        pipe.register_modules(**{f"text_encoder{place}": t5, f"tokenizer{place}": transformers.ByT5Tokenizer()})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def shapes_of_maps(pipe: Any, config: TrainingConfig) -> SteeringMaps:
    """The maps that a training would learn of a pipeline on the meta device, there too."""
    modules = find_modules(pipe, config.target_modules)
    widths = {one: features for one, (_, features) in measure_activations(pipe, modules).items()}
    return SteeringMaps.of({one: AffineMap(widths[one], 1, config.rank) for one in modules if one in widths}).to("meta")


def training_memory(pipe: Any, maps: SteeringMaps, **arguments: Any) -> tuple[int, int, int]:
    """Bytes of the weights; of the maps with gradients and Adam; and kept for one prompt with flash attention.

    Args:
        pipe: on the meta device.
        maps: see `shapes_of_maps`.
        **arguments: of the pipeline's calls, such as height and width.
    """
    with patch.object(nn.functional, "scaled_dot_product_attention", _flash_attention):
        flash = kept_for_backward(pipe, maps, **arguments)
    weights = sum(_bytes(one) for part in models_of(pipe).values() for one in part.parameters())
    return weights, 16 * sum(parameter.numel() for parameter in maps.parameters()), flash


class _Flash(torch.autograd.Function):
    """An attention without numbers that keeps what flash attention keeps."""

    @staticmethod
    def forward(context: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        context.save_for_backward(query, key, value, output, sums)
        return output

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        raise RuntimeError("only counted, never run")


def _flash_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any) -> torch.Tensor:
    return _Flash.apply(query, key, value)


def kept_for_backward(pipe: Any, maps: SteeringMaps, **arguments: Any) -> int:
    """Bytes that autograd keeps of one call of one step for one prompt, weights not counted."""
    own = {one.untyped_storage()._cdata for part in models_of(pipe).values() for one in part.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = tensor
        return tensor

    guidance = {"guidance_scale": 1.0} if accepts(pipe, "guidance_scale") else {}
    with ExitStack() as stack:
        stack.enter_context(frozen(pipe))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor))
        stack.enter_context(maps.apply(pipe, 1.0))
        settings = {"num_inference_steps": 1, "output_type": "latent", **guidance, **arguments}
        call_with_gradients(pipe, prompt=["a picture"], **settings)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
