"""The columns of a batch's metadata: a strength as number, further columns of lines, one type each; tables as jobs."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from linea_diffusion import LineaError
from linea_diffusion.batch.contact_sheet import write_sheet
from linea_diffusion.batch.folder.columns import Columns, strengths_in
from linea_diffusion.batch.jobs.field_names import FIELDS, column_value, misspelt
from linea_diffusion.batch.jobs.reading import read_jobs

from ..batches import rows, tiny_pipe, tiny_style
from .test_engine import JOBS, run


@pytest.fixture(scope="module")
def tiny():
    pipe = tiny_pipe()
    pipe.load_steering(tiny_style(pipe, 1), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    return pipe


def table_of(*written):
    columns = Columns()
    for row in written:
        columns.learn(row)
    return [columns.table_row(row) for row in written]


def test_one_style_is_a_number_and_several_are_columns():
    one, none = {"steering": ["neon"], "strength": [0.7]}, {"steering": [], "strength": []}
    assert [row["strength"] for row in table_of(one, none)] == [0.7, 0.0]
    assert list(table_of(one, none)[0]) == ["steering", "strength"]
    two = {"steering": ["mosaic", "neon"], "strength": [0.3, 0.5]}
    half = {"steering": ["mosaic", "neon"], "strength": [0.3, 0.0]}
    made = table_of(one, none, two, half)
    assert [row["strength"] for row in made] == [0.7, 0.0, None, 0.3]
    assert [row["strength.neon"] for row in made] == [0.7, 0.0, 0.5, 0.0]
    assert [row["strength.mosaic"] for row in made] == [0.0, 0.0, 0.3, 0.3]
    assert [strengths_in(row) for row in made] == [strengths_in(row) for row in (one, none, two, half)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], [1.0, 2.5, None]),
        ([1, "a", True], ["1", "a", "true"]),
        ([[], ["a"]], [[], ["a"]]),
        ([[1], [2.5]], [[1.0], [2.5]]),
        ([["a"], "b"], ['["a"]', "b"]),
        ([True, False], [True, False]),
    ],
)
def test_a_column_has_one_type(values, expected):
    made = [row["meta.x"] for row in table_of(*({"meta": {"x": value}} for value in values))]
    assert made == expected
    assert list(map(type, made)) == list(map(type, expected))
    assert len({tuple(row) for row in table_of({"meta": {"a": 1}}, {"meta": {"b": 1}}, {})}) == 1


def test_columns_that_are_no_fields_go_into_the_metadata(tiny, tmp_path):
    jobs = [
        {
            "prompt": "a cat",
            "id": 7,
            "category": "animal",
            "tags": ["x", "y"],
            "meta.image": "cat.png",
            "a_file_name": "c",
        },
        {"prompt": "a heart", "id": "8b", "category": None, "meta": {"deep": {"a": 1}, "big": 10**30}, "prompt_id": 3},
    ]
    seen = []
    summary = run(tiny, jobs, tmp_path / "out", on_event=seen.append)
    names = [
        "meta.id",
        "meta.category",
        "meta.tags",
        "meta.image",
        "meta.a.file_name",
        "meta.deep",
        "meta.big",
        "meta.prompt_id",
    ]
    assert (summary.done, summary.columns) == (2, names)
    assert [event["names"] for event in seen if event["event"] == "columns"] == [names[:5], names[5:]]
    first, second = rows(tmp_path / "out")
    assert [first[name] for name in names] == ["7", "animal", ["x", "y"], "cat.png", "c", None, None, None]
    assert [second[name] for name in names] == ["8b", None, None, None, None, '{"a": 1}', str(10**30), 3]
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=cache)["train"]
    assert loaded["meta.tags"] == [["x", "y"], None]
    assert pd.read_json(tmp_path / "out" / "metadata.jsonl", lines=True)["strength"].tolist() == [0.0, 0.0]
    changed = run(tiny, [{"prompt": "a cat", "id": 9}, {"prompt": "a heart"}], tmp_path / "out")
    assert (changed.done, changed.skipped) == (0, 2)  # the pictures are the same
    assert [row["meta.id"] for row in rows(tmp_path / "out")] == [9, None]
    assert "meta.tags" not in rows(tmp_path / "out")[0]


def test_a_failure_keeps_its_columns(tiny, tmp_path):
    run(tiny, [{"prompt": "a cat", "clip_skip": 77, "id": 5}], tmp_path)
    (row,) = rows(tmp_path, "failures.jsonl")
    assert row["fields"]["meta.id"] == 5


@pytest.mark.parametrize("name", ["promt", "stength", "setps", "Seed", "negative prompt", "image", "prompt_2", "wdth"])
def test_what_nearly_is_a_field_is_no_column(name):
    assert "nearest: " in misspelt(name, tuple(FIELDS))


@pytest.mark.parametrize(
    "name", ["id", "category", "prompt_id", "name", "style", "index", "file_name", "split", "Unnamed: 0"]
)
def test_columns_of_somebodys_own_are_no_mistakes(name):
    assert misspelt(name, tuple(FIELDS)) is None


def test_the_same_reason_is_counted(tiny, tmp_path):
    jobs = [{"prompt": f"a cat {number}", "stength": 0.5, "id": number} for number in range(30)]
    summary = run(tiny, [{"prompt": "a dog"}, *jobs, {"prompt": ""}], tmp_path)
    (reason, where), (_, other) = summary.reasons.items()
    assert reason.endswith("meta.stength as the name of a column to carry into the metadata; nearest: strength")
    assert (where.line, where.count, other.line, other.count) == (2, 30, 32, 1)
    assert (summary.done, summary.bad_lines, len(rows(tmp_path, "failures.jsonl"))) == (1, 31, 31)


def test_folders_of_before_go_on(tiny, tmp_path):
    """Their shards have what today's have, their metadata.jsonl has lists."""
    run(tiny, JOBS, tmp_path)
    now = rows(tmp_path)
    old = [json.loads(line) for line in (tmp_path / ".linea" / "manifest-0.jsonl").read_text().splitlines()]
    assert all(isinstance(row["strength"], list) for row in old)
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    assert write_sheet(tmp_path, tmp_path / "sheet.png") == len(JOBS)
    assert run(tiny, JOBS, tmp_path).skipped == len(JOBS)
    assert rows(tmp_path) == now


def fields_of(jobs):
    return [fields for _, fields in read_jobs(jobs)]


def test_a_data_frame_is_read_by_rows():
    frame = pd.DataFrame({"prompt": ["a cat", "a dog"], "seed": [1.0, None], "strength": np.float32([0.5, 1])})
    assert fields_of(frame) == [{"prompt": "a cat", "seed": 1.0, "strength": 0.5}, {"prompt": "a dog", "strength": 1.0}]
    frame["day"] = [pd.Timestamp("2026-01-02"), pd.NaT]
    frame["count"] = pd.array([1, None], dtype="Int64")
    first, second = fields_of(frame.set_index("day", append=False))
    assert (column_value(first["day"])[:10], first["count"]) == ("2026-01-02", 1)
    assert list(second) == ["prompt", "strength"]
    with pytest.raises(LineaError, match="different names"):
        fields_of(pd.concat([frame, frame], axis=1))


def test_numbers_of_tables_are_numbers(tiny, tmp_path):
    frame = pd.DataFrame({"prompt": ["a cat", "a dog", "a fish"], "seed": [2.0, 3.0, None], "images": [1, 1, 1]})
    assert run(tiny, frame, tmp_path).done == 3
    assert [row["seed"] for row in rows(tmp_path)] == [2, 3, 0]
    same = [
        {"prompt": "a cat", "seed": np.int64(2)},
        {"prompt": "a dog", "seed": torch.tensor(3.0), "strength": np.nan},
    ]
    assert run(tiny, same, tmp_path).skipped == 2
    (tmp_path / "jobs.csv").write_text("id,prompt,seed\n007,a cat,2.0\n1e5,a dog,3\n")
    assert run(tiny, tmp_path / "jobs.csv", tmp_path).skipped == 2
    assert [row["meta.id"] for row in rows(tmp_path)] == ["007", "1e5"]


def test_the_index_of_a_csv_of_pandas_has_a_name(tiny, tmp_path):
    pd.DataFrame({"prompt": ["a cat", "a dog"]}).to_csv(tmp_path / "jobs.csv")
    run(tiny, tmp_path / "jobs.csv", tmp_path / "out")
    assert [row["meta.index"] for row in rows(tmp_path / "out")] == [0, 1]
    with pytest.raises(LineaError, match=r"line 2: got seed 2\.5"):
        run(tiny, [{"prompt": "a"}, {"prompt": "a", "seed": 2.5}], tmp_path / "out", strict=True)
