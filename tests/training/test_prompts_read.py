"""What text encoders read: prompts that are longer than they can be, and which of their tokens are text.

Evidence: masks are read off real tokenizers and real, tiny text encoders.
"""

from __future__ import annotations

import re
import warnings
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from linea_diffusion import (
    Concept,
    LineaError,
    LinEASDiffusionPipeline,
    TrainingConfig,
    mean_shift,
    train_steering_maps,
)
from linea_diffusion.training.prompts_read import check_prompts_read, follow_masks, text_mask

from ..conftest import SHORT

WORDS = "a red heart and a blue fish and a green star and a purple boat and a red tree and a blue house by"
PROMPTS = ["a red heart", "a", "a drawing of a green house"]
VOCABULARY = ["<pad>", "</s>", "<unk>", "a", "red", "heart"]
ONE_STEP = TrainingConfig(
    **{**vars(SHORT), "num_inference_steps": 1, "iterations": 1, "target_modules": "text-attention"}
)


def concept(source: list[str], target: list[str]) -> Concept:
    with warnings.catch_warnings(action="ignore"):
        return Concept("late", tuple(source), tuple(target), "late")


@pytest.fixture(scope="module")
def dit():
    """Two text encoders, two tokenizers."""
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-dit")
    pipe.set_progress_bar_config(disable=True)
    return pipe


LATE = concept([f"{WORDS} one", f"{WORDS} two"], [f"{WORDS} one, neon", f"{WORDS} two, neon"])


@pytest.mark.parametrize("fit", [train_steering_maps, mean_shift])
@pytest.mark.parametrize("name", ["loaded_pipe", "dit"])
def test_words_behind_the_limit_teach_nothing_and_are_refused(request, name, fit):
    with (
        pytest.warns(
            UserWarning, match=r"2 source prompts for concept 'late' of which text_encoder reads the first 24"
        ),
        pytest.raises(LineaError, match="the same as far as the model reads them"),
    ):
        fit(request.getfixturevalue(name), LATE, ONE_STEP)


def test_one_warning_for_each_side_names_the_prompts(pipe, caplog):
    cut = concept([f"{WORDS} {n}" for n in range(9)], [f"neon {n}, {WORDS}" for n in range(9)])
    with pytest.warns(UserWarning, match="of which") as caught:
        train_steering_maps(pipe, cut, ONE_STEP)
    notices = [str(warning.message) for warning in caught if "of which" in str(warning.message)]
    assert [text.count("a red heart") for text in notices] == [3, 3]
    assert not [record for record in caplog.records if "truncated" in record.msg], "diffusers would tell in every call"


def test_prompts_of_levels_that_are_cut_are_told_too(pipe):
    source = ["a red heart", "a blue fish", "a teal cat", "a green star"]
    long = Concept.from_template(source, "{prompt}, neon", levels={0.5: "{prompt}, half " + "neon " * 30})
    with pytest.warns(UserWarning, match="of which") as caught:
        mean_shift(pipe, long, ONE_STEP)
    notices = [str(warning.message) for warning in caught if "of which" in str(warning.message)]
    assert [text.partition(" prompts")[0] for text in notices] == ["got 4 level 0.5"]


def test_prompts_that_fit_are_no_matter(pipe):
    """Some targets may be sources too; micro-batches and guidance change nothing."""
    short = concept(["a red heart", "a blue fish"], ["a blue fish", "a red heart, neon"])
    settings = {**vars(ONE_STEP), "micro_batch_size": 1, "guidance_scale": 3.0}
    with warnings.catch_warnings(action="error", category=UserWarning):
        maps = train_steering_maps(pipe, short, TrainingConfig(**settings))
    assert maps.metadata["losses"][0] > 0


def test_an_encoder_that_is_given_something_else_than_prompts_says_nothing(pipe, monkeypatch):
    """Some read only what stands in quotes: the same row of every prompt, shorter than any."""
    ids = torch.tensor([[0, 1]])

    def read_quotes(*_, **__):
        embeddings = pipe.text_encoder(ids)[0].repeat(2, 12, 1)
        return embeddings, embeddings

    monkeypatch.setattr(pipe.base, "encode_prompt", read_quotes)
    short = concept(["a red heart", "a blue fish"], ["a red heart, neon", "a blue fish, neon"])
    with warnings.catch_warnings(action="error", category=UserWarning):
        check_prompts_read(pipe.base, short, lambda prompts: pipe.base(list(prompts), num_inference_steps=1))


def test_words_that_the_tokenizer_takes_for_the_same_are_refused(pipe):
    with pytest.raises(LineaError, match="the same as far as the model reads them"):
        mean_shift(pipe, concept(["a red heart", "a blue fish"], ["A Red Heart", "a  blue fish"]), ONE_STEP)


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


def _tokenizer(padding: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
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


@pytest.mark.parametrize("explicit", [True, False])
@torch.no_grad()
def test_masks_of_a_compiled_encoder(two_encoders, explicit):
    # A compiled model's forward takes *args and **kwargs: its own arguments have no names there.
    model = torch.compile(two_encoders.components["text_encoder_2"], backend="eager")
    pipe = SimpleNamespace(components={**two_encoders.components, "text_encoder_2": model})
    ids, other = torch.tensor([[3, 4, 1, 0, 0, 0]]), torch.tensor([[1, 0, 1, 0, 1, 1]])
    expected = other if explicit else torch.tensor([[1, 1, 1, 0, 0, 0]])
    with follow_masks(pipe) as masks:
        model(ids, attention_mask=other if explicit else None)
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
