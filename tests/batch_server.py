"""A process that has imported everything and starts commands as forks of itself, for tests that kill them.

    python -m tests.batch_server

Each line on standard input is a JSON object. ``{"start": {...}}`` forks a batch and answers with its pid; ``{"wait":
pid}`` answers with its exit code, negative for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(1)  # a fork must not find threads that only its parent has

from linea_diffusion import LineaError, RayCluster, cli
from linea_diffusion.batch.describing import COLUMNS
from linea_diffusion.batch.engine import generate_batch

from .batches import QUICK, tiny_pipe
from .null_work import NullWork


def child(pipe, order: dict) -> int:
    """One batch, as a process of its own."""
    os.environ.update(order.get("env", {}))
    if "die_at" in order:
        die_at_call(order["die_at"])
    if "full_at" in order:
        fill_at_call(order["full_at"])
    with Path(order["log"]).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if "signal_at" in order:
        signal_at_fsync(*order["signal_at"])
    for number in order.get("ignored", ()):
        signal.signal(number, signal.SIG_IGN)
    if "argv" in order:
        sys.argv = ["linea", *order["argv"]]
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0
    size, jobs = order["batch_size"], Path(order["jobs"])
    cluster = on_ray(order) if "ray" in order else None
    try:
        summary = generate_batch(
            pipe, jobs, order["out"], defaults=QUICK, batch_size=size, progress=False, cluster=cluster
        )
    except LineaError as error:
        print(f"linea: {error}", file=sys.stderr)
        return 2
    return 1 if summary.failed else 0


def on_ray(order: dict) -> RayCluster:
    """A cluster where nothing is painted, once the test knows this process."""
    out, marks = order["null"]
    while not (Path(marks) / "go").exists():
        time.sleep(0.01)
    return RayCluster(NullWork(out, marks, COLUMNS, {}), order["ray"])


def die_at_call(number: int) -> None:
    """SIGKILL at the n-th call that changes the disk; a write is torn in the middle first."""
    count = [0]

    def spoilt(name):
        real = getattr(os, name)

        def call(*args):
            count[0] += 1
            if count[0] == number:
                if name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        setattr(os, name, call)

    for name in ("write", "fsync", "replace"):
        spoilt(name)


def signal_at_fsync(at: int, number: int) -> None:
    """A signal to itself at the n-th call of fsync."""
    real, count = os.fsync, [0]

    def fsync(file):
        real(file)
        count[0] += 1
        if count[0] == at:
            os.kill(os.getpid(), number)

    os.fsync = fsync


def fill_at_call(number: int) -> None:
    """From the n-th write on the disk is full, in the middle of that write."""
    real, count = os.write, [0]

    def write(file, data):
        count[0] += 1
        if count[0] == number:
            return real(file, bytes(data)[: len(data) // 2])
        if count[0] > number:
            raise OSError(28, "No space left on device")
        return real(file, data)

    os.write = write


def main() -> None:
    """Serve until the input ends."""
    pipe = tiny_pipe()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                code = 70
                try:
                    code = child(pipe, order["start"])
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
