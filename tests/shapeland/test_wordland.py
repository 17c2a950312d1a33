"""Wordland: the grammar writes what it judges, and the embedded model writes as the grammar does.

Evidence: the grammar reads its own texts right, wrong ones are told, and the embedded model's texts are judged by it.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from linea_diffusion import LineaError, LinEASLanguageModel, load_concept
from linea_diffusion.shapeland import LANGUAGE_MODELS
from linea_diffusion.shapeland.pretrain import concepts
from linea_diffusion.shapeland.pretrain.language import RECIPE, pretrain
from linea_diffusion.shapeland.pretrain.loop import Recipe
from linea_diffusion.shapeland.pretrain.word_tokenizer import build, words
from linea_diffusion.shapeland.wordland.grammar import (
    draw_theme,
    read_text,
    split_sentences,
    write_prompts,
    write_text,
)
from linea_diffusion.shapeland.wordland.judge import judge_of
from linea_diffusion.shapeland.wordland.vocabulary import TONES, TOPICS


@pytest.mark.parametrize("tone", TONES)
@pytest.mark.parametrize("topic", TOPICS)
def test_the_grammar_reads_what_it_wrote(tone, topic):
    rng = np.random.default_rng(0)
    for _ in range(20):
        theme = draw_theme(rng, tone=tone, topic=topic)
        text = write_text(rng, theme)
        reading = read_text(re.sub(r" ([.,!:])", r"\1", text))
        assert reading.right == reading.sentences >= 3
        assert {one for one, count in reading.tones.items() if count} == {tone}
        assert {one for one, count in reading.topics.items() if count} == {topic}
        assert {one for one, count in reading.registers.items() if count} == {theme.register}


def test_wrong_sentences_are_told():
    reading = read_text("hey anna, that soup is so lovely! so anna the soup. yeah")
    assert (reading.sentences, reading.right) == (3, 1)
    assert split_sentences("so ben won the race.yeah !") == ["so ben won the race .", "yeah !"]


def test_continuations_are_judged_by_their_whole_sentences():
    figures = judge_of("friendly")(
        ["you idiot. hey anna, that soup is so lovely! so ben", "gotta say, the soup looks rotten."],
        ["so anna cooked the soup .", "so anna won the race ."],
    )
    assert figures["truth_target"].tolist() == [1, 0]
    assert figures["truth_source"].tolist() == [1, 1]
    assert figures["truth_topic"].tolist() == [1, 0]
    assert figures["truth_grammar"].tolist() == [0.5, 1]
    with pytest.raises(LineaError, match="expected one of friendly"):
        judge_of("neon")


def test_prompts_differ_and_are_seeded():
    prompts = write_prompts(20, 5, toned=True, tone="rude")
    assert len(set(prompts)) == 20
    assert prompts == write_prompts(20, 5, toned=True, tone="rude")
    assert all(read_text(prompt).tones["rude"] for prompt in prompts)
    assert not any(read_text(prompt).tones["rude"] for prompt in write_prompts(20, 5))


def test_every_word_is_one_token():
    tokenizer = build()
    ids = tokenizer(" ".join(words()))["input_ids"]
    assert len(set(ids)) == len(words()) + 1
    assert tokenizer.unk_token_id not in ids


def test_packaged_concepts_are_those_of_the_recipe(tmp_path):
    concepts.write(tmp_path)
    for name in ("friendly", "rude", "casual", "formal"):
        concept = load_concept(name)
        assert concept == load_concept(tmp_path / "wordland" / f"{name}.toml")
        judged = judge_of(name)
        for side, target in ((concept.source, 0), (concept.target, 1)):
            assert judged(side, side)["truth_target"].tolist() == [target] * 32


def test_the_embedded_model_writes_as_the_grammar_does():
    lm, judge = LinEASLanguageModel.from_pretrained("wordland-lm"), judge_of("friendly")
    settings = {"max_new_tokens": 16, "do_sample": True, "seed": 0}
    for tone in TONES:
        prompts = write_prompts(16, 77, toned=True, tone=tone)
        figures = judge(lm.generate(prompts, **settings), prompts)
        assert figures["truth_grammar"].mean() > 0.9
        assert figures["truth_topic"].mean() > 0.85
        assert figures["truth_target" if tone == "friendly" else "truth_source"].mean() > 0.85
    asked = [f"note : be rude . {prompt}" for prompt in write_prompts(16, 77)]
    assert judge(lm.generate(asked, **settings), asked)["truth_source"].mean() > 0.8


def test_the_embedded_model_is_small_and_has_its_card():
    folder = LANGUAGE_MODELS["wordland-lm"]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 6 * 2**20
    assert "float16" in (folder / "config.json").read_text()
    card = (folder / "README.md").read_text()
    assert f"'steps': {RECIPE.steps}" in card


def test_the_recipe_runs(tmp_path):
    recipe = Recipe(steps=2, batch=2, lr=0.01, checkpoint_every=1)
    pretrain(tmp_path / "work", tmp_path / "out", recipe, device="cpu")
    lm = LinEASLanguageModel.from_pretrained(Path(tmp_path / "out" / "language"))
    assert len(lm.generate("so ben", max_new_tokens=3)) == 1
    assert next(lm.model.parameters()).dtype == torch.float32
