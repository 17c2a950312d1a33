"""Batches killed at any moment, on a full disk, stopped by signals, shared by processes: nothing lost or twice."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from ..batches import files, pixels, rows

COUNT = 160


@pytest.fixture(scope="module")
def uninterrupted(server, tmp_path_factory):
    """An uninterrupted run: the file of jobs and the folder."""
    folder = tmp_path_factory.mktemp("whole")
    jobs = folder / "jobs.jsonl"
    words = ["heart", "fish", "star", "tree", "house"]
    lines = [{"prompt": f"a {words[n % 5]}", "seed": n} for n in range(COUNT)]
    jobs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert server.run(jobs=jobs, out=folder / "out") == 0, server.log.read_text()[-3000:]
    return jobs, folder / "out"


def check_same(uninterrupted_out: Path, out: Path) -> None:
    """The same lines, byte for byte, the same files, nothing torn, pictures equal to rounding."""
    assert (out / "metadata.jsonl").read_bytes() == (uninterrupted_out / "metadata.jsonl").read_bytes()
    assert files(out) == files(uninterrupted_out)
    for row in rows(out):
        assert np.abs(pixels(out, row) - pixels(uninterrupted_out, row)).max() <= 2
    shards = [
        line for shard in (out / ".linea").glob("manifest-*.jsonl") for line in shard.read_bytes().splitlines(True)
    ]
    assert all(line.endswith(b"\n") for line in shards)
    assert len({json.loads(line)["file_name"] for line in shards}) == len(shards) == len(rows(out))


def test_killed_at_fifty_random_moments(server, uninterrupted, tmp_path):
    jobs, expected = uninterrupted
    dice, shard, sizes = random.Random(0), tmp_path / ".linea" / "manifest-0.jsonl", []
    for _ in range(50):
        before = shard.stat().st_size if shard.exists() else 0
        began = time.monotonic()
        pid = server.start(jobs=jobs, out=tmp_path, batch_size=2)
        if dice.random() < 0.2:  # while it starts
            time.sleep(dice.uniform(0, 0.1))
        else:  # while it works: within about two batches after its first line
            while (not shard.exists() or shard.stat().st_size <= before) and server.is_running(pid):
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.3 * (time.monotonic() - began)))
        os.kill(pid, signal.SIGKILL)
        assert server.wait(pid) in (-signal.SIGKILL, 0), server.log.read_text()[-3000:]
        sizes.append(shard.stat().st_size if shard.exists() else 0)
    assert len(set(sizes)) > 20  # it went on between the kills
    assert server.run(jobs=jobs, out=tmp_path) == 0
    check_same(expected, tmp_path)


def test_killed_at_every_kind_of_moment(server, tmp_path):
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("a cat\na {dog,fish}\n")
    assert server.run(jobs=jobs, out=tmp_path / "whole", batch_size=2) == 0
    calls = 0
    for moment in range(1, 60):
        code = server.run(jobs=jobs, out=tmp_path / f"{moment}", batch_size=2, die_at=moment)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        calls += 1
        assert server.run(jobs=jobs, out=tmp_path / f"{moment}", batch_size=2) == 0, server.log.read_text()[-3000:]
        check_same(tmp_path / "whole", tmp_path / f"{moment}")
    assert calls >= 3 * 3 + 2 * 2  # write, sync and rename of each image; write and sync of the lines of each batch


@pytest.mark.parametrize("moment", [1, 3, 4, 6])
def test_a_full_disk_is_one_clear_line_and_corrupts_nothing(server, tmp_path, moment):
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("a cat\na dog\n{a,the} fish\n")
    assert server.run(jobs=jobs, out=tmp_path / "whole", batch_size=2) == 0
    log = tmp_path / "log.txt"
    assert server.run(jobs=jobs, out=tmp_path / "out", batch_size=2, full_at=moment, log=log) == 2
    assert "No space left on device); make room" in log.read_text().splitlines()[-1]
    assert not [name for name in files(tmp_path / "out") if name.endswith(".part")]
    assert server.run(jobs=jobs, out=tmp_path / "out", batch_size=2) == 0
    check_same(tmp_path / "whole", tmp_path / "out")


def test_two_runs_cannot_do_the_same_share(server, uninterrupted, tmp_path):
    jobs, _ = uninterrupted
    first = server.start(jobs=jobs, out=tmp_path)
    while not (tmp_path / "images").exists():
        time.sleep(0.01)
    log = tmp_path / "log.txt"
    assert server.run(jobs=jobs, out=tmp_path, log=log) == 2
    assert "another batch is running: wait for it" in log.read_text()
    os.kill(first, signal.SIGKILL)
    server.wait(first)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_finish_the_batch_under_way(server, tmp_path, number, code):
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("a {red,blue} {heart,fish,star,tree,house}\n")
    argv = ["batch", str(jobs), "--out", str(tmp_path / "out"), "--images", "30", "--steps", "1", "--batch-size", "4"]
    log = tmp_path / "log.txt"
    pid = server.start(argv=[*argv, "--log", "json"], log=log)
    while '"event": "image"' not in log.read_text() if log.exists() else True:
        time.sleep(0.02)
    os.kill(pid, number)
    assert server.wait(pid) == code, log.read_text()[-3000:]
    assert "stopped; the same command goes on" in log.read_text()
    done = len(rows(tmp_path / "out"))
    assert done == len(files(tmp_path / "out"))
    assert 4 <= done < 300
    assert done % 4 == 0


def test_a_second_interrupt_stops_at_once(server, tmp_path):
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("a heart\n")
    argv = ["batch", str(jobs), "--out", str(tmp_path / "out"), "--images", "64", "--steps", "400", "--log", "json"]
    log = tmp_path / "log.txt"
    pid = server.start(argv=[*argv, "--batch-size", "32"], log=log)
    while '"event": "start"' not in log.read_text() if log.exists() else True:
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(pid, signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    os.kill(pid, signal.SIGINT)
    assert server.wait(pid) == 130
    assert time.monotonic() - began < 5
    assert "stopped at once" in log.read_text()
