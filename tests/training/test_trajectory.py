"""Gradients through a trajectory against loops written out by hand, on the embedded model."""

from __future__ import annotations

import pytest
import torch

from linea_diffusion import SteeringMaps, TrainingConfig, find_modules, record_activations
from linea_diffusion.pipelines.calling import frozen
from linea_diffusion.training.diffusion import DiffusionRun
from linea_diffusion.training.iteration import BatchLoss, batches_of
from linea_diffusion.training.loss.distances import steering_loss
from linea_diffusion.training.loss.pooling import mean_pool
from linea_diffusion.training.loss.targets import law_targets

from ..conftest import count_hooks, seeded

PROMPTS = ("a red heart", "a blue fish", "one green star")
TARGETS = ("neon, a red heart", "neon, a blue fish", "neon, one green star")
MODULES = ("text-attention", "unet.mid_block.*attn[12]", "unet.conv_norm_out")
STEPS, RANK = 3, 2


def _config(**changes) -> TrainingConfig:
    settings = {"num_inference_steps": STEPS, "target_modules": MODULES, "strengths": (1.0,), "pairing": "law"}
    return TrainingConfig(**{**settings, "rank": RANK, "scale": True, **changes})


def _ours(pipe, random, **changes) -> dict[str, torch.Tensor]:
    """Gradients of the maps by the library."""
    config = _config(**changes)
    with batches_of(DiffusionRun(pipe, config), config) as batches:
        samples = batches.samples(TARGETS)
        (target,) = law_targets(samples, samples, [1.0], scaled=False)
        maps = _started(batches.fresh_maps(samples), random)
        batches.gradients(maps, PROMPTS, range(len(PROMPTS)), target, strength=0.7)
    return {name: parameter.grad.clone() for name, parameter in maps.maps.named_parameters()}


def _started(maps: SteeringMaps, random: torch.Generator) -> SteeringMaps:
    """Maps away from the identity, so that every path of the gradient counts."""
    random = seeded(random)
    with torch.no_grad():
        for parameter in maps.parameters():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=random))
    return maps


def _by_hand(pipe, random, *, cut: bool) -> dict[str, torch.Tensor]:
    """The same gradients from a denoising loop written out: text encoder, U-Net and scheduler called one by one."""
    base, modules = pipe.base, find_modules(pipe, MODULES)

    def run(prompts: tuple[str, ...]) -> dict:
        with record_activations(modules, pool=mean_pool) as recorded:
            tokens = base.tokenizer(
                list(prompts), padding="max_length", max_length=base.tokenizer.model_max_length, return_tensors="pt"
            )
            text = base.text_encoder(tokens.input_ids)[0]
            shape = (1, base.unet.config.in_channels, base.unet.config.sample_size, base.unet.config.sample_size)
            latents = torch.cat([torch.randn(shape, generator=seeded(row)) for row in range(len(prompts))])
            base.scheduler.set_timesteps(STEPS)
            latents = latents * base.scheduler.init_noise_sigma
            for t in base.scheduler.timesteps:
                inputs = base.scheduler.scale_model_input(latents.detach() if cut else latents, t)
                noise = base.unet(inputs, t, encoder_hidden_states=text).sample
                latents = base.scheduler.step(noise, t, latents.detach() if cut else latents).prev_sample
        return {(name, call): rows for name, calls in recorded.items() for call, rows in enumerate(calls)}

    with frozen(base), torch.enable_grad():
        with torch.no_grad():
            target = run(TARGETS)
        maps = SteeringMaps({name: (1, target[name, 0].shape[1], RANK) for name in modules})
        _started(maps, random)
        with maps.apply(base, 0.7):
            steering_loss(run(PROMPTS), target).backward()
    return {name: parameter.grad for name, parameter in maps.maps.named_parameters()}


def _difference(first, second) -> float:
    assert first.keys() == second.keys()
    a, b = (torch.cat([grads[name].flatten() for name in first]) for grads in (first, second))
    return ((a - b).norm() / b.norm()).item()


@pytest.fixture(scope="module")
def references(loaded_pipe):
    """By hand: through the whole trajectory, and cut between steps."""
    return {cut: _by_hand(loaded_pipe, 0, cut=cut) for cut in (False, True)}


def test_cutting_between_steps_matters_here(references):
    assert _difference(references[True], references[False]) > 0.01


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("micro", [None, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_equal_the_loop_by_hand(pipe, references, cut, micro, checkpointing):
    settings = {
        "backprop_through_steps": not cut,
        "micro_batch_size": micro,
        "gradient_checkpointing": checkpointing,
    }
    before = count_hooks(pipe)
    assert _difference(_ours(pipe, 0, **settings), references[cut]) < 2e-5
    assert count_hooks(pipe) == before
    assert "forward" not in vars(pipe.unet)


def test_checkpointed_steps_run_again_with_their_own_bin(pipe):
    """Three steps, three bins: each has a gradient of its own."""
    plain = _ours(pipe, 1, step_bins=3)
    again = _ours(pipe, 1, step_bins=3, gradient_checkpointing=True)
    for name in plain:
        assert torch.equal(plain[name], again[name])
    grads = plain["unet/conv_norm_out.shift"]
    assert grads.shape[0] == 3
    assert all(grads[row].abs().max() > 0 for row in range(3))
    assert not torch.equal(grads[0], grads[1])


def test_guidance_makes_two_blocks_and_all_paths_agree(pipe):
    plain = _ours(pipe, 2, guidance_scale=3.0)
    pieces = _ours(pipe, 2, guidance_scale=3.0, micro_batch_size=1)
    assert _difference(pieces, plain) < 2e-5
    assert _difference(_ours(pipe, 2, guidance_scale=1.0), plain) > 0.01


@pytest.mark.parametrize("pooling", ["tokens", "masked-mean"])
def test_pieces_agree_for_every_pooling(pipe, pooling):
    settings = {"pooling": pooling, **({"tokens_per_sample": 5} if pooling == "tokens" else {})}
    plain = _ours(pipe, 3, **settings)
    assert _difference(_ours(pipe, 3, **settings, micro_batch_size=2), plain) < 2e-5
    assert _difference(_ours(pipe, 3), plain) > 0.01


def test_the_loss_of_pieces_is_the_loss_of_the_whole():
    target = {("a", 0, 0): torch.randn(6, 4), ("a", 1, 0): torch.randn(6, 4)}
    source = {place: torch.randn(4, 4) for place in target}
    (law,) = law_targets(target, target, [1.0], scaled=False)
    batch = BatchLoss(law, range(4), TrainingConfig(), 0.5)
    batch.gradients(source)
    steps = BatchLoss(law, range(4), TrainingConfig(), 0.5)
    for place, rows in source.items():
        steps.gradients({place: rows})
    assert steps.value == pytest.approx(batch.value) == pytest.approx(0.5 * steering_loss(source, target).item())
