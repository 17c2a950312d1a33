"""One affine map and its algebra: formulas written out, identities of algebra, and which step bin acts when.

Evidence: float64 arithmetic written out, and composition against acting one after the other.
"""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linea_diffusion import AffineMap, LineaError
from linea_diffusion.steering.affine.affine_map import affine_map
from linea_diffusion.steering.affine.move import Move


def _random_map(features: int = 5, bins: int = 1, *, seed: int = 0) -> AffineMap:
    rng = torch.Generator().manual_seed(seed)
    shape = (features,) if bins == 1 else (bins, features)
    return affine_map(torch.randn(shape, generator=rng) * 0.4, torch.randn(shape, generator=rng))


def _acts(affine: AffineMap, z: torch.Tensor, strength: float = 1.0, row: int = 0) -> torch.Tensor:
    """T_s(z) = z + s*((w-1)*z + b) in float64."""
    w, b = (1 + affine.scale_offset.double()).reshape(-1, z.shape[-1]), affine.shift.double().reshape(-1, z.shape[-1])
    return z.double() + strength * ((w[row] - 1) * z.double() + b[row])


def _z(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(9))


@given(strength=st.floats(-3, 3), shape=st.sampled_from([(2, 5), (1, 5), (2, 3, 5), (2, 3, 4, 5)]))
@settings(max_examples=40, deadline=None)
def test_formula(strength, shape):
    affine, z = _random_map(), _z(*shape)
    torch.testing.assert_close(affine(z, strength).double(), _acts(affine, z, strength), rtol=1e-5, atol=1e-5)


def test_strength_0_is_the_identity_and_strength_1_the_map():
    affine, z = _random_map(), _z(4, 5)
    assert torch.equal(affine(z, 0.0), z)
    torch.testing.assert_close(affine(z), (1 + affine.scale_offset) * z + affine.shift)
    torch.testing.assert_close(affine(z, torch.tensor(0.5)), (z + affine(z)) / 2)


def test_a_fresh_map_is_the_identity_until_one_number_moves():
    for bins in (1, 3):
        for part in ("scale_offset", "shift"):
            affine, z = AffineMap(5, bins), _z(2, 5)
            assert affine.is_identity
            assert torch.equal(affine(z), z)
            getattr(affine, part).data.flatten()[-1] = 1e-30
            assert not affine.is_identity


def test_gradients_of_both_numbers():
    affine, z = AffineMap(3), _z(4, 3)
    (affine(z, 0.7) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    weight = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(affine.scale_offset.grad, 0.7 * weight * z.sum(dim=0))
    torch.testing.assert_close(affine.shift.grad, 0.7 * weight * 4)


@pytest.mark.parametrize("shape", [(3, 5), (3, 7, 5), (3, 2, 2, 5)])
def test_each_sample_at_its_own_strength(shape):
    affine, z, strengths = _random_map(), _z(*shape), [0.0, 0.3, -1.5]
    together = affine(z, torch.tensor(strengths))
    for row, strength in enumerate(strengths):
        assert torch.equal(together[row : row + 1], affine(z[row : row + 1], strength))
    assert torch.equal(together[0], z[0])


def test_features_at_another_axis():
    # All axes of one length: a wrong one would go unnoticed by shape alone.
    affine, z, strengths = _random_map(4), _z(4, 4, 4, 4), torch.tensor([0.1, 0.5, 1.0, 2.0])
    for axis in (1, 2, 3, -1):
        expected = affine(z.movedim(axis, -1), strengths).movedim(-1, axis)
        torch.testing.assert_close(affine(z, strengths, axis=axis), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_scales_and_shifts_survive_half_precision(dtype):
    # 1 + scale is 1 in half precision; z + scale*z + shift is rounded once, from float32.
    scale, shift = 2.0**-12, 2.0**-13
    affine = affine_map(torch.full((1,), scale), torch.full((1,), shift))
    z = torch.linspace(-8, 8, 4001).to(dtype)[:, None]
    mapped = affine(z)
    assert mapped.dtype == dtype
    assert torch.equal(mapped, (z.double() * (1 + scale) + shift).float().to(dtype))
    assert (mapped != z).any()
    assert (1 + affine.scale_offset.to(dtype)).item() == 1


def test_transform_is_what_a_map_does():
    z, scale, shift = _z(2, 3, 5), _z(2, 5), _z(2, 5) + 1
    expected = z + scale[:, None] * z + shift[:, None]
    torch.testing.assert_close(Move.of(1 + scale, shift).apply(z), expected)
    torch.testing.assert_close(Move.of(1 + scale, shift).apply(z.movedim(-1, 1), axis=1), expected.movedim(-1, 1))


@given(scales=st.lists(st.floats(0.05, 4), min_size=1, max_size=5), sign=st.sampled_from([-1.0, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_inverse_undoes_the_map(scales, sign):
    w = sign * torch.tensor(scales)
    affine = affine_map(w - 1, _z(len(scales)))
    z = _z(6, len(scales))
    torch.testing.assert_close(affine.inverse()(affine(z)), z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(affine(affine.inverse()(z)), z, rtol=1e-4, atol=1e-4)


def test_the_inverse_of_each_bin_undoes_that_bin():
    affine, z = _random_map(bins=3), _z(2, 5)
    inverse = affine.inverse()
    assert inverse.bins == 3
    for fraction in (0.0, 0.4, 0.9):
        torch.testing.assert_close(inverse(affine(z, fraction=fraction), fraction=fraction), z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("w", [0.0, 9e-5, -9e-5])
def test_a_scale_near_zero_is_not_undone(w):
    affine = affine_map(torch.tensor([0.0, w - 1]), torch.ones(2))
    with pytest.raises(LineaError, match=r"a scale of .*cannot be undone: expected at least 0.0001"):
        affine.inverse()
    affine_map(torch.tensor([0.0, 1.1e-4 - 1]), torch.ones(2)).inverse()


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 3), (3, 1), (2, 3), (4, 6), (2, 4)])
def test_composed_maps_do_at_every_fraction_what_both_do_one_after_the_other(first, second):
    a, b, z = _random_map(bins=first), _random_map(bins=second, seed=1), _z(2, 5)
    then, plus = a.then(b), a.plus(b)
    for total in (1, 5, 12, 30):
        for index in range(total):
            fraction = index / total
            one, other = a(z, fraction=fraction), b(z, fraction=fraction)
            both = b(one, fraction=fraction)
            torch.testing.assert_close(then(z, fraction=fraction), both, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(plus(z, fraction=fraction), one + other - z, rtol=1e-4, atol=1e-5)


def test_alignment_needs_no_more_bins_than_the_least_common_multiple():
    assert _random_map(bins=2).then(_random_map(bins=3)).bins == 6
    assert _random_map(bins=4).plus(_random_map(bins=6)).bins == 12
    assert _random_map().then(_random_map()).shift.shape == (5,)


def test_order_matters_to_then_and_not_to_plus():
    a, b = _random_map(), _random_map(seed=1)
    assert (a.then(b).shift - b.then(a).shift).abs().max() > 0.1
    torch.testing.assert_close(a.then(b).scale_offset, b.then(a).scale_offset)
    assert torch.equal(a.plus(b).shift, b.plus(a).shift)


@pytest.mark.parametrize("bins", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 0.3, -2.0])
def test_times_moves_the_strength_into_the_map(bins, factor):
    affine, z = _random_map(bins=bins), _z(2, 5)
    scaled = affine.times(factor)
    for fraction in (0.0, 0.5, 0.99):
        torch.testing.assert_close(scaled(z, fraction=fraction), affine(z, factor, fraction=fraction))
    assert scaled.is_identity == (factor == 0)


@pytest.mark.parametrize("join", [AffineMap.then, AffineMap.plus])
def test_maps_of_different_widths_do_not_join(join):
    with pytest.raises(LineaError, match="5 and 3 features"):
        join(_random_map(5), _random_map(3))


def test_results_are_copies_that_are_not_trained():
    affine = _random_map().requires_grad_(True)
    for result in (affine.inverse(), affine.then(affine), affine.plus(affine), affine.times(1.0)):
        assert not any(parameter.requires_grad for parameter in result.parameters())
        before = affine.shift.clone()
        result.shift.data.add_(1)
        assert torch.equal(affine.shift, before)


def _bin_at(affine: AffineMap, fraction: float) -> int:
    """Which bin acts, for maps whose bin k shifts by k."""
    return int(affine.move(fraction=fraction).shift.item())


def _numbered(bins: int) -> AffineMap:
    return affine_map(torch.zeros(bins, 1), torch.arange(float(bins))[:, None])


@pytest.mark.parametrize("bins", [*range(1, 9), 22, 55])  # 22 * (15 / 22) is 14.999... in floats
def test_the_bin_is_that_part_of_the_schedule(bins):
    affine = _numbered(bins)
    for total in range(1, 61):
        used = [_bin_at(affine, index / total) for index in range(total)]
        # Exact arithmetic: index/total lies in [k/bins, (k+1)/bins).
        assert used == [int(Fraction(index * bins, total)) for index in range(total)]
        if total % bins == 0:
            assert [used.count(k) for k in range(bins)] == [total // bins] * bins


def test_the_end_of_the_schedule_belongs_to_the_last_bin():
    assert _bin_at(_numbered(3), 1.0) == 2


def test_strengths_and_bins_go_together():
    affine, z = _random_map(bins=2), _z(3, 5)
    strengths = torch.tensor([0.2, 0.0, 1.5])
    for row, fraction in enumerate((0.0, 0.5)):
        expected = torch.cat([_acts(affine, z[i : i + 1], s, row) for i, s in enumerate(strengths.tolist())])
        torch.testing.assert_close(affine(z, strengths, fraction=fraction).double(), expected, rtol=1e-5, atol=1e-5)
    assert affine.move(strengths).factor.shape == (3, 5)
    assert affine.move(0.5).shift.shape == (1, 5)
    assert (affine.features, affine.bins) == (5, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    rng = torch.Generator().manual_seed(0)
    z, pull = (torch.randn(3, 5, 4, generator=rng).to(dtype) for _ in range(2))
    numbers = [torch.randn(1, 4, generator=rng) for _ in range(2)]
    wide = [z.float(), *numbers]
    expected = (wide[0] * wide[1] + wide[2]).to(dtype)
    with torch.no_grad():
        assert torch.equal(Move.of(*numbers).apply(z), expected)
    leaves = [one.clone().requires_grad_() for one in (z, *numbers)]
    moved = Move.of(*leaves[1:]).apply(leaves[0])
    assert torch.equal(moved.detach(), expected)
    moved.backward(pull)
    gradients = [one.grad for one in leaves]
    assert [gradient.dtype for gradient in gradients] == [dtype, torch.float32, torch.float32]
    assert torch.allclose(gradients[1], (pull.float() * wide[0]).sum((0, 1)).reshape(1, -1), atol=1e-5)
    assert torch.allclose(gradients[2], pull.float().sum((0, 1)).reshape(1, -1), atol=1e-5)
    assert torch.equal(gradients[0], (pull.float() * wide[1]).to(dtype))
