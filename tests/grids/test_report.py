"""The report as a file: what it says, what it escapes, that it asks for nothing, what the commands write."""

from __future__ import annotations

import base64
import html
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from linea_diffusion import ClipScorer, StyleGrid, load_concept
from linea_diffusion.evaluation.evaluate import keep_first
from linea_diffusion.evaluation.evaluation_page import evaluation_page
from linea_diffusion.evaluation.records import Record, read_records
from linea_diffusion.grids.plans import Cell
from linea_diffusion.grids.report.grid_page import grid_page
from linea_diffusion.grids.report.inline_images import LARGEST, data_uri
from linea_diffusion.grids.report.page import html as page_html
from linea_diffusion.grids.report.page import write_report
from linea_diffusion.scoring.figures import SCORES, TRUTH
from linea_diffusion.scoring.statistics import bootstrap_interval
from linea_diffusion.shapeland.world import Scene, render

STRENGTHS = (0.0, 0.5, 1.0)
NASTY = '<b onclick="x()">"red"'


def shown(prompt: str, style: str, amount: float, seed: int) -> Image.Image:
    """A picture of the world: what the dial would show."""
    thing = "heart" if "heart" in prompt else "fish"
    return render(Scene(thing, "red", style if amount else "plain", amount, seed))


def made_grid(prompts=("a red heart", NASTY), kind="prompts x strengths") -> StyleGrid:
    rows = [
        [Cell(p, s, 5 + i, shown(p, "neon", s, i), {"neon": s}, "neon") for s in STRENGTHS]
        for i, p in enumerate(prompts)
    ]
    return StyleGrid(rows, style="neon", kind=kind, facts={"model": "shapeland-unet", "maps": {"neon": "abc123"}})


@pytest.fixture(scope="module")
def grid():
    return made_grid().score(ClipScorer(), load_concept("neon"))


@pytest.fixture(scope="module")
def written(grid, random_maps):
    return page_html(grid_page(grid, maps={"neon": random_maps}, command="linea grid 'a < b' --report"))


class Reader(HTMLParser):
    """Tags with their attributes, and the text outside of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text, self._skip = "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("style", "script"):
            self._skip = tag

    def handle_endtag(self, tag):
        if tag == self._skip:
            self._skip = ""

    def handle_data(self, data):
        self.text += "" if self._skip else data


def test_the_file_asks_for_nothing(written):
    reader = Reader(written)
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            assert attributes.get(name, "#").startswith(("data:image/", "#")), (tag, attributes)
    assert "url(http" not in written
    assert "@import" not in written
    policy = next(a["content"] for t, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    scripts = re.findall(r"<script>(.*?)</script>", written, flags=re.DOTALL)
    assert len(scripts) == 1


def test_every_word_of_the_user_is_escaped(written, grid):
    assert "<b onclick" not in written
    reader = Reader(written)
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert reader.text.count(NASTY) >= 2
    assert any(NASTY in attributes.get("alt", "") for tag, attributes in reader.tags if tag == "img")
    assert "linea grid 'a < b' --report" in reader.text
    title = page_html(grid_page(StyleGrid(grid.rows, style="x", title="</title><script>alert(1)</script>")))
    assert "<script>alert" not in title
    assert html.escape("</title><script>alert(1)</script>", quote=False) in title


def test_the_pictures_are_in_the_file_bit_for_bit(written, grid):
    sources = [a["src"] for tag, a in Reader(written).tags if tag == "img" and "src" in a]
    assert len(sources) == 6, "every picture once"
    for source, cell in zip(sources, grid.cells, strict=True):
        head, data = source.split(",")
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == cell.image.tobytes()


def test_large_pictures_are_made_smaller():
    noise = np.random.default_rng(0).integers(256, size=(700, 900, 3), dtype=np.uint8)
    uri, width, height = data_uri(Image.fromarray(noise))
    kept = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert uri.startswith("data:image/webp")
    assert kept.size == (width, height) == (LARGEST, round(LARGEST * 7 / 9))


def test_scores_are_there_with_intervals_and_conventions(written, grid):
    text = Reader(written).text
    for name in ("clip_style_cosine", "clip_score_style", "clip_style_probability", "similarity_to_unsteered"):
        values = np.array([row[2].scores[name] for row in grid.rows])
        assert "{:.3f} [{:.3f}, {:.3f}]".format(*bootstrap_interval(values)) in text
        assert SCORES[name].header in text
    figures = grid.curve_figures()
    assert f"{figures[0]['spearman']:.3f}" in text
    assert f"{figures[1]['gap_deviation']:.3f}" in text
    assert f"{figures[1]['triangle_deficit']:.3f}" in text


def test_settings_maps_and_support_are_there(written, random_maps):
    reader = Reader(written)
    for words in ("shapeland-unet", "abc123", "strengths", "0, 0.5, 1", "5, 6", f"{random_maps.support:.2%} of them"):
        assert words in reader.text
    pictures = [a for tag, a in reader.tags if tag == "svg"]
    assert len(pictures) == 6, "five scores and the support"
    assert all(a["role"] == "img" for a in pictures)
    assert "Share of non-zero numbers in each of" in reader.text


def test_what_is_not_known_is_left_out():
    text = Reader(page_html(grid_page(made_grid(), command=""))).text
    for words in ("Scores", "How evenly", "Where in the model", "The same pictures and figures again", "Under each"):
        assert words not in text
    assert "Turn the dial" in text


@pytest.mark.parametrize(("kind", "curves"), [("prompts x strengths", 1), ("styles x strengths", 2)])
def test_only_rows_of_one_law_are_averaged(grid, kind, curves):
    page = grid_page(StyleGrid(grid.rows, style="neon", kind=kind))
    alt = page.sections[0].figures[0].plot.alt
    assert alt.count("mean of 2") == (1 if curves == 1 else 0)
    assert bool(page.sections[0].tables) == (curves == 1)


def test_two_dials_are_one_picture_with_two_sliders(grid):
    labels = {"row_labels": ["neon 0", "neon 1"], "column_labels": ["mosaic 0", "mosaic 0.5", "mosaic 1"]}
    page = grid_page(StyleGrid(grid.rows, style="neon", kind="neon x mosaic", title="t", **labels))
    assert [(list(dial.strips), dial.across) for dial in page.dials] == [([0, 1], "neon")]
    assert page.along == "mosaic"
    assert [p.label for p in page.strips[0].pictures] == labels["column_labels"]


def test_one_column_has_no_slider(grid):
    page = grid_page(StyleGrid([row[:1] for row in grid.rows], style="neon"))
    assert not page.dials
    assert "Turn the dial" not in page_html(page)


def _records():
    rng = np.random.default_rng(0)

    def scores(strength: float) -> dict[str, float]:
        by_clip, by_truth = strength * 0.5 + 0.1 * rng.random(4), strength * 0.8 + 0.1 * rng.random(4)
        names = ("clip_style_probability", "clip_style_cosine", "clip_prompt_cosine", "similarity_to_unsteered", *TRUTH)
        return dict(zip(names, [*by_clip, *by_truth], strict=True))

    return [
        Record("neon", method, strength, prompt, scores(strength))
        for method in ("lineas", "prompting")
        for strength in (STRENGTHS if method == "lineas" else (0.0, 1.0))
        for prompt in ("a red heart", NASTY, "a fish")
    ]


def test_an_evaluation_has_methods_by_strengths_with_intervals(random_maps):
    records, pictures = _records(), {}
    prompts = ["a red heart", NASTY]
    put = keep_first(pictures, "neon", prompts)
    for record in records[::3]:
        put(record.method, record.strength, [shown(p, "neon", record.strength, 0) for p in (*prompts, "a fish")])
    assert len(pictures) == 2 * 5
    page = evaluation_page(
        records, pictures=pictures, maps={"lineas": random_maps}, facts={"scorer": "shapeland-clip"},
        command="linea evaluate",
    )  # fmt: skip
    written = page_html(page)
    text = Reader(written).text
    assert "<b onclick" not in written
    values = np.array(
        [r.scores["similarity_to_unsteered"] for r in records if (r.method, r.strength) == ("lineas", 0.5)]
    )
    assert "{:.2f} [{:.2f}, {:.2f}]".format(*bootstrap_interval(values)) in text
    assert page.pictures_note.startswith(
        "2 of 3 prompts, the methods of each under each other; the other 1 are left out"
    )
    assert page.together == 2
    assert written.count('class="strip first"') == 2
    assert [strip.label for strip in page.strips] == [f"{p}: {m}" for p in prompts for m in ("lineas", "prompting")]
    assert [picture is None for picture in page.strips[1].pictures] == [False, True, False]
    assert "shapeland-clip" in text
    # words are on or off: a point at 1, not a line from 0
    assert re.search(r"prompting, mean of 3: [\d.]+ at 1 \(", page.sections[0].figures[0].plot.alt)


def test_an_evaluation_compares_at_equal_amount():
    page = evaluation_page(_records())
    titles = [table.title.partition(" (")[0] for table in page.sections[0].tables]
    assert titles == [
        "neon: kept at equal amount of style", "neon: how the dial turns", "neon: methods of one point",
        "neon: mean [95% interval over prompts and training seeds]",
    ]  # fmt: skip
    kept, turns, points = page.sections[0].tables[:3]
    assert kept.head[1] == "object right at 0.85"
    assert [table.rows[0][0] for table in (kept, turns, points)] == ["lineas", "lineas", "prompting"]
    written = Reader(page_html(page)).text
    assert all(cell in written for table in (kept, turns, points) for cell in table.rows[0])


def test_without_a_truth_classifier_there_are_fewer_figures():
    records = [
        replace(record, scores={name: value for name, value in record.scores.items() if name not in TRUTH})
        for record in _records()
    ]
    page = evaluation_page(records)
    assert len(page.sections[0].figures) == 4
    assert page.sections[0].tables[0].head[1] == "like unsteered at 0.85"
    assert not page.strips


def test_write_makes_the_folder(tmp_path, grid):
    write_report(grid_page(grid), tmp_path / "deep" / "report.html")
    assert (tmp_path / "deep" / "report.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "deep" / "report.html").stat().st_size < 2**19


def test_evaluate_writes_a_report(linea, tmp_path, random_maps):
    random_maps.save_pretrained(tmp_path / "mine")
    out = tmp_path / "evaluation"
    code, text, _ = linea(
        "evaluate", "--style", "neon", "--methods", tmp_path / "mine", "--count", 2, "--strengths", "0,1", "--steps", 1,
        "--out", out,
    )  # fmt: skip
    assert code == 0
    assert "report.html" in text
    assert (out / "evaluation.columns.json").is_file()
    words = Reader((out / "report.html").read_text()).text
    assert "Every prompt, the methods under each other." in words
    assert "linea evaluate --style neon" in words
    assert "neon, mine" in words


def test_evaluate_trains_with_every_seed_and_goes_on_with_what_is_there(linea, tmp_path):
    out, options = tmp_path / "e", ("--count", 1, "--strengths", "0,1", "--steps", 1, "--shown", 0, "--plots", "pdf")
    command = ("evaluate", "--style", "neon", "--methods", "mean-shift,prompting", *options, "--out", out)
    code, _, err = linea(*command, "--seeds", "0,1")
    assert code == 0, err
    seeds = {(r.method, r.training_seed) for r in read_records(out / "evaluation.csv")}
    assert seeds == {("mean-shift", 0), ("mean-shift", 1), ("prompting", None)}
    kept = [out / "maps" / "neon" / "mean-shift", out / "maps" / "neon" / "seed-1" / "mean-shift"]
    times = [(folder / "config.json").stat().st_mtime_ns for folder in kept]
    assert linea(*command, "--seeds", "1,0,2")[0] == 0
    assert [(folder / "config.json").stat().st_mtime_ns for folder in kept] == times, "nothing is fitted again"
    words = Reader((out / "report.html").read_text()).text
    assert "3 trainings of each" in words
    assert (out / "plots" / "neon-truth_style-against-strength.pdf").is_file()
    assert linea(*command, "--seeds", "0,x")[0] == 2


def test_grid_writes_a_report_if_asked(linea, tmp_path, random_maps):
    random_maps.save_pretrained(tmp_path / "mine")
    command = ("grid", "a red heart", "a <b> fish", "--steering", tmp_path / "mine", "--concept", "neon", "--steps", 1)
    assert linea(*command, "--out", tmp_path / "plain", "--strengths", "0,1")[0] == 0
    assert not (tmp_path / "plain" / "report.html").exists()
    code, text, _ = linea(*command, "--out", tmp_path / "grid", "--strengths", "0,0.5,1", "--report")
    assert code == 0
    assert f"turn the dial in {tmp_path / 'grid' / 'report.html'}" in text
    reader = Reader((tmp_path / "grid" / "report.html").read_text())
    assert len([1 for tag, a in reader.tags if tag == "img" and a.get("src")]) == 6
    for words in ("a <b> fish", "Where in the model it acts", "linea grid 'a red heart' 'a <b> fish'", "--report"):
        assert words in reader.text
