"""Two real processes on the CPU, started by accelerate: rows come together in order, and the maps are those of one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from linea_diffusion import Concept, SteeringMaps, TrainingConfig, train_steering_maps
from linea_diffusion.training.state.processes import (
    add_up,
    gather_rows,
    is_main_process,
    share_of,
    share_of_rows,
    works_alone,
)

SETTINGS = {"iterations": 2, "batch_size": 3, "num_inference_steps": 1, "optimizer": "sgd", "lr": 10.0}
SOURCES = [f"a {colour} {thing}" for colour in ("red", "blue", "green") for thing in ("heart", "fish")]

SCRIPT = """
import sys
import torch
from linea_diffusion import Concept, LinEASDiffusionPipeline, TrainingConfig, train_steering_maps
from linea_diffusion.training.state.stopping import StopRequest
from linea_diffusion.training.state.processes import (
    add_up, gather_rows, is_main_process, share_of_rows, share_of, works_alone
)

torch.set_num_threads(1)
assert not works_alone()
for total in (1, 2, 5, 8):
    items = list(range(total))
    mine = share_of(items)
    whole = gather_rows(
        {"a": torch.tensor([[float(i), i + 0.5] for i in mine]), "b": torch.tensor([[[-1.0 * i]] for i in mine])}, total
    )
    assert whole["a"].tolist() == [[i, i + 0.5] for i in items], whole
    assert whole["b"].tolist() == [[[-i]] for i in items], whole
    part = share_of_rows(whole["a"])
    assert len(part) == len(mine)
    summed = part.sum(dim=0)
    add_up([summed])
    assert summed.tolist() == whole["a"].sum(dim=0).tolist(), summed  # a repeated row counts once

concept = Concept.from_template(SOURCES, "{prompt}, neon")
pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")
maps = train_steering_maps(pipe, concept, TrainingConfig(**SETTINGS), checkpoint=sys.argv[1] + "/state")
if is_main_process():
    maps.save_pretrained(sys.argv[1] + "/maps")
stop = StopRequest()
if not is_main_process():
    stop.signal = 15  # one process alone is asked to stop
stopped = train_steering_maps(pipe, concept, TrainingConfig(**SETTINGS), stop=stop)
assert stopped.metadata["stopped_after"] == 0
torch.save([p.detach() for p in maps.parameters()], sys.argv[1] + f"/rank{int(is_main_process())}.pt")
"""


def test_two_processes_learn_the_maps_of_one(pipe, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("**SETTINGS", f"**{SETTINGS!r}").replace("SOURCES", repr(SOURCES)))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [*command, script, tmp_path], capture_output=True, text=True, timeout=600, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    both = SteeringMaps.from_pretrained(tmp_path / "maps")
    alone = train_steering_maps(pipe, Concept.from_template(SOURCES, "{prompt}, neon"), TrainingConfig(**SETTINGS))
    ours, theirs = (torch.cat([p.flatten() for p in maps.parameters()]) for maps in (both, alone))
    assert theirs.norm() > 0.1
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(*ranks, strict=True))
    assert both.metadata["losses"] == pytest.approx(alone.metadata["losses"], rel=1e-5)
    for key in ("strengths", "values"):
        numbers = both.metadata["calibration"][key]
        assert numbers == pytest.approx(alone.metadata["calibration"][key], abs=1e-4)


def test_one_process_keeps_everything():
    rows = torch.randn(3, 2, requires_grad=True)
    assert works_alone()
    assert is_main_process()
    assert share_of([1, 2, 3]) == [1, 2, 3]
    assert share_of([]) == []
    assert torch.equal(share_of_rows(rows), rows)
    gathered = gather_rows({"a": rows}, 3)["a"]
    assert torch.equal(gathered, rows)
    assert not gathered.requires_grad
    total = torch.ones(2)
    add_up([total])
    assert total.tolist() == [1, 1]
