"""Words that a tokenizer can only spell."""

from __future__ import annotations

import re
import warnings

import open_clip
import pytest

from linea_diffusion import ClipScorer, list_concepts, load_concept
from linea_diffusion.concepts.words import spelled_words
from linea_diffusion.scoring.clip_models import word_pieces


def _texts(world):
    for concept in map(load_concept, list_concepts(world=world)):
        yield from (*concept.source, *concept.target, concept.text, concept.neutral)


def test_no_word_of_the_packaged_concepts_is_told():
    real = open_clip.get_tokenizer("ViT-B-32")
    assert spelled_words(_texts("real"), [real], word_pieces) == []
    assert spelled_words(_texts("shapeland"), [ClipScorer().tokenizer], word_pieces) == []


def test_words_nobody_taught_are_told_and_other_scripts_are_not():
    tokenizer = ClipScorer().tokenizer
    assert spelled_words(["a dog in Vaporwave style", "犬と猫と鳥"], [tokenizer], word_pieces) == ["dog", "vaporwave"]
    assert spelled_words(["a dog"], [], word_pieces) == []


def test_a_scorer_tells_of_a_word_once():
    scorer = ClipScorer()
    with pytest.warns(UserWarning, match=re.escape("got 'vaporwave' in texts for CLIP 'shapeland-clip'")):
        scorer.embed_texts(["a vaporwave picture", "more vaporwave"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer.embed_texts(["a vaporwave"])


def test_a_call_tells_of_words_that_its_model_does_not_know(pipe):
    with pytest.warns(UserWarning, match="got 'dog', 'sun' in prompts, which the model's tokenizer does not know"):
        pipe(["a red dog", "a dog in the sun"], num_inference_steps=1, output_type="latent")
