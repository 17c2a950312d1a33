"""The maps: formula, identity, and strengths per sample."""

from __future__ import annotations

import math

import pytest
import torch

from linea_diffusion import AffineMap, LineaError, SteeringMaps, find_modules

from .conftest import count_hooks


def _random_map(features: int) -> AffineMap:
    affine = AffineMap(features)
    with torch.no_grad():
        affine.scale_offset.normal_(generator=torch.Generator().manual_seed(1))
        affine.shift.normal_(generator=torch.Generator().manual_seed(2))
    return affine


def test_formula():
    affine, z = _random_map(5), torch.randn(2, 3, 5)
    w, b = 1 + affine.scale_offset, affine.shift
    assert torch.allclose(affine(z), w * z + b, atol=1e-6)
    assert torch.allclose(affine(z, 0.3), z + 0.3 * ((w - 1) * z + b), atol=1e-6)
    assert torch.equal(affine(z, 0.0), z)
    assert not torch.allclose(affine(z, -1.0), affine(z, 1.0))


def test_strength_per_sample_and_channel_axis():
    affine, z = _random_map(5), torch.randn(2, 5, 4, 4)
    both = affine(z, torch.tensor([0.2, 0.9]), axis=1)
    for i, strength in enumerate((0.2, 0.9)):
        alone = affine(z[i : i + 1].movedim(1, -1), strength).movedim(-1, 1)
        assert torch.allclose(both[i : i + 1], alone, atol=1e-6)


def test_a_small_scale_survives_half_precision():
    affine = AffineMap(1)
    affine.scale_offset.data.fill_(0.003)
    z = torch.full((1, 1), 1000.0, dtype=torch.bfloat16)
    mapped = affine(z)
    assert mapped.dtype == torch.bfloat16
    # 1.003 is 1 in bfloat16; the map multiplies in float32 and rounds once.
    assert mapped.item() == torch.tensor(1003.0).bfloat16().item() != 1000


def test_a_fresh_map_changes_nothing_and_hooks_nothing(pipe):
    modules = find_modules(pipe)
    maps = SteeringMaps(dict.fromkeys(modules, 8)).requires_grad_(False)
    before = count_hooks(pipe)
    plain = pipe("a red heart", output_type="latent", generator=torch.Generator().manual_seed(0)).images
    with maps.apply(pipe, 1.0):
        assert count_hooks(pipe) == before
        same = pipe("a red heart", output_type="latent", generator=torch.Generator().manual_seed(0)).images
    assert torch.equal(plain, same)


def test_apply_changes_the_picture_and_leaves_no_hook_when_the_body_raises(pipe, random_maps):
    def render() -> torch.Tensor:
        return pipe("a red heart", output_type="latent", generator=torch.Generator().manual_seed(0)).images

    plain, before = render(), count_hooks(pipe)
    steered = []

    def interrupted() -> None:
        with random_maps.apply(pipe, 1.0):
            assert count_hooks(pipe) >= before + len(random_maps.maps)
            steered.append(render())
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert not torch.allclose(plain, steered[0], atol=1e-2)
    assert count_hooks(pipe) == before
    assert torch.equal(plain, render())


def test_save_and_load_render_the_same_picture(pipe, random_maps, tmp_path):
    random_maps.save_pretrained(tmp_path / "maps")
    loaded = SteeringMaps.from_pretrained(tmp_path / "maps")
    pictures = []
    for maps in (random_maps, loaded):
        with maps.apply(pipe, 0.6):
            pictures.append(pipe("a red heart", output_type="np", generator=torch.Generator().manual_seed(0)).images)
    assert (pictures[0] == pictures[1]).all()
    assert dict(loaded.named_maps()).keys() == dict(random_maps.named_maps()).keys()
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {"steering.safetensors", "config.json", "README.md"}


def test_metadata_comes_back(tmp_path):
    SteeringMaps({"unet.a": 3}, {"concept": "neon", "losses": [0.5]}).save_pretrained(tmp_path)
    metadata = SteeringMaps.from_pretrained(tmp_path).metadata
    assert (metadata["concept"], metadata["losses"]) == ("neon", [0.5])


def test_maps_of_another_model_name_the_first_missing_module(pipe):
    maps = SteeringMaps({"unet.mid_block.attentions.7.attn1": 8}, {"base_class": "FluxPipeline"})
    with pytest.raises(LineaError, match=r"FluxPipeline whose module 'unet\.mid_block\.attentions\.7\.attn1'.*nearest"):
        maps.modules_in(pipe)


def test_maps_of_another_width_say_so(pipe):
    maps = SteeringMaps({"unet.mid_block.attentions.0.transformer_blocks.0.attn1": 3})
    with pytest.raises(LineaError, match=r"3 features .* has 128"), maps.apply(pipe):
        pipe("a red heart")


@pytest.mark.parametrize("strength", [math.nan, math.inf, "much", [], [0.1, math.nan], None])
def test_a_strength_that_is_no_finite_number_is_refused(pipe, random_maps, strength):
    with pytest.raises(LineaError, match="expected a finite number"), random_maps.apply(pipe, strength):
        pass


def test_a_subset_by_component_or_pattern(pipe, random_maps):
    named = dict(random_maps.named_maps())
    texts, middle = random_maps.subset("text_encoder"), random_maps.subset("text_encoder", r"unet\.mid_block.*attn1")
    assert [name for name, _ in texts.named_maps()] == [name for name in named if name.startswith("text_encoder.")]
    assert len(middle.maps) == len(texts.maps) + 1
    for name, affine in middle.named_maps():
        assert torch.equal(affine.shift, named[name].shift)
        assert torch.equal(affine.scale_offset, named[name].scale_offset)
    whole = random_maps.subset("text_encoder", "unet")
    assert [name for name, _ in whole.named_maps()] == list(named)
    with random_maps.apply(pipe):
        both = pipe("a red heart", output_type="latent", generator=torch.Generator().manual_seed(0)).images
    with texts.apply(pipe), random_maps.subset("unet").apply(pipe):
        apart = pipe("a red heart", output_type="latent", generator=torch.Generator().manual_seed(0)).images
    assert torch.equal(both, apart)
    assert texts.metadata.get("base_model") == random_maps.metadata.get("base_model")


@pytest.mark.parametrize(
    ("choice", "message"),
    [("uet", "component .*nearest: unet"), ("unet.*nothing", "finds none of 17 maps"), ("(", "regular expression")],
)
def test_a_subset_of_nothing_is_refused(random_maps, choice, message):
    with pytest.raises(LineaError, match=message):
        random_maps.subset(choice)


def test_summary_lists_modules_and_counts_parameters(random_maps):
    summary = random_maps.summary()
    assert all(name in summary for name, _ in random_maps.named_maps())
    assert f"{sum(p.numel() for p in random_maps.parameters())} parameters" in summary
