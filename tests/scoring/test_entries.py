"""Pictures made elsewhere: found, matched with prompts and references, scored in batches, written with conventions."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from PIL import Image

from linea_diffusion import ClipScorer, LineaError
from linea_diffusion.concepts.concept import StyleTexts
from linea_diffusion.scoring.entries import Entry, find_entries, score_entries, write_entries
from linea_diffusion.scoring.figures import SCORES
from linea_diffusion.scoring.formulas import mean_figures
from linea_diffusion.scoring.images.opening import open_images
from linea_diffusion.shapeland.world import Scene, render

NEON = StyleTexts("neon", "a picture in neon style")
PROMPTS = {"a.png": "a red heart", "b.png": "a blue fish"}


@pytest.fixture
def folder(tmp_path):
    """Two steered pictures with a list of their prompts, and the unsteered ones beside."""
    for place, style in (("steered", "neon"), ("plain", None)):
        (tmp_path / place).mkdir()
        for name, (thing, color) in {"a.png": ("heart", "red"), "b.png": ("fish", "blue")}.items():
            scene = Scene(thing, color, style, 1.0, 1) if style else Scene(thing, color, seed=1)
            render(scene).save(tmp_path / place / name)
    lines = [json.dumps({"file_name": name, "prompt": prompt, "text": "x"}) for name, prompt in PROMPTS.items()]
    (tmp_path / "steered" / "metadata.jsonl").write_text("\n".join(lines) + "\n\n")
    return tmp_path


def test_a_folder_and_its_list_are_the_same_pictures(folder):
    steered = folder / "steered"
    expected = [Entry(steered / name, prompt) for name, prompt in PROMPTS.items()]
    assert find_entries([steered]) == find_entries([steered / "metadata.jsonl"]) == expected
    assert find_entries([folder / "plain"]) == [Entry(folder / "plain" / name) for name in PROMPTS]
    assert [entry.prompt for entry in find_entries([steered], prompt_key="text")] == ["x", "x"]
    references = [entry.reference for entry in find_entries([steered], reference=folder / "plain")]
    assert references == [folder / "plain" / name for name in PROMPTS]
    one = find_entries([steered], reference=folder / "plain" / "a.png")
    assert {entry.reference for entry in one} == {folder / "plain" / "a.png"}


def test_the_pictures_of_a_batch_are_in_folders_below(folder):
    steered, below = folder / "steered", folder / "steered" / "images" / "0a"
    below.mkdir(parents=True)
    lines = [{"file_name": f"images/0a/{name}", "prompt": prompt} for name, prompt in PROMPTS.items()]
    for name in PROMPTS:
        (steered / name).rename(below / name)
    (steered / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    entries = find_entries([steered])
    assert [(entry.image, entry.prompt) for entry in entries] == [(below / n, p) for n, p in PROMPTS.items()]


def test_scores_are_the_scorers_whatever_the_batch(folder):
    entries = find_entries([folder / "steered"], reference=folder / "plain")
    scorer = ClipScorer()
    scores = score_entries(entries, scorer, NEON)
    images, references = (open_images([getattr(e, part) for e in entries]) for part in ("image", "reference"))
    expected = {
        "clip_style_cosine": scorer.text_similarity(images, NEON.text),
        "clip_prompt_cosine": scorer.text_similarity(images, list(PROMPTS.values())),
        "clip_score_style": scorer.clip_score(images, NEON.text),
        "clip_score_prompt": scorer.clip_score(images, list(PROMPTS.values())),
        "clip_style_probability": scorer.style_probability(images, NEON.text, NEON.neutral),
        "directional_similarity": scorer.directional_similarity(images, references, NEON.text, NEON.neutral),
        "similarity_to_unsteered": scorer.image_similarity(images, references),
    }
    assert list(expected) == list(SCORES)
    for name, values in expected.items():
        assert [one[name] for one in scores] == pytest.approx(values.tolist(), abs=1e-5)
    single = score_entries(entries, ClipScorer(batch_size=1), NEON)
    assert all(a == pytest.approx(b, abs=1e-5) for a, b in zip(scores, single, strict=True))
    assert mean_figures(scores)["clip_style_cosine"] == pytest.approx(
        expected["clip_style_cosine"].mean().item(), abs=1e-6
    )


def test_what_is_not_known_is_left_out(folder):
    scorer = ClipScorer()
    entries = [Entry(folder / "plain" / "a.png", "a red heart"), Entry(folder / "plain" / "b.png")]
    prompted, silent = score_entries(entries, scorer, None)
    assert list(prompted) == ["clip_prompt_cosine", "clip_score_prompt"]
    assert silent == {}
    with pytest.raises(LineaError, match="no text"):
        score_entries(entries[1:], scorer, None)
    assert torch.isfinite(torch.tensor(list(mean_figures([prompted, silent]).values()))).all()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_tables_say_conventions(folder, ending):
    entries = [Entry(folder / "plain" / "a.png", "a, b"), Entry(folder / "plain" / "b.png")]
    write_entries(
        entries,
        [{"clip_style_cosine": 0.123456}, {"clip_style_cosine": 0.5, "clip_prompt_cosine": 0.25}],
        folder / f"t.{ending}",
    )
    lines = (folder / f"t.{ending}").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(lines)) if ending == "csv" else [json.loads(line) for line in lines]
    assert list(rows[0]) == ["image", "prompt", "clip_style_cosine", "clip_prompt_cosine"]
    assert [float(row["clip_style_cosine"]) for row in rows] == [0.12346, 0.5]
    assert rows[0]["clip_prompt_cosine"] in ("", None)
    assert rows[0]["prompt"] == "a, b"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("not json", {}, "line 1"),
        ('{"prompt": "x"}', {}, "file_name"),
        ('{"file_name": "a.png", "prompt": 3}', {}, "expected a text"),
        ('{"file_name": "a.png"}', {"prompt_key": "caption"}, "no 'caption'"),
        ('{"file_name": "gone.png"}', {}, "existing picture"),
        ('{"file_name": ""}', {}, "expected a picture"),
        ("", {}, "without a line"),
    ],
)
def test_lists_that_are_not_understood_name_the_line(folder, text, options, message):
    (folder / "plain" / "list.jsonl").write_text(text)
    with pytest.raises(LineaError, match=message):
        find_entries([folder / "plain" / "list.jsonl"], **options)


def test_scores_of_transparent_and_turned_pictures_are_those_of_what_is_seen(folder):
    upright = Image.open(folder / "plain" / "a.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.rotate(90).save(folder / "plain" / "b.png", exif=exif)
    (folder / "plain" / "._a.png").write_bytes(b"resource fork")
    first, second = score_entries(find_entries([folder / "plain"]), ClipScorer(), NEON)
    assert first == second
    upright.putalpha(128)
    upright.save(folder / "plain" / "a.png")
    with pytest.raises(LineaError, match=r"a\.png' with transparency"):
        score_entries(find_entries([folder / "plain"]), ClipScorer(), NEON)
    assert len(score_entries(find_entries([folder / "plain"]), ClipScorer(background="white"), NEON)) == 2


def test_a_missing_reference_is_an_error(folder):
    (folder / "plain" / "b.png").unlink()
    with pytest.raises(LineaError, match=r"no reference .*b\.png"):
        find_entries([folder / "steered"], reference=folder / "plain")
