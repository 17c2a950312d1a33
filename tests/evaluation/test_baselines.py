"""The baselines: closed forms against NumPy, and the way through a pipeline redone by hand.

Evidence: numpy.polyfit on quantile functions, moments, exact recovery of affine laws; plain forward hooks.
"""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linea_diffusion import Concept, LineaError, TrainingConfig, find_modules
from linea_diffusion.evaluation.baselines import (
    fit_gaussians,
    fit_means,
    fit_quantiles,
    gaussian_act,
    linear_act,
    mean_shift,
)
from linea_diffusion.steering.activations import record_activations
from linea_diffusion.training.loss.pooling import mean_pool

from ..conftest import count_hooks, seeded

SIZES = [(5, 5), (2, 6), (6, 4), (7, 3), (1, 4), (4, 1)]
FITS = {"means": fit_means, "gaussians": fit_gaussians, "quantiles": fit_quantiles}


def _samples(n: int, m: int, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = seeded(10 * n + m)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x, torch.randn(m, d, generator=rng, dtype=torch.float64).exp() + 1


def _moved(x: torch.Tensor, fit) -> torch.Tensor:
    return x + fit[0] * x + fit[1]


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("kind", FITS)
def test_means_match_and_a_mean_shift_does_nothing_else(kind, n, m):
    x, y = _samples(n, m)
    fit = FITS[kind](x, y)
    torch.testing.assert_close(_moved(x, fit).mean(dim=0), y.mean(dim=0))
    assert (kind == "means") == (not fit[0].any()) or n == 1


@pytest.mark.parametrize(("n", "m"), [size for size in SIZES if min(size) > 1])
def test_gaussians_match_the_spread_too(n, m):
    x, y = _samples(n, m)
    moved = _moved(x, fit_gaussians(x, y)).numpy()
    np.testing.assert_allclose(moved.std(axis=0), y.numpy().std(axis=0), rtol=1e-10)
    np.testing.assert_allclose(moved.mean(axis=0), y.numpy().mean(axis=0), rtol=1e-10)


@pytest.mark.parametrize(("n", "m"), [size for size in SIZES if size[0] > 1])
def test_quantiles_are_fitted_by_least_squares(n, m):
    # On lcm(n, m) equal pieces both quantile functions are constant; for equal sizes they are the sorted samples.
    x, y = _samples(n, m)
    scale_offset, shift = fit_quantiles(x, y)
    pieces = math.lcm(n, m)
    for j in range(3):
        a, b = np.sort(x[:, j]).repeat(pieces // n), np.sort(y[:, j]).repeat(pieces // m)
        w, intercept = np.polyfit(a, b, deg=1)
        assert (1 + scale_offset[j].item(), shift[j].item()) == pytest.approx((w, intercept), rel=1e-9)


def test_quantile_fit_is_the_best_affine_approximation_of_pots_plan():
    x, y = _samples(7, 4, d=1)
    plan = ot.emd_1d(x[:, 0].numpy(), y[:, 0].numpy())
    rows, columns = plan.nonzero()
    weights = np.sqrt(plan[rows, columns])
    w, b = np.polyfit(x[rows, 0].numpy(), y[columns, 0].numpy(), deg=1, w=weights)
    scale_offset, shift = fit_quantiles(x, y)
    assert (1 + scale_offset.item(), shift.item()) == pytest.approx((w, b), rel=1e-9)


@given(
    scale=st.floats(0.05, 20),
    offset=st.floats(-10, 10),
    n=st.integers(2, 12),
    copies=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_an_affine_law_is_recovered(scale, offset, n, copies, seed):
    # y = scale * x + offset with each sample `copies` times over, in another order: the same law.
    x = torch.randn(n, 2, generator=seeded(seed), dtype=torch.float64)
    y = (scale * x + offset).repeat(copies, 1)[torch.randperm(n * copies, generator=seeded(seed))]
    for fit in (fit_gaussians, fit_quantiles):
        scale_offset, shift = fit(x, y)
        np.testing.assert_allclose(1 + scale_offset.numpy(), scale, rtol=1e-8)
        np.testing.assert_allclose(shift.numpy(), offset, rtol=1e-7, atol=1e-8)


def test_scales_are_never_negative():
    x, y = _samples(9, 5)
    for fit in (fit_gaussians, fit_quantiles):
        assert (1 + fit(x, -y)[0] > 0).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 3.3, 33.3, 1000.1])
@pytest.mark.parametrize("n", [3, 7, 31])
@pytest.mark.parametrize("kind", FITS)
def test_a_coordinate_that_does_not_vary_is_shifted_only(kind, n, value):
    # In float32, as activations come: a mean of equal numbers is not always that number.
    x = torch.stack([torch.full((n,), value), torch.arange(float(n))], dim=1)
    for m in (n, 5):
        y = torch.randn(m, 2, generator=seeded(m))
        scale_offset, shift = FITS[kind](x, y)
        assert scale_offset[0] == 0
        assert shift[0].item() == pytest.approx(y[:, 0].mean().item() - value, rel=1e-5, abs=1e-5)
        assert (kind == "means") == (scale_offset[1] == 0)
        assert FITS[kind](x[:, :1].contiguous(), y[:, :1])[0] == 0  # another order of summation


@pytest.mark.parametrize("kind", FITS)
def test_a_coordinate_that_varies_by_rounding_alone_is_shifted_only(kind):
    # One activation of identical prompts, computed in batches of other sizes: the last bit differs.
    x = torch.full((8, 1), 3.3)
    x[::3] = torch.nextafter(x[::3], torch.tensor(4.0))
    assert x.std() > 0
    assert FITS[kind](x, torch.randn(8, 1, generator=seeded()))[0] == 0


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
@pytest.mark.parametrize("kind", FITS)
def test_the_unit_of_activations_does_not_matter(kind, unit):
    # Small activations are not constant ones: 7 float32 samples that vary as much as they are large.
    x, y = torch.randn(7, 2, generator=seeded(1)), 2 * torch.randn(7, 2, generator=seeded(2)) + 1
    expected, result = FITS[kind](x, y), FITS[kind](unit * x, unit * y)
    torch.testing.assert_close(result[0], expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result[1] / unit, expected[1], rtol=1e-4, atol=1e-5)


CONCEPT = Concept(
    "neon",
    source=("a red star", "a yellow heart", "a green house", "a blue boat"),
    target=("a teal tree, neon", "one red heart, neon", "a blue house in neon style", "a green star, neon"),
    text="a picture in neon style",
)
TEXT = tuple(f"text_encoder.encoder.layers.{number}.self_attn" for number in (0, 1))
UNET = "unet.mid_block.attentions.0.norm"


def _config(target_modules, **settings) -> TrainingConfig:
    return TrainingConfig(**{"num_inference_steps": 1, "target_modules": target_modules, "seed": 3, **settings})


def _record(pipe, names, prompts, *, steps: int = 1, seed: int = 3) -> dict[str, list[torch.Tensor]]:
    """Pooled activations of each call, from the noise that training gives each row."""
    noise = [seeded(seed * 1_000_003 + row) for row in range(len(prompts))]
    modules = {name: find_modules(pipe.base, name.replace(".", r"\."))[name] for name in names}
    with record_activations(modules, pool=mean_pool) as recorded, torch.no_grad():
        pipe.base(
            list(prompts), num_inference_steps=steps, guidance_scale=1.0, generator=noise, output_type="latent"
        )  # fmt: skip
    return recorded


def _least_squares(x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(w - 1, b) of equally many samples, by NumPy."""
    x, y = np.sort(x.double().numpy(), axis=0), np.sort(y.double().numpy(), axis=0)
    fits = np.array([np.polyfit(x[:, j], y[:, j], deg=1) for j in range(x.shape[1])])
    return fits[:, 0] - 1, fits[:, 1]


def _assert_is(affine, scale_offset, shift, row: int | None = None):
    result = affine.scale_offset, affine.shift
    for numbers, expected in zip(result, (scale_offset, shift), strict=True):
        part = numbers if row is None else numbers[row]
        np.testing.assert_allclose(part.numpy(), expected, rtol=2e-3, atol=2e-4)


def test_mean_shift_and_gaussians_of_recorded_activations(pipe):
    before = count_hooks(pipe)
    names = (*TEXT, UNET)
    x, y = _record(pipe, names, CONCEPT.source), _record(pipe, names, CONCEPT.target)
    means = dict(mean_shift(pipe, CONCEPT, _config(names)).named_maps())
    gaussians = dict(gaussian_act(pipe, CONCEPT, _config(names)).named_maps())
    assert list(means) == list(gaussians) == sorted(names, key=list(find_modules(pipe.base, names)).index)
    for name in names:
        (a,), (b,) = x[name], y[name]
        _assert_is(means[name], np.zeros(a.shape[1]), (b.mean(dim=0) - a.mean(dim=0)).numpy())
        w = b.numpy().std(axis=0) / a.numpy().std(axis=0)
        _assert_is(gaussians[name], w - 1, b.numpy().mean(axis=0) - w * a.numpy().mean(axis=0))
    assert count_hooks(pipe) == before


def test_linear_act_in_turn_fits_each_module_to_what_the_maps_before_it_made(pipe):
    before = count_hooks(pipe)
    x, y = _record(pipe, TEXT, CONCEPT.source), _record(pipe, TEXT, CONCEPT.target)
    at_once = dict(linear_act(pipe, CONCEPT, _config(TEXT), sequential=False).named_maps())
    in_turn = dict(linear_act(pipe, CONCEPT, _config(TEXT)).named_maps())
    for name in TEXT:
        _assert_is(at_once[name], *_least_squares(x[name][0], y[name][0]))
    first, second = TEXT
    _assert_is(in_turn[first], *_least_squares(x[first][0], y[first][0]))

    scale_offset, shift = (torch.tensor(part).float() for part in _least_squares(x[first][0], y[first][0]))
    module = find_modules(pipe.base, first.replace(".", r"\."))[first]

    def steer(_, inputs, output):
        return (output[0] + scale_offset * output[0] + shift, *output[1:])

    with module.register_forward_hook(steer):
        steered = _record(pipe, TEXT, CONCEPT.source)
    _assert_is(in_turn[second], *_least_squares(steered[second][0], y[second][0]))
    assert (in_turn[second].shift - at_once[second].shift).abs().max() > 0.05
    assert count_hooks(pipe) == before


def test_one_map_for_all_steps_or_one_for_each_part_of_the_schedule(pipe):
    x = _record(pipe, [UNET], CONCEPT.source, steps=4)[UNET]
    y = _record(pipe, [UNET], CONCEPT.target, steps=4)[UNET]
    assert len(x) == 4
    for sequential in (True, False):
        for bins, parts in ((1, [range(4)]), (2, [(0, 1), (2, 3)]), (4, [(0,), (1,), (2,), (3,)])):
            config = _config(UNET, num_inference_steps=4, step_bins=bins)
            affine = dict(linear_act(pipe, CONCEPT, config, sequential=sequential).named_maps())[UNET]
            assert affine.bins == bins
            for row, steps in enumerate(parts):
                fit = _least_squares(torch.cat([x[step] for step in steps]), torch.cat([y[step] for step in steps]))
                _assert_is(affine, *fit, row=None if bins == 1 else row)


def test_step_bins_are_the_denoisers(pipe):
    maps = dict(mean_shift(pipe, CONCEPT, _config((TEXT[0], UNET), num_inference_steps=2, step_bins=2)).named_maps())
    assert maps[TEXT[0]].bins == 1
    assert maps[UNET].bins == 2
    assert (maps[UNET].shift[0] - maps[UNET].shift[1]).abs().max() > 1e-3


@pytest.mark.parametrize("fit", [mean_shift, linear_act])
def test_more_step_bins_than_steps_would_leave_some_without_a_map(pipe, fit):
    with pytest.raises(LineaError, match="step_bins"):
        fit(pipe, CONCEPT, _config(UNET, num_inference_steps=2, step_bins=4))


@pytest.mark.parametrize(
    "settings", [{"seed": 4}, {"num_inference_steps": 2}, {"pooling": "tokens", "tokens_per_sample": 4}], ids=str
)
def test_settings_change_the_maps(pipe, settings):
    plain = dict(mean_shift(pipe, CONCEPT, _config(UNET)).named_maps())[UNET]
    other = dict(mean_shift(pipe, CONCEPT, _config(UNET, **settings)).named_maps())[UNET]
    assert (plain.shift - other.shift).abs().max() > 1e-4


def test_pieces_of_a_batch_give_the_same_maps(pipe):
    plain = dict(gaussian_act(pipe, CONCEPT, _config((TEXT[0], UNET))).named_maps())
    pieces = dict(gaussian_act(pipe, CONCEPT, _config((TEXT[0], UNET), micro_batch_size=3)).named_maps())
    for name, affine in plain.items():
        torch.testing.assert_close(affine.shift, pieces[name].shift, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("fit", "method"),
    [
        (mean_shift, "mean shift"),
        (gaussian_act, "Gaussian-AcT"),
        (linear_act, "Lin-AcT"),
        (lambda *args: linear_act(*args, sequential=False), "Lin-AcT, at once"),
    ],
)
def test_maps_say_where_they_come_from_and_are_not_trained(pipe, fit, method):
    maps = fit(pipe, CONCEPT, _config(TEXT[0]))
    facts = maps.metadata
    assert (facts["method"], facts["concept"], facts["text"]) == (method, "neon", CONCEPT.text)
    assert (facts["neutral"], facts["prompts_sha256"]) == (CONCEPT.neutral, CONCEPT.digest)
    assert (facts["base_model"], facts["training"]["seed"]) == ("shapeland-unet", 3)
    assert not any(parameter.requires_grad for parameter in maps.parameters())
    assert all(parameter.requires_grad for parameter in pipe.unet.parameters())  # thawed again


def test_fitted_maps_bring_the_means_where_they_were_fitted(pipe):
    maps = mean_shift(pipe, CONCEPT, _config(TEXT[0]))
    target = _record(pipe, TEXT[:1], CONCEPT.target)[TEXT[0]][0].mean(dim=0)
    for strength in (0.5, 1.0):
        plain = _record(pipe, TEXT[:1], CONCEPT.source)[TEXT[0]][0].mean(dim=0)
        with maps.apply(pipe, strength):
            steered = _record(pipe, TEXT[:1], CONCEPT.source)[TEXT[0]][0].mean(dim=0)
        torch.testing.assert_close(steered, plain + strength * (target - plain), rtol=1e-4, atol=1e-4)
