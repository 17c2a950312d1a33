"""What the model reads of prompts that are longer than its text encoders."""

from __future__ import annotations

import warnings

import pytest
import torch

from linea_diffusion import (
    Concept,
    LineaError,
    LinEASDiffusionPipeline,
    TrainingConfig,
    mean_shift,
    train_steering_maps,
)
from linea_diffusion.training.prompts_read import check_prompts_read

from ..conftest import SHORT

WORDS = "a red heart and a blue fish and a green star and a purple boat and a red tree and a blue house by"
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
    told = [str(warning.message) for warning in caught if "of which" in str(warning.message)]
    assert [text.count("a red heart") for text in told] == [3, 3]
    assert not [record for record in caplog.records if "truncated" in record.msg], "diffusers would tell in every call"


def test_prompts_of_levels_that_are_cut_are_told_too(pipe):
    source = ["a red heart", "a blue fish", "a teal cat", "a green star"]
    long = Concept.from_template(source, "{prompt}, neon", levels={0.5: "{prompt}, half " + "neon " * 30})
    with pytest.warns(UserWarning, match="of which") as caught:
        mean_shift(pipe, long, ONE_STEP)
    told = [str(warning.message) for warning in caught if "of which" in str(warning.message)]
    assert [text.partition(" prompts")[0] for text in told] == ["got 4 level 0.5"]


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
