"""Batches on Ray: the same folder as one process makes, whatever dies meanwhile; on disks and in object stores."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import fsspec
import pytest

from linea_diffusion import LineaError, RayCluster, generate_batch
from linea_diffusion.batch.describing import COLUMNS
from linea_diffusion.batch.folder.folder import digest_of
from linea_diffusion.batch.jobs.fingerprint import model_digest
from linea_diffusion.batch.worker import Opening

from ..batches import QUICK, files, rows, tiny_pipe
from ..null_work import POINTS, NullWork, picture

ray = pytest.importorskip("ray")
STORE = 80 * 2**20


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
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False},
    )
    made.add_node(num_cpus=2, object_store_memory=STORE)
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()
    patch.undo()


@pytest.fixture(scope="module")
def tiny():
    return tiny_pipe()


def lines(count: int, *more: dict) -> list[dict]:
    return [{"prompt": f"a heart {number}", "seed": number, "id": number} for number in range(count)] + list(more)


def run(pipe, jobs, out, cluster=None, **arguments):
    arguments = {"defaults": QUICK, "batch_size": 4, "progress": False, **arguments}
    return generate_batch(pipe, jobs, out, cluster=cluster, **arguments)


def null(out, marks, deaths=None) -> RayCluster:
    Path(marks).mkdir(exist_ok=True)
    return RayCluster(NullWork(str(out), str(marks), COLUMNS, deaths or {}))


def check(out: Path, jobs: list[dict]) -> None:
    """Every image once, whole, in the order of the jobs; nothing else."""
    made = rows(out)
    assert [(row["prompt"], row["seed"], row["line"]) for row in made] == [
        (job["prompt"], job["seed"], line) for line, job in enumerate(jobs, 1)
    ]
    assert files(out) == {row["file_name"] for row in made}
    for row in made:
        assert (out / row["file_name"]).read_bytes() == picture(digest_of(row["file_name"]))


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


def test_another_model_in_an_actor_is_refused(tiny):
    assert hasattr(Opening(tiny_pipe, model_digest(tiny.base), "png", 4, None)(), "paint")
    with pytest.raises(LineaError, match="other numbers than the one here"):
        Opening(tiny_pipe, "another", "png", 4, None)()


def test_what_an_actor_cannot_open_is_one_line(cluster, tiny, tmp_path):
    def refuse():
        raise LineaError("got no model: expected one")

    with pytest.raises(LineaError, match=r"^got an error from Ray: got no model: expected one$"):
        run(tiny, lines(1), tmp_path, RayCluster(refuse))


def test_twenty_actors_killed(cluster, tiny, tmp_path):
    jobs, dice = lines(160), random.Random(0)
    run(tiny, jobs, tmp_path / "whole", null(tmp_path / "whole", tmp_path / "none"))
    check(tmp_path / "whole", jobs)
    digests = [digest_of(row["file_name"]) for row in rows(tmp_path / "whole")]
    deaths = {digest: dice.choice(POINTS) for digest in dice.sample(digests, 20)}
    summary = run(tiny, jobs, tmp_path / "killed", null(tmp_path / "killed", tmp_path / "marks", deaths))
    assert len((tmp_path / "marks" / "deaths").read_text()) == 20
    assert (summary.done, summary.failed) == (160, 0)
    check(tmp_path / "killed", jobs)
    whole, killed = ((tmp_path / name / "metadata.jsonl").read_bytes() for name in ("whole", "killed"))
    assert killed == whole


def test_jobs_that_kill_their_actor_are_failures_and_take_no_other_along(cluster, tiny, tmp_path):
    jobs = lines(6, {"prompt": "poison", "seed": 1}, {"prompt": "large", "seed": 2}, {"prompt": "a fish", "seed": 3})
    summary = run(tiny, jobs, tmp_path / "out", null(tmp_path / "out", tmp_path / "marks"))
    assert (summary.done, summary.failed) == (8, 1)
    assert [row["line"] for row in rows(tmp_path / "out")] == [1, 2, 3, 4, 5, 6, 8, 9]
    assert len(files(tmp_path / "out")) == 8
    (failure,) = rows(tmp_path / "out", "failures.jsonl")
    assert (failure["line"], failure["fields"]["prompt"]) == (7, "poison")
    assert "process killed 3 times, with this image alone" in failure["reason"]
    assert run(tiny, jobs, tmp_path / "out", null(tmp_path / "out", tmp_path / "marks")).failed == 1  # not tried again


def test_a_node_lost_twice(cluster, tiny, tmp_path):
    jobs = lines(40, {"prompt": "a node", "seed": 1}, {"prompt": "a node", "seed": 2})
    marks, done = tmp_path / "marks", []
    own = RayCluster(NullWork(str(tmp_path / "out"), str(marks), COLUMNS, {}), actors=1)
    marks.mkdir()
    thread = threading.Thread(target=lambda: done.append(run(tiny, jobs, tmp_path / "out", own, batch_size=1)))
    thread.start()
    for number in (1, 2):
        while len(list(marks.glob("node-*"))) < number:
            thread.join(0.05)
        (node,) = cluster.worker_nodes
        cluster.remove_node(node)
        cluster.add_node(num_cpus=2, object_store_memory=STORE)
    thread.join(180)
    assert [(one.done, one.failed) for one in done] == [(42, 0)]
    check(tmp_path / "out", jobs)


def test_the_driver_killed_and_its_images_found_again(cluster, tiny, server, tmp_path):
    jobs = lines(30, {"prompt": "a driver", "seed": 1}, *({"prompt": "a fish", "seed": seed} for seed in range(9)))
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    marks, out = tmp_path / "marks", tmp_path / "out"
    own = null(out, marks)
    pid = server.start(jobs=tmp_path / "jobs.jsonl", out=out, ray=cluster.address, null=[str(out), str(marks)])
    (marks / "pid").write_text(str(pid))
    (marks / "go").touch()
    assert server.wait(pid) == -9, server.log.read_text()[-3000:]
    assert not (out / "metadata.jsonl").exists()
    there = files(out)
    assert there
    painted = (marks / "painted").read_text().split()
    summary = run(tiny, jobs, out, own)
    assert summary.done == 40
    again = (marks / "painted").read_text().split()[len(painted) :]
    assert not {digest_of(name) for name in there} & set(again)  # they have their lines without being made again
    check(out, jobs)


def test_an_object_store_is_a_folder_too(cluster, tiny, tmp_path):
    store = fsspec.filesystem("s3")
    store.mkdir("bucket")
    jobs, marks = lines(12, {"prompt": "poison", "seed": 1}), tmp_path / "marks"
    out = "s3://bucket/images"
    first = run(tiny, jobs[:8], out, null(out, marks))
    assert (first.done, first.images) == (8, 8)
    store.rm(f"bucket/images/{json.loads(store.cat_file('bucket/images/metadata.jsonl').splitlines()[0])['file_name']}")
    second = run(tiny, jobs[2:], out, null(out, marks))
    assert (second.done, second.skipped, second.failed, second.leftovers) == (4, 6, 1, 1)
    third = run(tiny, jobs, out, null(out, marks))  # the one put aside comes back, the one removed is made again
    assert (third.done, third.skipped, third.failed) == (1, 11, 1)
    run(tiny, jobs, tmp_path / "here", null(tmp_path / "here", marks))
    for name in ("metadata.jsonl", "failures.jsonl"):
        assert store.cat_file(f"bucket/images/{name}") == (tmp_path / "here" / name).read_bytes()
    with pytest.raises(LineaError, match="expected one on this machine; Ray"):
        run(tiny, jobs, out)


def test_where_no_ray_answers_is_one_line(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **arguments: (_ for _ in ()).throw(ConnectionError("nobody")))
    with pytest.raises(LineaError, match="where no Ray answers"):
        run(tiny, lines(1), tmp_path, RayCluster(tiny_pipe, "10.0.0.1:6379"))
