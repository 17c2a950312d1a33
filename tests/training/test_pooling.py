"""From activations to samples: means over the right axes, the same tokens each time, padding left out.

Evidence: NumPy and loops redo each pooling.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from linea_diffusion import TrainingConfig
from linea_diffusion.steering.activations import record_activations
from linea_diffusion.training.diffusion import DiffusionRun
from linea_diffusion.training.loss.pooling import MaskedMean, TokenSample, mean_pool, pooling_of

PROMPTS = ["a red heart", "a", "a drawing of a green house"]


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("module", "shape", "others"),
    [
        (nn.Linear(4, 4), (4, 4, 4), (1,)),
        (nn.LayerNorm(4), (4, 4, 4), (1,)),
        (nn.GroupNorm(2, 4), (4, 4, 4), (2,)),
        (nn.GroupNorm(2, 4), (4, 4, 4, 4), (2, 3)),
        (nn.Conv2d(4, 4, 1), (4, 4, 4, 4), (2, 3)),
        (nn.LayerNorm(4), (4, 4, 4, 4), (1, 2)),
        (nn.RMSNorm(4), (4, 4, 4, 4), (1, 2)),
        (nn.Linear(4, 4), (4, 4, 4, 4), (1, 2)),
        (nn.Linear(4, 4), (4, 4), ()),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_mean_pool_keeps_samples_and_features(module, shape, others):
    # All axes of one length: a wrong one would go unnoticed by shape alone.
    activation = module(_random(*shape))
    expected = activation.detach().double().numpy().mean(axis=others) if others else activation.detach().numpy()
    pooled = mean_pool("unet.a", module, activation)
    assert pooled.shape == (4, 4)
    torch.testing.assert_close(pooled.detach().double(), torch.tensor(expected).double())
    # The rows that the other poolings see are the same ones, not yet averaged.
    tokens = TokenSample(10**6, 0, (), {})("unet.a", module, activation)
    torch.testing.assert_close(tokens.mean(dim=1), pooled)


def test_mean_pool_averages_in_float32():
    half = torch.full((1, 4097, 1), 1.0, dtype=torch.float16)
    half[0, 0] = 4096.0
    pooled = mean_pool("unet.a", nn.LayerNorm(1), half)
    assert pooled.dtype == torch.float32
    assert pooled.item() == pytest.approx((4096 + 4096) / 4097, rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 30, 4), (2, 4, 5, 6)])
def test_sampled_tokens_are_the_same_places_each_time_and_never_twice(shape):
    # Every place holds its own number, so the sample tells which places were drawn.
    numbers = torch.arange(30.0).reshape(shape[2:] if len(shape) == 4 else (30,))
    activation = numbers.expand(shape) if len(shape) == 4 else numbers[None, :, None].expand(shape)
    module = nn.Conv2d(4, 4, 1) if len(shape) == 4 else nn.Linear(4, 4)

    def places(seed: int, count: int = 7, noise: float = 0.0) -> list[int]:
        rows = TokenSample(count, seed, (), {})("unet.a", module, activation + noise) - noise
        assert rows.shape == (2, min(count, 30), 4)
        assert (rows == rows[:1, :, :1]).all()
        return rows[0, :, 0].tolist()

    first = places(0)
    assert places(0) == places(0, noise=64.0) == first
    assert len(set(first)) == 7
    assert first == sorted(first)
    assert places(1) != first
    assert places(0, count=30) == places(0, count=99) == list(range(30))
    # Over many seeds every place has its turn.
    assert {place for seed in range(60) for place in places(seed)} == set(range(30))


def test_sampled_tokens_are_float32_and_one_token_is_enough():
    rows = TokenSample(5, 0, (), {})("unet.a", nn.Linear(4, 4), _random(3, 4).bfloat16())
    assert (rows.dtype, rows.shape) == (torch.float32, (3, 1, 4))


def test_masked_mean_is_the_mean_of_the_tokens_that_count():
    activation = _random(2, 4, 3)
    masks = {"text_encoder.a.b": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool()}
    pooled = MaskedMean(masks.get)("text_encoder.a.b", nn.Linear(3, 3), activation)
    expected = torch.stack([(activation[0, 0] + activation[0, 1]) / 2, activation[1].mean(dim=0)])
    torch.testing.assert_close(pooled, expected)
    # Where there is no mask, or one of another width, all tokens count.
    assert torch.equal(MaskedMean(masks.get)("unet.a", nn.Linear(3, 3), activation), activation.mean(dim=1))
    longer = _random(2, 5, 3)
    assert torch.equal(MaskedMean(masks.get)("text_encoder.a.b", nn.Linear(3, 3), longer), longer.mean(dim=1))


def test_masked_mean_keeps_half_precision_sums_and_rows_without_text():
    activation = torch.full((1, 4097, 1), 1.0, dtype=torch.float16)
    mask = torch.ones(1, 4097, dtype=torch.bool)
    assert MaskedMean(lambda name: mask)("text_encoder.a", nn.Linear(1, 1), activation).item() == 1
    assert MaskedMean(lambda name: ~mask)("text_encoder.a", nn.Linear(1, 1), activation).item() == 0


def test_masked_mean_of_a_running_pipeline_leaves_padding_out(pipe):
    config = TrainingConfig(pooling="masked-mean", guidance_scale=1.0, num_inference_steps=1)
    run = DiffusionRun(pipe, config)
    modules = run.modules("text_encoder.*self_attn")
    name = list(modules)[-1]
    with (
        run.frozen(),
        record_activations(modules, pool=pooling_of(config, run.text_mask, (), {})) as pooled,
        record_activations(modules) as recorded,
    ):
        run.forward(PROMPTS, range(3))
    rows, lengths = recorded[name][0], [5, 3, 8]
    expected = torch.stack([row[:length].mean(dim=0) for row, length in zip(rows, lengths, strict=True)])
    torch.testing.assert_close(pooled[name][0], expected)
    assert (pooled[name][0] - rows.mean(dim=1)).abs().max() > 1e-2


def test_the_pooling_that_is_asked_for():
    activation, module = _random(2, 9, 3), nn.Linear(3, 3)

    def pool(pooling, **settings):
        return pooling_of(TrainingConfig(pooling=pooling, seed=3, **settings), lambda name: None, (), {})

    assert torch.equal(pool("mean")("unet.a", module, activation), activation.mean(dim=1))
    expected = TokenSample(4, 3, (), {})("unet.a", module, activation)
    assert torch.equal(pool("tokens", tokens_per_sample=4)("unet.a", module, activation), expected)
    assert isinstance(pool("masked-mean"), MaskedMean)


@pytest.mark.parametrize(("name", "shift"), [("text_encoder.a", 0), ("transformer.a", 2)])
def test_prompts_of_other_lengths_are_compared_at_the_same_places(name, shift):
    sample, layer = TokenSample(4, 0, {"transformer.a"}, {}), nn.Linear(4, 4)
    first = torch.arange(9.0).reshape(1, 9, 1).expand(1, 9, 4)
    longer = torch.arange(11.0).reshape(1, 11, 1).expand(1, 11, 4)
    assert torch.equal(sample(name, layer, longer[:, :9]), sample(name, layer, first))
    assert torch.equal(sample(name, layer, longer), sample(name, layer, first) + shift)
    assert sample(name, layer, first[:, :3]).shape == (1, 4, 4)  # too short: some places are the last one
