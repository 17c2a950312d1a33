"""Concepts in files: each format gives back what was written, and each mistake is named with its line."""

from __future__ import annotations

import csv
import json
import re

import pytest

from linea_diffusion import Concept, Level, LineaError, load_concept

CONCEPT = Concept(
    name="glow",
    source=("a dog", 'a cat, said "the cat"', "a straße in Köln", "a fox"),
    target=("a neon dog", "neon: a cat", "a hen, glowing", "a fox in neon", "one more"),
    text="a picture that glows",
    neutral="a picture",
    kind="perspective",
)
PLAIN = Concept("glow", CONCEPT.source, CONCEPT.target, "glow")
"""What is left of `CONCEPT` without metadata, in a file named glow."""
ROWS = [{"prompt": prompt, "side": side} for side in ("source", "target") for prompt in getattr(CONCEPT, side)]
FACTS = {key: getattr(CONCEPT, key) for key in ("name", "text", "neutral", "kind")}


def write_toml(file):
    values = {**FACTS, "source": list(CONCEPT.source), "target": list(CONCEPT.target)}
    file.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items()), encoding="utf-8")


def write_jsonl(file, rows):
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")


def write_csv(file, columns=("side", "prompt"), encoding="utf-8"):
    with file.open("w", newline="", encoding=encoding) as opened:
        writer = csv.DictWriter(opened, columns)
        writer.writeheader()
        writer.writerows(ROWS)


def test_toml_round_trip(tmp_path):
    write_toml(tmp_path / "any.toml")
    assert load_concept(tmp_path / "any.toml") == CONCEPT
    assert load_concept(str(tmp_path / "any.toml")).kind == "perspective"


def test_jsonl_round_trip_with_and_without_metadata(tmp_path):
    write_jsonl(tmp_path / "any.jsonl", [FACTS, *reversed(ROWS[4:]), *ROWS[:4]])
    loaded = load_concept(tmp_path / "any.jsonl")
    assert loaded == Concept(**{**vars(CONCEPT), "target": CONCEPT.target[::-1]})
    write_jsonl(tmp_path / "glow.jsonl", ROWS)
    assert load_concept(tmp_path / "glow.jsonl") == PLAIN
    write_jsonl(tmp_path / "glow.jsonl", [{"name": "lamp"}, *ROWS])
    assert load_concept(tmp_path / "glow.jsonl").texts.text == "lamp"


@pytest.mark.parametrize("columns", [("side", "prompt"), ("prompt", "side")])
def test_csv_round_trip(tmp_path, columns):
    write_csv(tmp_path / "glow.csv", columns)
    assert load_concept(tmp_path / "glow.csv") == PLAIN


def test_spreadsheet_csv_with_byte_order_mark_spaces_and_blank_lines(tmp_path):
    write_csv(tmp_path / "glow.csv", encoding="utf-8-sig")
    assert load_concept(tmp_path / "glow.csv") == PLAIN
    spaced = 'side, prompt\r\n\r\nsource, a dog\r\nsource, "a cat, asleep"\r\ntarget, a neon dog\r\ntarget, neon\r\n'
    (tmp_path / "SPACED.CSV").write_bytes(spaced.encode())
    with pytest.warns(UserWarning, match="from so few"):
        loaded = load_concept(tmp_path / "SPACED.CSV")
    assert (loaded.source, loaded.target) == (("a dog", "a cat, asleep"), ("a neon dog", "neon"))


def test_a_byte_order_mark_does_no_harm_in_any_format(tmp_path):
    write_toml(tmp_path / "a.toml")
    write_jsonl(tmp_path / "a.jsonl", [FACTS, *ROWS])
    for name in ("a.toml", "a.jsonl"):
        file = tmp_path / name
        file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")
        assert load_concept(file) == CONCEPT


def test_line_separators_inside_a_json_string_do_not_end_the_line(tmp_path):
    rows = [{"prompt": "a\u2028b", "side": "source"}, *ROWS]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "glow.jsonl").write_text(text, encoding="utf-8")
    assert load_concept(tmp_path / "glow.jsonl").source[0] == "a\u2028b"


LEVELS = (
    Level(0.25, ("a dog, slightly neon", "a cat, slightly neon", "a hen, slightly neon", "a fox, slightly neon")),
    Level(0.5, ("a dog, half neon", "a cat, half neon", "a hen, half neon", "a fox, half neon")),
)
SOURCE = ("a dog", "a cat", "a hen", "a fox")
LEVELLED = Concept("glow", SOURCE, tuple(f"{prompt}, neon" for prompt in SOURCE), "glow", levels=LEVELS)


def test_levels_in_toml_as_targets_or_as_a_template(tmp_path):
    head = f'name = "glow"\ntext = "glow"\nsource = {json.dumps(SOURCE)}\ntarget = {json.dumps(LEVELLED.target)}\n'
    first = f"[[levels]]\nstrength = 0.25\ntarget = {json.dumps(LEVELS[0].target)}\n"
    second = '[[levels]]\nstrength = 0.5\ntemplate = "{prompt}, half neon"\n'
    (tmp_path / "glow.toml").write_text(head + first + second)
    assert load_concept(tmp_path / "glow.toml") == LEVELLED
    (tmp_path / "glow.toml").write_text(head + second + first)
    with pytest.raises(LineaError, match=r"levels at \[0.5, 0.25\] .*expected strengths that rise; sort them \(in "):
        load_concept(tmp_path / "glow.toml")


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_levels_as_sides_in_any_order(tmp_path, ending):
    rows = [("level 0.5", prompt) for prompt in LEVELS[1].target]
    for row in zip(SOURCE, LEVELS[0].target, LEVELLED.target, strict=True):
        rows += zip(("source", "level 0.25", "target"), row, strict=True)
    file = tmp_path / f"glow.{ending}"
    if ending == "csv":
        file.write_text("side,prompt\n" + "".join(f'{side},"{prompt}"\n' for side, prompt in rows))
    else:
        write_jsonl(file, [{"side": side, "prompt": prompt} for side, prompt in rows])
    assert load_concept(file) == LEVELLED


TOML = 'name = "x"\ntext = "x"\nsource = ["a", "b", "c", "d"]\ntarget = ["e", "f", "g", "h"]\n'
LEVEL = '[[levels]]\nstrength = 0.5\ntemplate = "{prompt}, half"\n'
JSONL = '{"prompt": "a", "side": "source"}\n'
BAD = {
    "TOML syntax": ("x.toml", "name = ", "expected a TOML file (Invalid value (at"),
    "TOML missing key": ("x.toml", 'name = "x"', "got no key 'text' in FILE: expected it; add a line such as text ="),
    "TOML missing side": ("x.toml", TOML.replace("target", "neutral_"), "unknown key 'neutral_' in line 4 of FILE"),
    "TOML unknown key": (
        "x.toml",
        f"# head\n{TOML}\nsorce = 1",
        "unknown key 'sorce' in line 7 of FILE: expected only",
    ),
    "TOML unknown table": ("x.toml", f'{TOML}\n[more]\na = "b"', "unknown key 'more' in line 6 of FILE"),
    "TOML side is text": (
        "x.toml",
        TOML.replace('["a", "b", "c", "d"]', '"a"'),
        "'source' in line 3 of FILE: expected a",
    ),
    "TOML prompt is a number": ("x.toml", TOML.replace('"f"', "2"), "got 2 as item 2 of 'target', line 4 of FILE"),
    "TOML prompt is empty": (
        "x.toml",
        TOML.replace('"c"', '" "'),
        "empty prompt as item 3 of 'source', line 3 of FILE",
    ),
    "TOML name is a number": ("x.toml", TOML.replace('name = "x"', "name = 7"), "got 7 for 'name' in line 1 of FILE"),
    "TOML text is empty": ("x.toml", TOML.replace('text = "x"', 'text = ""'), "got '' for 'text' in line 2 of FILE"),
    "TOML unknown kind": ("x.toml", f'{TOML}kind = "mood"', "got kind 'mood' in line 5 of FILE: expected one of style"),
    "TOML one prompt": ("x.toml", TOML.replace('["a", "b", "c", "d"]', '["a"]'), "at least 2, better 32 (in FILE)"),
    "TOML equal sides": (
        "x.toml",
        TOML.replace('["e", "f", "g", "h"]', '["b", "a", "c", "d"]'),
        "nothing can be learned from these (in FILE)",
    ),
    "TOML levels are text": (
        "x.toml",
        f'{TOML}levels = "half"',
        "got 'half' for 'levels' in line 5 of FILE: expected tab",
    ),
    "TOML level is a number": (
        "x.toml",
        f"{TOML}levels = [0.5]",
        "got 0.5 as level 1, line 5 of FILE: expected a table",
    ),
    "TOML level without strength": (
        "x.toml",
        TOML + LEVEL + '[[levels]]\ntemplate = "{prompt}, x"',
        "as level 2, line 8 of FILE: expected a table with strength",
    ),
    "TOML level of both kinds": (
        "x.toml",
        f"{TOML}{LEVEL}target = []",
        "expected a table with strength = 0.5 and either",
    ),
    "TOML level of no kind": (
        "x.toml",
        f"{TOML}[[levels]]\nstrength = 0.5",
        "level 1, line 5 of FILE: expected a table",
    ),
    "TOML level with more": ("x.toml", f"{TOML}{LEVEL}amount = 1", "unknown key 'amount' in level 1, line 5 of FILE"),
    "TOML level too strong": (
        "x.toml",
        f"{TOML}{LEVEL.replace('0.5', '2')}",
        "got strength 2 for level 1, line 5 of FILE: expected a number above 0",
    ),
    "TOML template without a place": (
        "x.toml",
        f"{TOML}{LEVEL.replace('{prompt}', 'it')}",
        "got 'it, half' as 'template', level 1, line 5 of FILE: expected text with {prompt}",
    ),
    "TOML level prompt is a number": (
        "x.toml",
        f"{TOML}[[levels]]\nstrength = 0.5\ntarget = ['a', 2]",
        "got 2 as item 2 of 'target', level 1, line 5 of FILE: expected a prompt",
    ),
    "TOML level is short": (
        "x.toml",
        f"{TOML}[[levels]]\nstrength = 0.5\ntarget = ['a', 'b']",
        "got 2 prompts at level 0.5 of concept 'x': expected 4, one for each target (in FILE)",
    ),
    "JSON level too strong": (
        "x.jsonl",
        '{"prompt": "a", "side": "level 1"}',
        "got strength 1.0 for side 'level 1' in line 1 of FILE: expected a number above 0",
    ),
    "JSON level of words": (
        "x.jsonl",
        '{"prompt": "a", "side": "level half"}',
        "got side 'level half' in line 1 of FILE",
    ),
    "JSON half a character": (
        "x.jsonl",
        '{"prompt": "a \\ud83d", "side": "level 0.5"}',
        "as 'prompt', line 1 of FILE with half a character",
    ),
    "CSV level without strength": ("x.csv", "side,prompt\nlevel,a\n", "got side 'level' in line 2 of FILE: expected"),
    "JSON syntax": ("x.jsonl", JSONL + "{oops\n", "in line 2 of FILE: expected one JSON object per line"),
    "JSON number": ("x.jsonl", JSONL + "\n5\n", "got '5' in line 3 of FILE: expected a JSON object"),
    "JSON unknown key": ("x.jsonl", JSONL[:-2] + ', "weight": 1}\n', "unknown key 'weight' in line 1 of FILE"),
    "JSON late metadata": (
        "x.jsonl",
        JSONL + '{"name": "x"}',
        "unknown key 'name' in line 2 of FILE: expected 'prompt'",
    ),
    "JSON no side": ("x.jsonl", JSONL + '{"prompt": "b"}', "got no key 'side' in line 2 of FILE"),
    "JSON no prompt": ("x.jsonl", JSONL + '{"side": "source"}', "got no key 'prompt' in line 2 of FILE"),
    "JSON empty object": ("x.jsonl", "{}\n" + JSONL, "got no key 'prompt' in line 1 of FILE"),
    "JSON unknown side": (
        "x.jsonl",
        '{"prompt": "a", "side": "left"}',
        "got side 'left' in line 1 of FILE: expected source",
    ),
    "JSON side is a list": ("x.jsonl", '{"prompt": "a", "side": ["source"]}', "got side ['source'] in line 1 of FILE"),
    "JSON prompt is null": ("x.jsonl", '{"prompt": null, "side": "source"}', "got None as 'prompt', line 1 of FILE"),
    "JSON prompt is empty": (
        "x.jsonl",
        '{"prompt": "", "side": "source"}',
        "an empty prompt as 'prompt', line 1 of FILE",
    ),
    "JSON name is a list": ("x.jsonl", '{"name": []}', "got [] for 'name' in line 1 of FILE: expected text such as"),
    "JSON no target": (
        "x.jsonl",
        "".join(JSONL.replace("a", c) for c in "abcd"),
        "got 0 target prompts for concept 'x'",
    ),
    "JSON nothing": ("x.jsonl", "\n", "got 0 source prompts for concept 'x'"),
    "CSV nothing": ("x.csv", "", "got columns [] in line 1 of FILE: expected a header side,prompt"),
    "CSV no header": ("x.csv", "source,a\n", "got columns ['source', 'a'] in line 1 of FILE: expected a header"),
    "CSV missing column": ("x.csv", "prompt\na\n", "got columns ['prompt'] in line 1 of FILE"),
    "CSV unknown column": ("x.csv", "side,prompt,seed\n", "got columns ['side', 'prompt', 'seed'] in line 1"),
    "CSV semicolons": ("x.csv", "side;prompt\n", "got columns ['side;prompt'] in line 1 of FILE"),
    "CSV unknown side": ("x.csv", "side,prompt\n\nleft,a\n", "got side 'left' in line 3 of FILE"),
    "CSV empty prompt": ("x.csv", "side,prompt\nsource,\n", "empty prompt as column 'prompt', line 2 of FILE"),
    "CSV bare comma": ("x.csv", "side,prompt\nsource,a cat, red\n", "got 3 columns in line 2 of FILE"),
    "CSV line of the second": ("x.csv", 'side,prompt\nsource,"a\nb"\nleft,c\n', "got side 'left' in line 4 of FILE"),
    "CSV open quote": (
        "x.csv",
        'side,prompt\nsource,"a\n',
        "got a row that begins in line 2 of FILE: expected CSV (unexpected end of data)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_every_mistake_is_named_with_file_and_line(tmp_path, case):
    name, text, message = BAD[case]
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(LineaError, match="expected") as caught:
        load_concept(file)
    assert message.replace("FILE", repr(str(file))) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.toml", "missing.jsonl", "missing.csv"])
def test_files_that_cannot_be_read(tmp_path, name):
    with pytest.raises(LineaError, match=re.escape(name) + ".*expected a readable concept file"):
        load_concept(tmp_path / name)
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LineaError, match="expected text in UTF-8"):
        load_concept(tmp_path / name)


def test_unknown_formats_name_the_known_ones(tmp_path):
    with pytest.raises(LineaError, match=r"a file that ends in \.toml, \.jsonl, \.csv"):
        load_concept(tmp_path / "prompts.txt")
