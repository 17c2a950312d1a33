"""Fields become jobs: every field matters to the digest, the same job has one digest, and errors say what to do."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from linea_diffusion import LineaError, SteeringMaps
from linea_diffusion.batch.jobs.expanding import check_strengths
from linea_diffusion.batch.jobs.fingerprint import canonical
from linea_diffusion.batch.jobs.jobs import JobMaker
from linea_diffusion.maps.digests import maps_digest
from linea_diffusion.pipelines.rendering.requests import grouped

from ..batches import tiny_pipe, tiny_style


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture(scope="module")
def maker():
    pipe = tiny_pipe()
    curve = {"strengths": [0.0, 0.5, 1.0], "values": [0.0, 0.2, 1.0], "measure": "truth"}
    pipe.load_steering(tiny_style(pipe, 1, calibration=curve), "styles/neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    return JobMaker(pipe, {"size": 16, "steps": 2, "strength": 0.5}, "png")


def only(maker, **fields):
    (job,) = maker.jobs(1, {"prompt": "a cat", **fields})
    if isinstance(job, LineaError):
        raise job
    return job


CHANGES = [
    {}, {"prompt": "a dog"}, {"negative_prompt": ""}, {"negative_prompt": "dull"}, {"seed": 1}, {"strength": 0.6},
    {"steering": "neon"}, {"steering": "mosaic"}, {"steering": []}, {"strength": {"neon": 0.5}}, {"steps": 3},
    {"guidance": 2}, {"size": 24}, {"size": "24x16"}, {"calibrated": False, "steering": "neon"}, {"eta": 0.5},
    {"composition": "chain"}, {"calibrated": False}, {"steering_guidance": "cond"}, {"steering_start": 0.2},
    {"steering_end": 0.8},
]  # fmt: skip


def test_every_field_matters(maker):
    changes = {}
    for change in CHANGES:
        if change.get("strength") == {"neon": 0.5}:
            assert only(maker, **change).digest == only(maker, steering="neon").digest
            continue
        extra = {"strength": 0} if change.get("steering") == [] else {}
        changes.setdefault(only(maker, **change, **extra).digest, []).append(change)
    assert all(len(same) == 1 for same in changes.values()), changes
    assert len(changes) == len(CHANGES) - 1


def test_the_same_job_in_other_words(maker):
    job = only(maker, guidance=2, steering=["neon", "mosaic"])
    for words in (
        {"guidance_scale": 2.0, "steering": ["mosaic", "styles/neon"]},
        {"guidance": 2, "steering": ["neon", "mosaic"], "num_inference_steps": 2, "width": 16, "height": 16, "eta": 0},
        {"guidance": 2, "strength": {"neon": 0.5, "mosaic": 0.5}, "steering_end": 1},
    ):
        assert only(maker, **words).digest == job.digest
    assert only(maker, width=24).arguments == {**only(maker).arguments, "width": 24}
    assert only(maker, guidance=7.5).digest == only(maker).digest  # the pipeline's own default
    pipe = tiny_pipe()
    pipe.load_steering(tiny_style(pipe, 1, calibration={"strengths": [0, 1], "values": [0, 1]}), "a")
    assert maps_digest(pipe.steering["a"]) != maker.sets.digest("styles/neon")
    assert canonical({"a": [1.0, 0.5, True, "1.0"]}) == {"a": [1, 0.5, True, "1.0"]}


def test_maps_have_one_digest_before_and_after_they_are_saved(tmp_path):
    """Ranks that do nothing and the sign of zero are not stored, and do not count."""
    maps = SteeringMaps({"unet.a": (2, 3, 2), "unet.b": 4}).requires_grad_(False)
    for parameter in maps.parameters():
        parameter.copy_(torch.arange(1.0, parameter.numel() + 1).view_as(parameter))
    before = maps_digest(maps)
    named = dict(maps.named_maps())
    named["unet.a"].up[..., 1] = 0
    named["unet.b"].shift[0] = -0.0
    maps.save_pretrained(tmp_path)
    assert maps_digest(SteeringMaps.from_pretrained(tmp_path)) == maps_digest(maps) != before
    digest = maps_digest(maps)
    named["unet.a"].down[0, 0, 0] += 1
    assert maps_digest(maps) != digest


def test_a_job_asks_for_itself(maker):
    for change in ({"steering": "neon", "strength": 0.3}, {"prompt": "a {b", "eta": 0.5, "negative_prompt": "x"},
                   {"composition": "chain", "steering": ["mosaic", "neon"], "calibrated": False},
                   {"calibrated": False}, {"calibrated": None}, {"steering": "mosaic", "calibrated": False},
                   {"steering": "neon", "calibrated": True}):  # fmt: skip
        change["prompt"] = change.get("prompt", "a cat").replace("{", "\\{")
        job = only(maker, **change)
        fields = job.fields()
        assert only(maker, **fields).digest == job.digest, fields


def test_a_strength_is_read_off_the_curve_where_there_is_one(maker):
    for way in ({}, {"calibrated": None}, {"calibrated": True}):
        job = only(maker, steering="neon", strength=0.2, **way)
        assert job.strength == {"styles/neon": 0.2}
        assert job.strengths["styles/neon"] == pytest.approx(0.5)
        assert (job.calibrated, job.on_curve) == (True, {"styles/neon": True})
    plain = only(maker, steering="neon", strength=0.2, calibrated=False)
    assert plain.strengths == {"styles/neon": 0.2}
    assert (plain.calibrated, plain.on_curve) == (False, {"styles/neon": False})
    both = only(maker, strength=0.2)
    assert both.strengths == {"mosaic": 0.2, "styles/neon": pytest.approx(0.5)}
    assert (both.calibrated, both.on_curve) == (None, {"mosaic": False, "styles/neon": True})
    assert len({one.shape for one in (job, plain, both)}) == 1
    alone = only(maker, steering="mosaic", strength=0.2)
    assert (alone.calibrated, alone.fields()["strength"]) == (None, {"mosaic": 0.2})
    assert "calibrated" not in alone.fields()
    with pytest.raises(LineaError, match="without a calibration"):
        only(maker, steering="mosaic", calibrated=True)
    for wrong in ("yes", 1):
        with pytest.raises(LineaError, match="expected one of None, True, False"):
            only(maker, calibrated=wrong)


def _digests(curve: dict | None, **fields) -> str:
    pipe = tiny_pipe()
    facts = {} if curve is None else {"calibration": curve}
    pipe.load_steering(tiny_style(pipe, 1, **facts), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    return only(JobMaker(pipe, {"size": 16, "steps": 2, "strength": 0.5}, "png"), **fields).digest


def test_the_digest_follows_the_calibration_in_use():
    one = {"strengths": [0.0, 0.5, 1.0], "values": [0.0, 0.2, 1.0], "measure": "truth"}
    other = {**one, "values": [0.0, 0.3, 1.0]}
    for fields in ({}, {"steering": "neon"}):
        digests = [_digests(curve, **fields) for curve in (None, one, other)]
        assert len(set(digests)) == 3
        assert _digests(one, calibrated=False, **fields) not in digests
    assert _digests(one, steering="neon", calibrated=True) == _digests(one, steering="neon")
    for way in ({}, {"calibrated": None}, {"calibrated": False}):
        assert _digests(None, **way) == _digests(None)


def test_without_a_calibration_a_digest_is_what_it_was(maker):
    job = only(maker, steering="mosaic")
    assert job.recipe["dials"] == {
        "calibrated": False, "composition": "sum", "steering_end": 1.0, "steering_guidance": "both",
        "steering_start": 0.0,
    }  # fmt: skip
    assert job.recipe["steering"] == [[maker.sets.digest("mosaic"), 0.5]]
    assert only(maker, steering=[], strength=0).recipe["dials"] == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stength": 1}, "unknown field 'stength'.*nearest: strength"),
        ({"s" * 5000: 1}, r"unknown field 's+\.\.\.s+': expected"),
        ({"eta": nested(5000)}, "more than 20 deep"),
        ({"eta": nested(30)}, "more than 20 deep"),
        ({"width": "wide"}, "width='wide'"),
        ({"size": 16, "width": 24}, "'width' twice"),
        ({"steps": 3, "num_inference_steps": 3}, "'num_inference_steps' twice"),
        ({"steps": 0}, "num_inference_steps=0"),
        ({"steps": 10**400}, "num_inference_steps=a whole number of 1329 bits"),
        ({"steps": 2.5}, "num_inference_steps=2.5"),
        ({"guidance": "high"}, "guidance_scale 'high'"),
        ({"size": "a x b"}, "size 'a x b'"),
        ({"prompt": ""}, "prompt ''"),
        ({"prompt": 3}, "prompt 3"),
        ({"strength": float("nan")}, "strength nan"),
        ({"strength": 1, "steering": []}, "no steering"),
        ({"strength": {"neon": 1}, "steering": ["mosaic"]}, "expected the same names"),
        ({"strength": {"nothing/there": 1}}, "nothing/there"),
        ({"steering": 3}, "steering 3"),
        ({"steering": ["neon", "neon"]}, "each name once"),
        ({"num_images_per_prompt": 2}, "list of seeds"),
        ({"generator": 1}, "leave it out"),
        ({"prompt_embeds": [1]}, "leave it out"),
        ({"denoising_strength": 0.5}, "denoising_strength, which StableDiffusionPipeline has no use for"),
        ({"steering_start": 0.8, "steering_end": 0.5}, "start before the end"),
        ({"steering_end": 2}, "0 to 1"),
        ({"composition": "product"}, "sum, chain"),
        ({"eta": float("inf")}, "JSON cannot hold"),
    ],
)
def test_errors_say_what_to_do(maker, fields, message):
    with pytest.raises(LineaError, match=message):
        only(maker, **fields)


def test_pictures_are_known_by_their_bytes(tmp_path):
    from diffusers import StableDiffusionImg2ImgPipeline

    from linea_diffusion import LinEASDiffusionPipeline

    pipe = LinEASDiffusionPipeline(StableDiffusionImg2ImgPipeline.from_pipe(tiny_pipe().base))
    maker = JobMaker(pipe, {}, "png")
    for name, colour in (("a.png", "red"), ("b.png", "red"), ("c.png", "blue")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / name)
    a, b, c = (only(maker, image=str(tmp_path / name)) for name in ("a.png", "b.png", "c.png"))
    assert a.digest == b.digest != c.digest
    assert only(maker, image=str(tmp_path / "a.png"), denoising_strength=0.5).digest != a.digest
    assert a.shape == c.shape
    with pytest.raises(LineaError, match="readable file"):
        only(maker, image=str(tmp_path / "none.png"))


class Guide:
    """What several ControlNets are in one."""

    nets = ()


def test_pictures_that_a_call_shares_belong_to_its_shape(tmp_path):
    from diffusers import StableDiffusionImg2ImgPipeline

    from linea_diffusion import LinEASDiffusionPipeline
    from linea_diffusion.batch.jobs.input_images import pictures_by_row

    pipe = LinEASDiffusionPipeline(StableDiffusionImg2ImgPipeline.from_pipe(tiny_pipe().base))
    for name, size in (("a.png", 16), ("b.png", 16), ("c.png", 24)):
        Image.new("RGB", (size, size), name[0] * 3 and (ord(name[0]), 0, 0)).save(tmp_path / name)
    a, b, c = (str(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    maker = JobMaker(pipe, {"image": a}, "png")
    plain, other, larger = (only(maker, image=one) for one in (a, b, c))
    assert plain.shape == other.shape != larger.shape
    with_a, with_b = (only(maker, ip_adapter_image=one) for one in (a, b))  # a list would be one of each adapter
    assert with_a.shape != with_b.shape
    assert (with_a.rows, plain.rows) == (("image",), ("image",))
    assert pictures_by_row(tiny_pipe().base) == ()  # what takes pictures without a strength edits by references
    pipe.base.components["controlnet"] = None
    vars(pipe.base)["controlnet"] = Guide()
    assert "image" in pictures_by_row(pipe.base)


def test_groups_have_one_shape_and_wait_no_longer_than_the_window(maker):
    jobs = [only(maker, seed=n, steps=2 + n % 3, steering=["neon", "mosaic"][n % 2]) for n in range(30)]
    read = []
    batches = grouped((read.append(job) or job for job in jobs), lambda job: 4, window=8)
    first = next(batches)
    assert len(read) <= 8
    groups = [first, *batches]
    assert sorted(job.seed for group in groups for job in group) == list(range(30))
    assert all(len({job.shape for job in group}) == 1 for group in groups)
    assert all(len(group) <= 4 for group in groups)
    assert len(groups) <= 9
    assert len({next(iter(job.strength)) for job in first}) == 2  # different styles in one batch
    alone = list(grouped(iter(jobs), lambda job: 4, window=1))
    assert all(len(group) == 1 for group in alone)


def test_strengths_by_style_as_text_are_those_of_every_command():
    assert check_strengths("neon=0.7,mosaic=0:1:3") == [{"neon": 0.7, "mosaic": value} for value in (0.0, 0.5, 1.0)]
    assert check_strengths("0:1:3") == [0.0, 0.5, 1.0]
