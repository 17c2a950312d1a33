"""Files of lines survive torn writes; the index and the merge see whole lines only."""

from __future__ import annotations

import io
import os

import pytest
from PIL import Image

from linea_diffusion import LineaError
from linea_diffusion.batch.folder.index import JobIndex, State
from linea_diffusion.batch.folder.layout import Layout, image_name, is_whole, unfinished_name
from linea_diffusion.batch.folder.lines import LineFile, read_lines
from linea_diffusion.batch.folder.locks import take_share
from linea_diffusion.batch.folder.merging import Merged, is_current, merge
from linea_diffusion.batch.folder.saver import clear_unfinished
from linea_diffusion.batch.folder.shares import Share, process_share

from ..batches import rows


@pytest.mark.parametrize("torn", [b'{"a": ', b"x" * 200_000, b"\x00" * 100])
def test_a_torn_line_is_cut_off(tmp_path, torn):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"a": 1}\n{"a": 2}\n' + torn)
    assert [row for _, row in read_lines(file)] == [{"a": 1}, {"a": 2}]
    lines = LineFile(file)
    lines.append([{"a": 3}, {"a": "é\n"}])
    lines.close()
    assert [row for _, row in read_lines(file)] == [{"a": 1}, {"a": 2}, {"a": 3}, {"a": "é\n"}]


def test_a_damaged_line_in_between_is_known(tmp_path):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"a": 1}\n\x00\x00\x00\n[2]\n{"a": 3}\n')
    assert list(read_lines(file)) == [(0, {"a": 1}), (9, None), (13, None), (17, {"a": 3})]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    lines = LineFile(tmp_path / "lines.jsonl")
    lines.append([{"a": 1}])
    real = os.write

    def full(file, data):
        real(file, bytes(data)[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LineaError, match="No space left"):
        lines.append([{"a": 2}])
    monkeypatch.undo()
    assert (tmp_path / "lines.jsonl").read_text() == '{"a": 1}\n'


def _bytes(ending):
    file = io.BytesIO()
    Image.new("RGB", (3, 5), "red").save(file, {"jpg": "JPEG"}.get(ending, ending))
    return file.getvalue()


IMAGES = {ending: _bytes(ending) for ending in ("png", "jpg", "webp")}


@pytest.mark.parametrize("ending", IMAGES)
def test_an_image_cut_off_anywhere_is_not_there(tmp_path, ending):
    layout, content = Layout(tmp_path), IMAGES[ending]
    finished(layout, "aa1", 1)
    file = tmp_path / image_name("aa1", ending)
    for length in (*range(0, len(content), 7), len(content) - 1):
        file.write_bytes(content[:length])
        assert not is_whole(file), length
    for other in (bytes(100), bytes(len(content)), b"text"):
        file.write_bytes(other)
        assert not is_whole(file)
    file.write_bytes(content)
    assert is_whole(file)


@pytest.mark.parametrize("content", [b"", bytes(100)])
def test_an_empty_or_torn_image_is_made_again(tmp_path, content):
    layout = Layout(tmp_path)
    finished(layout, "aa1", 1)
    (tmp_path / image_name("aa1", "png")).write_bytes(content)
    index = JobIndex()
    index.read(layout)
    assert index.claim("aa1") is None
    assert merge(layout).images == 0


def test_what_no_batch_wrote_is_damage_and_no_crash(tmp_path):
    layout = Layout(tmp_path)
    finished(layout, "aa1", 1)
    damaged = [
        "[]", "3", "null", "{}", '{"file_name": 3, "line": 1, "part": 0}', "[" * 5000 + "]" * 5000,
        '{"file_name": "images/../../x.png", "line": 1}',
        '{"file_name": "images/bb/bb2.png", "line": "one", "part": 0}',
        '{"file_name": "images/bb/bb2.png", "line": 1.5}', f'{{"file_name": "images/bb/bb2.png", "line": {10**30}}}',
        '{"file_name": "images/bb/bb2.png", "line": 1, "part": null}',
    ]  # fmt: skip
    layout.manifest(4).write_text("\n".join(damaged) + "\n")
    layout.failure_shard(2).write_text('{"job": 3, "line": 1}\n{"job": "ff6", "line": {}, "reason": "y"}\n')
    names = ["manifest-x.jsonl", "failures-.jsonl", "lock-me", "notes.txt", "manifest-1e3.jsonl"]
    for name in names:
        (layout.hidden / name).write_text("{}\n")
    folders = ["manifest-7.jsonl", "lock-3", "failures-8.jsonl"]
    for name in folders:
        (layout.hidden / name).mkdir()
    index = JobIndex()
    index.read(layout)
    assert index.damaged == len(damaged) + 2
    assert {path.name for path in layout.foreign()} == {*names, *folders}
    assert (layout.locks(), layout.failure_shards()) == ([], [layout.failure_shard(2)])
    assert merge(layout) == Merged(images=1, failures=0, leftovers=0)


def test_a_file_of_lines_that_is_gone_is_an_error(tmp_path):
    for remove in (lambda file: file.unlink(), lambda file: file.rename(tmp_path / "other")):
        file = tmp_path / "lines.jsonl"
        lines = LineFile(file)
        lines.append([{"a": 1}])
        remove(file)
        with pytest.raises(LineaError, match="removed while a batch was running"):
            lines.append([{"a": 2}])
        lines.close()


@pytest.mark.parametrize("name", ["", " ", "a\0b"])
def test_an_output_folder_needs_a_name(name):
    with pytest.raises(LineaError, match="name of the output folder"):
        Layout(name)


@pytest.mark.parametrize("name", ["images", ".linea/leftovers", ".linea/bad-lines.jsonl", "metadata.jsonl"])
def test_what_lies_where_a_batch_has_its_own_is_refused_at_once(tmp_path, name):
    (tmp_path / ".linea").mkdir()
    if name.endswith("jsonl"):
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("")
    with pytest.raises(LineaError, match=r"which is no (file|folder): .*move it away or choose"):
        take_share(Layout(tmp_path), Share(0, 1))


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["y" * 200] * 19) + "/" + "z" * 150])
def test_a_name_too_long_for_its_images_is_refused_at_once(tmp_path, name):
    with pytest.raises(LineaError, match="expected a writable place"):
        take_share(Layout(tmp_path / name), Share(0, 1))


def finished(layout, digest, line, rank=0, image=True, **row):
    layout.hidden.mkdir(exist_ok=True, parents=True)
    name = image_name(digest, "png")
    lines = LineFile(layout.manifest(rank))
    lines.append([{"file_name": name, "line": line, "part": 0, **row}])
    lines.close()
    if image:
        (layout.folder / name).parent.mkdir(exist_ok=True, parents=True)
        (layout.folder / name).write_bytes(IMAGES["png"])


def test_the_index_knows_what_is_done(tmp_path):
    layout = Layout(tmp_path)
    finished(layout, "aa1", 1, clip_prompt_cosine=0.5)
    finished(layout, "bb2", 2, rank=7)
    finished(layout, "cc3", 3, image=False)
    index = JobIndex()
    index.read(layout)
    assert [index.claim(digest) for digest in ("aa1", "bb2", "cc3", "dd4", "dd4")] == [
        State.DONE, State.DONE, None, None, State.PLANNED,
    ]  # fmt: skip
    scored = JobIndex()
    scored.read(layout, columns=["clip_prompt_cosine"])
    assert scored.claim("aa1") is State.DONE
    assert scored.claim("bb2") is State.UNSCORED
    assert scored.claim("cc3") is None


def test_the_merge_is_in_order_and_without_doubles(tmp_path):
    layout = Layout(tmp_path)
    finished(layout, "bb2", 2, rank=1)
    finished(layout, "aa1", 1, rank=0, seed=1)
    finished(layout, "aa1", 1, rank=3, seed=2)
    finished(layout, "cc3", 3, image=False)
    failures = LineFile(layout.failure_shard(0))
    failures.append([{"job": "aa1", "line": 1, "reason": "x"}, {"job": "ff6", "line": 6, "reason": "y"}])
    failures.close()
    assert merge(layout) == Merged(images=2, failures=1, leftovers=0)
    assert [(row["line"], row.get("seed")) for row in rows(tmp_path)] == [(1, 2), (2, None)]
    assert [row["line"] for row in rows(tmp_path, "failures.jsonl")] == [6]
    assert is_current(layout)
    assert "part" not in rows(tmp_path)[0]


def test_only_ones_own_leftovers_are_cleared(tmp_path):
    layout = Layout(tmp_path)
    folder = layout.images / "aa"
    folder.mkdir(parents=True)
    names = [unfinished_name("aa1.png", rank) for rank in (0, 1, 5)]
    for name in [*names, "aa1.png"]:
        (folder / name).touch()
    clear_unfinished(layout, lambda rank: rank in (0, 5))
    assert {path.name for path in folder.iterdir()} == {names[1], "aa1.png"}


def test_every_job_has_one_owner(monkeypatch):
    digests = [f"{n * 2654435761 % 2**64:016x}{n:016x}" for n in range(1000)]
    for world in (1, 2, 4):
        shares = [Share(rank, world) for rank in range(world)]
        counts = [sum(share.owns(digest) for digest in digests) for share in shares]
        assert sum(counts) == 1000
        assert min(counts) > 1000 / world * 0.7
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert process_share() == Share(1, 3)
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(LineaError, match="0 <= RANK < WORLD_SIZE"):
        process_share()
