"""Loading CLIP: what open_clip would guess is an error, and what it computes is what transformers computes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from linea_diffusion import ClipScorer, LineaError
from linea_diffusion.scoring.clip_models import load_clip, text_length
from linea_diffusion.shapeland import CLIPS

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
TEXTS = ["a red heart, neon", "a blue fish"]
rng = np.random.default_rng(0)
PICTURES = [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(3)]


def write_clip(folder, *, quick_gelu=False, preprocess=None):
    """A small random vision transformer as open_clip saves one, with the embedded CLIP's tokenizer."""
    torch.manual_seed(3)
    config = {
        "embed_dim": 24,
        "quick_gelu": quick_gelu,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {
            "context_length": 24, "vocab_size": 666, "width": 32, "heads": 2, "layers": 2, "hf_tokenizer_name": "here",
        },
    }  # fmt: skip
    model = open_clip.model.CLIP(**{**config, "text_cfg": dict(config["text_cfg"])})
    folder.mkdir()
    shutil.copytree(
        CLIPS["shapeland-clip"], folder, dirs_exist_ok=True, ignore=lambda *_: ["open_clip_model.safetensors"]
    )
    weights = {key: (2 * value).contiguous() for key, value in model.state_dict().items() if key != "attn_mask"}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = (
        {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
        if preprocess is None
        else preprocess
    )
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return weights


def as_transformers(weights, *, quick_gelu):
    """The same CLIP in the classes of transformers."""
    act = "quick_gelu" if quick_gelu else "gelu"
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": act,
    }
    text = {**sizes, "vocab_size": 666, "max_position_embeddings": 24, "eos_token_id": 2}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()
    state = {
        "logit_scale": weights["logit_scale"],
        "visual_projection.weight": weights["visual.proj"].T,
        "text_projection.weight": weights["text_projection"].T,
        "vision_model.embeddings.class_embedding": weights["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": weights["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": weights["visual.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": weights["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": weights["positional_embedding"],
    }
    for theirs, ours in (
        ("vision_model.pre_layrnorm", "visual.ln_pre"),
        ("vision_model.post_layernorm", "visual.ln_post"),
        ("text_model.final_layer_norm", "ln_final"),
    ):
        state.update({f"{theirs}.{part}": weights[f"{ours}.{part}"] for part in ("weight", "bias")})
    for tower, blocks in (("vision_model", "visual.transformer"), ("text_model", "transformer")):
        for layer in range(2):
            state.update(_block(f"{tower}.encoder.layers.{layer}", f"{blocks}.resblocks.{layer}", weights))
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all("position_ids" in key for key in missing.missing_keys)
    return model


def _block(theirs, ours, weights):
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    names["self_attn.out_proj"] = "attn.out_proj"
    state = {f"{theirs}.{a}.{p}": weights[f"{ours}.{b}.{p}"] for a, b in names.items() for p in ("weight", "bias")}
    for part in ("weight", "bias"):
        for name, value in zip("qkv", weights[f"{ours}.attn.in_proj_{part}"].chunk(3), strict=True):
            state[f"{theirs}.self_attn.{name}_proj.{part}"] = value
    return state


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_it_is_what_transformers_computes_with_the_same_weights(tmp_path, quick_gelu):
    weights = write_clip(tmp_path / "clip", quick_gelu=quick_gelu)
    scorer = ClipScorer(str(tmp_path / "clip"))
    pixels = torch.tensor(np.stack([(np.asarray(p) / 255 - MEAN) / STD for p in PICTURES]), dtype=torch.float32)
    tokens = scorer.tokenizer(TEXTS)
    with torch.no_grad():
        expected = as_transformers(weights, quick_gelu=quick_gelu)(tokens, pixels.movedim(-1, 1))
        other = as_transformers(weights, quick_gelu=not quick_gelu)(tokens, pixels.movedim(-1, 1))
    assert torch.allclose(scorer.embed_images(PICTURES), expected.image_embeds, atol=1e-5)
    assert torch.allclose(scorer.embed_texts(TEXTS), expected.text_embeds, atol=1e-5)
    assert torch.allclose(scorer.zero_shot(PICTURES, TEXTS), expected.logits_per_image.softmax(-1), atol=1e-5)
    assert not torch.allclose(scorer.embed_images(PICTURES), other.image_embeds, atol=1e-3), "the activation tells"


def test_a_folder_that_does_not_say_how_pictures_are_prepared_is_refused(tmp_path):
    write_clip(tmp_path / "clip", preprocess={"mean": MEAN})
    with pytest.raises(LineaError, match="expected std=, interpolation=, resize_mode= as they were trained with"):
        ClipScorer(str(tmp_path / "clip"))
    rest = {"interpolation": "bicubic", "resize_mode": "shortest"}
    said = ClipScorer(str(tmp_path / "clip"), std=STD, **rest).embed_images(PICTURES)
    other = ClipScorer(str(tmp_path / "clip"), std=[1, 1, 1], **rest).embed_images(PICTURES)
    assert not torch.allclose(said, other, atol=1e-3)
    with pytest.raises(LineaError, match=r"got mean=\(0\.5, 0\.5, 0\.5\) .* trained with \(0\.4"):
        ClipScorer(str(tmp_path / "clip"), mean=[0.5] * 3, std=STD, **rest)
    with pytest.raises(LineaError, match="three numbers"):
        ClipScorer(str(tmp_path / "clip"), std=[1, 1], **rest)


def test_interpolation_and_resize_mode_change_what_the_model_sees(tmp_path):
    write_clip(tmp_path / "clip", preprocess={"mean": MEAN, "std": STD})
    wide = [PICTURES[0].resize((80, 40))]
    ways = [("bicubic", "shortest"), ("bilinear", "shortest"), ("bicubic", "squash"), ("bicubic", "longest")]
    seen = [
        ClipScorer(str(tmp_path / "clip"), interpolation=how, resize_mode=mode).embed_images(wide) for how, mode in ways
    ]
    assert all(not torch.allclose(a, b, atol=1e-4) for i, a in enumerate(seen) for b in seen[:i])


def checkpoint_settings(architecture, pretrained, **settings):
    """What is decided before anything is loaded: the error that the end of the way meets, a file that is no weights."""
    options = {"quick_gelu": None, "mean": None, "std": None, "interpolation": None, "resize_mode": None, **settings}
    load_clip(architecture, str(pretrained), device=torch.device("cpu"), dtype=torch.float32, **options)


def test_a_bare_checkpoint_whose_activation_is_doubtful_is_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({"nothing": torch.zeros(1)}, file)
    with pytest.raises(LineaError, match="expected quick_gelu=True"):
        checkpoint_settings("RN50", file)
    with pytest.raises(LineaError, match="cannot be loaded here"):
        checkpoint_settings("RN50", file, quick_gelu=False)
    with pytest.raises(LineaError, match=r"quick_gelu=False for CLIP .* which has quick_gelu=True"):
        checkpoint_settings("RN50-quickgelu", file, quick_gelu=False)


def test_a_bare_checkpoint_whose_preprocessing_is_doubtful_is_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({"nothing": torch.zeros(1)}, file)
    with pytest.raises(LineaError, match="expected mean=, std= as"):  # OpenAI's and LAION's differ
        checkpoint_settings("ViT-L-14", file, quick_gelu=True)
    with pytest.raises(LineaError, match="expected mean=, std=, interpolation=, resize_mode="):  # no known weights
        checkpoint_settings("ViT-M-16", file)


def test_weights_beside_a_model_that_has_its_own_are_refused(tmp_path):
    write_clip(tmp_path / "clip")
    for model in ("shapeland-clip", str(tmp_path / "clip"), "hf-hub:org/name", "org/name"):
        with pytest.raises(LineaError, match="which has its own"):
            ClipScorer(model, "openai")


def test_a_folder_of_something_else_and_an_unreachable_hub_id(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(LineaError, match=r"without a readable open_clip_config\.json"):
        ClipScorer(str(tmp_path / "other"))
    with pytest.raises(LineaError, match="expected a reachable Hub id"):
        ClipScorer("no-such-organisation/no-such-clip")


def test_a_slash_in_an_architecture_is_no_hub_id():
    with pytest.raises(LineaError, match="ViT-B-32-quickgelu"):
        ClipScorer("ViT-B/32", "openai")


def test_weights_may_be_the_only_checkpoint_in_a_folder(tmp_path):
    with pytest.raises(LineaError, match="0 checkpoint files"):
        ClipScorer("RN50", str(tmp_path))
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(LineaError, match="2 checkpoint files"):
        ClipScorer("RN50", str(tmp_path))


def test_lengths_are_those_of_the_tokens(tmp_path):
    simple = open_clip.get_tokenizer("ViT-B-32")
    text = "a photograph of an astronaut, riding a horse"
    padded = simple(text)[0]
    assert text_length(simple, text) == int((padded != 0).sum())
    scorer = ClipScorer()
    inner = scorer.tokenizer.tokenizer
    assert text_length(scorer.tokenizer, text) == len(inner(text)["input_ids"])
