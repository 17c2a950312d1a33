"""Moves: against what they say of themselves, and layer changes against the layers' own outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from linea_diffusion.steering.affine.affine_map import affine_map
from linea_diffusion.steering.affine.move import Move

from ..conftest import seeded


def _move(rows: int = 1, features: int = 6, seed: int = 0) -> Move:
    draw = seeded(seed)
    return Move.of(1 + 0.3 * torch.randn(rows, features, generator=draw), torch.randn(rows, features, generator=draw))


def _z(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(9))


def test_the_identity_changes_no_bit():
    z = _z(3, 5, 6)
    assert torch.equal(Move.identity(6, z.device).apply(z), z)
    assert not Move.identity(6, z.device).shifts


def test_one_after_the_other_and_both_at_once():
    a, b, z = _move(), _move(seed=1), _z(3, 5, 6)
    torch.testing.assert_close(a.then(b).apply(z), b.apply(a.apply(z)))
    torch.testing.assert_close(a.plus(b).apply(z), a.apply(z) + b.apply(z) - z)
    torch.testing.assert_close(a.plus(b).factor, b.plus(a).factor)


def test_rows_and_only_some_of_them():
    move, z = _move(rows=2), _z(4, 5, 6)
    moved = move.rows([1, 0, 0, 1]).only(torch.tensor([True, True, False, True])).apply(z)
    assert torch.equal(moved[0], Move.of(move.factor[1:], move.shift[1:]).apply(z[:1])[0])
    assert torch.equal(moved[1], Move.of(move.factor[:1], move.shift[:1]).apply(z[1:2])[0])
    assert torch.equal(moved[2], z[2])


LAYERS = {
    "linear": (lambda: nn.Linear(4, 6), (3, 4), -1, 0),
    "linear without bias": (lambda: nn.Linear(4, 6, bias=False), (3, 4), -1, 0),
    "convolution": (lambda: nn.Conv2d(4, 6, 3), (2, 4, 5, 5), 1, 0),
    "group norm": (lambda: nn.GroupNorm(2, 6), (2, 6, 5, 5), 1, 0),
    "layer norm": (lambda: nn.LayerNorm(6), (3, 5, 6), -1, -1),
    "layer norm over two axes": (lambda: nn.LayerNorm((5, 6)), (3, 5, 6), -1, -1),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("strength", [-0.5, 0.3, 1.0])
def test_what_to_add_to_a_layer(name, strength):
    """The moved output, and a change that is exactly linear in the strength."""
    make, shape, axis, along = LAYERS[name]
    torch.manual_seed(0)
    layer, z = make(), _z(*shape)
    for parameter in layer.parameters():
        parameter.data.normal_(generator=seeded(3))
    affine = affine_map(0.3 * _z(6), _z(6).roll(1))
    move = affine.move(strength)
    expected = move.apply(layer(z), axis=axis)
    at_one = affine.move(1.0).layer_change(layer.weight, layer.bias, axis=along)
    weight, bias = move.layer_change(layer.weight, layer.bias, axis=along)
    torch.testing.assert_close((weight, bias), tuple(strength * part for part in at_one), atol=1e-6, rtol=1e-5)
    layer.weight.data += weight
    layer.bias = nn.Parameter(bias if layer.bias is None else layer.bias + bias)
    torch.testing.assert_close(layer(z), expected, atol=1e-5, rtol=1e-5)


def test_a_layer_without_numbers_stands_for_ones_and_zeros():
    move = _move()
    weight, bias = move.layer_change(None, None)
    torch.testing.assert_close(1 + weight, move.factor[0])
    assert torch.equal(bias, move.shift[0])


def _mixing(rows: int, shared: int) -> Move:
    draw = seeded(4)
    return Move(*(torch.randn(n, 6, generator=draw) for n in (rows, rows)),
                *(torch.randn(n, 6, 2, generator=draw) for n in (rows, shared)))  # fmt: skip


@pytest.mark.parametrize(("rows", "shared"), [(1, 1), (3, 1), (3, 3)])
@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_low_rank_moves_are_the_formula_wherever_the_features_are(rows, shared, axis, dtype):
    """Row by row against factor*z + U V^T z + shift, in float64; also of what lies turned around in memory."""
    move, z = _mixing(rows, shared), _z(3, 5, 7, 6).to(dtype).movedim(-1, axis)
    expected = z.double().movedim(axis, -1).clone()
    for row, one in enumerate(expected):
        factor, shift, up, down = (part[min(row, len(part) - 1)].double() for part in move._parts())
        expected[row] = factor * one + one @ down @ up.mT + shift
    tolerance = 0.2 if dtype == torch.bfloat16 else 1e-5
    for layout in (z, z.contiguous()):
        moved = move.apply(layout, axis=axis)
        assert moved.dtype == dtype
        torch.testing.assert_close(moved.double().movedim(axis, -1), expected, atol=tolerance, rtol=tolerance)


def test_low_rank_moves_have_gradients():
    move, z = _mixing(3, 1), _z(3, 5, 6).double().requires_grad_()
    parts = [part.double().requires_grad_() for part in move._parts()]
    assert torch.autograd.gradcheck(lambda z, *parts: Move(*parts).apply(z), (z, *parts))
    assert torch.autograd.gradcheck(
        lambda z, *parts: Move(*parts).apply(z, axis=1), (z.mT.detach().requires_grad_(), *parts)
    )


def test_autocast_does_not_round_a_move():
    move, z = _mixing(1, 1), _z(3, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        moved = move.apply(z)
    assert torch.equal(moved, move.apply(z))


@pytest.mark.parametrize(("rows", "axis"), [(1, -1), (3, -1), (3, 1)])
def test_compiled_code_is_one_graph(rows, axis):
    move, z = _mixing(rows, 1), _z(3, 6, 6)
    compiled = torch.compile(lambda z: move.apply(z, axis=axis), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(z), move.apply(z, axis=axis))
