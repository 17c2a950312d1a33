"""Measuring costs: what is timed, in which order, against what; that each way is what it says."""

from __future__ import annotations

import json
import statistics
import time
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps, TrainingConfig, find_modules
from linea_diffusion.cli.bench import bench as bench_module
from linea_diffusion.cli.bench import random_models
from linea_diffusion.cli.bench import ways as bench_ways
from linea_diffusion.cli.bench.bench import BenchConfig, Row, bench
from linea_diffusion.cli.bench.machine import machine_facts, peak_growth, timed
from linea_diffusion.cli.bench.random_models import random_pipeline
from linea_diffusion.cli.bench.ways import Way, generation_ways, maps_in, row_ways, training_ways

SMALL = BenchConfig(batch_size=2, rounds=2, steps=1)
CPU = torch.device("cpu")


def test_every_way_of_every_part_is_timed_in_turns_and_its_memory_taken(pipe):
    result = bench(pipe, SMALL)
    names = [(row.part, row.name) for row in result.rows]
    assert names == [
        ("generation", "unsteered"),
        ("generation", "steered"),
        ("generation", "steered by fused weights"),
        ("row", "one call with a row of 5 strengths"),
        ("row", "5 calls"),
        ("training", "generation without gradients"),
        ("training", "iteration in one piece"),
        ("training", "iteration in micro-batches of 1"),
        ("training", "iteration checkpointed"),
    ]
    assert result.order == (*((0, *name) for name in names), *((1, *name) for name in reversed(names)))
    memory = {row.name: row.peak_mib for row in result.rows}
    assert all(len(row.seconds) == 2 and min(row.seconds) > 0 for row in result.rows)
    assert memory["iteration in one piece"] > memory["generation without gradients"] > 1
    assert memory["one call with a row of 5 strengths"] > memory["5 calls"]
    assert result.maps == f"random ({len(find_modules(pipe, 'attention'))} maps)"
    assert result.calls["pictures"] == {"num_inference_steps": 1, "guidance_scale": 1.0}
    assert not pipe.steering


def test_ratios_are_paired_round_by_round_with_the_first_way_of_the_part():
    laps = [
        (number, part, name, seconds)
        for part, times in (("a", {"one": (1, 2, 4, 8), "two": (2, 2, 12, 32)}), ("b", {"one": (9, 9, 9, 9)}))
        for name, all_seconds in times.items()
        for number, seconds in enumerate(all_seconds)
    ]
    row = bench_module._row(Way("a", "two", nullcontext), "one", laps, 3.5, "")
    assert row.seconds == (2, 2, 12, 32)
    assert row.ratio == statistics.median([2, 1, 3, 4])
    assert (row.low, row.high) == (1.75, 3.25)
    assert row.peak_mib == 3.5


def test_only_the_job_is_timed_and_not_its_preparation():
    class Slow:
        def __enter__(self):
            time.sleep(0.1)
            return lambda: time.sleep(0.01)

        def __exit__(self, *error):
            time.sleep(0.1)

    laps = timed([Way("generation", "slow", Slow)], range(2), CPU)
    assert [lap[:3] for lap in laps] == [(0, "generation", "slow"), (1, "generation", "slow")]
    assert all(0.01 <= seconds < 0.08 for *_, seconds in laps)


def pictures(way):
    with way.ready() as job:
        output = job()
    return np.stack([np.asarray(image, dtype=float) for one in np.atleast_1d(output) for image in one.images])


def test_pictures_are_steered_where_it_is_said_and_only_there(pipe):
    with maps_in(pipe, SMALL):
        plain, hooks, fused = generation_ways(pipe, SMALL)
        images = {way.name: pictures(way) for way in (plain, hooks, fused)}
        again = pictures(plain)
    assert images["unsteered"].shape[0] == 2
    assert np.array_equal(images["unsteered"], again)
    difference = np.abs(images["steered"] - images["unsteered"]).mean()
    assert difference > 0.1
    assert np.abs(images["steered"] - images["steered by fused weights"]).mean() < difference / 10


def test_fused_weights_are_folded_while_the_job_is_ready_and_back_afterwards(pipe):
    with maps_in(pipe, SMALL), generation_ways(pipe, SMALL)[2].ready():
        assert len(pipe.steering.fusion.folded) == len(find_modules(pipe, "attention"))
    assert pipe.steering.fusion is None


def test_a_row_gives_the_pictures_of_its_single_calls(pipe):
    with maps_in(pipe, SMALL):
        row, calls = (pictures(way) for way in row_ways(pipe, SMALL))
    assert len(row) == len(calls) == 5
    assert np.abs(row - calls).max() <= 2
    assert all(np.abs(row[0] - one).mean() > 0.05 for one in row[1:])


def test_training_ways_run_the_denoiser_as_often_as_they_must(pipe):
    seen = []
    ways = training_ways(pipe, BenchConfig(batch_size=2, steps=2))
    hook = pipe.unet.register_forward_pre_hook(
        lambda module, inputs: seen.append((len(inputs[0]), torch.is_grad_enabled()))
    )
    runs = {}
    for way in ways:
        with way.ready() as job:
            seen.clear()
            job()
            runs[way.name] = list(seen)
    hook.remove()
    assert runs == {
        "generation without gradients": [(2, False)] * 2,
        "iteration in one piece": [(2, True)] * 2,
        "iteration in micro-batches of 1": [(1, False)] * 4 + [(1, True)] * 4,
        "iteration checkpointed": [(2, True)] * 2,
    }


def test_one_piece_is_the_whole_batch_whatever_trainings_default_is():
    assert TrainingConfig().batch_size is not None
    assert BenchConfig(batch_size=64).training.batch_size is None


def test_a_batch_of_one_has_no_smaller_pieces(pipe):
    names = [way.name for way in training_ways(pipe, BenchConfig(batch_size=1, steps=1))]
    assert names == ["generation without gradients", "iteration in one piece", "iteration checkpointed"]


def test_loaded_maps_are_measured_and_stay(pipe, random_maps):
    pipe.load_steering(random_maps, adapter_name="mine")
    result = bench(pipe, BenchConfig(what=("generation",), batch_size=1, rounds=1, steps=1))
    assert result.maps == "mine (17 maps)"
    assert list(pipe.steering) == ["mine"]
    assert [row.peak_mib for row in result.rows] == [None] * 3


def test_maps_for_parts_of_the_schedule_cannot_be_fused_which_is_said(pipe):
    maps = SteeringMaps({"unet.conv_norm_out": (2, 64)})
    maps.maps["unet/conv_norm_out"].shift.data.fill_(0.1)
    pipe.load_steering(maps.requires_grad_(False))
    rows = bench(pipe, BenchConfig(what=("generation",), batch_size=1, rounds=1, steps=2)).rows
    assert rows[2] == Row("generation", "steered by fused weights", note="has a map for each part of the schedule")
    assert rows[1].ratio > 0


def test_memory_alone_times_nothing(pipe, monkeypatch):
    monkeypatch.setattr(bench_module, "ways_of", row_ways)
    result = bench(pipe, BenchConfig(what=("memory",), steps=1))
    assert result.order == ()
    assert [(row.seconds, row.ratio, row.peak_mib > 1) for row in result.rows] == [((), None, True)] * 2


def starved():
    raise torch.OutOfMemoryError("no room")


def test_a_way_that_does_not_fit_is_said_and_the_others_are_measured(pipe, monkeypatch):
    fits = Way("training", "small", lambda: nullcontext(lambda: None))
    large = Way("training", "large", lambda: nullcontext(starved))
    monkeypatch.setattr(bench_module, "ways_of", lambda pipe, config: [fits, large])
    rows = bench(pipe, SMALL).rows
    assert len(rows[0].seconds) == 2
    assert (rows[1].seconds, rows[1].peak_mib, rows[1].note) == ((), None, "does not fit into memory")
    monkeypatch.setattr(bench_module, "ways_of", lambda pipe, config: [large, fits])
    with pytest.raises(LineaError, match="got training 'large', which does not fit into memory: lower --batch-size"):
        bench(pipe, SMALL)
    monkeypatch.setattr(bench_module, "ways_of", lambda pipe, config: starved())
    with pytest.raises(LineaError, match="expected a smaller --batch-size"):
        bench(pipe, SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"what": ("speed",)}, "expected some of generation, row, training, memory"),
        ({"what": ()}, "expected some of generation"),
        ({"rounds": 0}, "got rounds=0: expected a whole number of at least 1"),
        ({"batch_size": 1.5}, "got batch_size=1.5"),
        ({"height": -8}, "got height=-8"),
        ({"modules": ("nowhere",)}, "nearest"),
    ],
)
def test_bad_settings(pipe, change, message):
    with pytest.raises(LineaError, match=message):
        bench(pipe, BenchConfig(**{"steps": 1, **change}))


def test_calls_that_the_pipeline_refuses():
    small = LinEASDiffusionPipeline(random_pipeline("random-sdxl", tiny=True))
    with pytest.raises(LineaError, match=r"got a call that StableDiffusionXLPipeline refuses .*divisible by 8"):
        bench(small, BenchConfig(height=33, width=33, steps=1))


def test_arguments_that_a_pipeline_does_not_have(pipe, monkeypatch):
    monkeypatch.setattr(bench_module, "accepts", lambda base, name: name != "height")
    with pytest.raises(LineaError, match="got height, which StableDiffusionPipeline has no use for"):
        bench(pipe, BenchConfig(height=32))


def test_peak_memory_is_that_of_this_job_even_after_a_larger_one():
    def fill(mebibytes):
        return torch.ones(mebibytes, 2**18).sum()

    large, small = (peak_growth(partial(fill, size), CPU) for size in (200, 50))
    assert 190 < large < 230
    assert 45 < small < 70


def test_peak_memory_is_not_hidden_by_what_the_c_library_keeps():
    def many(count):
        return [torch.ones(2**12) for _ in range(count)]

    kept = many(6000)[::100]
    assert 28 < peak_growth(partial(many, 2000), CPU) < 60
    assert len(kept) == 60


def test_peak_memory_is_not_made_up_where_it_cannot_be_read(monkeypatch, tmp_path):
    monkeypatch.setattr("linea_diffusion.cli.bench.machine._PROCESS", tmp_path / "nowhere")
    assert peak_growth(lambda: None, CPU) is None


def test_facts_of_the_machine():
    facts = machine_facts(CPU)
    assert facts["threads"] == torch.get_num_threads()
    assert facts["torch"].startswith(torch.__version__.split("+")[0])
    assert {"date", "machine", "device", "diffusers"} < set(facts)


def test_the_command_writes_its_figures(linea, tmp_path, random_maps):
    random_maps.save_pretrained(tmp_path / "maps")
    options = ("--what", "generation,row", "--batch-size", 1, "--rounds", 2, "--steps", 1, "--seed", 5)
    code, out, _ = linea("bench", *options, "--steering", f"mine={tmp_path / 'maps'}", "--out", tmp_path / "b")
    assert code == 0
    facts = json.loads((tmp_path / "b" / "bench.json").read_text())
    assert (facts["model"], facts["config"]["seed"], facts["config"]["rounds"]) == ("shapeland-unet", 5, 2)
    assert [len(row["seconds"]) for row in facts["rows"]] == [2] * 5
    text = (tmp_path / "b" / "bench.md").read_text()
    assert text in out
    assert "| generation | unsteered |" in text
    assert f"{facts['machine']['date']}, machine " in text
    assert "Maps: mine" in text
    assert "random weights" not in text


def test_the_command_on_random_weights_says_so(linea, tmp_path, monkeypatch):
    monkeypatch.setattr(random_models, "random_pipeline", partial(random_pipeline, tiny=True))
    options = ("--what", "generation", "--batch-size", 1, "--rounds", 1, "--steps", 1, "--height", 32, "--width", 32)
    modules = ("--modules", "mlps", "--modules", "text-mlps")
    code, out, _ = linea("bench", "--model", "random-sdxl", *options, *modules, "--out", tmp_path)
    assert code == 0
    assert "random weights: speed and memory are a real model's, pictures are not" in out
    assert "height 32" in out
    assert "mlps, text-mlps" in out


BAD = {
    "unknown random model": (("--model", "random-sd9"), "expected one of random-sdxl"),
    "unknown dtype": (("--model", "random-sdxl", "--dtype", "int3"), "dtype"),
    "unknown device": (("--model", "random-sdxl", "--device", "tpu9"), "device"),
    "unknown part": (("--what", "speed"), "got what='speed'"),
    "no such maps": (("--steering", "nowhere/maps"), "expected an existing folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_one_line_and_leave_nothing(linea, case, tmp_path):
    arguments, message = BAD[case]
    code, _, err = linea("bench", *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_random_maps_are_dense_and_depend_on_the_seed(pipe):
    maps = [bench_ways.random_maps(pipe, BenchConfig(seed=seed)) for seed in (0, 0, 1)]
    numbers = [torch.cat([p.flatten() for p in one.parameters()]) for one in maps]
    assert torch.equal(numbers[0], numbers[1])
    assert not torch.equal(numbers[0], numbers[2])
    assert maps[0].support == 1.0
