"""Jobs from files: three formats, line numbers, bad lines in between, and never the whole file at once."""

from __future__ import annotations

import itertools

import pytest

from linea_diffusion import LineaError
from linea_diffusion.batch.jobs.reading import read_jobs


def read(path):
    """(line, fields or the text of the error)"""
    return [(line, str(one) if isinstance(one, LineaError) else one) for line, one in read_jobs(path)]


def test_json_lines(tmp_path):
    file = tmp_path / "jobs.jsonl"
    file.write_bytes(
        b'\xef\xbb\xbf{"prompt": "a cat", "seed": null}\n\n[1]\n{"prompt": \xff}\n{"prompt": "caf\xc3\xa9"}\n{"prompt"'
    )
    lines = read(file)
    assert lines[0] == (1, {"prompt": "a cat"})
    assert lines[3] == (5, {"prompt": "café"})
    assert [line for line, _ in lines] == [1, 3, 4, 5, 6]
    assert "expected a JSON object" in lines[1][1]
    assert "expected UTF-8" in lines[2][1]
    assert "one JSON object a line" in lines[4][1]


def test_csv(tmp_path):
    file = tmp_path / "jobs.csv"
    file.write_bytes(
        b'prompt,seed,strength,steering\n"a cat, asleep",3,0:1:3,neon\n12,,"[0, 1]","[""a"", ""b""]"\na,b\n'
        b'"torn"x,1,1,n\na\xff,1,1,n\n"two\nlines",1,,\nlast,7,,\n'
    )
    lines = read(file)
    assert lines[0] == (2, {"prompt": "a cat, asleep", "seed": 3, "strength": "0:1:3", "steering": "neon"})
    assert lines[1] == (3, {"prompt": "12", "strength": [0, 1], "steering": ["a", "b"]})
    assert "got 2 columns: expected 4" in lines[2][1]
    assert "no CSV" in lines[3][1]
    assert "UTF-8" in lines[4][1]
    assert lines[5] == (7, {"prompt": "two\nlines", "seed": 1})
    assert lines[6] == (9, {"prompt": "last", "seed": 7})


def test_an_object_that_says_a_name_twice_is_a_bad_line(tmp_path):
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"prompt": "a", "seed": 1, "seed": 2}\n{"prompt": "a", "strength": {"neon": 1, "neon": 0}}\n')
    assert "'seed' stands there twice" in read(file)[0][1]
    assert "'neon' stands there twice" in read(file)[1][1]


def test_an_object_of_very_many_names_is_read_in_one_pass(tmp_path):
    """Names that are compared with each other would take hours here."""
    names = ", ".join(f'"n{number}": 0' for number in range(200_000))
    (tmp_path / "jobs.jsonl").write_text(f'{{{names}, "z": 1, "z": 2}}\n')
    assert "'z' stands there twice" in read(tmp_path / "jobs.jsonl")[0][1]


def test_what_is_nested_without_end_is_a_bad_line(tmp_path):
    deep = "[" * 5000 + "]" * 5000
    (tmp_path / "jobs.jsonl").write_text(f'{{"prompt": "a", "eta": {deep}}}\n{{"prompt": "b"}}\n')
    lines = read(tmp_path / "jobs.jsonl")
    assert "JSON object" in lines[0][1]
    assert lines[1] == (2, {"prompt": "b"})
    value: list = []
    for _ in range(5000):
        value = [value]
    assert "more than 20 deep" in read([{"prompt": "a", "eta": value}])[0][1]


def test_plain_text_and_iterables(tmp_path):
    file = tmp_path / "jobs.txt"
    file.write_text("a cat\r\n\n  a dog  \n")
    assert read(file) == [(1, {"prompt": "a cat"}), (3, {"prompt": "a dog"})]
    assert read(["a cat", {"prompt": "b"}])[1] == (2, {"prompt": "b"})
    assert "expected a dict or a prompt" in read([7])[0][1]


@pytest.mark.parametrize(
    ("name", "message"), [("jobs.xml", "ending in one of"), ("none.jsonl", "expected a readable jobs file")]
)
def test_files_that_cannot_be_read(tmp_path, name, message):
    with pytest.raises(LineaError, match=message):
        read_jobs(tmp_path / name)


def test_a_header_without_prompts(tmp_path):
    file = tmp_path / "jobs.csv"
    file.write_text("text,seed\na,1\n")
    with pytest.raises(LineaError, match="one of them 'prompt'"):
        read(file)


def test_lines_are_read_when_they_are_needed():
    endless = ({"prompt": f"{n}"} for n in itertools.count())
    assert list(itertools.islice(read_jobs(endless), 3))[-1] == (3, {"prompt": "2"})
    assert next(endless) == {"prompt": "3"}
