"""Concepts: Shapeland's keep the split, the real ones are balanced, and the checks on prompts speak."""

from __future__ import annotations

import re
import tomllib
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from linea_diffusion import Concept, Level, LineaError, list_concepts, load_concept
from linea_diffusion.concepts.concept import WORLDS, concept_from_files
from linea_diffusion.concepts.pairing import rows_match
from linea_diffusion.concepts.prompt_values import KINDS
from linea_diffusion.concepts.template import CONCEPT_FILE
from linea_diffusion.shapeland.captions import AMOUNT_WORDS, HELD_OUT_PAIRS, is_held_out
from linea_diffusion.shapeland.pretrain.tokenizer import CONTEXT_LENGTH, caption_words
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
HALF = tuple(f"a half {prompt[2:]}" for prompt in OTHERS)
THIRD = Level(0.3, tuple(f"a slightly {prompt[2:]}" for prompt in OTHERS))


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


@pytest.mark.parametrize("name", SHAPELAND)
def test_shapeland_levels_are_the_targets_with_an_adverb_that_the_models_know(name):
    concept = load_concept(name)
    assert [level.strength for level in concept.levels] == [0.25, 0.5, 0.75]
    for level in concept.levels:
        adverbs = next(adverbs for low, high, adverbs in AMOUNT_WORDS if low < level.strength < high)
        pattern = re.compile(rf"({'|'.join(adverbs)}) (?={concept.name})")
        assert tuple(pattern.sub("", prompt) for prompt in level.target) == concept.target
        assert all(len(pattern.findall(prompt)) == 1 for prompt in level.target)
        for prompt in level.target:
            words = prompt.replace(",", " , ").split()
            assert {*words, ","} <= {*caption_words(), ","}, "each of them one token"
            assert len(words) + 2 <= CONTEXT_LENGTH


@pytest.mark.parametrize("name", REAL)
def test_real_levels_name_the_content_of_their_row(name):
    concept = load_concept(name)
    assert not concept.levels or concept.kind == "style"
    assert [level.strength for level in concept.levels] in ([], [0.25, 0.5, 0.75])
    for level in concept.levels:
        assert rows_match(concept.source, level.target)
        assert not set(level.target) & {*concept.source, *concept.target}


def test_most_real_styles_have_levels():
    without = {name for name in list_concepts("style", world="real") if not load_concept(name).levels}
    assert without == {"claymation", "isometric", "low-poly", "origami", "stained-glass"}, "all or nothing by nature"


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
    assert list_concepts(world="wordland") == ["casual", "formal", "friendly", "rude"]
    with pytest.raises(LineaError, match="got kind 'mood': expected one of style, object removal, perspective"):
        list_concepts("mood")
    with pytest.raises(LineaError, match="got world 'mars': expected one of shapeland, wordland, real"):
        list_concepts(world="mars")


def test_the_package_ships_every_concept():
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    files = {file for pattern in patterns["linea_diffusion"] for file in (root / "linea_diffusion").glob(pattern)}
    assert len([file for file in files if file.suffix == ".toml"]) == sum(
        len(list_concepts(world=world)) for world in WORLDS
    )


def test_names_are_found_with_spaces_too_and_neighbors_are_named():
    assert load_concept("art nouveau") == load_concept("art-nouveau")
    with pytest.raises(LineaError, match="nearest: neon"):
        load_concept("neom")
    with pytest.raises(LineaError, match="expected one of"):
        load_concept("real/anime")


def test_the_digest_is_of_the_prompts():
    concept = load_concept("neon")
    changed = replace(concept, target=(*concept.target[1:], "another"), levels=())
    assert concept.digest == load_concept("neon").digest
    assert changed.digest != replace(concept, levels=()).digest


def test_the_digest_is_of_the_levels_too_and_what_it_was_without():
    plain, half = Concept("glow", FOUR, OTHERS, "glow"), Level(0.5, HALF)
    assert plain.digest.startswith("047538f1f6e9d159")
    digests = {replace(plain, levels=levels).digest for levels in [(), (half,), (Level(0.4, HALF),), (THIRD, half)]}
    assert plain.digest in digests
    assert len(digests) == 4


def test_a_concept_knows_whether_it_is_in_pairs():
    assert Concept("glow", FOUR, OTHERS, "glow").is_paired
    moved = Concept("glow", FOUR, OTHERS[::-1], "glow")
    assert not moved.is_paired
    with pytest.raises(LineaError, match="got source 'a dog' with target 'a neon fox' in row 1 of concept 'glow'"):
        moved.check_pairs()


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((Level(0.5, HALF[:3]),), "got 3 prompts at level 0.5 of concept 'glow': expected 4, one for each target"),
        ((Level(0.5, HALF), THIRD), r"got levels at \[0.5, 0.3\] for concept 'glow': expected strengths that rise"),
        ((THIRD, THIRD), "expected strengths that rise"),
        ((Level(0.5, OTHERS),), "got the same prompts at level 0.5 as for the target of concept 'glow'"),
        ((THIRD, Level(0.5, THIRD.target)), "the same prompts at level 0.5 as for level 0.3"),
        ([Level(0.5, HALF)], "expected a tuple of Level"),
        ((("0.5", HALF),), "expected a tuple of Level"),
    ],
)
def test_levels_that_do_not_fit_are_refused(levels, message):
    with pytest.raises(LineaError, match=message):
        Concept("glow", FOUR, OTHERS, "glow", levels=levels)


@pytest.mark.parametrize("strength", [0, 1, 1.5, -0.5, "0.5", None, True, float("nan")])
def test_a_level_lies_between_source_and_target(strength):
    with pytest.raises(LineaError, match="expected a number above 0, the source, and below 1, the target"):
        Level(strength, HALF)
    with pytest.raises(LineaError, match="above 0"):
        Concept.from_template(FOUR, "{prompt}, neon", levels={strength: "{prompt}, half neon"})


@pytest.mark.parametrize("target", ["a dog", ("a dog", ""), (1, 2), ("a \ud83d dog",), None])
def test_a_level_has_prompts(target):
    with pytest.raises(LineaError, match=r"expected a tuple of prompts|half a character"):
        Level(0.5, target)


def test_signs_of_other_programs_in_levels_are_told():
    with pytest.warns(UserWarning, match="signs of other programs"):
        Concept("glow", FOUR, OTHERS, "glow", levels=(Level(0.5, ("a (neon:0.5) dog", *HALF[1:])),))


def test_a_template_makes_pairs():
    levels = {0.5: "{prompt}, slightly neon", 0.25: "{prompt} with a hint of neon"}
    concept = Concept.from_template(list(FOUR), "{prompt}, neon", levels=levels)
    assert concept.is_paired
    assert (concept.name, concept.text, concept.neutral) == (
        "neon",
        "a picture of something, neon",
        "a picture of something",
    )
    assert concept.source == FOUR
    assert concept.target == ("a dog, neon", "a cat, neon", "a hen, neon", "a fox, neon")
    assert [level.strength for level in concept.levels] == [0.25, 0.5]
    assert concept.levels[1].target[3] == "a fox, slightly neon"
    named = Concept.from_template(
        FOUR, "{prompt} from above", name="bird", text="from above", neutral="level", kind="perspective"
    )
    assert (named.name, named.texts.text, named.neutral, named.kind) == ("bird", "from above", "level", "perspective")
    assert named.levels == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"template": "neon"}, "got 'neon' as a template: expected text with {prompt}, such as '{prompt}, neon'"),
        ({"template": None}, "got None as a template"),
        ({"levels": {0.5: "half neon"}}, "got 'half neon' as a template of level 0.5: expected text with {prompt}"),
        ({"source": "a dog"}, "got source 'a dog' for concept 'neon': expected a tuple of prompts"),
        ({"source": (1, 2)}, "expected a tuple of prompts"),
        ({"template": "{prompt}"}, "got the same prompts as source and as target"),
        ({"levels": {0.5: "{prompt}, neon"}}, "got the same prompts at level 0.5 as for the target"),
    ],
)
def test_templates_that_make_no_concept_are_refused(arguments, message):
    with pytest.raises(LineaError) as caught:
        Concept.from_template(**{"source": FOUR, "template": "{prompt}, neon", **arguments})
    assert message in str(caught.value)


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


def test_the_file_to_fill_in_is_a_concept(tmp_path):
    (tmp_path / "mine.toml").write_text(CONCEPT_FILE)
    concept = load_concept(tmp_path / "mine.toml")
    assert concept.is_paired
    (tmp_path / "mine.toml").write_text(
        CONCEPT_FILE.replace("# [[", "[[").replace("# str", "str").replace("# temp", "temp")
    )
    assert [level.strength for level in load_concept(tmp_path / "mine.toml").levels] == [0.5]


def test_an_unknown_name_says_how_to_make_ones_own():
    with pytest.raises(LineaError, match=r"--source prompts.txt --template '\{prompt\}, mystyle'") as caught:
        load_concept("mystyle")
    assert "nearest" not in str(caught.value)
    assert "aerial" not in str(caught.value)
