"""How maps move in an iteration: optimiser step, proximal step, pruning; and the state that resuming needs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ...maps.steering_maps import SteeringMaps
from ..config import TrainingConfig
from ..sparsity import Metric, Pruning, sparse_group_threshold


class MapOptimizer:
    """Adam or SGD with cosine decay, the proximal step of the penalties in the optimiser's own metric, and pruning.

    Args:
        maps: to be fitted in place.
        config: optimizer, lr, iterations, l1, group_lasso, sparsity.
    """

    def __init__(self, maps: SteeringMaps, config: TrainingConfig) -> None:
        self.maps, self.config = maps, config
        self.parameters = [parameter for parameter in maps.parameters() if parameter.requires_grad]
        kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.SGD
        self.optimizer = kind(self.parameters, lr=config.lr)
        self.pruning = Pruning(self.parameters, sparsity=config.sparsity, iterations=config.iterations)

    def step(self, iteration: int) -> None:
        """Use the gradients that are there, and forget them."""
        lr = self.config.lr * (1 + math.cos(math.pi * iteration / self.config.iterations)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.pruning.observe()
        self.optimizer.step()
        self._proximal_step(lr)
        self.pruning.prune(iteration)
        self.optimizer.zero_grad()

    @torch.no_grad()
    def _proximal_step(self, lr: float) -> None:
        """Prox of l1 * ||.||_1 + group_lasso * sum over modules of sqrt(size) * ||.||_2 (arXiv 2503.10679)."""
        l1, group = self.config.l1, self.config.group_lasso
        if not (l1 or group):
            return
        for _, affine in self.maps.named_maps():
            numbers = [one for one in affine.tensors().values() if one.requires_grad]
            if all(one.grad is None for one in numbers):
                continue  # it was left out of this iteration
            metric = parameters_to_vector(self._metric(parameter, lr) for parameter in numbers)
            values = parameters_to_vector(numbers)
            values = sparse_group_threshold(values, l1, group * math.sqrt(values.numel()), metric=metric)
            vector_to_parameters(values, numbers)

    def _metric(self, parameter: nn.Parameter, lr: float) -> torch.Tensor:
        """D of the step just taken: lr^-1 for SGD, (sqrt(v) + eps) / lr for Adam, with v as Adam corrects it."""
        state = self.optimizer.state.get(parameter, {})
        scale: Metric = 1.0
        if "exp_avg_sq" in state:
            group = self.optimizer.param_groups[0]
            corrected = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
            scale = corrected.sqrt() + group["eps"]
        return torch.ones_like(parameter) * scale / max(lr, torch.finfo(torch.float32).tiny)

    def state(self) -> dict[str, torch.Tensor]:
        """All that the next step depends on, as named tensors."""
        tensors = {"pruning.mask": self.pruning.mask, "pruning.squares": self.pruning.squares}
        for number, parameter in enumerate(self.parameters):
            tensors[f"parameter.{number}"] = parameter.detach()
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{number}.{key}"] = torch.as_tensor(value)
        return {name: tensor.clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go back to a `state`."""
        self.pruning.mask.copy_(tensors["pruning.mask"])
        self.pruning.squares.copy_(tensors["pruning.squares"])
        for number, parameter in enumerate(self.parameters):
            parameter.copy_(tensors[f"parameter.{number}"])
            prefix = f"optimizer.{number}."
            state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            device = parameter.device
            self.optimizer.state[parameter] = {
                key: value.clone() if key == "step" else value.to(device).clone() for key, value in state.items()
            }
