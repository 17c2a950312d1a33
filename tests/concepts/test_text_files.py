"""Text as people have it: decoded by its mark, or refused once in one sentence, through every door that reads it."""

from __future__ import annotations

import codecs
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linea_diffusion import LineaError, load_concept
from linea_diffusion.batch.jobs.reading import read_jobs
from linea_diffusion.concepts.concept import concept_from_files
from linea_diffusion.concepts.files import is_damaged, open_text, read_text, text_encoding
from linea_diffusion.concepts.prompt_files import prompt_lines
from linea_diffusion.scoring.entries import find_entries

PROMPTS = ("a café", "a straße", "a 猫", "a plain one")
MARKED = {
    "UTF-8": PROMPTS[0].encode()[:0],
    "UTF-8 with mark": codecs.BOM_UTF8,
    "UTF-16": codecs.BOM_UTF16_LE,
    "UTF-16 big": codecs.BOM_UTF16_BE,
    "UTF-32": codecs.BOM_UTF32_LE,
    "UTF-32 big": codecs.BOM_UTF32_BE,
}
NAMES = {"UTF-16": "utf-16-le", "UTF-16 big": "utf-16-be", "UTF-32": "utf-32-le", "UTF-32 big": "utf-32-be"}
FILES = {
    "jobs.txt": "\r\n".join(PROMPTS),
    "jobs.jsonl": "\n".join(json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in PROMPTS),
    "jobs.csv": "\r\n".join(["prompt", *PROMPTS]),
}


def jobs_of(file):
    return [fields["prompt"] for _, fields in read_jobs(file)]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mark", MARKED)
def test_a_byte_order_mark_says_how_to_decode(tmp_path, name, mark):
    text = FILES[name] + "\n"
    (tmp_path / name).write_bytes(MARKED[mark] + text.encode(NAMES.get(mark, "utf-8")))
    assert jobs_of(tmp_path / name) == list(PROMPTS)
    assert read_text(tmp_path / name) == text.replace("\r\n", "\n")
    if name.endswith("txt"):
        assert prompt_lines(tmp_path / name) == PROMPTS


BAD = {
    "UTF-16 without a mark": ("\n".join(PROMPTS).encode("utf-16-le"), "NUL characters from line 1 on"),
    "Latin-1": ("a café\na naïve dog\n".encode("latin-1"), "bytes .*line 1.* no UTF-8"),
    "Latin-1, later": (b"plain\n" * 9 + "a café, naïve\n".encode("cp1252"), "bytes .*line 10.* no UTF-8"),
    "a NUL": (b"a cat\na d\0og\n", "NUL characters from line 2 on"),
    "a NUL at the end": (b"a cat\n" * 400_000 + b"\0", "NUL characters from line 400001 on"),
    "half of UTF-16": (codecs.BOM_UTF16_LE + b"a\0b", "bytes .*UTF-16"),
    "a surrogate": (codecs.BOM_UTF16_LE + b"\0\xd8a\0", "bytes .*UTF-16"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "NUL characters"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_text_is_refused_once(tmp_path, case):
    content, message = BAD[case]
    for name in ("x.txt", "x.csv", "x.jsonl", "x.toml"):
        file = tmp_path / name
        file.write_bytes(content)
        doors = [read_text, text_encoding]
        doors += (
            [load_concept] if name != "x.txt" else [prompt_lines, lambda path: concept_from_files(path, path, name="x")]
        )
        doors += [read_jobs] if name != "x.toml" else []
        doors += [lambda path: find_entries([path])] if name == "x.jsonl" else []
        for door in doors:
            with pytest.raises(LineaError, match=f"{name}' with {message}.*: expected text in UTF-8") as caught:
                door(file)
            assert "\n" not in str(caught.value)


def test_one_damaged_line_among_whole_ones_is_a_bad_line(tmp_path):
    (tmp_path / "jobs.txt").write_bytes("a café\n".encode() + b"a \xff\n" + b"a \xfe\n")
    rows = [fields for _, fields in read_jobs(tmp_path / "jobs.txt")]
    assert rows[0] == {"prompt": "a café"}
    assert [str(one) for one in rows[1:]] == ["got bytes that are no UTF-8: expected UTF-8 text"] * 2


def test_a_pipe_does_not_wait_and_a_device_does_not_fill_the_memory(tmp_path):
    for ending in ("txt", "csv", "jsonl", "toml"):
        os.mkfifo(tmp_path / f"pipe.{ending}")
        (tmp_path / f"zero.{ending}").symlink_to("/dev/zero")
        for name in ("pipe", "zero"):
            file = tmp_path / f"{name}.{ending}"
            for door in (
                load_concept if ending != "txt" else prompt_lines,
                read_jobs if ending != "toml" else read_text,
            ):
                with pytest.raises(LineaError, match="a regular file"):
                    door(file)


def test_a_file_that_is_too_large_is_refused(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"a" * 100)
    with pytest.raises(LineaError, match="expected at most that"):
        read_text(tmp_path / "x.toml", limit=99)


@pytest.mark.parametrize("deep", ["[" * 5000, '{"a":' * 5000, "[" * 5000 + "]" * 5000])
def test_deep_nesting_is_one_sentence(tmp_path, deep):
    (tmp_path / "x.toml").write_text(f"name = {deep}")
    (tmp_path / "x.jsonl").write_text(deep + "\n")
    for door in (lambda: load_concept(tmp_path / "x.toml"), lambda: load_concept(tmp_path / "x.jsonl")):
        with pytest.raises(LineaError, match="expected") as caught:
            door()
        assert len(str(caught.value)) < 600
    with pytest.raises(LineaError, match="line 1"):
        find_entries([tmp_path / "x.jsonl"])


@pytest.mark.parametrize("depth", [50, 200, 400])
def test_nesting_that_can_be_read_is_the_wrong_type(tmp_path, depth):
    (tmp_path / "x.toml").write_text(f"name = {'[' * depth}{']' * depth}\ntext = 'x'\nsource = []\ntarget = []")
    (tmp_path / "x.jsonl").write_text(f'{{"name": {"[" * depth}{"]" * depth}}}')
    for name in ("x.toml", "x.jsonl"):
        with pytest.raises(LineaError, match="expected"):
            load_concept(tmp_path / name)


def test_half_a_character_in_a_prompt_is_refused(tmp_path):
    rows = [{"prompt": f"{side} {n}", "side": side} for side in ("source", "target") for n in range(4)]
    rows[2]["prompt"] = "a \ud83d cat"
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(LineaError, match="half a character"):
        load_concept(tmp_path / "x.jsonl")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-16", "surrogatepass")))
def test_any_bytes_are_text_or_an_error_of_ours(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("bytes") / "x.txt"
    file.write_bytes(content)
    try:
        plain = read_text(file)
    except LineaError:
        return
    with open_text(file, text_encoding(file)) as opened:
        assert opened.read().replace("\r\n", "\n").replace("\r", "\n") == plain
    assert not is_damaged(plain)
    plain.encode()
