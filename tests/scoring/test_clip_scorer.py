"""CLIP scores against formulas written out, and open_clip's models, tags and files."""

from __future__ import annotations

import open_clip
import pytest
import torch
from PIL import Image
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
    matched = scorer.text_similarity(PICTURES, texts)
    swapped = scorer.text_similarity(PICTURES, texts[::-1])
    assert (matched > swapped + 0.1).all()


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
    scorer = ClipScorer("RN50", str(tmp_path), quick_gelu=False)  # the only checkpoint in its folder
    assert scorer.name == "RN50/rn50.safetensors"
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


def test_clip_score_is_cut_at_0_and_scaled(scorer):
    texts = ["a red heart, neon", "a red heart, neon"]
    cosines = scorer.text_similarity(PICTURES, texts)
    assert scorer.clip_score(PICTURES, texts).tolist() == pytest.approx([max(0, 2.5 * c) for c in cosines.tolist()])


def test_directional_similarity_tells_a_style_from_its_opposite(scorer):
    plain = [render(Scene("heart", "red", seed=1))]
    texts = ("a picture in neon style", "a picture of something")
    change = scorer.embed_images(PICTURES[:1]) - scorer.embed_images(plain)
    words = scorer.embed_texts([texts[0]]) - scorer.embed_texts([texts[1]])
    expected = torch.nn.functional.cosine_similarity(change, words)
    assert torch.allclose(scorer.directional_similarity(PICTURES[:1], plain, *texts), expected, atol=1e-6)
    assert expected.item() > 0.3
    assert scorer.directional_similarity(plain, plain, *texts).isnan().all()
    with pytest.raises(LineaError, match="2 pictures and 1 references"):
        scorer.directional_similarity(PICTURES, plain, *texts)


def test_a_text_that_would_be_cut_off_is_refused(scorer):
    fits = "a red heart" + ", neon" * 9  # each is two tokens
    length = len(scorer.tokenizer.tokenizer(fits)["input_ids"])
    longer = fits + ", neon" * 9
    assert length <= scorer.tokenizer.context_length == 24
    scorer.embed_texts([fits])
    with pytest.raises(LineaError, match=r"text of \d\d tokens .* expected at most 24"):
        scorer.embed_texts([longer])


def test_embeddings_come_from_the_cache_and_are_right(scorer):
    fresh = ClipScorer()
    first = fresh.embed_images(PICTURES)
    encode, fresh._encode_images = fresh._encode_images, None
    assert torch.equal(fresh.embed_images([picture.copy() for picture in PICTURES[::-1]]), first.flip(0))
    fresh._encode_images = encode
    changed = PICTURES[0].copy()
    changed.putpixel((5, 5), (1, 2, 3))
    assert not torch.equal(fresh.embed_images([changed]), first[:1])
    assert fresh.cache.hits == 2
    text, picture = "a red heart", fresh.embed_texts(["a red heart"])
    assert torch.equal(fresh.embed_texts([text, text]), picture.repeat(2, 1))


def test_pictures_of_the_same_indices_and_another_palette_are_others(scorer):
    indexed = [Image.new("P", (64, 64), 1) for _ in range(2)]
    for image, color in zip(indexed, ((255, 0, 0), (0, 0, 255)), strict=True):
        image.putpalette([0, 0, 0, *color])
    assert indexed[0].tobytes() == indexed[1].tobytes()
    red, blue = scorer.embed_images(indexed)
    assert torch.allclose(red, scorer.embed_images([Image.new("RGB", (64, 64), "red")])[0])
    assert not torch.allclose(red, blue, atol=1e-3)


def test_what_rgb_cannot_hold_is_refused(scorer):
    with pytest.raises(LineaError, match="transparency"):
        scorer.embed_images([Image.new("RGBA", (64, 64), (255, 0, 0, 128))])
    with pytest.raises(LineaError, match="8 bits"):
        scorer.embed_images([Image.new("I;16", (64, 64))])
    red = scorer.embed_images([Image.new("RGB", (64, 64), "red")])
    scorer.background = "red"
    assert torch.equal(scorer.embed_images([Image.new("RGBA", (64, 64), (0, 0, 0, 0))]), red)
    scorer.background = None
    with pytest.raises(LineaError, match="got colour 'rosy'"):
        ClipScorer(background="rosy")
    opaque = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    assert torch.equal(scorer.embed_images([opaque]), scorer.embed_images([opaque.convert("RGB")]))


def test_batch_size_bounds_what_runs_at_once_and_dtype_the_precision(scorer):
    small = ClipScorer(batch_size=2)
    sizes = []
    small.model.visual.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    pictures = [render(Scene("fish", "blue", seed=seed)) for seed in range(5)]
    exact = scorer.embed_images(pictures)
    assert torch.allclose(small.embed_images(pictures), exact, atol=1e-5)
    assert sizes == [2, 2, 1]
    half = ClipScorer(dtype=torch.bfloat16)
    assert half.model.visual.conv1.weight.dtype == torch.bfloat16
    rounded = half.embed_images(pictures)
    assert rounded.dtype == torch.float32
    assert 1e-5 < (rounded - exact).abs().max() < 0.05
    assert half.embed_texts(["a red heart"]).dtype == torch.float32


def test_options_that_make_no_sense_are_refused(scorer):
    with pytest.raises(LineaError, match="batch_size=0"):
        ClipScorer(batch_size=0)
    with pytest.raises(LineaError, match="dtype"):
        ClipScorer(dtype=torch.float64)
    with pytest.raises(LineaError, match="no pictures"):
        scorer.embed_images([])
    with pytest.raises(LineaError, match="list"):
        scorer.embed_texts("a red heart")
