"""Files of lines survive torn writes; what is known of jobs comes from whole lines and whole images only."""

from __future__ import annotations

import io
import json
import os

import pytest
from PIL import Image

from linea_diffusion import LineaError
from linea_diffusion.batch.folder.folder import Folder, image_name, is_whole, leftover
from linea_diffusion.batch.folder.ledger import Finished, Ledger, State
from linea_diffusion.batch.folder.lines import LineFile
from linea_diffusion.batch.folder.locks import take
from linea_diffusion.batch.planning import Shard

from ..batches import rows


@pytest.mark.parametrize("torn", [b'{"a": ', b"x" * 200_000, b"\x00" * 100])
def test_a_torn_line_is_cut_off(tmp_path, torn):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"a": 1}\n{"a": 2}\n' + torn)
    lines = LineFile(file)
    lines.append([{"a": 3}, {"a": "é\n"}])
    lines.close()
    assert [json.loads(line) for line in file.read_text().splitlines()] == [{"a": 1}, {"a": 2}, {"a": 3}, {"a": "é\n"}]


def test_a_line_that_is_being_written_does_not_count(tmp_path):
    folder = Folder(tmp_path)
    finished(folder, "aa1", 1)
    with folder.manifest.open("ab") as file:
        file.write(b'{"job": "bb2", "line": 2}')
    assert [row["file_name"] for row in folder.rows()] == [image_name("aa1", "png")]


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
    folder, content = Folder(tmp_path), IMAGES[ending]
    finished(folder, "aa1", 1)
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
    folder = Folder(tmp_path)
    finished(folder, "aa1", 1)
    (tmp_path / image_name("aa1", "png")).write_bytes(content)
    ledger = read(folder)
    assert ledger.meet("aa1", 1, 0, {}) is None
    assert ledger.finish(settle=False).images == 0


def test_what_no_batch_wrote_is_damage_and_no_crash(tmp_path):
    folder = Folder(tmp_path)
    finished(folder, "aa1", 1)
    damaged = [
        "[]", "3", "null", "{}", '{"file_name": 3, "line": 1, "part": 0}', "[" * 5000 + "]" * 5000,
        '{"file_name": "images/../../x.png", "line": 1}',
        '{"file_name": "images/bb/bb2.png", "line": "one", "part": 0}',
        '{"file_name": "images/bb/bb2.png", "line": 1.5}', f'{{"file_name": "images/bb/bb2.png", "line": {10**30}}}',
        '{"file_name": "images/bb/bb2.png", "line": 1, "part": null}',
    ]  # fmt: skip
    (folder.here / ".linea/manifest-4.jsonl").write_text("\n".join(damaged) + "\n")
    (folder.here / ".linea/failures-2.jsonl").write_text(
        '{"job": 3, "line": 1}\n{"job": "ff6", "line": {}, "reason": "y"}\n'
    )
    names = ["manifest-x.jsonl", "failures-.jsonl", "lock-me", "notes.txt", "manifest-1e3.jsonl"]
    for name in names:
        (folder.here / ".linea" / name).write_text("{}\n")
    folders = ["manifest-7.jsonl", "lock-3", "failures-8.jsonl"]
    for name in folders:
        (folder.here / ".linea" / name).mkdir()
    (folder.here / ".linea/rows/1").mkdir(parents=True)
    (folder.here / ".linea/rows/1/torn.parquet").write_bytes(b"PAR1 and no end")
    ledger = read(folder)
    assert ledger.damaged == len(damaged) + 2
    assert set(folder.foreign()) == {*names, *folders}
    assert ledger.finish(settle=False) == Finished(images=1, failures=0, leftovers=0)


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
        Folder(name)


@pytest.mark.parametrize("name", ["images", ".linea/leftovers", ".linea/leftovers.jsonl", "metadata.jsonl"])
def test_what_lies_where_a_batch_has_its_own_is_refused_at_once(tmp_path, name):
    (tmp_path / ".linea").mkdir()
    if name.endswith("jsonl"):
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("")
    with pytest.raises(LineaError, match=r"which is no (file|folder): .*move it away or choose"):
        take(Folder(tmp_path))


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["y" * 200] * 19) + "/" + "z" * 150])
def test_a_name_too_long_for_its_images_is_refused_at_once(tmp_path, name):
    with pytest.raises(LineaError, match="expected a writable place"):
        take(Folder(tmp_path / name))


def finished(folder, digest, line, shard=0, image=True, **row):
    (folder.here / ".linea").mkdir(exist_ok=True, parents=True)
    name = image_name(digest, "png")
    lines = LineFile(folder.here / f".linea/manifest-{shard}.jsonl")
    lines.append([{"file_name": name, "line": line, "part": 0, **row}])
    lines.close()
    if image:
        (folder.here / name).parent.mkdir(exist_ok=True, parents=True)
        (folder.here / name).write_bytes(IMAGES["png"])


def read(folder, **arguments):
    ledger = Ledger(folder)
    ledger.read(**arguments)
    return ledger


def test_the_ledger_knows_what_is_done(tmp_path):
    folder = Folder(tmp_path)
    finished(folder, "aa1", 1, clip_prompt_cosine=0.5)
    finished(folder, "bb2", 2, shard=7)
    finished(folder, "cc3", 3, image=False)
    ledger = read(folder)
    assert [ledger.meet(digest, 1, 0, {}) for digest in ("aa1", "bb2", "cc3", "dd4", "dd4")] == [
        State.DONE, State.DONE, None, None, State.PLANNED,
    ]  # fmt: skip
    scored = read(folder, columns=["clip_prompt_cosine"])
    assert [scored.meet(digest, 1, 0, {}) for digest in ("aa1", "bb2", "cc3")] == [State.DONE, State.UNSCORED, None]


def test_what_is_written_is_in_order_and_without_doubles(tmp_path):
    folder = Folder(tmp_path)
    finished(folder, "bb2", 2, shard=1)
    finished(folder, "aa1", 1, shard=0, seed=1)
    finished(folder, "aa1", 1, shard=3, seed=2)
    finished(folder, "cc3", 3, image=False)
    failures = LineFile(folder.here / ".linea/failures-0.jsonl")
    failures.append([{"job": "aa1", "line": 1, "reason": "x"}, {"job": "ff6", "line": 6, "reason": "y"}])
    failures.close()
    assert read(folder).finish(settle=False) == Finished(images=2, failures=1, leftovers=0)
    assert [(row["line"], row.get("seed")) for row in rows(tmp_path)] == [(1, 2), (2, None)]
    assert [row["line"] for row in rows(tmp_path, "failures.jsonl")] == [6]
    assert "part" not in rows(tmp_path)[0]


def test_what_was_left_unfinished_is_cleared(tmp_path):
    place = tmp_path / "images" / "aa"
    place.mkdir(parents=True)
    for name in (".aa1.png.0.part", ".aa1.png.4711.part", "aa1.png"):
        (place / name).touch()
    (tmp_path / ".linea").mkdir()
    for name in (".metadata.jsonl.4711.part", ".linea/.leftovers.jsonl.4711.part"):
        (tmp_path / name).touch()
    Folder(tmp_path).clear_unfinished()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["aa1.png"]


def test_every_job_is_of_one_shard():
    digests = [f"{n * 2654435761 % 2**64:016x}{n:016x}" for n in range(1000)]
    for of in (1, 2, 4):
        shards = [Shard.parse(f"{number}/{of}") for number in range(1, of + 1)]
        counts = [sum(shard.owns(digest) for digest in digests) for shard in shards]
        assert sum(counts) == 1000
        assert min(counts) > 1000 / of * 0.7
    for wrong in ("0/2", "3/2", "2", "a/b", "1/2/3"):
        with pytest.raises(LineaError, match="I/N with 1 <= I <= N"):
            Shard.parse(wrong)


def test_an_object_store_needs_no_disk():
    folder = Folder("memory://a-batch/images")
    for digest in ("aa1", "bb2"):
        folder.write(image_name(digest, "png"), IMAGES["png"])
    folder.put_lines("metadata.jsonl", [{"a": 1}, {"a": "é"}])
    assert folder.read("metadata.jsonl").decode() == '{"a": 1}\n{"a": "é"}\n'
    assert list(folder.file_names()) == [image_name("aa1", "png"), image_name("bb2", "png")]
    folder.move(image_name("aa1", "png"), leftover(image_name("aa1", "png")))
    assert list(folder.file_names(aside=True)) == [image_name("aa1", "png")]
    assert (folder.has(image_name("aa1", "png")), folder.has(image_name("bb2", "png"))) == (False, True)
    folder.prune()
    assert list(folder.file_names(aside=True)) == []
    with pytest.raises(LineaError, match="expected a URL for fsspec"):
        Folder("nothing://x")
