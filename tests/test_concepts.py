"""Concepts: Shapeland's keep the split, the real ones are balanced, and the checks on prompts speak."""

from __future__ import annotations

import re
import tomllib
import warnings
from collections import Counter
from pathlib import Path

import pytest

from linea_diffusion import Concept, LineaError, list_concepts, load_concept
from linea_diffusion.concepts import concept_from_files
from linea_diffusion.prompt_files import KINDS
from linea_diffusion.shapeland.captions import HELD_OUT_PAIRS, is_held_out
from linea_diffusion.shapeland.styles import STYLES
from linea_diffusion.shapeland.truth import content_of

SHAPELAND, REAL = list_concepts(world="shapeland"), list_concepts(world="real")
WORDS = {
    "anime": "anime|manga|cel[- ]shad",
    "art-deco": "art deco",
    "art-nouveau": "art nouveau",
    "baroque": "baroque",
    "black-and-white-photography": "black[- ]and[- ]white|monochrome|silver gelatin",
    "charcoal": "charcoal",
    "claymation": "clay|plasticine",
    "comic-book": "comic",
    "cyberpunk": "cyberpunk",
    "film-noir": "noir",
    "gothic": "gothic",
    "impressionism": "impressionis",
    "isometric": "isometric",
    "low-poly": "low[- ]poly|polygon|facet",
    "oil-painting": r"\boils?\b|impasto",
    "origami": "origami|folded",
    "pop-art": "pop[- ]art",
    "retro-pixel-art": "pixel|8-bit|16-bit",
    "sketch": "sketch",
    "stained-glass": "stained glass|leaded",
    "tilt-shift": "tilt-shift|miniature",
    "ukiyo-e": r"ukiyo-e|woodblock",
    "vaporwave": "vaporwave",
    "watercolor-painting": "watercolor",
    "aerial-view": "aerial|drone|bird's-eye|overhead|from (far |high )?above|top-down|looking straight down",
    "close-up": "close-up|macro|tightly framed|filling the frame|fills the whole frame|inches away",
    "fisheye": "fisheye|spherical|barrel distortion",
    "low-angle": "low[- ]angle|below|looking up|worm's-eye|ground[- ]level|camera on the",
    "shallow-focus": "bokeh|shallow|blur|of focus|f/1",
    "remove-cars": r"\b(cars?|taxis?|automobile|sedan|convertible|limousine|jeep|hatchback|pickup)\b",
    "remove-cats": r"\bcats?\b|kitten",
    "remove-clouds": "cloud|overcast|thunderhead",
    "remove-glasses": "glasses|spectacles|monocle|goggles",
    "remove-hats": r"\b(hats?|caps?|beret|bonnet|sombrero|fedora|helmets?|turban)\b",
    "remove-people": (
        r"\b(people|m[ae]n|wom[ae]n|boys?|girls?|child(ren)?|couple|crowd(ed)?|tourists|family|workers|swimmers|players|"
        r"monks|fisherman|farmers|dancers|waiter|students|travelers|hikers|lovers|neighbors|friends|passengers|"
        r"musicians|shepherd|gardener|rower|shoppers)\b"
    ),
    "remove-snow": r"snow|blizzard|frost|\bsled|\bski\b|\bicy\b",
    "remove-umbrellas": "umbrella|parasol",
}
"""What one side of a real concept says in every prompt, and the other in none."""
FOUR = ("a dog", "a cat", "a hen", "a fox")
OTHERS = ("a neon dog", "a neon cat", "a neon hen", "a neon fox")


def test_every_shapeland_style_has_a_concept():
    assert {load_concept(name).name for name in SHAPELAND} == set(STYLES)
    assert not set(SHAPELAND) & set(REAL)


@pytest.mark.parametrize("name", SHAPELAND)
def test_shapeland_prompts_are_32_distinct_and_not_held_out(name):
    concept = load_concept(name)
    for prompts in (concept.source, concept.target):
        assert len(set(prompts)) == 32
        assert not any(is_held_out(prompt) for prompt in prompts)
        assert not any((content_of(prompt)[0], concept.name) in HELD_OUT_PAIRS for prompt in prompts)
    assert all(concept.name in prompt for prompt in concept.target)
    assert not any(style in prompt for prompt in concept.source for style in STYLES)


@pytest.mark.parametrize("name", REAL)
def test_real_prompts_are_32_distinct_and_only_one_side_has_the_concept(name):
    concept = load_concept(name)
    assert concept.name.replace(" ", "-") == name
    assert len(set(concept.source)) == len(set(concept.target)) == 32
    assert not set(concept.source) & set(concept.target)
    removal = concept.kind == "object removal"
    having, lacking = (concept.source, concept.target) if removal else (concept.target, concept.source)
    pattern = re.compile(WORDS[name], re.IGNORECASE)
    assert [prompt for prompt in having if not pattern.search(prompt)] == []
    assert [prompt for prompt in lacking if pattern.search(prompt)] == []


@pytest.mark.parametrize("name", REAL)
def test_real_prompts_vary_in_wording_and_length(name):
    concept = load_concept(name)
    for prompts in (concept.source, concept.target):
        starts = Counter(" ".join(prompt.lower().split()[:3]) for prompt in prompts)
        assert max(starts.values()) <= 8
        assert len({len(prompt.split()) for prompt in prompts}) >= 5
        assert all(prompt == prompt.strip() and 1 < len(prompt.split()) < 25 for prompt in prompts)
    assert concept.text != concept.neutral


def test_there_are_enough_concepts_of_every_kind():
    assert sorted(WORDS) == REAL
    counts = {kind: len(list_concepts(kind, world="real")) for kind in KINDS}
    assert counts == {"style": 24, "object removal": 8, "perspective": 5}
    assert list_concepts("style", world="shapeland") == SHAPELAND
    assert list_concepts() == sorted([*SHAPELAND, *REAL])
    with pytest.raises(LineaError, match="got kind 'mood': expected one of style, object removal, perspective"):
        list_concepts("mood")
    with pytest.raises(LineaError, match="got world 'mars': expected one of shapeland, real"):
        list_concepts(world="mars")


def test_the_package_ships_every_concept():
    root = Path(__file__).parent.parent
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    files = {file for pattern in patterns["linea_diffusion"] for file in (root / "linea_diffusion").glob(pattern)}
    assert len([file for file in files if file.suffix == ".toml"]) == len(list_concepts())


def test_names_are_found_with_spaces_too_and_neighbors_are_named():
    assert load_concept("art nouveau") == load_concept("art-nouveau")
    with pytest.raises(LineaError, match="nearest: neon"):
        load_concept("neom")
    with pytest.raises(LineaError, match="expected one of"):
        load_concept("real/anime")


def test_the_digest_is_of_the_prompts():
    concept = load_concept("neon")
    changed = Concept("neon", concept.source, (*concept.target[1:], "another"), concept.text)
    assert concept.digest == load_concept("neon").digest != changed.digest


def test_the_texts_are_what_is_scored():
    texts = load_concept("remove-glasses").texts
    assert (texts.name, texts.text) == ("remove glasses", "a picture of a person wearing glasses")
    assert texts.neutral == "a picture of a person"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": ("a dog",)}, "got 1 source prompts for concept 'glow': expected at least 2"),
        ({"target": ()}, "got 0 target prompts"),
        ({"source": "a dog"}, "got source 'a dog' for concept 'glow': expected a tuple of prompts"),
        ({"target": ("a dog", 3, "a cat", "a hen")}, "expected a tuple of prompts"),
        ({"target": ("a dog", " ", "a cat", "a hen")}, "none empty"),
        ({"target": FOUR[::-1]}, "got the same prompts as source and as target .* nothing can be learned"),
        ({"kind": "mood"}, "got kind 'mood' for concept 'glow': expected one of style"),
    ],
)
def test_concepts_that_cannot_be_learned_are_refused(change, message):
    with pytest.raises(LineaError, match=message):
        Concept(**{"name": "glow", "source": FOUR, "target": OTHERS, "text": "glow", **change})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FOUR[:3], "got 3 source prompts for concept 'glow': .* cannot be estimated from so few"),
        ((*FOUR, "a cat", "a fox"), "got source prompt 'a cat' twice for concept 'glow'"),
    ],
)
def test_doubtful_prompts_warn(source, message):
    with pytest.warns(UserWarning, match=message) as caught:
        Concept("glow", source, OTHERS, "glow")
    assert len(caught) == 1
    assert caught[0].filename == __file__, "the warning points to the line that made the concept"


def test_good_prompts_do_not_warn():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Concept("glow", FOUR, OTHERS, "glow")
    assert caught == []


def test_two_files_with_one_prompt_per_line(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffa dog\n\n a cat \na hen\na fox", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n".join(OTHERS))
    concept = concept_from_files(tmp_path / "a.txt", tmp_path / "b.txt", name="glow")
    assert (concept.source, concept.target) == (FOUR, OTHERS)
    assert concept.text == "glow"
    with pytest.raises(LineaError, match="nothing can be learned"):
        concept_from_files(tmp_path / "a.txt", tmp_path / "a.txt", name="glow")


@pytest.mark.parametrize("text", ["", "one prompt only\n", "\n\n"])
def test_files_with_too_few_prompts_are_refused(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(LineaError, match=r"prompts in .*a\.txt.*at least 2"):
        concept_from_files(tmp_path / "a.txt", tmp_path / "a.txt", name="x")
