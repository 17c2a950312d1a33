"""Parts of a batch in folders of their own, and the one folder that they become."""

from __future__ import annotations

import os

import pytest

from linea_diffusion import LineaError, generate_batch, join_shards

from ..batches import QUICK, files, rows, tiny_pipe

JOBS = [{"prompt": "a {heart,fish,star}", "seed": seed, "id": seed} for seed in range(8)]
JOBS += [{"prompt": ""}, {"prompt": "a cat", "clip_skip": 77}]


@pytest.fixture(scope="module")
def tiny():
    return tiny_pipe()


def run(pipe, out, **arguments):
    return generate_batch(pipe, JOBS, out, defaults=QUICK, batch_size=1, progress=False, **arguments)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    run(tiny, folder := tmp_path_factory.mktemp("whole"))
    return folder


def sharded(tiny, out):
    return [run(tiny, out, shard=f"{number}/3") for number in (1, 2, 3)]


def check_same(whole, out):
    for name in ("metadata.jsonl", "failures.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert files(out) == files(whole)
    for name in files(whole):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert not list(out.glob("shard-*"))


def test_shards_are_data_sets_of_their_own_and_become_one(tiny, whole, tmp_path):
    summaries = sharded(tiny, tmp_path)
    assert sum(one.done for one in summaries) == 24
    assert sum(one.failed for one in summaries) == 1
    assert [one.bad_lines for one in summaries] == [1, 0, 0]
    for number, one in enumerate(summaries, 1):
        assert len(rows(tmp_path / f"shard-{number}-of-3")) == one.done > 0
    assert [one.skipped for one in sharded(tiny, tmp_path)] == [one.done for one in summaries]
    joined = join_shards(tmp_path)
    assert (joined.images, joined.failures) == (24, 2)
    check_same(whole, tmp_path)
    assert run(tiny, tmp_path).skipped == 24  # the same jobs go on as if one process had made all
    check_same(whole, tmp_path)


def test_joining_goes_on_where_it_was_killed(tiny, whole, tmp_path, monkeypatch):
    sharded(tiny, tmp_path)
    real, calls = os.replace, [0]

    def killed(*paths):
        calls[0] += 1
        if calls[0] % 9 == 0:
            raise KeyboardInterrupt
        real(*paths)

    monkeypatch.setattr(os, "replace", killed)
    interrupted = 0
    while (tmp_path / "shard-1-of-3").exists():
        try:
            join_shards(tmp_path)
        except KeyboardInterrupt:
            interrupted += 1
    monkeypatch.undo()
    assert interrupted >= 2
    check_same(whole, tmp_path)


def test_what_cannot_be_joined(tiny, tmp_path, linea):
    with pytest.raises(LineaError, match="without shards"):
        join_shards(tmp_path)
    run(tiny, tmp_path, shard="1/2")
    with pytest.raises(LineaError, match=r"without shard 2 of 2: expected all; run it with --shard 2/2 first"):
        join_shards(tmp_path)
    run(tiny, tmp_path, shard="2/2")
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("a cat\n")
    for argv, message in (
        ([jobs, "--shard", "3/2"], "expected I/N"),
        ([jobs, "--shard", "1/2", "--ray", "auto"], "expected one of them"),
        ([jobs, "--join"], "--join reads none"),
        ([], "got no jobs"),
    ):
        code, _, shown = linea("batch", *argv, "--out", tmp_path)
        assert (code, message in shown) == (2, True)
    code, said, _ = linea("batch", "--join", "--out", tmp_path)
    assert (code, said.strip()) == (0, f"{tmp_path / 'metadata.jsonl'}: 24 images; 2 failures")
