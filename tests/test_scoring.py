"""CLIP scores against formulas written out, and open_clip's models, tags and files."""

from __future__ import annotations

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from linea_diffusion import ClipScorer, LineaError
from linea_diffusion.shapeland.world import Scene, render

PICTURES = [render(Scene("heart", "red", "neon", 1.0, 1)), render(Scene("fish", "blue", seed=2))]


@pytest.fixture(scope="module")
def scorer():
    return ClipScorer()


def test_cosines_by_hand(scorer):
    with torch.no_grad():
        images = scorer.model.encode_image(torch.stack([scorer.preprocess(picture) for picture in PICTURES]))
        text = scorer.model.encode_text(scorer.tokenizer(["a picture in neon style"]))
    expected = [float(i @ text[0] / (i.norm() * text[0].norm())) for i in images]
    assert scorer.text_similarity(PICTURES, "a picture in neon style").tolist() == pytest.approx(expected, abs=1e-5)


def test_each_picture_may_have_its_own_text(scorer):
    texts = ["a red heart, neon", "a blue fish"]
    own = scorer.text_similarity(PICTURES, texts)
    swapped = scorer.text_similarity(PICTURES, texts[::-1])
    assert (own > swapped + 0.1).all()


def test_style_probability_is_the_softmax_of_two_scaled_cosines(scorer):
    style, neutral = "a picture in neon style", "a picture of something"
    cosines = torch.stack([scorer.text_similarity(PICTURES, text) for text in (style, neutral)], dim=1)
    expected = (scorer.model.logit_scale.exp() * cosines).softmax(-1)[:, 0]
    probability = scorer.style_probability(PICTURES, style, neutral)
    assert torch.allclose(probability, expected, atol=1e-6)
    assert probability[0] > 0.9
    assert probability[1] < 0.1


def test_image_similarity(scorer):
    assert torch.allclose(scorer.image_similarity(PICTURES, PICTURES), torch.ones(2), atol=1e-5)
    assert scorer.image_similarity(PICTURES[:1], PICTURES[1:]).item() < 0.9


def test_a_local_checkpoint_of_an_open_clip_architecture(tmp_path):
    torch.manual_seed(0)
    model = open_clip.create_model("RN50", precision="fp32")
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "rn50.safetensors")
    scorer = ClipScorer("RN50", str(tmp_path / "rn50.safetensors"))
    assert torch.equal(scorer.model.visual.conv1.weight, model.visual.conv1.weight)
    assert scorer.text_similarity(PICTURES, "a heart").shape == (2,)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(LineaError, match="nearest: ViT-L-14"):
        ClipScorer("ViT-L-14x", "openai")
    with pytest.raises(LineaError, match=r"expected a checkpoint file or one of .*openai"):
        ClipScorer("ViT-B-32", "no-such-tag")
    with pytest.raises(LineaError, match="checkpoint file"):
        ClipScorer("ViT-B-32")


def test_the_wrong_activation_is_refused():
    with pytest.raises(LineaError, match="ViT-B-32-quickgelu"):
        ClipScorer("ViT-B-32", "openai")


def test_weights_that_cannot_be_fetched_are_an_error():
    with pytest.raises(LineaError, match="cannot be loaded here"):
        ClipScorer("ViT-B-32-quickgelu", "openai")


def test_numbers_of_texts_must_fit(scorer):
    with pytest.raises(LineaError, match="2 pictures and 3 texts"):
        scorer.text_similarity(PICTURES, ["a", "b", "c"])
