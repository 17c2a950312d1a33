"""Batches in which something fails: the others go on, the reason is told, and nothing half made stays."""

from __future__ import annotations

import gc
import inspect
import shutil
from types import SimpleNamespace

import pytest
import torch

from linea_diffusion import LineaError, LinEASDiffusionPipeline, generate_batch
from linea_diffusion.batch.jobs.jobs import JobMaker
from linea_diffusion.pipelines.rendering.batch_size import BatchSize

from ..batches import QUICK, events, files, rows, tiny_pipe, tiny_style


@pytest.fixture(scope="module", autouse=True)
def little_garbage():
    """What is collected when memory runs out is what these tests made, not all libraries each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def tiny():
    pipe = tiny_pipe()
    pipe.load_steering(tiny_style(pipe, 1, text="a picture in neon style", neutral="a picture"), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    return pipe


def run(pipe, jobs, out, **arguments):
    defaults = {**QUICK, "strength": 0, **arguments.pop("defaults", {})}
    return generate_batch(pipe, jobs, out, defaults=defaults, progress=False, **arguments)


def test_a_bad_job_takes_no_other_with_it(tiny, tmp_path):
    jobs = [{"prompt": "a cat", "seed": seed} for seed in range(6)]
    jobs[2] = {"prompt": "a cat", "seed": 2, "clip_skip": 77}  # no such layer
    jobs[4] = {"prompt": "a dog", "steering": "no/such/maps"}
    seen = []
    summary = run(tiny, jobs, tmp_path, on_event=seen.append)
    assert (summary.done, summary.failed, summary.bad_lines) == (4, 1, 1)
    assert [row["line"] for row in rows(tmp_path)] == [1, 2, 4, 6]
    failed = rows(tmp_path, "failures.jsonl")
    assert [row["line"] for row in failed] == [3, 5]
    assert "IndexError" in failed[0]["reason"]
    assert "no/such/maps" in failed[1]["reason"]
    assert [event["line"] for event in events(seen, "failure")] == [3]
    again = run(tiny, jobs, tmp_path)
    assert (again.done, again.skipped, again.failed, again.failures) == (0, 4, 1, 2)
    assert run(tiny, [{"prompt": "a cat", "clip_skip": 77, "seed": 2}], tmp_path, retry_failed=True).failed == 1


class Breaks(Exception):
    """What the pipeline below raises."""


def breaking(pipe, *, on=(), nan=(), room=10**9):
    """The pipeline, made to fail on some prompts, to draw no numbers for others, to lack memory for large batches."""
    base = pipe.base
    decode = base.vae.decode
    now = []

    class Broken(type(base)):
        def __call__(self, prompt=None, **kwargs):
            if any(word in one for one in prompt for word in on):
                raise Breaks("it broke")
            if len(prompt) > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            now[:] = prompt
            calls.append(len(prompt))
            return super().__call__(prompt, **kwargs)

        __call__.__signature__ = inspect.signature(type(base).__call__)

    def spoilt(latents, **kwargs):
        pictures = decode(latents, **kwargs)
        for row, prompt in enumerate(now):
            if any(word in prompt for word in nan):
                pictures[0][row] = float("nan")
        return pictures

    calls = []
    broken = Broken(**base.components, requires_safety_checker=False)
    broken.vae.decode = spoilt
    return LinEASDiffusionPipeline(broken), calls, lambda: delattr(broken.vae, "decode")


def test_culprits_are_found_and_images_without_numbers_refused(tmp_path):
    pipe, _, mend = breaking(tiny_pipe(), on=["bomb"], nan=["fog"])
    jobs = [{"prompt": f"a {word}", "seed": n} for n, word in enumerate(["cat", "bomb", "dog", "fog", "boat", "bombs"])]
    summary = run(pipe, jobs, tmp_path, batch_size=6)
    assert (summary.done, summary.failed) == (3, 3)
    reasons = {row["line"]: row["reason"] for row in rows(tmp_path, "failures.jsonl")}
    assert reasons[2] == "the pipeline raised Breaks: it broke"
    assert "not finite" in reasons[4]
    assert len(files(tmp_path)) == 3
    mend()
    mended, _, _ = breaking(tiny_pipe())
    assert run(mended, jobs, tmp_path, batch_size=6).failed == 3  # they are not tried again unless asked
    retried = run(mended, jobs, tmp_path, batch_size=6, retry_failed=True)
    assert (retried.done, retried.failed, retried.failures) == (3, 0, 0)
    assert rows(tmp_path, "failures.jsonl") == []


def test_out_of_memory_halves_the_batch_from_then_on(tmp_path):
    pipe, calls, _ = breaking(tiny_pipe(), room=3)
    jobs = [{"prompt": f"cat {n}"} for n in range(20)]
    summary = run(pipe, jobs, tmp_path, batch_size="auto")
    assert (summary.done, summary.failed) == (20, 0)
    assert max(calls) == 2  # 16, 8, 4 did not fit
    assert calls.count(1) == 0


def test_an_image_that_never_fits_is_a_failure_with_a_reason(tmp_path):
    pipe, _, _ = breaking(tiny_pipe(), room=0)
    summary = run(pipe, [{"prompt": "a cat"}, {"prompt": "a dog"}], tmp_path)
    assert (summary.done, summary.failed) == (0, 2)
    assert "memory ran out with this image alone" in rows(tmp_path, "failures.jsonl")[0]["reason"]


def test_an_image_that_its_format_cannot_hold_is_a_failure(tiny, tmp_path):
    jobs = [{"prompt": "a cat"}, {"prompt": "a " + "long " * 20_000 + "cat"}, {"prompt": "half \ud800"}]
    summary = run(tiny, jobs, tmp_path, image_format="jpg")
    assert (summary.done, summary.failed, summary.bad_lines) == (1, 1, 1)
    reasons = [row["reason"] for row in rows(tmp_path, "failures.jsonl")]
    assert "cannot be written as jpg" in reasons[0]
    assert "half a character" in reasons[1]
    assert len(files(tmp_path)) == len(rows(tmp_path)) == 1


def test_strict_stops_at_the_line(tiny, tmp_path):
    with pytest.raises(LineaError, match=r"line 2: got unknown field 'promt'.*nearest: prompt"):
        run(tiny, [{"prompt": "a cat"}, {"promt": "a dog"}], tmp_path, strict=True)


def test_a_lost_folder_is_one_clear_error(tiny, tmp_path):
    out = tmp_path / "out"

    def lose(event):
        if event["event"] == "image" and out.exists():
            shutil.rmtree(out)

    with pytest.raises(LineaError, match=r"expected to write it .*No such file.*everything finished is kept"):
        run(tiny, [{"prompt": "a cat", "seed": seed} for seed in range(9)], out, batch_size=1, on_event=lose)


def test_arguments_are_checked(tiny, tmp_path):
    for wrong, message in (
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": "huge"}, "auto"),
        ({"image_format": "gif"}, "png, jpg, webp"),
        ({"window": 0}, "window 0"),
    ):
        with pytest.raises(LineaError, match=message):
            run(tiny, ["a cat"], tmp_path / "none", **wrong)
    with pytest.raises(LineaError, match="unknown field 'stepz'"):
        run(tiny, ["a cat"], tmp_path / "none", defaults={"stepz": 3})
    assert not (tmp_path / "none").exists()


class Memory:
    """A device where each row of 16 x 16 pixels takes 1 MiB."""

    def __init__(self, free):
        self.room, self.rows, self.begun = free, 0, 0

    def begin(self):
        self.begun += 1

    def taken(self):
        return self.rows << 20

    def free(self):
        return self.room


@pytest.mark.parametrize(("free", "size"), [(1 << 40, 16), (64 << 20, 4), (1, 1)])
def test_auto_begins_with_half_of_what_may_be_had(tiny, monkeypatch, free, size):
    """Not of what is unused: a system that has read many files keeps nearly all of its memory in use."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free, free=0))
    (job,) = JobMaker(tiny, {"size": 32, "strength": 0}, "png").jobs(1, {"prompt": "a cat"})
    assert BatchSize("auto", tiny.base).of(job) == size


@pytest.mark.parametrize(("free", "size"), [(10 << 20, 8), (200 << 20, 16), (1, 1)])
def test_what_a_batch_took_says_how_large_the_next_may_be(tiny, free, size):
    memory = Memory(free)
    sizes = BatchSize("auto", tiny.base, memory=memory)
    (job,) = JobMaker(tiny, {"size": 16}, "png").jobs(1, {"prompt": "a cat"})
    (large,) = JobMaker(tiny, {"size": 32}, "png").jobs(1, {"prompt": "a cat"})
    memory.rows = 3
    sizes.begin()
    sizes.learn(job, 3)
    assert memory.begun == 1
    assert sizes.of(job) == size  # never more than 16 on a CPU
    assert sizes.of(large) == max(1, min(16, int(0.8 * free / (4 << 20))))
    assert sizes.shrink(job, 4) <= 2
    sizes.learn(job, 3)
    assert sizes.of(job) <= 2  # once memory ran out, no larger batch is tried


def test_pictures_to_start_from(tiny, tmp_path):
    from diffusers import StableDiffusionImg2ImgPipeline
    from PIL import Image

    pipe = LinEASDiffusionPipeline(StableDiffusionImg2ImgPipeline.from_pipe(tiny.base))
    for colour in ("red", "blue"):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{colour}.png")
    jobs = [{"prompt": "a cat", "image": str(tmp_path / f"{colour}.png"), "denoising_strength": share}
            for colour in ("red", "blue", "none") for share in (0.5, 0.9)]  # fmt: skip
    summary = generate_batch(pipe, jobs, tmp_path / "out", defaults={"steps": 4, "guidance": 1}, progress=False)
    assert (summary.done, summary.bad_lines) == (4, 2)
    assert len({(tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}) == 4
