"""How maps move: against torch's own optimisers and schedules, against steps written out by hand, and resumed.

Evidence: NumPy and SciPy redo each step; a lasso whose solution is known; bit-for-bit equality after resuming.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from linea_diffusion import SteeringMaps, TrainingConfig, find_modules
from linea_diffusion.training.state.checkpoints import Checkpoints
from linea_diffusion.training.state.optimizer import MapOptimizer

from ..conftest import count_hooks

STEPS = 12


def _maps(seed: int = 0) -> SteeringMaps:
    maps = SteeringMaps({"unet.a": 3, "unet.b": (2, 2)})
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in maps.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    return maps


def _config(**settings) -> TrainingConfig:
    return TrainingConfig(**{"iterations": STEPS, "lr": 0.05, "sparsity": 0.0, **settings})


def _give_gradients(maps: SteeringMaps, iteration: int) -> list[torch.Tensor]:
    """Gradients that depend on the numbers and on the iteration, of very uneven sizes."""
    rng = torch.Generator().manual_seed(1000 + iteration)
    grads = []
    for number, parameter in enumerate(maps.parameters()):
        noise = torch.randn(parameter.shape, generator=rng)
        parameter.grad = 10.0 ** (number - 2) * (parameter.detach() - 0.5 + 0.3 * noise)
        grads.append(parameter.grad.clone())
    return grads


def _flat(maps: SteeringMaps) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in maps.parameters()])


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_without_penalties_it_is_torchs_optimiser_with_its_cosine_schedule(name, kind):
    maps, twin = _maps(), _maps()
    optimizer = MapOptimizer(maps, _config(optimizer=name))
    theirs = kind(list(twin.parameters()), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=STEPS)
    for iteration in range(STEPS):
        grads = _give_gradients(maps, iteration)
        for parameter, grad in zip(twin.parameters(), grads, strict=True):
            parameter.grad = grad
        optimizer.step(iteration)
        theirs.step()
        schedule.step()
        torch.testing.assert_close(_flat(maps), _flat(twin), rtol=1e-5, atol=1e-6)
    assert (_flat(maps) - _flat(_maps())).abs().max() > 0.1
    assert all(parameter.grad is None for parameter in maps.parameters())


def _shrink(values: np.ndarray, metric: np.ndarray, l1: float, group: float) -> np.ndarray:
    """Prox of l1 ||x||_1 + group ||x||_2 in a diagonal metric; the norm's equation solved by SciPy."""
    soft = np.sign(values) * np.maximum(np.abs(values) - l1 / metric, 0)
    if group == 0:
        return soft
    pull = metric * soft
    if np.linalg.norm(pull) <= group:
        return np.zeros_like(soft)
    norm = brentq(lambda t: np.linalg.norm(pull / (metric * t + group)) - 1, 0, np.linalg.norm(soft), xtol=1e-15)
    return pull * norm / (metric * norm + group)


@pytest.mark.parametrize(("l1", "group_lasso"), [(0.02, 0.0), (0.0, 0.01), (0.02, 0.01)])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_the_proximal_step_is_in_the_metric_of_the_optimisers_step(name, l1, group_lasso):
    maps = _maps()
    optimizer = MapOptimizer(maps, _config(optimizer=name, l1=l1, group_lasso=group_lasso))
    modules = [slice(0, 6), slice(6, 14)]  # scale_offset and shift of unet.a; those of unet.b, two bins
    x = _flat(maps).double().numpy()
    mean = square = np.zeros_like(x)
    for iteration in range(STEPS):
        grad = torch.cat([g.flatten() for g in _give_gradients(maps, iteration)]).double().numpy()
        optimizer.step(iteration)
        lr = 0.05 * 0.5 * (1 + math.cos(math.pi * iteration / STEPS))
        mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
        if name == "adam":
            metric = (np.sqrt(square / (1 - 0.999 ** (iteration + 1))) + 1e-8) / lr
            x = x - mean / (1 - 0.9 ** (iteration + 1)) / metric
        else:
            metric = np.full_like(x, 1 / lr)
            x = x - lr * grad
        for part in modules:
            weight = group_lasso * math.sqrt(part.stop - part.start)
            x[part] = _shrink(x[part], metric[part], l1, weight)
        np.testing.assert_allclose(_flat(maps).numpy(), x, rtol=2e-4, atol=2e-6)
        x = _flat(maps).double().numpy()  # rounding must not add up
    assert not np.allclose(x, 0)


def _fit(
    maps: SteeringMaps, optimizer: MapOptimizer, iterations: int, wanted: torch.Tensor, bend: torch.Tensor
) -> None:
    """Minimise 1/2 sum bend * (x - wanted)^2 plus the config's penalties."""
    for iteration in range(iterations):
        moved = torch.cat([parameter.flatten() for parameter in maps.parameters()])
        (0.5 * bend * (moved - wanted).square()).sum().backward()
        optimizer.step(iteration)


@pytest.mark.parametrize(("name", "lr"), [("adam", 0.01), ("sgd", 0.1)])
def test_adam_and_sgd_find_the_solution_of_the_lasso(name, lr):
    maps = SteeringMaps({"unet.a": 3})
    config = _config(optimizer=name, iterations=1500, lr=lr, l1=0.4)
    wanted = torch.tensor([2.0, -1.5, 0.3, 0.05, 0.0, -0.7])
    bend = torch.tensor([1.0, 0.5, 1.0, 4.0, 1.0, 2.0])
    _fit(maps, MapOptimizer(maps, config), 1500, wanted, bend)
    solution = torch.tensor([1.6, -0.7, 0.0, 0.0, 0.0, -0.5])  # soft(wanted, l1 / bend)
    torch.testing.assert_close(_flat(maps), solution, rtol=0, atol=2e-3)
    assert (_flat(maps)[2:5] == 0).all()


@pytest.mark.parametrize(("name", "lr"), [("adam", 0.2), ("sgd", 0.1)])
def test_group_lasso_turns_a_module_off_and_it_is_not_hooked(pipe, name, lr):
    strong, weak = list(find_modules(pipe, "text-attention"))[:2]
    maps = SteeringMaps({strong: 2, weak: 2})
    config = _config(optimizer=name, iterations=300, lr=lr, group_lasso=0.2)
    wanted = torch.tensor([3.0, 0.0, 0.0, 4.0, 0.1, 0.2, -0.2, 0.2])
    _fit(maps, MapOptimizer(maps, config), 300, wanted, torch.ones(8))
    both = dict(maps.named_maps())
    assert both[weak].is_identity
    # The weight is 0.2 * sqrt(4) = 0.4; of the vectors of length 5 and 0.36 one loses 0.4 of its length, one all.
    torch.testing.assert_close(_flat(maps)[:4], wanted[:4] * (1 - 0.4 / 5), rtol=0, atol=5e-3)
    assert [name for name, _ in maps.acting()] == [strong, weak]  # both, as long as they are in training
    maps.requires_grad_(False)
    assert [name for name, _ in maps.acting()] == [strong]
    before = count_hooks(pipe)
    with maps.apply(pipe, 1.0):
        assert count_hooks(pipe) == before + 1


SETTINGS = [
    {},
    {"sparsity": 0.5},
    {"l1": 0.05},
    {"group_lasso": 0.05},
    {"sparsity": 0.3, "l1": 0.01, "group_lasso": 0.02},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("stop", [0, 1, 5])
def test_resuming_from_a_saved_state_ends_at_the_same_bits(tmp_path, name, settings, stop):
    config = _config(optimizer=name, **settings)
    checkpoints = Checkpoints(tmp_path / "state", {})

    def go_on(maps, optimizer, first, last):
        for iteration in range(first, last):
            _give_gradients(maps, iteration)
            optimizer.step(iteration)

    maps = _maps()
    optimizer = MapOptimizer(maps, config)
    go_on(maps, optimizer, 0, stop)
    state = optimizer.state()
    checkpoints.save(state, [0.0] * stop)
    go_on(maps, optimizer, stop, STEPS)

    tensors = checkpoints.load()[0]
    assert tensors.keys() == state.keys()
    resumed = _maps(seed=1)
    fresh = MapOptimizer(resumed, config)
    fresh.load(tensors)
    go_on(resumed, fresh, stop, STEPS)
    assert torch.equal(_flat(maps), _flat(resumed))
    assert not torch.equal(_flat(maps), _flat(_maps()))

    # The same optimiser can go back too, as training does when a loss is not finite.
    optimizer.load(state)
    go_on(maps, optimizer, stop, STEPS)
    assert torch.equal(_flat(maps), _flat(resumed))
    written = checkpoints.load()[0]
    assert all(torch.equal(written[key], state[key]) for key in state)  # no step touched the snapshot


def test_every_penalty_changes_where_maps_go():
    ends = []
    for settings in SETTINGS:
        maps = _maps()
        optimizer = MapOptimizer(maps, _config(**settings))
        for iteration in range(STEPS):
            _give_gradients(maps, iteration)
            optimizer.step(iteration)
        ends.append(_flat(maps))
    for number, end in enumerate(ends):
        assert all((end - other).abs().max() > 1e-3 for other in ends[:number])
    assert int(ends[1].count_nonzero()) == 7
