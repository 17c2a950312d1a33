"""From activations to samples: means over the right axes, the same tokens each time, padding left out.

Evidence: NumPy and loops redo each pooling; masks are read off real tokenizers and real, tiny text encoders.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from linea_diffusion import find_modules
from linea_diffusion.steering.activations import record_activations
from linea_diffusion.training.loss.pooling import (
    MaskedMean,
    TokenSample,
    follow_masks,
    mean_pool,
    pooling_of,
    text_mask,
)

PROMPTS = ["a red heart", "a", "a drawing of a green house"]
WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "heart"]


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
    tokens = TokenSample(10**6, 0, {})("unet.a", module, activation)
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
        rows = TokenSample(count, seed, {})("unet.a", module, activation + noise) - noise
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
    rows = TokenSample(5, 0, {})("unet.a", nn.Linear(4, 4), _random(3, 4).bfloat16())
    assert (rows.dtype, rows.shape) == (torch.float32, (3, 1, 4))


@pytest.mark.parametrize(
    ("tokens", "end", "padding", "expected"),
    [
        ([9, 3, 4, 7, 7, 7], 7, 7, [1, 1, 1, 1, 0, 0]),  # CLIP: pads with its end of text
        ([9, 7, 7, 7, 7, 7], 7, 7, [1, 1, 0, 0, 0, 0]),  # CLIP, no words
        ([9, 3, 4, 7, 0, 0], 7, 0, [1, 1, 1, 1, 0, 0]),  # SDXL's second tokenizer
        ([3, 4, 1, 0, 0, 0], 1, 0, [1, 1, 1, 0, 0, 0]),  # T5
        ([0, 0, 3, 4, 5, 1], 1, 0, [0, 0, 1, 1, 1, 1]),  # padded on the left
        ([3, 4, 5, 0, 0, 0], None, 0, [1, 1, 1, 0, 0, 0]),  # no end of text
        ([3, 4, 5, 3, 4, 5], 1, 0, [1, 1, 1, 1, 1, 1]),  # cut off before the end
        ([3, 1, 2, 2, 2, 2], 1, None, [1, 1, 0, 0, 0, 0]),  # no padding token
        ([3, 0, 2, 2, 2, 2], None, None, [1, 1, 1, 1, 1, 1]),
    ],
)
def test_text_mask_of_known_tokenizers(tokens, end, padding, expected):
    mask = text_mask(torch.tensor([tokens]), end, padding)
    assert mask.dtype == torch.bool
    assert mask[0].tolist() == [bool(one) for one in expected]


@given(
    tokens=st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=3),
    end=st.sampled_from([None, 0, 1]),
    padding=st.sampled_from([None, 0, 1]),
)
@settings(max_examples=60, deadline=None)
def test_text_mask_row_by_row(tokens, end, padding):
    expected = []
    for row in tokens:
        length = row.index(end) + 1 if end in row else len(row)
        expected.append([i < length and (token != padding or padding == end) for i, token in enumerate(row)])
    assert text_mask(torch.tensor(tokens), end, padding).tolist() == expected


def test_masked_mean_is_the_mean_of_the_tokens_that_count():
    activation = _random(2, 4, 3)
    masks = {"text_encoder": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool()}
    pooled = MaskedMean(masks)("text_encoder.a.b", nn.Linear(3, 3), activation)
    expected = torch.stack([(activation[0, 0] + activation[0, 1]) / 2, activation[1].mean(dim=0)])
    torch.testing.assert_close(pooled, expected)
    # Masks of other encoders and of other widths do not concern an activation.
    for name, module in (("text_encoder_2.a", nn.Linear(3, 3)), ("unet.a", nn.Linear(3, 3))):
        assert torch.equal(MaskedMean(masks)(name, module, activation), activation.mean(dim=1))
    longer = _random(2, 5, 3)
    assert torch.equal(MaskedMean(masks)("text_encoder.a", nn.Linear(3, 3), longer), longer.mean(dim=1))


def test_masked_mean_keeps_half_precision_sums_and_rows_without_text():
    activation = torch.full((1, 4097, 1), 1.0, dtype=torch.float16)
    mask = torch.ones(1, 4097, dtype=torch.bool)
    assert MaskedMean({"text_encoder": mask})("text_encoder.a", nn.Linear(1, 1), activation).item() == 1
    assert MaskedMean({"text_encoder": ~mask})("text_encoder.a", nn.Linear(1, 1), activation).item() == 0


def _count_pre_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def test_masks_of_stable_diffusion_end_at_the_first_end_of_text(pipe):
    seen = []
    before = _count_pre_hooks(pipe.text_encoder)
    with (
        follow_masks(pipe.base) as masks,
        pipe.text_encoder.register_forward_hook(lambda *_: seen.append(masks["text_encoder"])),
    ):
        pipe(PROMPTS, negative_prompt=["red"] * 3, guidance_scale=3.0, num_inference_steps=1, output_type="latent")
    assert _count_pre_hooks(pipe.text_encoder) == before
    for mask, prompts in zip(seen, (PROMPTS, ["red"] * 3), strict=True):
        # A word is a token in Shapeland; two more begin and end the text.
        assert mask.sum(dim=1).tolist() == [2 + len(re.findall(r"\w+", prompt)) for prompt in prompts]
        assert mask.shape == (3, pipe.tokenizer.model_max_length)
        theirs = pipe.tokenizer(prompts, padding="max_length", return_tensors="pt").attention_mask
        assert torch.equal(mask, theirs.bool())


def test_masked_mean_of_a_running_pipeline_leaves_padding_out(pipe):
    modules = find_modules(pipe.base, "text_encoder.*self_attn")
    name = list(modules)[-1]
    with (
        pooling_of(pipe.base, "masked-mean", count=1, seed=0, lengths={}) as pool,
        record_activations(modules, pool=pool) as pooled,
        record_activations(modules) as whole,
    ):
        pipe(PROMPTS, guidance_scale=1.0, num_inference_steps=1, output_type="latent")
    rows, lengths = whole[name][0], [5, 3, 8]
    expected = torch.stack([row[:length].mean(dim=0) for row, length in zip(rows, lengths, strict=True)])
    torch.testing.assert_close(pooled[name][0], expected)
    assert (pooled[name][0] - rows.mean(dim=1)).abs().max() > 1e-2


def test_the_pooling_that_is_asked_for():
    activation, module = _random(2, 9, 3), nn.Linear(3, 3)
    nothing = SimpleNamespace(components={})
    with pooling_of(nothing, "mean", count=4, seed=3, lengths={}) as pool:
        assert torch.equal(pool("unet.a", module, activation), activation.mean(dim=1))
    with pooling_of(nothing, "tokens", count=4, seed=3, lengths={}) as pool:
        expected = TokenSample(4, 3, {})("unet.a", module, activation)
        assert torch.equal(pool("unet.a", module, activation), expected)
    with pooling_of(nothing, "masked-mean", count=4, seed=3, lengths={}) as pool:
        assert isinstance(pool, MaskedMean)


def _tokenizer(padding: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token=padding, unk_token="<unk>")


@pytest.fixture(scope="module")
def two_encoders():
    """The components that follow_masks looks at: a tiny CLIP and a tiny T5, each with its tokenizer."""
    clip = CLIPTextConfig(
        vocab_size=6, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=6, bos_token_id=2, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    t5 = T5Config(vocab_size=6, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    components = {
        "text_encoder": CLIPTextModel(clip).eval(),
        "text_encoder_2": T5EncoderModel(t5).eval(),
        "tokenizer": _tokenizer("</s>"),
        "tokenizer_2": _tokenizer("<pad>"),
        "vae": None,
    }
    return SimpleNamespace(components=components)


@pytest.mark.parametrize(("encoder", "tokenizer"), [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")])
@torch.no_grad()
def test_masks_that_are_given_and_masks_that_are_worked_out(two_encoders, encoder, tokenizer):
    model, tokenizer = two_encoders.components[encoder], two_encoders.components[tokenizer]
    tokens = tokenizer(["a red heart", "a"], padding="max_length", max_length=6, return_tensors="pt")
    ids, real = tokens.input_ids, tokens.attention_mask
    other = torch.tensor([[1, 0, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]])
    with follow_masks(two_encoders) as masks:
        assert masks == {}
        model(ids, other)
        assert masks[encoder].dtype == torch.bool
        assert torch.equal(masks[encoder], other.bool())
        model(ids, attention_mask=real)
        assert torch.equal(masks[encoder], real.bool())
        model(input_ids=ids, attention_mask=other)
        assert torch.equal(masks[encoder], other.bool())
        model(ids)
        assert torch.equal(masks[encoder], real.bool())
        assert list(masks) == [encoder]  # one encoder's call does not speak for the other


@pytest.mark.parametrize("given", [True, False])
@torch.no_grad()
def test_masks_of_a_compiled_encoder(two_encoders, given):
    # A compiled model's forward takes *args and **kwargs: its own arguments have no names there.
    model = torch.compile(two_encoders.components["text_encoder_2"], backend="eager")
    pipe = SimpleNamespace(components={**two_encoders.components, "text_encoder_2": model})
    ids, other = torch.tensor([[3, 4, 1, 0, 0, 0]]), torch.tensor([[1, 0, 1, 0, 1, 1]])
    expected = other if given else torch.tensor([[1, 1, 1, 0, 0, 0]])
    with follow_masks(pipe) as masks:
        model(ids, attention_mask=other if given else None)
        assert torch.equal(masks["text_encoder_2"], expected.bool())


class _Forwarding(T5EncoderModel):
    """As PEFT's and other wrappers do, names its first argument only."""

    def forward(self, input_ids, **kwargs):
        return super().forward(input_ids, **kwargs)


@torch.no_grad()
def test_masks_among_arguments_that_are_passed_on(two_encoders):
    model = _Forwarding(two_encoders.components["text_encoder_2"].config).eval()
    ids, other = torch.tensor([[3, 4, 1, 0]]), torch.tensor([[1, 0, 1, 0]])
    with follow_masks(SimpleNamespace(components={"text_encoder": model})) as masks:
        model(ids, attention_mask=other)
        assert torch.equal(masks["text_encoder"], other.bool())


@torch.no_grad()
def test_a_call_of_embeddings_has_no_mask_not_the_last_one(two_encoders):
    model = two_encoders.components["text_encoder_2"]
    with follow_masks(two_encoders) as masks:
        model(torch.tensor([[0, 3, 1]]))  # padded on the left, as its own tokenizer pads
        assert masks["text_encoder_2"].tolist() == [[False, True, True]]
        model(inputs_embeds=torch.zeros(1, 3, 8))
        assert masks == {}


def test_masks_are_no_longer_followed_when_the_body_raises(two_encoders):
    before = [_count_pre_hooks(two_encoders.components[name]) for name in ("text_encoder", "text_encoder_2")]
    with pytest.raises(KeyError), follow_masks(two_encoders):
        raise KeyError
    after = [_count_pre_hooks(two_encoders.components[name]) for name in ("text_encoder", "text_encoder_2")]
    assert after == before


@pytest.mark.parametrize(("name", "shift"), [("text_encoder.a", 0), ("transformer.a", 2)])
def test_prompts_of_other_lengths_are_compared_at_the_same_places(name, shift):
    sample, layer = TokenSample(4, 0, {}), nn.Linear(4, 4)
    first = torch.arange(9.0).reshape(1, 9, 1).expand(1, 9, 4)
    longer = torch.arange(11.0).reshape(1, 11, 1).expand(1, 11, 4)
    assert torch.equal(sample(name, layer, longer[:, :9]), sample(name, layer, first))
    assert torch.equal(sample(name, layer, longer), sample(name, layer, first) + shift)
    assert sample(name, layer, first[:, :3]).shape == (1, 4, 4)  # too short: some places are the last one
