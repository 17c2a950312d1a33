"""How much memory does end-to-end training of a real-size model need? Counted on the meta device, without a GPU.

    python -m benchmarks memory_counted

runs one denoising step of SDXL's U-Net at 1024 x 1024 in bfloat16 without numbers, with trainable maps on all norms and
adds up every tensor that autograd keeps for the backward pass. With ``gradient_checkpointing`` one denoising step is
alive at a time, whatever their number and whatever the number of prompts (``micro_batch_size=1``), so that this, the
weights and what is small beside them are what a GPU must hold. Attention keeps what flash attention keeps (queries,
keys, values, output, and one number for each query), or, without it, the attention matrices. It is a count and no
measurement: workspaces of kernels and fragmentation of the allocator come on top.
"""

from __future__ import annotations

import argparse
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from linea_diffusion import SteeringMaps, find_modules
from linea_diffusion.cli.bench.random_models import random_pipeline
from linea_diffusion.steering.activations import edit_activations, feature_axis, record_activations

from .workbench import RESULTS, add_shared, line, table, write

GIB = 2**30


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser)


def main(options: argparse.Namespace) -> None:
    pipe = random_pipeline("random-sdxl", device="meta", dtype=torch.bfloat16)
    inputs = {
        "sample": torch.empty(1, 4, 128, 128, device="meta", dtype=torch.bfloat16),
        "timestep": torch.empty((), device="meta"),
        "encoder_hidden_states": torch.empty(1, 77, 2048, device="meta", dtype=torch.bfloat16),
        "added_cond_kwargs": {
            "text_embeds": torch.empty(1, 1280, device="meta", dtype=torch.bfloat16),
            "time_ids": torch.empty(1, 6, device="meta", dtype=torch.bfloat16),
        },
    }
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    weights = sum(_bytes(parameter) for part in parts for parameter in part.parameters())
    matrices, maps = kept_for_backward(pipe, inputs)
    with patch.object(nn.functional, "scaled_dot_product_attention", _flash_attention):
        flash, _ = kept_for_backward(pipe, inputs)
    rows = {
        "weights, all parts": weights,
        "maps on all norms, with gradients and Adam's state (float32)": 4 * 4 * maps,
        "kept for the backward pass of one denoising step, one prompt, flash attention": flash,
        "the same with attention matrices": matrices,
        "**sum, flash attention**": weights + flash + 16 * maps,
        "sum, attention matrices": weights + matrices + 16 * maps,
    }
    cells = [(name, f"{size / GIB:.2f}") for name, size in rows.items()]
    print(*map(line, cells), sep="\n")
    about = (
        "`random-sdxl` (real configuration) on the meta device, 1024 x 1024, bfloat16, guidance 1, maps on the U-Net's "
        "norms, `gradient_checkpointing=True`, `micro_batch_size=1`: any number of denoising steps and prompts. "
        "Counted, not measured; `python -m benchmarks memory_counted --help` says how."
    )
    write(RESULTS / "memory_counted.md", "Memory of end-to-end training, counted", about, table(("what", "GiB"), cells))


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


def kept_for_backward(pipe: Any, inputs: dict[str, Any]) -> tuple[int, int]:
    """Bytes that autograd keeps of one call of the U-Net, weights not counted; and how many numbers the maps have."""
    modules = find_modules(pipe, "norms")
    with torch.no_grad(), record_activations(modules) as seen:
        pipe.unet(**inputs)
    axes = {name: (feature_axis(modules[name], z[0]), z[0].shape) for name, z in seen.items()}
    maps = SteeringMaps({name: shape[axis] for name, (axis, shape) in axes.items()}).to("meta")
    own = {p.untyped_storage()._cdata for p in pipe.unet.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = tensor
        return tensor

    def edit(name: str) -> Any:
        affine = dict(maps.named_maps())[name]
        move = affine.move()
        return lambda z: move.apply(z, axis=axes[name][0])

    edits = {name: edit(name) for name in modules}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), edit_activations(modules, edits):
        pipe.unet(**inputs)
    numbers = sum(parameter.numel() for parameter in maps.parameters())
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), numbers


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
