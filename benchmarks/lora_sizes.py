"""How large LoRA files of maps are for models of real size: counted on the meta device from the layers that change.

python -m benchmarks lora_sizes
"""

from __future__ import annotations

import argparse
from typing import Any

from torch import nn

from linea_diffusion import find_modules, recipe_for
from linea_diffusion.cli.bench.random_models import RANDOM_MODELS
from linea_diffusion.pipelines.calling import measure_activations
from linea_diffusion.steering.addresses import Address
from linea_diffusion.training.learning import for_concept

from .memory_counted import CONCEPT, real_size
from .workbench import RESULTS, add_shared, line, table, write

HALF, MB = 2, 1e6


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser)


def main(options: argparse.Namespace) -> None:
    rows = [_row(name) for name in RANDOM_MODELS]
    print(*map(line, rows), sep="\n")
    about = (
        "Real configurations on the meta device, maps of the default recipe for concepts in pairs, half precision. A "
        "file has for each changed layer its ranks (outputs + inputs numbers each) and a bias. A scale adds a rank for "
        "each coordinate that it changes, at most the layer's whole weight: the last column is that bound, without "
        "sparsity. Headers and metadata (some kB) come on top."
    )
    head = ("model", "rank", "changed layers", "ranks, MB", "biases, MB", "**sum**, MB", "with a dense scale, MB")
    write(RESULTS / "lora_sizes.md", "Sizes of LoRA files", about, table(head, rows))


def _row(name: str) -> tuple[str, ...]:
    pipe = real_size(name)
    config = for_concept(recipe_for(pipe, CONCEPT), CONCEPT)
    modules = find_modules(pipe, config.target_modules)
    widths = {one: features for one, (_, features) in measure_activations(pipe, modules).items()}
    layers = {one: _output_layer(modules[one], one, width) or _user(pipe, one) for one, width in widths.items()}
    changed = [layer for layer in layers.values() if layer is not None]
    ranks = sum(config.rank * (layer.in_features + layer.out_features) for layer in changed) * HALF
    biases = sum(layer.out_features for layer in changed) * HALF
    dense = sum(layer.in_features * layer.out_features for layer in changed) * HALF
    sizes = (ranks, biases, ranks + biases, dense + biases)
    return (
        name.removeprefix("random-"), str(config.rank), f"{len(changed)} of {len(widths)}",
        *(f"{size / MB:.1f}" for size in sizes),
    )  # fmt: skip


def _output_layer(module: nn.Module, name: str, width: int) -> Any:
    """The linear layer that makes an attention layer's output; of its second stream where the name says so."""
    linear = {path: one for path, one in module.named_modules() if isinstance(one, nn.Linear)}
    linear = {
        path: one for path, one in linear.items() if one.out_features == width and ("out" in path or path[-1] == "o")
    }
    second = {path: one for path, one in linear.items() if "add" in path}
    wanted = second if Address.of(name).entry else {path: one for path, one in linear.items() if path not in second}
    return next(iter(reversed(wanted.values())), None)


def _user(pipe: Any, name: str) -> nn.Linear | None:
    """The linear layer beside a module that takes its output together with another's, as in FLUX's single blocks."""
    address = Address.of(name)
    block = pipe.components[address.component].get_submodule(address.path.rpartition(".")[0])
    return getattr(block, "proj_out", None)
