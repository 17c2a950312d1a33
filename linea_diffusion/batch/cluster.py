"""Painting on Ray: a stream of groups of tasks through actors with a pipeline, their lines written by Ray Data."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import LineaError, clipped, reason
from .folder.folder import Folder
from .worker import Attempts, Task, Work, Worker, written

_LARGEST_BLOCK, _SMALL_BLOCKS, _ROWS_A_FILE = 16, 64, 256


@dataclass(frozen=True)
class RayCluster:
    """Where a batch is painted by actors of Ray.

    Attributes:
        open: makes the pipeline in each actor, the same as the one that the jobs are planned with; pickled.
        address: of a cluster; ``auto``: one that runs here, or else Ray on this machine alone; ``local``: the latter.
        actors: at most so many; None: as many as the cluster has room for when the run begins.
        cpus: of each actor.
        gpus: of each actor.
    """

    open: Callable[[], Any]
    address: str = "auto"
    actors: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0


def paint_on_ray(
    cluster: RayCluster, groups: Iterable[list[Task]], folder: Folder, make: Callable[[], Work], *, progress: bool
) -> str | None:
    """Paint groups of tasks; images are in the folder when this returns, and their lines among its rows.

    An actor or node that is lost is replaced, and its tasks are done again. All tasks are planned before the first is
    painted; they wait in Ray's object store, which spills to disk.

    Args:
        cluster: does it.
        groups: of one shape each.
        folder: of the batch, for all nodes at the same path or URL.
        make: makes what paints, in each actor.
        progress: whether Ray shows its bars.

    Returns:
        The name of the run for `Folder.rows_of`, None where there was nothing to do.

    Raises:
        LineaError: no such cluster, or an actor cannot open its pipeline.
    """
    import ray
    from ray.data.exceptions import ExecutionTimeoutError

    with _connected(cluster):
        blocks = [ray.put(block) for block in _blocks(groups)]
        if not blocks:
            return None
        run = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
        try:
            _stream(cluster, blocks, folder, make, run, progress)
        except ray.exceptions.RayError as error:
            raise LineaError(f"got an error from Ray: {_why(error)}") from None
        except ExecutionTimeoutError:
            raise LineaError(
                "got nothing made for so long that Ray gave up: expected an image at times; what is made is kept, "
                "start again; smaller batches, or RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S=-1, give it more time"
            ) from None
        return run


def _why(error: Exception) -> str:
    """The last line of what Ray tells, which tells it with the whole way there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return clipped(lines[-1].removeprefix(f"{LineaError.__module__}.LineaError: ")) if lines else reason(error)


def _stream(cluster: RayCluster, blocks: list[Any], folder: Folder, make: Any, run: str, progress: bool) -> None:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # with the node of this process, and no other, the count would be lost with it
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    kept = ray.remote(Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
    attempts: Any = kept.remote()
    ray.data.DataContext.get_current().enable_progress_bars = progress
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # the last blocks are the largest: they come first, so that nobody waits long for the end
    lines = ray.data.from_arrow_refs(blocks[::-1]).map_batches(
        Worker,
        fn_constructor_args=(make, folder, attempts),
        batch_size=1,  # group; Ray wants to be told where there are GPUs
        num_cpus=cluster.cpus,
        num_gpus=cluster.gpus,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=_actors(cluster)),
    )
    lines.write_parquet(
        folder.path(f".linea/rows/{run}"), filesystem=folder.fs, min_rows_per_file=_ROWS_A_FILE,
        ray_remote_args={"num_cpus": 0},
    )  # fmt: skip


def _blocks(groups: Iterable[list[Task]]) -> Iterator[Any]:
    """Tables of groups: one group each at first, more of them in later ones, so that a million jobs are few blocks."""
    import pyarrow

    count, waiting = 0, list[str]()
    for group in groups:
        waiting.append(written(group))
        if len(waiting) >= min(_LARGEST_BLOCK, 1 + count // _SMALL_BLOCKS):
            yield pyarrow.table({"tasks": waiting})
            count, waiting = count + 1, []
    if waiting:
        yield pyarrow.table({"tasks": waiting})


def _actors(cluster: RayCluster) -> int:
    """How many actors at most.

    Raises:
        LineaError: the cluster has room for none.
    """
    import ray

    has = ray.cluster_resources()
    wanted = {"CPU": cluster.cpus, "GPU": cluster.gpus}
    room = min(int(has.get(name, 0) // amount) for name, amount in wanted.items() if amount)
    if room < 1:
        raise LineaError(
            f"got a cluster with {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs: expected at least "
            f"{cluster.cpus:g} and {cluster.gpus:g} for an actor; say --cpus and --gpus"
        )
    return room if cluster.actors is None else cluster.actors


def _check_reachable(address: str) -> None:
    """Whether something answers at HOST:PORT, which Ray would try for minutes.

    Raises:
        LineaError: nothing does.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise LineaError(
                f"got --ray {address!r}, where no Ray answers ({reason(error)}): expected a cluster"
            ) from None


@contextmanager
def _connected(cluster: RayCluster) -> Iterator[None]:
    """Within the context there is a cluster; one that was started for it ends with it."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise LineaError("got --ray without Ray: pip install 'linea-diffusion[ray]'") from None
    if ray.is_initialized():
        yield
        return
    _check_reachable(cluster.address)
    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    try:
        try:
            ray.init(address=cluster.address, **quiet)
        except ConnectionError:
            if cluster.address != "auto":
                raise
            ray.init(address="local", include_dashboard=False, **quiet)
    except (ConnectionError, ValueError) as error:
        raise LineaError(
            f"got the address {cluster.address!r}, where no Ray answers ({reason(error)}): expected auto, local, or "
            "that of a cluster"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()
