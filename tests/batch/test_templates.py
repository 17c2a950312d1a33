"""Prompts that are templates of dynamicprompts, where a user asks for it."""

from __future__ import annotations

import pytest

from linea_diffusion import LineaError
from linea_diffusion.batch.jobs.templates import Templates

from ..batches import rows


@pytest.fixture
def wildcards(tmp_path):
    (tmp_path / "wild").mkdir()
    (tmp_path / "wild" / "color.txt").write_text("red\nblue\n")
    return tmp_path / "wild"


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("a cat", ["a cat"]),
        ("a {red,blue} cat", ["a red cat", "a blue cat"]),
        ("a {red|blue} {cat|dog}", ["a red cat", "a red dog", "a blue cat", "a blue dog"]),
        ("a {red,blue} {cat|dog}", ["a red cat", "a red dog", "a blue cat", "a blue dog"]),
        ("a __color__ cat", ["a blue cat", "a red cat"]),
        ("{2$$ and $$a|b}", ["a and b", "b and a"]),
    ],
)
def test_templates(wildcards, text, texts):
    assert Templates(wildcards)(text) == texts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a __shape__", "expected values for __shape__; say --wildcards"),
        ("a {~red|blue}", "drawn by chance"),
        ("a {red|blue", "expected a template"),
        ("{a|b}" * 14, "more than 10000 prompts"),
    ],
)
def test_what_is_no_template(wildcards, text, message):
    with pytest.raises(LineaError, match=message):
        Templates(wildcards)(text)


def test_a_batch_of_templates(linea, wildcards, tmp_path):
    (tmp_path / "jobs.txt").write_text("a __color__ {heart|fish}\na star\n")
    argv = ["batch", tmp_path / "jobs.txt", "--out", tmp_path / "out", "--steps", "1", "--log", "none"]
    said = linea(*argv, "--wildcards", wildcards, "--dry-run")[1]
    assert said.startswith("5 images in")
    assert linea(*argv, "--wildcards", wildcards)[0] == 0
    assert [row["prompt"] for row in rows(tmp_path / "out")] == [
        "a blue heart", "a blue fish", "a red heart", "a red fish", "a star",
    ]  # fmt: skip
    assert linea(*argv, "--wildcards", tmp_path / "none")[0] == 2
    assert linea(*argv, "--dry-run")[1].startswith("1 images in")  # without it they are words
    (tmp_path / "jobs.txt").write_text("a {red|blue} heart\n")
    assert "2 there already" in linea(*argv, "--dry-run", "--templates")[1]
