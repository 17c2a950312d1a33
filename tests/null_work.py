"""What paints nothing, for tests of Ray: a flat picture of each job, at once, and deaths at known points."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from linea_diffusion.batch.worker import Task

POINTS = ("before", "torn", "written")
"""Where an actor may die of a task: before its image is there, while it is written, before its line is."""


@dataclass(frozen=True)
class NullWork:
    """Made anew in each actor; its own `open` for `RayCluster`.

    Attributes:
        out: the folder of the batch.
        marks: a folder where what happens once is marked.
        columns: of a line.
        deaths: digest -> the point where the actor dies of it, once.
    """

    out: str
    marks: str
    columns: tuple[str, ...]
    deaths: dict[str, str]

    def __call__(self) -> NullWork:
        return self

    def paint(self, tasks: Sequence[Task]) -> Iterator[tuple[dict, bytes]]:
        with (Path(self.marks) / "painted").open("a") as file:
            file.write("".join(f"{task.digest}\n" for task in tasks))
        self._first(f"gpus-{os.environ.get('CUDA_VISIBLE_DEVICES', '')}")
        for task in tasks:
            prompt, point = task.fields["prompt"], self.deaths.get(task.digest)
            if "poison" in prompt or ("large" in prompt and len(tasks) > 1):
                self._die()
            if "driver" in prompt and self._has("pid") and self._first("driver"):
                os.kill(int((Path(self.marks) / "pid").read_text()), signal.SIGKILL)
            if "node" in prompt and self._has("waits") and self._first(f"node-{task.digest}"):
                signal.pause()  # until the node is gone
            if point == "before" and self._first(task.digest):
                self._die()
            if point == "torn" and self._first(task.digest):
                part = Path(self.out) / task.file_name
                part.parent.mkdir(exist_ok=True, parents=True)
                part.with_name(f".{part.name}.1.part").write_bytes(b"half")
                self._die()
            yield self.describe(task, b""), picture(task.digest)
            if point == "written" and self._first(task.digest):
                self._die()

    def describe(self, task: Task, data: bytes) -> dict:
        row = dict.fromkeys(self.columns) | {"file_name": task.file_name, "steering": [], "strength": []}
        row |= {"prompt": task.fields["prompt"], "seed": task.fields["seed"], "line": task.line, "part": task.part}
        return row | ({"meta": dict(task.columns)} if task.columns else {})

    def _has(self, name: str) -> bool:
        return (Path(self.marks) / name).exists()

    def _first(self, name: str) -> bool:
        try:
            os.close(os.open(Path(self.marks) / name, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def _die(self) -> None:
        """As the kernel ends a process when memory runs out."""
        with (Path(self.marks) / "deaths").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)


def picture(digest: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), f"#{digest[:6]}").save(file, "PNG")
    return file.getvalue()
