"""Maps with a low-rank part, against dense matrices in float64: their algebra, their inverse, and ranks that are none.

Evidence: T(z) = (diag(w) + U V^T) z + b written out as a d x d matrix.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linea_diffusion import AffineMap, LineaError, SteeringMaps
from linea_diffusion.steering.affine.low_rank import merged, trimmed

from ..conftest import seeded

D = 6
Dense = tuple[torch.Tensor, torch.Tensor]


def low_rank_map(rank: int = 2, bins: int = 1, *, seed: int = 0, size: float = 0.4, features: int = D) -> AffineMap:
    """A map whose numbers are all random."""
    affine = AffineMap(features, bins, rank).requires_grad_(False)
    random = seeded(seed)
    for part in affine.tensors().values():
        part.copy_(size * torch.randn(part.shape, generator=random))
    return affine


def dense(affine: AffineMap, fraction: float = 0.0, strength: float = 1.0) -> Dense:
    """The matrix (d, d) and the shift of a map at a strength, float64."""
    row = affine.bin_at(fraction)
    scale_offset, shift, up, down = (part[row].detach().double() for part in affine.parts())
    change = torch.diag(scale_offset) + up @ down.T
    return torch.eye(affine.features, dtype=torch.float64) + strength * change, strength * shift


def _z(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(9))


def _close(affine: AffineMap, expected: Dense, fraction: float = 0.0, tolerance: float = 1e-5) -> None:
    for number, wanted in zip(dense(affine, fraction), expected, strict=True):
        torch.testing.assert_close(number, wanted, atol=tolerance, rtol=tolerance)


PAIRS = [((2, 1), (2, 1)), ((2, 1), (0, 1)), ((0, 1), (3, 1)), ((1, 2), (3, 1)), ((2, 3), (1, 2)), ((0, 4), (2, 2))]


@given(
    strength=st.floats(-3, 3), shape=st.sampled_from([(2, D), (1, D), (2, 3, D), (2, 3, 4, D)]), bins=st.integers(1, 3)
)
@settings(max_examples=40, deadline=None)
def test_formula(strength, shape, bins):
    affine, z = low_rank_map(bins=bins), _z(*shape)
    for fraction in (0.0, 0.4, 0.9):
        matrix, shift = dense(affine, fraction, strength)
        expected = z.double() @ matrix.T + shift
        torch.testing.assert_close(affine(z, strength, fraction=fraction).double(), expected, rtol=1e-4, atol=1e-4)
        wide = affine(z.double(), strength, fraction=fraction)
        torch.testing.assert_close(wide, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_features_at_another_axis_and_a_strength_for_each_row(axis):
    affine, z, strengths = low_rank_map(features=4), _z(4, 4, 4, 4), torch.tensor([0.0, -0.5, 1.0, 2.0])
    result = affine(z, strengths, axis=axis).movedim(axis, -1)
    for row, strength in enumerate(strengths.tolist()):
        matrix, shift = dense(affine, strength=strength)
        expected = z[row].double().movedim(axis - (axis > 0), -1) @ matrix.T + shift
        torch.testing.assert_close(result[row].double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(result[0], z[0].movedim(axis - (axis > 0), -1))


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_then_and_plus_are_those_of_matrices(first, second):
    a, b = low_rank_map(*first), low_rank_map(*second, seed=1)
    then, plus = a.then(b), a.plus(b)
    assert then.rank == plus.rank == a.rank + b.rank
    for index in range(12):
        at = index / 12
        (one, shift), (other, more) = dense(a, at), dense(b, at)
        _close(then, (other @ one, other @ shift + more), at)
        _close(plus, (one + other - torch.eye(D).double(), shift + more), at)


@pytest.mark.parametrize("factor", [0.0, 0.3, -2.0])
def test_times_is_the_strength(factor):
    affine = low_rank_map(bins=2)
    for at in (0.0, 0.5):
        _close(affine.times(factor), dense(affine, at, factor), at)
    assert affine.times(factor).is_identity == (factor == 0)


@pytest.mark.parametrize("bins", [1, 3])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_inverse_is_that_of_the_matrix(bins, rank):
    affine = low_rank_map(rank, bins, size=0.3)
    back = affine.inverse()
    assert (back.rank, back.bins) == (rank, bins)
    for at in (0.0, 0.4, 0.9):
        matrix, shift = dense(affine, at)
        _close(back, (matrix.inverse(), -matrix.inverse() @ shift), at, 1e-4)
        torch.testing.assert_close(back(affine(_z(3, D), fraction=at), fraction=at), _z(3, D), atol=1e-4, rtol=1e-4)


def test_what_cannot_be_undone_is_refused():
    affine = low_rank_map(1)
    affine.scale_offset.zero_()
    affine.up.copy_(-affine.down / affine.down.square().sum())  # 1 + V^T U = 0
    with pytest.raises(LineaError, match=r"1 \+ V\^T D\^-1 U has a least singular value of .*cannot be undone"):
        affine.inverse()
    affine = low_rank_map(2)
    affine.scale_offset[0] = -1
    with pytest.raises(LineaError, match=r"a scale of 0\.0e\+00, which cannot be undone"):
        affine.inverse()


@pytest.mark.parametrize("bins", [1, 3])
def test_a_map_without_itself_is_exactly_the_identity(bins):
    a, b = low_rank_map(3, bins), low_rank_map(2, seed=1)
    nothing = a.plus(a.times(-1))
    assert nothing.is_identity
    assert nothing.rank == nothing.stored == 0
    both = a.plus(b)
    assert both.plus(a.times(-1)).rank == 2
    assert both.plus(b.plus(a).times(-1)).is_identity
    assert a.plus(a).rank == 3
    _close(a.plus(a), dense(a, strength=2.0))
    maps = SteeringMaps.of({"unet.a": a, "unet.b": b})
    assert not list((maps - maps).acting())


def test_ranks_that_do_nothing_are_dropped():
    affine = low_rank_map(4, bins=2)
    affine.up[..., 0] = 0
    affine.down[:, :, 1] = 0
    affine.up[0, :, 2] = 0
    small = affine.trimmed()
    assert small.rank == 2
    for at in (0.0, 0.5):
        _close(small, dense(affine, at), at, 1e-12)
    assert not small.down[0, :, 0].any(), "what the other half makes idle in a bin is zero too"
    assert small.stored < affine.stored
    affine.up.zero_()
    assert (affine.trimmed().rank, affine.trimmed().shape) == (0, (2, D))
    assert "up" not in affine.trimmed().tensors()


def test_a_trimmed_map_is_a_copy_that_is_not_trained():
    affine = low_rank_map().requires_grad_(True)
    small = affine.trimmed()
    assert not small.is_trained
    small.up.add_(1)
    assert not torch.equal(small.up, affine.up)


def test_equal_columns_are_one_and_the_order_stays():
    up, down = _z(2, D, 4), _z(2, D, 4).roll(1)
    down[..., 2] = down[..., 0]
    fewer = merged(up, down)
    assert [half.shape[-1] for half in fewer] == [3, 3]
    torch.testing.assert_close(fewer[0] @ fewer[1].mT, up @ down.mT)
    assert torch.equal(fewer[1], down[..., [0, 1, 3]])
    down[0, 0, 2] += 1  # equal in one bin only
    assert torch.equal(merged(up, down)[1], down)
    assert [half.shape for half in trimmed(up[..., :0], down[..., :0])] == [(2, D, 0)] * 2


def test_a_map_acts_if_one_column_of_both_halves_does():
    affine = AffineMap(D, 2, 3).requires_grad_(False)
    assert affine.is_identity
    affine.up[0, 1, 0] = affine.down[1, 1, 0] = affine.down[0, 2, 1] = 1.0
    assert affine.is_identity, "halves in other bins and other ranks"
    assert torch.equal(affine(_z(2, D)), _z(2, D))
    affine.down[0, 5, 0] = 1e-30
    assert not affine.is_identity


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("strength", [1.0, -0.5, [0.2, -1.0, 0.0]])
def test_half_precision_is_worked_out_in_float32(dtype, strength):
    affine, z = low_rank_map(), _z(3, 5, D).to(dtype)
    amount = torch.tensor(strength)
    moved = affine(z, amount)
    assert moved.dtype == dtype
    assert torch.equal(moved, affine(z.float(), amount).to(dtype))


def test_rows_of_strengths_and_only_some_of_them():
    affine, z = low_rank_map(), _z(4, 5, D)
    move = affine.move(torch.tensor([0.5, -1.0]))
    moved = move.rows([1, 0, 0, 1]).only(torch.tensor([True, True, False, True])).apply(z)
    for row, strength in enumerate((-1.0, 0.5, 0.0, -1.0)):
        matrix, shift = dense(affine, strength=strength)
        torch.testing.assert_close(moved[row].double(), z[row].double() @ matrix.T + shift, atol=1e-5, rtol=1e-5)
    assert torch.equal(moved[2], z[2])


@pytest.mark.parametrize("join", ["then", "plus"])
def test_moves_with_rows_of_their_own_join(join):
    """Strengths per row on either side, and a side without a low-rank part."""
    z = _z(2, 5, D)
    rows, one = torch.tensor([0.5, -1.0]), torch.tensor(0.7)
    for first, second in [((2, rows), (3, one)), ((2, one), (3, rows)), ((0, rows), (3, one)), ((2, rows), (0, rows))]:
        a, b = (low_rank_map(rank, seed=i).move(s) for i, (rank, s) in enumerate((first, second)))
        expected = b.apply(a.apply(z)) if join == "then" else a.apply(z) + b.apply(z) - z
        torch.testing.assert_close(getattr(a, join)(b).apply(z), expected, atol=1e-5, rtol=1e-5)
