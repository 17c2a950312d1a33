"""Processes for tests that kill them: a client of `tests.batch_server`, which has everything imported already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


class Server:
    """Talks to `tests.batch_server`."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log.txt"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.batch_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, stderr=(folder / "server.txt").open("w"),
        )  # fmt: skip

    def ask(self, order: dict):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, **order) -> int:
        order.setdefault("log", str(self.log))
        order.setdefault("batch_size", 4)
        return self.ask(
            {"start": {name: str(value) if isinstance(value, Path) else value for name, value in order.items()}}
        )

    def is_running(self, pid: int) -> bool:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"

    def wait(self, pid: int) -> int:
        return self.ask({"wait": pid})

    def run(self, **order) -> int:
        return self.wait(self.start(**order))
