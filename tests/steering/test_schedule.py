"""Where a running pipeline is in its schedule, under several of diffusers' schedulers, and that nothing is left behind.

Evidence: real schedulers in real, tiny pipelines; the timesteps that the denoiser is given say which step it is at.
"""

from __future__ import annotations

import copy
import inspect
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    HeunDiscreteScheduler,
    KandinskyV22Img2ImgPipeline,
    KDPM2DiscreteScheduler,
    LatentConsistencyModelImg2ImgPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps
from linea_diffusion.steering.calls.schedule import Progress, follow_schedule

from ..zoo.cases import CASES

SCHEDULERS = {
    "ddim": (DDIMScheduler, 3),
    "ddpm": (DDPMScheduler, 3),
    "dpm++": (DPMSolverMultistepScheduler, 3),
    "euler": (EulerDiscreteScheduler, 3),
    "euler ancestral": (EulerAncestralDiscreteScheduler, 3),
    "unipc": (UniPCMultistepScheduler, 3),
    # These call the denoiser more often than they are asked for.
    "pndm": (partial(PNDMScheduler, skip_prk_steps=True), 4),
    "heun": (HeunDiscreteScheduler, 5),
    "kdpm2": (KDPM2DiscreteScheduler, 5),
}
MORE_SCHEDULERS = {
    "lcm": (LCMScheduler, 3),
    "tcd": (TCDScheduler, 3),
    "lms": (LMSDiscreteScheduler, 3),
    "dpm++ single": (DPMSolverSinglestepScheduler, 3),
}
WATCHED = ("set_timesteps", "set_begin_index", "step")


@contextmanager
def _scheduled(pipe, scheduler):
    original = pipe.base.scheduler
    pipe.base.scheduler = scheduler
    try:
        yield scheduler
    finally:
        pipe.base.scheduler = original


@contextmanager
def _watched_fractions(model, progress, argument=1):
    """[(fraction, timestep)] at each call of a denoiser; `argument` is the place or name of its timestep."""
    seen = []

    def note(_, args, kwargs):
        timestep = kwargs[argument] if isinstance(argument, str) else args[argument]
        seen.append((progress.fraction, float(torch.as_tensor(timestep).flatten()[0])))

    with model.register_forward_pre_hook(note, with_kwargs=True):
        yield seen


@pytest.mark.parametrize(("kind", "calls"), SCHEDULERS.values(), ids=SCHEDULERS)
def test_the_fraction_counts_the_denoisers_calls(pipe, kind, calls):
    with (
        _scheduled(pipe, kind()) as scheduler,
        follow_schedule(pipe) as progress,
        _watched_fractions(pipe.unet, progress) as seen,
    ):
        for _ in range(2):  # a second picture begins anew
            seen.clear()
            pipe("a red heart", num_inference_steps=3, output_type="latent")
            assert [fraction for fraction, _ in seen] == [index / calls for index in range(calls)]
            assert [timestep for _, timestep in seen] == pytest.approx(scheduler.timesteps.tolist())


def test_guidance_and_batches_do_not_count(pipe):
    with follow_schedule(pipe.base) as progress, _watched_fractions(pipe.unet, progress) as seen:
        pipe(["a red heart"] * 3, num_inference_steps=2, guidance_scale=4.0, output_type="latent")
    assert [fraction for fraction, _ in seen] == [0, 0.5]


@pytest.mark.parametrize(("strength", "begin"), [(1.0, 0), (0.5, 3), (0.2, 5)])
def test_image_to_image_enters_where_its_noise_is(pipe, strength, begin):
    components = {**pipe.base.components, "scheduler": EulerDiscreteScheduler()}
    image_to_image = StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    image_to_image.set_progress_bar_config(disable=True)
    latents = torch.zeros(1, pipe.unet.config.in_channels, 8, 8)
    with follow_schedule(image_to_image) as progress, _watched_fractions(pipe.unet, progress) as seen:
        image_to_image("a red heart", latents, strength, num_inference_steps=6, output_type="latent")
    assert [fraction for fraction, _ in seen] == [index / 6 for index in range(begin, 6)]
    assert [timestep for _, timestep in seen] == image_to_image.scheduler.timesteps[begin:].tolist()


def _places(pipe, **arguments) -> list[int]:
    """Where the schedule is said to be at each call of the U-Net, whose timestep must stand there in the list."""
    with follow_schedule(pipe) as progress, _watched_fractions(pipe.unet, progress) as seen:
        pipe(**arguments, output_type="latent", generator=torch.Generator().manual_seed(0))
    timesteps = pipe.scheduler.timesteps
    places = [round(fraction * len(timesteps)) for fraction, _ in seen]
    assert [fraction for fraction, _ in seen] == [place / len(timesteps) for place in places]
    assert [timestep for _, timestep in seen] == pytest.approx([float(timesteps[place]) for place in places])
    return places


PICTURE = Image.fromarray(np.full((32, 32, 3), 90, np.uint8))
MASK = Image.new("L", (32, 32), 255)
KINDS = {
    StableDiffusionPipeline: {},
    StableDiffusionImg2ImgPipeline: {"image": PICTURE, "strength": 0.5},
    StableDiffusionInpaintPipeline: {
        "image": PICTURE, "mask_image": MASK, "strength": 0.5, "height": 32, "width": 32,
    },
}  # fmt: skip
MIDDLES = {
    "ddim": [2, 3], "ddpm": [2, 3], "dpm++": [2, 3], "euler": [2, 3], "euler ancestral": [2, 3], "unipc": [2, 3],
    "lcm": [2, 3], "tcd": [2, 3], "lms": [2, 3], "dpm++ single": [2, 3], "pndm": [2, 3, 4], "heun": [4, 5, 6],
    "kdpm2": [4, 5, 6],
}  # fmt: skip
"""Scheduler -> the places in its list that an image-to-image call with half of four steps runs."""


@pytest.mark.parametrize("name", MIDDLES)
@pytest.mark.parametrize("pipeline", KINDS, ids=lambda kind: kind.__name__)
def test_every_scheduler_knows_its_place(pipe, pipeline, name):
    """Whether it can be told where an image-to-image call enters (``set_begin_index``) or not."""
    scheduler = (SCHEDULERS | MORE_SCHEDULERS)[name][0]()
    made = pipeline(**{**pipe.base.components, "scheduler": scheduler}, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    places = _places(made, prompt="a red heart", num_inference_steps=4, guidance_scale=1.0, **KINDS[pipeline])
    steps = list(range(len(scheduler.timesteps)))
    assert places == (steps if pipeline is StableDiffusionPipeline else MIDDLES[name])


@pytest.mark.parametrize("kind", [DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler])
@pytest.mark.parametrize("part", [{}, {"denoising_end": 0.5}, {"denoising_start": 0.5}], ids=str)
def test_an_xl_call_may_run_a_part_of_the_schedule(kind, part):
    plain = CASES["stable-diffusion-xl"].build()
    enters = "denoising_start" in part
    pipeline = StableDiffusionXLImg2ImgPipeline if enters else StableDiffusionXLPipeline
    scheduler = kind.from_config(plain.scheduler.config)
    pipe = pipeline(**{**plain.components, "scheduler": scheduler}, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    arguments = {"image": torch.zeros(1, 4, 8, 8)} if enters else {"height": 16, "width": 16}
    places = _places(pipe, prompt="a", num_inference_steps=4, guidance_scale=1.0, **arguments, **part)
    total = len(scheduler.timesteps)
    half = sum(timestep >= 500 for timestep in scheduler.timesteps.tolist())
    begin = scheduler.begin_index if enters and kind is HeunDiscreteScheduler else half  # it enters at a whole step
    assert places == list(range(begin, total) if enters else range(half) if part else range(total))


@pytest.mark.parametrize("key", ["stable-diffusion-3", "flux"])
def test_flow_matching_enters_in_the_middle(key):
    plain = CASES[key].build()
    pipeline = {"flux": FluxImg2ImgPipeline, "stable-diffusion-3": StableDiffusion3Img2ImgPipeline}[key]
    pipe = pipeline.from_pipe(plain)
    pipe.set_progress_bar_config(disable=True)
    size = {name: CASES[key].arguments[name] for name in ("height", "width") if name in CASES[key].arguments}
    with (
        follow_schedule(pipe) as progress,
        _watched_fractions(pipe.transformer, progress, "timestep") as seen,
    ):
        pipe(prompt="a", image=PICTURE, strength=0.5, num_inference_steps=4, output_type="latent", **size)
    assert [fraction for fraction, _ in seen] == [0.5, 0.75]


def test_a_latent_consistency_schedule_begins_in_the_middle():
    """Its scheduler lists only the timesteps that an image-to-image call runs."""
    plain = CASES["lcm"].build()
    pipe = LatentConsistencyModelImg2ImgPipeline(**plain.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    with follow_schedule(pipe) as progress, _watched_fractions(pipe.unet, progress) as seen:
        pipe("a", image=PICTURE.resize((16, 16)), strength=0.5, num_inference_steps=2, output_type="latent")
        assert [fraction for fraction, _ in seen] == [0.5, 0.75]
        text_pipe = LatentConsistencyModelPipeline(**plain.components, requires_safety_checker=False)
        seen.clear()
        text_pipe("a", num_inference_steps=2, output_type="latent", height=16, width=16)
        assert [fraction for fraction, _ in seen] == [0, 0.5]


def test_pipelines_that_scale_no_input_say_where_they_enter():
    plain = CASES["kandinsky22"].build()
    pipe = KandinskyV22Img2ImgPipeline(unet=plain.unet, scheduler=plain.scheduler, movq=plain.movq)
    pipe.set_progress_bar_config(disable=True)
    width = plain.unet.config.encoder_hid_dim
    with follow_schedule(pipe) as progress, _watched_fractions(pipe.unet, progress, "timestep") as seen:
        pipe(
            image_embeds=torch.zeros(1, width), negative_image_embeds=torch.zeros(1, width), image=PICTURE,
            strength=0.5, num_inference_steps=4, height=32, width=32, output_type="latent",
        )  # fmt: skip
    assert [fraction for fraction, _ in seen] == [0.5, 0.75]


def test_timesteps_of_ones_own_are_found_by_number():
    """A loop that is written by hand may take copies, or numbers; of two equal ones the next one counts."""
    scheduler = PNDMScheduler(skip_prk_steps=True)
    scheduler.set_timesteps(4)
    sample = torch.zeros(1, 1, 2, 2)
    with follow_schedule(SimpleNamespace(scheduler=scheduler, components={"scheduler": scheduler})) as progress:
        for index, timestep in enumerate(scheduler.timesteps.tolist()):
            scheduler.scale_model_input(sample, timestep)
            assert progress.fraction == index / 5
            scheduler.step(sample, torch.tensor(timestep), sample)


@pytest.mark.parametrize("kind", [DDIMScheduler, PNDMScheduler, DDPMScheduler, EulerDiscreteScheduler])
def test_a_window_means_the_same_noise_in_image_to_image(pipe, random_maps, kind):
    """Half of the steps are run, and all of them lie behind the middle of the schedule."""
    denoiser = SteeringMaps.of({name: one for name, one in random_maps.named_maps() if name.startswith("unet")})
    scheduler = kind(skip_prk_steps=True) if kind is PNDMScheduler else kind()
    base = StableDiffusionImg2ImgPipeline(
        **{**pipe.base.components, "scheduler": scheduler}, requires_safety_checker=False
    )
    base.set_progress_bar_config(disable=True)
    made = LinEASDiffusionPipeline(base)
    made.load_steering(denoiser)

    def picture(**arguments):
        generator = torch.Generator().manual_seed(0)
        call = {"image": PICTURE, "denoising_strength": 0.5, "num_inference_steps": 4, "output_type": "np"}
        return made("a red heart", generator=generator, **call, **arguments).images

    middle = 0.4 if kind is PNDMScheduler else 0.5  # it takes one timestep twice, and runs three of five
    full, plain = picture(strength=1.0), picture(strength=0.0)
    assert np.abs(full - plain).max() > 0.01
    assert (picture(strength=1.0, steering_start=middle) == full).all()
    assert (picture(strength=1.0, steering_end=middle) == plain).all()
    part = picture(strength=1.0, steering_start=0.7)
    assert min(np.abs(part - full).max(), np.abs(part - plain).max()) > 1e-5


@pytest.mark.parametrize("steps", [1, 4])
def test_flow_matching(steps):
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, out_channels=4, pos_embed_max_size=4, num_layers=1,
        attention_head_dim=8, num_attention_heads=2, caption_projection_dim=16, joint_attention_dim=8,
        pooled_projection_dim=8,
    )  # fmt: skip
    names = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3")
    pipe = StableDiffusion3Pipeline(
        transformer, FlowMatchEulerDiscreteScheduler(), AutoencoderKL(), **dict.fromkeys(names)
    )
    pipe.set_progress_bar_config(disable=True)
    text = {"prompt_embeds": torch.zeros(1, 2, 8), "pooled_prompt_embeds": torch.zeros(1, 8)}
    with follow_schedule(pipe) as progress, _watched_fractions(transformer, progress, "timestep") as seen:
        pipe(**text, guidance_scale=1.0, num_inference_steps=steps, height=8, width=8, output_type="latent")
    assert [fraction for fraction, _ in seen] == [index / steps for index in range(steps)]
    assert [timestep for _, timestep in seen] == pipe.scheduler.timesteps.tolist()


@pytest.mark.parametrize("kind", [DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler])
def test_following_changes_no_picture(pipe, kind):
    def latents():
        generator = torch.Generator().manual_seed(0)
        return pipe("a red heart", num_inference_steps=2, output_type="latent", generator=generator).images

    with _scheduled(pipe, kind()):
        plain = latents()
        with follow_schedule(pipe):
            followed = latents()
    assert torch.equal(plain, followed)


class _BodyError(Exception):
    pass


@pytest.mark.parametrize("raises", [False, True])
def test_the_schedulers_methods_come_back(pipe, raises):
    scheduler = pipe.scheduler

    def patch(*args, **kwargs):
        return type(scheduler).step(scheduler, *args, **kwargs)

    scheduler.step = patch  # somebody else's patch comes back too
    try:
        before = {name: value for name, value in vars(scheduler).items() if name in WATCHED}
        assert before == {"step": patch}
        with pytest.raises(_BodyError) if raises else nullcontext(), follow_schedule(pipe):
            assert {name for name in WATCHED if name in vars(scheduler)} == set(WATCHED)
            assert scheduler.step is not patch
            if raises:
                raise _BodyError
        assert {name: value for name, value in vars(scheduler).items() if name in WATCHED} == before
    finally:
        del scheduler.step
    assert scheduler.step.__func__ is type(scheduler).step


@pytest.mark.parametrize("kind", [FlowMatchEulerDiscreteScheduler, *(kind for kind, _ in SCHEDULERS.values())])
def test_signatures_are_the_schedulers_own(kind):
    # Pipelines look there for eta, generator, timesteps, sigmas, mu.
    scheduler = kind()
    present = [name for name in WATCHED if hasattr(scheduler, name)]
    before = {name: inspect.signature(getattr(scheduler, name)) for name in present}
    with follow_schedule(SimpleNamespace(scheduler=scheduler, components={"scheduler": scheduler})):
        assert {name: inspect.signature(getattr(scheduler, name)) for name in present} == before
    assert not set(WATCHED) & set(vars(scheduler))


def test_contexts_within_each_other_both_follow(pipe):
    with follow_schedule(pipe) as outer:
        with (
            follow_schedule(pipe) as inner,
            _watched_fractions(pipe.unet, outer) as outer_seen,
            _watched_fractions(pipe.unet, inner) as inner_seen,
        ):
            pipe("a red heart", num_inference_steps=2, output_type="latent")
        assert inner_seen == outer_seen
        assert [fraction for fraction, _ in inner_seen] == [0, 0.5]
        with _watched_fractions(pipe.unet, outer) as seen:
            pipe("a red heart", num_inference_steps=4, output_type="latent")
        assert [fraction for fraction, _ in seen] == [0, 0.25, 0.5, 0.75]
        assert (inner.index, inner.total) == (2, 2)  # it no longer follows
    assert not set(WATCHED) & set(vars(pipe.scheduler))


def test_a_copy_of_a_followed_scheduler_steps_for_itself():
    # LTX-2 makes a deep copy for its second stream within a call, and steps both in turn.
    scheduler = FlowMatchEulerDiscreteScheduler()
    sample = torch.ones(1, 1, 2, 2)
    with follow_schedule(SimpleNamespace(scheduler=scheduler, components={"scheduler": scheduler})) as progress:
        scheduler.set_timesteps(3)
        twin = copy.deepcopy(scheduler)
        for index, timestep in enumerate(scheduler.timesteps):
            assert progress.index == index
            scheduler.step(sample, timestep, sample)
            assert twin.step_index == (None if index == 0 else index)
            twin.step(sample, timestep, sample)
            assert scheduler.step_index == twin.step_index == index + 1


def test_begin_index_by_position_and_by_name():
    scheduler = EulerDiscreteScheduler()
    with follow_schedule(SimpleNamespace(scheduler=scheduler, components={"scheduler": scheduler})) as progress:
        scheduler.set_timesteps(num_inference_steps=4)
        scheduler.set_begin_index(1)
        assert progress.fraction == 0.25
        scheduler.set_begin_index(begin_index=3)
        assert progress.fraction == 0.75
        scheduler.set_begin_index()
        assert progress.fraction == 0
        assert scheduler.begin_index == 0


def test_a_pipeline_without_scheduler_stays_at_the_beginning():
    with follow_schedule(SimpleNamespace(components={})) as progress:
        assert progress.fraction == 0


def test_fractions_stay_below_1():
    progress = Progress(0, 3)
    for index, expected in enumerate([0, 1 / 3, 2 / 3, 2 / 3]):
        progress.index = index
        assert progress.fraction == expected
    assert Progress().fraction == 0


def test_progress_at_another_step_comes_back():
    progress = Progress(2, 4)
    with progress.at(1):
        assert progress.fraction == 0.25
        with progress.at(3):
            assert progress.fraction == 0.75
        assert progress.index == 1
    assert progress.index == 2
    with pytest.raises(_BodyError), progress.at(0):
        raise _BodyError
    assert progress.index == 2
