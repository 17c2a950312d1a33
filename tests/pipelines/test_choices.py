"""Device, dtype, scheduler and LoRA of a pipeline: what fits by itself, what changes a picture, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig

from linea_diffusion import LinEASDiffusionPipeline
from linea_diffusion.cli.bench.random_models import random_pipeline
from linea_diffusion.errors import LineaError
from linea_diffusion.pipelines.choices import devices
from linea_diffusion.pipelines.choices.calls import check_call
from linea_diffusion.pipelines.choices.loras import load_loras, split_lora
from linea_diffusion.pipelines.choices.schedulers import SHORT_NAMES, scheduler_class, use_scheduler

from ..conftest import seeded


@pytest.mark.parametrize(("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_best_device_is_taken(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert devices.fitting_device() == device


@pytest.mark.parametrize(
    ("device", "model", "able", "dtype"),
    [
        ("cpu", "you/sdxl", True, torch.float32),
        ("cuda:1", "you/sdxl", True, torch.bfloat16),
        ("cuda", "you/sdxl", False, torch.float16),
        ("mps", "you/sdxl", True, torch.bfloat16),
        ("mps", "you/sdxl", False, torch.float16),
        ("cuda", "shapeland-dit", True, torch.float32),
    ],
)
def test_the_dtype_fits_device_and_model(monkeypatch, device, model, able, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: able)
    monkeypatch.setattr(devices, "_holds", lambda *_: able)
    assert devices.fitting_dtype(device, model) is dtype


def test_every_short_name_is_a_scheduler():
    assert {scheduler_class(name).__name__ for name in SHORT_NAMES} == set(SHORT_NAMES.values())
    with pytest.raises(LineaError, match="got scheduler 'dpm': expected one of ddim"):
        scheduler_class("dpm")


@pytest.mark.parametrize("name", ["unipc", "DEISMultistepScheduler"])
def test_another_scheduler_draws_the_same_thing_otherwise(name):
    """The U-Net predicts a flow behind a DPM solver; every solver of that flow ends at about the same picture."""
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")

    def draw() -> np.ndarray:
        return pipe("a red heart", generator=seeded(), num_inference_steps=20, output_type="np").images[0]

    before = draw()
    use_scheduler(pipe.base, name)
    after = draw()
    assert 0 < np.abs(before - after).mean() < 0.05


def test_schedulers_that_step_otherwise_are_refused(pipe):
    now = pipe.scheduler
    with pytest.raises(LineaError, match=r"got scheduler ddim .* expected one of .*DPMSolverMultistepScheduler"):
        use_scheduler(pipe.base, "ddim")
    assert pipe.base.scheduler is now
    with pytest.raises(LineaError, match="got scheduler flow-euler"):
        use_scheduler(pipe.base, "flow-euler")
    noise = random_pipeline("random-sdxl", tiny=True)
    use_scheduler(noise, "dpm++")
    use_scheduler(noise, "lcm")
    with pytest.raises(LineaError, match="steps in another way"):
        use_scheduler(noise, "flow-euler")
    with pytest.raises(LineaError, match="got scheduler dpm"):
        use_scheduler(random_pipeline("random-flux.1", tiny=True), "dpm++")


def test_a_transformer_runs_with_another_solver():
    pipe = random_pipeline("random-flux.1", tiny=True)
    use_scheduler(pipe, "unipc")
    assert pipe("a cat", num_inference_steps=2, generator=seeded(), output_type="np").images.std() > 0


@pytest.fixture
def lora(tmp_path):
    """A LoRA of the U-Net, on disk."""
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet").base
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_v"], init_lora_weights=False))
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import get_peft_model_state_dict

    pipe.save_lora_weights(tmp_path, convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet)))
    return tmp_path


def test_a_lora_acts_at_its_scale(lora):
    def draw(*loras: str) -> torch.Tensor:
        pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")
        load_loras(pipe.base, loras)
        return pipe("a red heart", generator=seeded(), num_inference_steps=2, output_type="latent").images

    plain, half, whole = draw(), draw(f"{lora}=0.5"), draw(str(lora))
    assert torch.equal(plain, draw(f"{lora}=0"))
    assert not torch.equal(half, plain)
    assert not torch.equal(half, whole)
    with pytest.raises(LineaError, match="has nothing for the models of a"):
        load_loras(random_pipeline("random-sd3.5-medium", tiny=True), [str(lora)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("you/lora", ("you/lora", 1.0)), ("you/lora=0.8", ("you/lora", 0.8)), ("you/lora=-1", ("you/lora", -1.0))],
)
def test_a_lora_as_people_type_it(text, expected):
    assert split_lora(text) == expected


@pytest.mark.parametrize(
    ("text", "message"), [("you/lora=much", "with =SCALE"), ("=1", "with =SCALE"), ("./none", "no such file")]
)
def test_what_is_no_lora_is_refused(text, message):
    with pytest.raises(LineaError, match=message):
        split_lora(text)


def test_a_negative_prompt_that_would_do_nothing_is_refused(pipe):
    negative = {"negative_prompt": "red"}
    check_call(pipe, {**negative, "guidance_scale": 2.0})
    with pytest.raises(LineaError, match=r"got negative_prompt 'red' and guidance_scale 1.* expected guidance_scale"):
        check_call(pipe, negative)
    with pytest.raises(LineaError, match="got negative_prompt 'red' and true_cfg_scale 1"):
        check_call(random_pipeline("random-flux.1", tiny=True), negative)
    with pytest.raises(LineaError, match="got clip_skip 1 for a FluxPipeline, which takes none"):
        check_call(random_pipeline("random-flux.1", tiny=True), {"clip_skip": 1})
