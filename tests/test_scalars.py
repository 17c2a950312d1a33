"""What counts as a number, whole number or seed, and what only looks like one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linea_diffusion.errors import LineaError, as_number, as_python, as_whole, check_seed

META = torch.tensor(1.0, device="meta")
FORMS = (float, np.float64, np.array, torch.tensor, lambda x: torch.tensor(x, dtype=torch.float64))


@pytest.mark.parametrize("form", FORMS)
def test_numbers_in_every_form(form):
    assert as_number(form(0.5)) == 0.5
    assert as_whole(form(3.0)) == 3
    assert as_whole(form(0.5)) is None


@pytest.mark.parametrize(
    "value",
    [
        *(True, np.True_, torch.tensor(True), "1", b"1", None, 1j, torch.tensor(1j), [1], {1}, np.ones(1)),
        *(torch.ones(1), META, float("nan"), np.float32("inf"), 10**400, pytest.param(object(), id="object")),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_number(value):
    assert as_number(value) is None
    assert as_whole(value) is None
    with pytest.raises(LineaError, match=r"expected a whole number from 0 to 2\^63 - 1"):
        check_seed(value)


@given(st.integers(-(2**70), 2**70))
def test_whole_numbers_keep_every_digit(number):
    assert as_whole(number) == number
    if 0 <= number < 2**63:
        assert check_seed(np.int64(number)) == number
    else:
        with pytest.raises(LineaError, match="got seed="):
            check_seed(number)


def test_python_s_own_instead_of_numpy_s():
    given = {"a": np.float32(0.5), "b": [np.int64(1), (torch.tensor(2), "x")], "c": np.arange(2), "d": np.True_}
    found = as_python(given)
    assert found == {"a": 0.5, "b": [1, (2, "x")], "c": [0, 1], "d": True}
    assert [type(one) for one in (found["a"], found["b"][0], found["c"][1], found["d"])] == [float, int, int, bool]
    with pytest.raises(LineaError, match="holds no numbers"):
        as_python([META])
    assert as_python(Fraction(1, 2)) == 0.5
