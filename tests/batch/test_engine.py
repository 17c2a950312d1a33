"""generate_batch: noise by seed alone, batches of different styles, nothing made twice, failures that stop nobody."""

from __future__ import annotations

import json
import shutil

import datasets
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from linea_diffusion import LineaError, LinEASDiffusionPipeline, generate_batch
from linea_diffusion.batch.engine import plan_batch
from linea_diffusion.maps.digests import maps_digest
from linea_diffusion.scoring.images.saving import read_record

from ..batches import QUICK, events, files, pixels, rows, tiny_pipe, tiny_style


@pytest.fixture(scope="module")
def tiny():
    pipe = tiny_pipe()
    pipe.load_steering(tiny_style(pipe, 1, text="a picture in neon style", neutral="a picture"), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    return pipe


def run(pipe, jobs, out, **arguments):
    defaults = {**QUICK, "strength": 0, **arguments.pop("defaults", {})}
    return generate_batch(pipe, jobs, out, defaults=defaults, progress=False, **arguments)


JOBS = [
    {"prompt": "a red heart", "seed": 3},
    {"prompt": "a blue fish", "seed": 4, "steering": "neon", "strength": 0.7},
    {"prompt": "a green tree", "seed": 5, "strength": {"neon": 0.3, "mosaic": -0.5}},
    {"prompt": "a red star", "seed": 6, "steering": "mosaic", "strength": 1},
    {"prompt": "a cat", "seed": 3, "steering": "neon", "strength": 0.2},
    {"prompt": "a dog", "seed": 7},
]


def test_each_image_is_what_a_call_of_its_own_gives(tiny, tmp_path):
    run(tiny, JOBS, tmp_path, batch_size=1)
    for job, row in zip(JOBS, rows(tmp_path), strict=True):
        strength = job.get("strength", 0)
        if not isinstance(strength, dict):
            strength = {job.get("steering", "neon"): strength}
        generator = torch.Generator().manual_seed(job["seed"])
        alone = tiny(
            job["prompt"], strength=strength, generator=generator, num_inference_steps=1, guidance_scale=1.0,
            height=16, width=16,
        ).images[0]  # fmt: skip
        assert np.array_equal(pixels(tmp_path, row), np.asarray(alone)), job
        assert row["prompt"] == job["prompt"]
        assert row["seed"] == job["seed"]


def test_neighbours_order_and_batch_size_do_not_matter(tiny, tmp_path):
    calls = []
    run(tiny, JOBS, tmp_path / "six", batch_size=6, on_event=calls.append)
    others = [{"prompt": "a house", "seed": 9, "steering": "mosaic"}, {"prompt": "a boat", "seed": 10}]
    run(tiny, [*others[:1], *JOBS[::-1][:5], *others[1:], JOBS[0]], tmp_path / "other", batch_size=6, window=6)
    run(tiny, JOBS, tmp_path / "one", batch_size=1)
    six, other, one = (
        {row["file_name"]: pixels(tmp_path / name, row) for row in rows(tmp_path / name)}
        for name in ("six", "other", "one")
    )
    assert len(six) == 6
    assert set(six) == set(one)
    equal = [np.array_equal(six[name], other[name]) for name in list(six)]
    assert sum(equal) >= 5  # the sixth ran in the remaining batch of two
    assert all(np.abs(six[name] - one[name]).max() <= 1 for name in six)
    assert all(np.abs(six[name] - other[name]).max() <= 1 for name in six)


def test_the_seed_the_strength_and_the_style_change_the_image(tiny, tmp_path):
    job = {"prompt": "a red heart", "steering": "neon", "strength": 0.5, "seed": 1}
    changes = [{}, {"seed": 2}, {"strength": 0.9}, {"steering": "mosaic"}, {"prompt": "a blue fish"}, {"steps": 2},
               {"negative_prompt": "dull", "guidance": 3.0}, {"guidance": 3.0}, {"steering_end": 0.5, "steps": 2},
               {"steering_guidance": "cond", "guidance": 3.0}, {"size": "24x16"}]  # fmt: skip
    run(tiny, [job | change for change in changes], tmp_path)
    made = [pixels(tmp_path, row) for row in rows(tmp_path)]
    assert len(made) == len(changes)
    for number, image in enumerate(made):
        for other in made[:number]:
            assert image.shape != other.shape or not np.array_equal(image, other)
    assert made[-1].shape == (16, 24, 3)


def test_chained_styles_act_in_the_order_of_the_job(tiny, tmp_path):
    pair = [{"prompt": "a cat", "steering": order, "strength": 1, "composition": "chain"}
            for order in (["neon", "mosaic"], ["mosaic", "neon"])]  # fmt: skip
    assert run(tiny, pair, tmp_path).done == 2
    first, second = (pixels(tmp_path, row) for row in rows(tmp_path))
    assert not np.array_equal(first, second)
    summed = [{"prompt": "a cat", "steering": ["mosaic", "neon"], "strength": 1},
              {"prompt": "a cat", "steering": ["neon", "mosaic"], "strength": 1}]  # fmt: skip
    assert run(tiny, summed, tmp_path / "sum").duplicates == 1


def test_what_is_there_is_not_made_again(tiny, tmp_path):
    first = run(tiny, JOBS[:3], tmp_path)
    seen = []
    second = run(tiny, JOBS, tmp_path, on_event=seen.append)
    assert (first.done, second.done, second.skipped) == (3, 3, 3)
    assert len(rows(tmp_path)) == len(files(tmp_path)) == 6 == second.images
    assert len(events(seen, "skipped")) == 3
    (tmp_path / rows(tmp_path)[0]["file_name"]).unlink()
    assert run(tiny, JOBS[1:], tmp_path).images == 5  # deleted, not asked for: it has no line any more
    assert run(tiny, JOBS, tmp_path).done == 1  # asked for: made again


def test_the_same_job_twice_is_one_image_and_counted(tiny, tmp_path):
    jobs = [{"prompt": "a cat"}, "a cat", {"prompt": "a cat", "seed": 0, "guidance": 1, "width": 16}]
    summary = run(tiny, jobs, tmp_path)
    assert (summary.done, summary.duplicates, summary.images) == (1, 2, 1)
    assert run(tiny, jobs, tmp_path).duplicates == 2


def test_alternatives_strengths_and_seeds_make_several_images(tiny, tmp_path):
    jobs = [{"prompt": "a {red,blue} {cat,dog}", "strength": "0:1:3", "steering": "neon", "images": 2}]
    assert run(tiny, jobs, tmp_path).done == 4 * 3 * 2
    made = {(row["prompt"], row["seed"], row["strength"]) for row in rows(tmp_path)}
    assert len(made) == 24
    assert {strength for _, _, strength in made} == {0, 0.5, 1}


def test_datasets_loads_the_folder_as_it_is(tiny, tmp_path):
    mixed = [*JOBS, {"prompt": "bad", "strength": "x"}, {"prompt": "a cat", "guidance": 2, "negative_prompt": "dull"}]
    run(tiny, mixed, tmp_path / "out")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    table = loaded["train"]
    assert table["prompt"] == [row["prompt"] for row in rows(tmp_path / "out")]
    assert len(table) == 7
    assert [table[2][f"strength{name}"] for name in ("", ".mosaic", ".neon")] == [None, -0.5, 0.3]
    assert [table[1][f"strength{name}"] for name in ("", ".mosaic", ".neon")] == [0.7, 0.0, 0.7]
    assert table["strength"][-2:] == [0.0, 0.0]
    assert np.array_equal(np.asarray(table[1]["image"]), pixels(tmp_path / "out", rows(tmp_path / "out")[1]))


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_an_image_carries_the_job_that_makes_it_again(tiny, tmp_path, ending):
    job = {"prompt": r"a \{red, blue\} café", "strength": {"neon": 0.5}, "negative_prompt": "dull", "guidance": 2.0}
    run(tiny, [job], tmp_path / "a", image_format=ending)
    (row,) = rows(tmp_path / "a")
    assert row["prompt"] == "a {red, blue} café"
    recipe = read_record(tmp_path / "a" / row["file_name"])
    assert recipe["model"] == "StableDiffusionPipeline"
    with Image.open(tmp_path / "a" / row["file_name"]) as image:
        assert image.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[ending]
    run(tiny, [recipe["job"]], tmp_path / "b", image_format=ending)
    assert rows(tmp_path / "b") == rows(tmp_path / "a")
    again = tmp_path / "b" / row["file_name"]
    assert again.read_bytes() == (tmp_path / "a" / row["file_name"]).read_bytes()


def test_stop_finishes_what_is_under_way(tiny, tmp_path):
    seen = []
    jobs = [{"prompt": "a cat", "seed": seed} for seed in range(12)]
    summary = run(
        tiny, jobs, tmp_path, batch_size=2, on_event=seen.append, stop=lambda: len(events(seen, "image")) >= 4
    )
    assert summary.stopped
    assert 4 <= summary.done < 12
    assert len(rows(tmp_path)) == len(files(tmp_path)) == summary.done
    assert run(tiny, jobs, tmp_path).done == 12 - summary.done


def test_planning_counts_and_writes_nothing(tiny, tmp_path):
    run(tiny, JOBS[:2], tmp_path / "out")
    before = files(tmp_path / "out")
    bad = []
    jobs = [*JOBS, JOBS[0], {"prompt": "a cat", "steps": 2}, {"prompt": ""}]
    settings = {"defaults": {**QUICK, "strength": 0}, "batch_size": 2, "progress": False}
    plan = plan_batch(tiny, jobs, tmp_path / "out", on_bad_line=lambda line, error: bad.append(line), **settings)
    assert (plan.images, plan.batches, plan.skipped, plan.duplicates, plan.bad_lines) == (5, 3, 2, 1, 1)
    assert bad == [9]
    assert files(tmp_path / "out") == before
    plan_batch(tiny, jobs, tmp_path / "none", **settings)
    assert not (tmp_path / "none").exists()


def test_scores_stand_in_the_lines(tiny, tmp_path):
    from linea_diffusion import ClipScorer

    scorer = ClipScorer()
    run(tiny, JOBS, tmp_path)
    assert "clip_prompt_cosine" not in rows(tmp_path)[0]
    assert not (tmp_path / ".metadata.columns.json").exists()
    before = rows(tmp_path)
    (tmp_path / before[5]["file_name"]).unlink()
    summary = run(tiny, JOBS, tmp_path, scorer=scorer)  # what is there is scored without being made again
    assert (summary.done, summary.skipped) == (1, 5)
    lines = rows(tmp_path)
    assert [{name: line[name] for name in before[0]} for line in lines] == before
    assert all(-1 < line["clip_prompt_cosine"] < 1 for line in lines)
    with Image.open(tmp_path / lines[1]["file_name"]) as image:
        assert lines[1]["clip_prompt_cosine"] == pytest.approx(
            float(scorer.text_similarity([image], "a blue fish")), abs=1e-4
        )
        chance = float(scorer.style_probability([image], "a picture in neon style", "a picture"))
        assert lines[1]["clip_style_probability"] == pytest.approx(chance, abs=1e-4)
    assert lines[3]["clip_style_probability"] is None  # mosaic says nothing to score
    assert run(tiny, JOBS, tmp_path, scorer=scorer).skipped == 6
    assert "raw cosine" in (tmp_path / ".metadata.columns.json").read_text()


def test_a_job_without_steering_does_what_a_call_does(tiny, tmp_path):
    tiny.set_steering("neon", 0.6)
    try:
        generate_batch(tiny, [{"prompt": "a cat", "seed": 2}], tmp_path, defaults=QUICK, progress=False)
        (row,) = rows(tmp_path)
        generator = torch.Generator().manual_seed(2)
        call = tiny("a cat", generator=generator, num_inference_steps=1, guidance_scale=1.0, height=16, width=16)
        assert (row["steering"], row["strength"]) == (["neon"], 0.6)
        assert np.array_equal(pixels(tmp_path, row), np.asarray(call.images[0]))
    finally:
        tiny.steering.choice = None


def test_another_model_is_another_job(tiny, tmp_path):
    run(tiny, ["a cat"], tmp_path)
    with torch.no_grad():
        tiny.unet.conv_in.weight.mul_(2)
    assert run(tiny, ["a cat"], tmp_path).done == 1
    with torch.no_grad():
        tiny.unet.conv_in.weight.div_(2)
    assert run(tiny, ["a cat"], tmp_path).skipped == 1


def leftover_files(out) -> set[str]:
    return {path.name for path in (out / ".linea" / "leftovers").rglob("*.*")}


def test_the_present_jobs_decide_what_is_in_the_data_set_and_in_which_order(tiny, tmp_path):
    run(tiny, JOBS, tmp_path)
    first = rows(tmp_path)
    present = [JOBS[4], {"prompt": "new"}, JOBS[1]]
    summary = run(tiny, present, tmp_path)
    assert (summary.done, summary.skipped, summary.images, summary.leftovers) == (1, 2, 3, 4)
    assert [(row["prompt"], row["line"]) for row in rows(tmp_path)] == [("a cat", 1), ("new", 2), ("a blue fish", 3)]
    assert files(tmp_path) == {row["file_name"] for row in rows(tmp_path)}
    aside = rows(tmp_path, ".linea/leftovers.jsonl")
    assert [row["prompt"] for row in aside] == ["a red heart", "a green tree", "a red star", "a dog"]
    assert leftover_files(tmp_path) == {row["file_name"].rsplit("/", 1)[1] for row in aside}
    again = run(tiny, JOBS, tmp_path)  # they come back without being made again
    assert (again.done, again.skipped, again.leftovers) == (0, 6, 1)
    assert rows(tmp_path) == first
    run(tiny, present, tmp_path / "anew")
    run(tiny, present, tmp_path)
    assert (tmp_path / "metadata.jsonl").read_bytes() == (tmp_path / "anew" / "metadata.jsonl").read_bytes()


def test_pruning_removes_what_no_line_asks_for(tiny, tmp_path):
    run(tiny, JOBS, tmp_path)
    kept = run(tiny, [*JOBS[:2], {"prompt": ""}], tmp_path, prune=True)  # the bad line may have asked for one of them
    assert (kept.leftovers, kept.pruned) == (4, 0)
    assert (run(tiny, [], tmp_path / "empty", prune=True).pruned, len(leftover_files(tmp_path))) == (0, 4)
    plan = plan_batch(tiny, JOBS[:1], tmp_path, defaults={**QUICK, "strength": 0}, progress=False)
    assert plan.leftovers == 1
    pruned = run(tiny, JOBS[:1], tmp_path, prune=True)
    assert (pruned.images, pruned.leftovers, pruned.pruned) == (1, 0, 5)
    assert leftover_files(tmp_path) == set()
    assert run(tiny, JOBS, tmp_path).done == 5


def test_a_stopped_run_puts_nothing_aside(tiny, tmp_path):
    run(tiny, JOBS, tmp_path)
    summary = run(tiny, JOBS[::-1], tmp_path, stop=lambda: True)
    assert (summary.stopped, summary.images, summary.leftovers) == (True, 6, 0)


def test_failures_of_lines_that_are_gone_do_not_stay(tiny, tmp_path):
    bad = [
        {"prompt": "a cat", "num_inference_steps": 3, "height": 15, "width": 16},
        {"prompt": "a dog", "strength": "x"},
    ]
    assert run(tiny, ["fine", *bad], tmp_path).failures == 2
    assert [row["line"] for row in rows(tmp_path, "failures.jsonl")] == [2, 3]
    assert run(tiny, [bad[0], "fine"], tmp_path).failures == 1
    assert [row["line"] for row in rows(tmp_path, "failures.jsonl")] == [1]
    assert run(tiny, ["fine"], tmp_path).failures == 0
    assert rows(tmp_path, "failures.jsonl") == []


def test_rows_name_the_numbers_of_their_maps(tiny, tmp_path):
    job = {"prompt": "a cat", "strength": {"neon": 0.5}}
    plain = {"prompt": "plain", "steering": []}
    run(tiny, [job, plain], tmp_path)
    (before, without), maps = rows(tmp_path), tiny.steering["neon"]
    assert before["steering_sha256"] == [maps_digest(maps)]
    assert without["steering_sha256"] == []
    tiny.load_steering(2 * maps, "neon", replace=True)
    try:
        assert run(tiny, [job, plain], tmp_path).done == 1
        after = rows(tmp_path)[0]
        assert after["steering_sha256"] != before["steering_sha256"]
        assert after["file_name"] != before["file_name"]
        assert leftover_files(tmp_path) == {before["file_name"].rsplit("/", 1)[1]}
    finally:
        tiny.load_steering(maps, "neon", replace=True)


@pytest.mark.parametrize("size", [0, 100])
def test_an_image_that_is_not_whole_is_made_again(tiny, tmp_path, size):
    run(tiny, JOBS[:2], tmp_path)
    before, file = rows(tmp_path), tmp_path / rows(tmp_path)[1]["file_name"]
    content = file.read_bytes()
    file.write_bytes(content[:size])
    summary = run(tiny, JOBS[:2], tmp_path)
    assert (summary.done, summary.skipped) == (1, 1)
    assert file.read_bytes() == content
    assert rows(tmp_path) == before


@pytest.mark.parametrize("folder", [".linea", "images"])
def test_a_folder_removed_during_a_run_is_an_error(tiny, tmp_path, folder):
    def remove(event):
        if event["event"] == "image":
            shutil.rmtree(tmp_path / folder, ignore_errors=True)

    with pytest.raises(LineaError, match="start again"):
        run(tiny, JOBS, tmp_path, batch_size=2, on_event=remove)
    assert run(tiny, JOBS, tmp_path).images == 6
    before = files(tmp_path)
    with pytest.raises(LineaError, match=r"removed.*running"):  # after the last image as well
        run(tiny, [*JOBS, "one more"], tmp_path, on_event=remove)
    assert run(tiny, JOBS, tmp_path).images == 6
    assert before <= files(tmp_path)


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"steps": 0}, "num_inference_steps=0"),
        ({"guidance": float("nan")}, "guidance_scale nan"),
        ({"seed": -5}, "seed -5"),
        ({"images": 0}, "images=0"),
        ({"images": 10**9}, "asks for 1000000000 images"),
        ({"negative_prompt": "{a"}, "does not close"),
        ({"eta": float("inf")}, "JSON cannot hold"),
        ({"steering": "no/such/maps"}, "no/such/maps"),
        ({"strength": {"no/such/maps": 1}}, "no/such/maps"),
        ({"strength": [0, float("inf")]}, "strength inf"),
        ({"size": "0x16"}, "size"),
        ({"steering_start": 0.5, "steering_end": 0.5}, "start before the end"),
        ({"denoising_strength": 0.5}, "StableDiffusionPipeline has no use for"),
    ],
)
def test_what_is_wrong_for_all_jobs_is_refused_once(tiny, tmp_path, defaults, message):
    with pytest.raises(LineaError, match=message):
        generate_batch(tiny, JOBS, tmp_path, defaults=defaults, progress=False)
    assert not (tmp_path / "failures.jsonl").exists()


def test_a_safety_checkers_black_pictures_are_failures(tiny, tmp_path, monkeypatch):
    calls = []

    def run_safety_checker(self, image, device, dtype):
        flags = [not calls and number == 1 for number in range(len(image))]
        calls.append(flags)
        return torch.where(torch.tensor(flags)[:, None, None, None], 0, image), flags

    monkeypatch.setattr(type(tiny.base), "run_safety_checker", run_safety_checker)
    checker = torch.nn.Linear(1, 1)
    checker.device, checker.dtype = torch.device("cpu"), torch.float32
    monkeypatch.setitem(vars(tiny.base), "safety_checker", checker)
    summary = run(tiny, JOBS, tmp_path)
    assert (summary.done, summary.failed) == (5, 1)
    (failure,) = rows(tmp_path, "failures.jsonl")
    assert (failure["line"], failure["nsfw"]) == (2, True)
    assert "safety checker" in failure["reason"]
    assert {row["nsfw"] for row in rows(tmp_path)} == {False}
    monkeypatch.undo()
    run(tiny, ["a fish"], tmp_path / "none")
    assert rows(tmp_path / "none")[0]["nsfw"] is None


def test_pictures_of_other_sizes_are_other_calls(tmp_path):
    pipe = LinEASDiffusionPipeline.from_pipe(tiny_pipe(), StableDiffusionImg2ImgPipeline)
    sizes = [(32, 24), (24, 32), (32, 32), (24, 32)]
    jobs = []
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (number, 0, 0)).save(tmp_path / f"{number}.png")
        jobs.append(
            {"prompt": "a cat", "image": str(tmp_path / f"{number}.png"), "denoising_strength": 0.5, "steps": 2}
        )
    out = tmp_path / "out"
    generate_batch(pipe, jobs, out, defaults={"guidance": 1.0}, progress=False)
    assert [(row["width"], row["height"]) for row in rows(out)] == sizes
    assert [pixels(out, row).shape[:2][::-1] for row in rows(out)] == sizes


def test_lines_that_lack_columns_get_new_ones_without_new_images(tiny, tmp_path):
    run(tiny, JOBS[:2], tmp_path)
    before, content = rows(tmp_path), {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    short = {name: before[0][name] for name in ("file_name", "line")}
    with (tmp_path / ".linea" / "manifest-0.jsonl").open("a") as shard:
        shard.write(json.dumps(short) + "\n")
    assert run(tiny, JOBS[:2], tmp_path).done == 0
    assert rows(tmp_path) == before
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == content


def test_long_names_leave_room_for_the_reason(tiny, tmp_path):
    run(tiny, [{"prompt": "a", "steering": "x" * 5000}], tmp_path)
    (failure,) = rows(tmp_path, "failures.jsonl")
    assert len(failure["reason"]) < 700
    assert failure["reason"].startswith("got steering 'xxx")
    assert "Hub" in failure["reason"]


def test_strengths_are_read_once_on_the_dial_that_is_told(tmp_path):
    curve = {"strengths": [0.0, 0.99, 1.0], "values": [0.0, 0.2, 1.0], "measure": "truth"}
    pipe = tiny_pipe()
    pipe.set_progress_bar_config(disable=True)
    pipe.load_steering(tiny_style(pipe, 1, calibration=curve), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    ways = [
        {"strength": {"neon": 0.2}}, {"strength": {"neon": 0.99}, "calibrated": False},
        {"strength": {"neon": 0.2}, "calibrated": False}, {"strength": {"mosaic": 0.5, "neon": 0.2}},
        {"strength": {"mosaic": 0.5}},
    ]  # fmt: skip
    run(pipe, [{"prompt": "a cat", **way} for way in ways], tmp_path)
    made = sorted(rows(tmp_path), key=lambda row: row["line"])
    on_dial, behind, plain = (pixels(tmp_path, row) for row in made[:3])
    assert np.abs(on_dial - behind).max() <= 1
    assert np.abs(on_dial - plain).mean() > 10 * np.abs(on_dial - behind).mean()
    dials = [json.loads(row["arguments"]).get("calibrated") for row in made]
    assert dials == [[True], [False], [False], [False, True], None]
    assert made[3]["steering"] == ["mosaic", "neon"]
    said = [read_record(tmp_path / row["file_name"]) for row in made]
    assert said[0]["dials"] == {"neon": "calibrated by truth"}
    assert said[1]["dials"] == {"neon": "share of the way in activations"}
    assert said[3]["dials"] == {"mosaic": "share of the way in activations", "neon": "calibrated by truth"}
    assert [recipe["job"].get("calibrated") for recipe in said] == [True, False, False, None, None]
    again = run(pipe, [recipe["job"] for recipe in said], tmp_path)
    assert (again.done, again.skipped) == (0, 5)
