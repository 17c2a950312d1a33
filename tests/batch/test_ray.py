"""Batches on Ray: the same folder as one process makes, whatever dies meanwhile; on disks and in object stores."""

from __future__ import annotations

import json
import random
import socket
import threading
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from linea_diffusion import ClipScorer, LineaError, RayCluster, generate_batch
from linea_diffusion.batch.cluster import _why
from linea_diffusion.batch.describing import COLUMNS
from linea_diffusion.batch.folder.folder import digest_of
from linea_diffusion.batch.jobs.fingerprint import model_digest
from linea_diffusion.batch.worker import Opening

from ..batches import QUICK, files, rows, tiny_pipe
from ..null_work import POINTS, NullWork, picture

ray = pytest.importorskip("ray")
STORE = 80 * 2**20
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 10000,
    "health_check_failure_threshold": 5,
}


@pytest.fixture(scope="module")
def s3():
    """A server that speaks S3, known to this process and to actors by their environment."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    for name, value in {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x",
                        "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
        patch.setenv(name, value)
    yield
    patch.undo()
    server.stop()


@pytest.fixture(scope="module")
def cluster(s3, tmp_path_factory):
    """Ray's own cluster of this machine: a head that computes nothing, and a node; tests add more."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = started()
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().execution_no_progress_timeout_s = 120  # not half an hour
    yield made
    ray.shutdown()
    made.shutdown()
    patch.undo()


def started():
    """A cluster of a head and a node."""
    from ray.cluster_utils import Cluster

    made = Cluster()
    added(made, num_cpus=0, include_dashboard=False, _system_config=HEALTH)
    added(made, num_cpus=2, num_gpus=2)  # none is touched by what paints nothing
    return made


def added(cluster, **node):
    """Add a node; Ray gives it 30 seconds to come up, which a busy machine may need twice."""
    for attempt in range(3):
        try:
            return cluster.add_node(object_store_memory=STORE, **node)
        except Exception as error:  # of no class of its own
            if attempt == 2 or "timed out" not in str(error):
                raise
    raise AssertionError


@pytest.fixture(scope="module")
def tiny():
    return tiny_pipe()


JOBS = [
    *({"prompt": f"a heart {number}", "seed": number, "id": number} for number in range(24)),
    {"prompt": "a node", "seed": 1},
    {"prompt": "a driver", "seed": 1},
    {"prompt": "a large fish", "seed": 1},
    {"prompt": "a node", "seed": 2},
    *({"prompt": "a {red,blue} fish", "seed": seed} for seed in range(6)),
]
COUNT = 40


def run(pipe, jobs, out, cluster=None, **arguments):
    arguments = {"defaults": QUICK, "batch_size": 4, "progress": False, **arguments}
    return generate_batch(pipe, jobs, out, cluster=cluster, **arguments)


def null(out, marks, deaths=None) -> RayCluster:
    Path(marks).mkdir(exist_ok=True)
    return RayCluster(NullWork(str(out), str(marks), COLUMNS, deaths or {}))


@pytest.fixture(scope="module")
def whole(cluster, tiny, tmp_path_factory):
    """A run where nothing died but of memory, once."""
    folder = tmp_path_factory.mktemp("whole")
    summary = run(tiny, JOBS, folder / "out", null(folder / "out", folder / "marks"))
    assert (summary.done, summary.failed) == (COUNT, 0)
    assert len((folder / "marks" / "deaths").read_text()) == 1
    made = rows(folder / "out")
    assert [row["line"] for row in made] == sorted(row["line"] for row in made)
    assert [row.get("meta.id") for row in made][:24] == list(range(24))
    return folder / "out"


def check(out: Path, whole: Path) -> None:
    """Every image once, whole, in the order of the jobs, byte for byte; nothing else."""
    assert (out / "metadata.jsonl").read_bytes() == (whole / "metadata.jsonl").read_bytes()
    assert files(out) == files(whole) == {row["file_name"] for row in rows(out)}
    for name in files(out):
        assert (out / name).read_bytes() == picture(digest_of(name))


def test_an_actor_makes_what_one_process_makes_and_they_take_turns(cluster, tiny, tmp_path):
    jobs = [{"prompt": "a {red,blue} heart", "seed": [1, 2], "id": 7}, {"prompt": ""}, "a fish",
            {"prompt": "a cat", "clip_skip": 77}]  # fmt: skip
    run(tiny, jobs, tmp_path / "one")
    run(tiny, jobs[:1], tmp_path / "turns")
    (tmp_path / "turns" / rows(tmp_path / "turns")[2]["file_name"]).unlink()
    turns = run(tiny, jobs, tmp_path / "turns", RayCluster(tiny_pipe))
    assert (turns.done, turns.skipped, turns.failed, turns.bad_lines) == (2, 3, 1, 1)
    again = run(tiny, jobs, tmp_path / "turns")
    assert (again.done, again.skipped, again.failed) == (0, 5, 1)
    for name in ("metadata.jsonl", "failures.jsonl"):
        assert (tmp_path / "turns" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert files(tmp_path / "turns") == files(tmp_path / "one")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "turns" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    scorer = ClipScorer()
    scored = run(tiny, jobs, tmp_path / "turns", RayCluster(tiny_pipe), scorer=scorer)
    assert (scored.done, scored.skipped) == (0, 5)  # lines of images that are there get their figures
    run(tiny, jobs, tmp_path / "one", scorer=scorer)
    name = "clip_prompt_cosine"
    both = zip(rows(tmp_path / "turns"), rows(tmp_path / "one"), strict=True)
    assert all(one[name] == pytest.approx(other[name], abs=1e-5) for one, other in both)


def test_another_model_in_an_actor_is_refused(tiny):
    assert hasattr(Opening(tiny_pipe, model_digest(tiny.base), "png", 4, None)(), "paint")
    with pytest.raises(LineaError, match="other numbers than the one here"):
        Opening(tiny_pipe, "another", "png", 4, None)()


def test_what_an_actor_cannot_open_is_one_line():
    text = "The actor died\n  File x, line 3\nlinea_diffusion.errors.LineaError: got no model: expected one\n"
    assert _why(Exception(text)) == "got no model: expected one"


def test_twenty_actors_killed_and_a_job_that_kills_them(whole, tiny, tmp_path):
    dice, out, marks = random.Random(0), tmp_path / "out", tmp_path / "marks"
    digests = sorted(digest_of(name) for name in files(whole))
    deaths = {digest: dice.choice(POINTS) for digest in dice.sample(digests, 20)}
    jobs = [*JOBS, {"prompt": "poison", "seed": 1, "id": 5}]
    summary = run(tiny, jobs, out, null(out, marks, deaths))
    assert (summary.done, summary.failed) == (COUNT, 1)
    assert {path.name for path in marks.iterdir()} >= set(deaths)
    assert len((marks / "deaths").read_text()) >= 20 + 3
    check(out, whole)
    (failure,) = rows(out, "failures.jsonl")
    assert (failure["line"], failure["fields"]["prompt"], failure["fields"]["meta.id"]) == (len(jobs), "poison", 5)
    assert "process killed 3 times, with this image alone" in failure["reason"]
    again = run(tiny, jobs, out, null(out, marks))
    assert (again.done, again.skipped, again.failed) == (0, COUNT, 1)  # nothing is tried again unless asked


def test_an_actor_sees_its_own_gpus_and_no_other(whole, tiny, tmp_path):
    own = replace(null(tmp_path / "out", tmp_path / "marks"), gpus=1.0)
    assert run(tiny, JOBS[:8], tmp_path / "out", own).done == 8
    assert {path.name for path in (tmp_path / "marks").glob("gpus-*")} <= {"gpus-0", "gpus-1"}
    with pytest.raises(LineaError, match="2 GPUs: expected at least 1 and 3 for an actor"):
        run(tiny, JOBS, tmp_path / "more", replace(own, gpus=3.0))


def test_a_node_lost_twice(cluster, whole, tiny, tmp_path):
    marks, out, done = tmp_path / "marks", tmp_path / "out", []
    own = replace(null(out, marks), actors=1)
    (marks / "waits").touch()
    thread = threading.Thread(target=lambda: done.append(run(tiny, JOBS, out, own, batch_size=1)))
    thread.start()
    for number in (1, 2):
        while len(list(marks.glob("node-*"))) < number and thread.is_alive():
            thread.join(0.05)
        (node,) = cluster.worker_nodes
        cluster.remove_node(node, allow_graceful=number == 2)  # torn away, then told to end
        cluster.add_node(num_cpus=2, object_store_memory=STORE)
    thread.join()
    assert [(one.done, one.failed) for one in done] == [(COUNT, 0)]
    check(out, whole)


def test_the_driver_killed_and_its_images_found_again(cluster, whole, tiny, server, tmp_path):
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in JOBS))
    marks, out = tmp_path / "marks", tmp_path / "out"
    own = null(out, marks)
    pid = server.start(jobs=tmp_path / "jobs.jsonl", out=out, ray=cluster.address, null=[str(out), str(marks)])
    (marks / "pid").write_text(str(pid))
    (marks / "go").touch()
    assert server.wait(pid) == -9, server.log.read_text()[-3000:]
    assert not (out / "metadata.jsonl").exists()
    there = {digest_of(name) for name in files(out) if not name.endswith(".part")}
    assert there
    painted = (marks / "painted").read_text().split()
    assert run(tiny, JOBS, out, own).done == COUNT
    again = (marks / "painted").read_text().split()[len(painted) :]
    assert not there & set(again)  # they have their lines without being made again
    check(out, whole)


def test_an_object_store_is_a_folder_too(whole, tiny, tmp_path):
    store, out, marks = fsspec.filesystem("s3"), "s3://bucket/images", tmp_path / "marks"
    store.mkdir("bucket")
    first = run(tiny, JOBS[:8], out, null(out, marks))
    assert (first.done, first.images) == (8, 8)
    row = json.loads(store.cat_file("bucket/images/metadata.jsonl").splitlines()[3])
    store.rm(f"bucket/images/{row['file_name']}")
    second = run(tiny, JOBS, out, null(out, marks))
    assert (second.done, second.skipped, second.failed) == (COUNT - 7, 7, 0)
    assert store.cat_file("bucket/images/metadata.jsonl") == (whole / "metadata.jsonl").read_bytes()
    for name in files(whole):
        assert store.cat_file(f"bucket/images/{name}") == (whole / name).read_bytes()
    with pytest.raises(LineaError, match="expected a folder of this machine; a URL needs --ray"):
        run(tiny, JOBS, out)


def test_where_no_ray_answers_is_one_line(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(LineaError, match="where no Ray answers"):
            run(tiny, JOBS, tmp_path, RayCluster(tiny_pipe, f"127.0.0.1:{taken.getsockname()[1]}"))
