"""Concepts: the packaged ones keep the split, and files are read or refused."""

from __future__ import annotations

import pytest

from linea_diffusion import Concept, LineaError, list_concepts, load_concept
from linea_diffusion.concepts import concept_from_files
from linea_diffusion.shapeland.captions import HELD_OUT_PAIRS, is_held_out
from linea_diffusion.shapeland.styles import STYLES
from linea_diffusion.shapeland.truth import content_of


def test_every_style_has_a_concept():
    assert {load_concept(name).name for name in list_concepts()} == set(STYLES)


@pytest.mark.parametrize("name", list_concepts())
def test_packaged_prompts_are_32_distinct_and_not_held_out(name):
    concept = load_concept(name)
    for prompts in (concept.source, concept.target):
        assert len(set(prompts)) == 32
        assert not any(is_held_out(prompt) for prompt in prompts)
        assert not any((content_of(prompt)[0], concept.name) in HELD_OUT_PAIRS for prompt in prompts)
    assert all(concept.name in prompt for prompt in concept.target)
    assert not any(style in prompt for prompt in concept.source for style in STYLES)


def test_the_digest_is_of_the_prompts():
    concept = load_concept("neon")
    changed = Concept("neon", concept.source, (*concept.target[1:], "another"), concept.text)
    assert concept.digest == load_concept("neon").digest != changed.digest


def test_files_with_one_prompt_per_line(tmp_path):
    (tmp_path / "a.txt").write_text("a dog\n\n a cat \n")
    (tmp_path / "b.txt").write_text("a dog, neon\na cat, neon\n")
    concept = concept_from_files(tmp_path / "a.txt", tmp_path / "b.txt", name="glow")
    assert concept.source == ("a dog", "a cat")
    assert concept.text == "glow"


@pytest.mark.parametrize("text", ["", "one prompt only\n", "\n\n"])
def test_files_with_too_few_prompts_are_refused(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(LineaError, match=r"prompts in .*a\.txt.*at least 2"):
        concept_from_files(tmp_path / "a.txt", tmp_path / "a.txt", name="x")


def test_unknown_names_and_damaged_files(tmp_path):
    with pytest.raises(LineaError, match="nearest: neon"):
        load_concept("neom")
    with pytest.raises(LineaError, match="readable"):
        load_concept(tmp_path / "missing.toml")
    for text, message in (
        ("name = ", "TOML"),
        ('name = "x"', "source"),
        ('name = "x"\ntext = "x"\nsource = ["a", "b"]\ntarget = ["a", "b"]\nsorce = 1', "sorce"),
        ('name = "x"\ntext = "x"\nsource = "a"\ntarget = ["a", "b"]', "list of prompts"),
    ):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(LineaError, match=message):
            load_concept(tmp_path / "bad.toml")
