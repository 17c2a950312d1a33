"""Strengths as text: what is read of them, and what is none."""

from __future__ import annotations

import pytest

from linea_diffusion import LineaError
from linea_diffusion.steering.parsing import parse_strengths


@pytest.mark.parametrize(
    ("text", "values"),
    [("0.7", [0.7]), ("0,0.5,1", [0, 0.5, 1]), ("0:1:5", [0, 0.25, 0.5, 0.75, 1]), ("1:-1:3", [1, 0, -1])],
)
def test_strengths_as_text(text, values):
    assert parse_strengths(text) == values


@pytest.mark.parametrize(
    "text", ["", "a", "0,", "nan", "0,inf", "1e39", "0:1", "0:1:1", "0:1:2:3", "0:1:2.5", "0:1:99999999", "0:nan:3"]
)
def test_texts_that_are_no_strengths(text):
    with pytest.raises(LineaError, match="FIRST:LAST:COUNT"):
        parse_strengths(text)
