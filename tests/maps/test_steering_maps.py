"""The maps: formula, identity, and strengths per sample."""

from __future__ import annotations

import math

import pytest
import torch

from linea_diffusion import AffineMap, LineaError, SteeringMaps, find_modules

from ..conftest import count_hooks


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
    union = random_maps.subset("text_encoder", "unet")
    assert [name for name, _ in union.named_maps()] == list(named)
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


def mixing_maps() -> SteeringMaps:
    """Maps of different ranks and bins in one set, one rank of which does nothing."""
    maps = SteeringMaps({"unet.a": 3, "unet.b": (2, 4), "unet.c": (1, 5, 2), "unet.d": (3, 4, 3)}, {"concept": "neon"})
    rng = torch.Generator().manual_seed(4)
    for parameter in maps.requires_grad_(False).parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng))
    dict(maps.named_maps())["unet.d"].up[..., 1] = 0
    return maps


def test_maps_of_different_ranks_in_one_set(tmp_path):
    maps = mixing_maps()
    named = dict(maps.named_maps())
    assert {name: affine.shape for name, affine in named.items()} == {
        "unet.a": (3,),
        "unet.b": (2, 4),
        "unet.c": (1, 5, 2),
        "unet.d": (3, 4, 3),
    }
    assert maps.rank == 3
    assert maps.size == 6 + 16 + 30 + 3 * (8 + 24)
    assert maps.stored == maps.size - 12
    assert maps.support == maps.stored / maps.size
    maps.save_pretrained(tmp_path)
    loaded = dict(SteeringMaps.from_pretrained(tmp_path).named_maps())
    assert {name: affine.rank for name, affine in loaded.items()} == {
        "unet.a": 0,
        "unet.b": 0,
        "unet.c": 2,
        "unet.d": 2,
    }
    for name, affine in named.items():
        z = torch.randn(2, affine.features, generator=torch.Generator().manual_seed(1))
        for fraction in (0.0, 0.4, 0.9):
            torch.testing.assert_close(loaded[name](z, 0.7, fraction=fraction), affine(z, 0.7, fraction=fraction))


def test_what_is_loaded_is_what_was_trimmed(tmp_path):
    maps = mixing_maps()
    small = maps.trimmed()
    assert (small.rank, small.metadata) == (2, maps.metadata)
    maps.save_pretrained(tmp_path / "one")
    small.save_pretrained(tmp_path / "two")
    for name in ("steering.safetensors", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert SteeringMaps.from_pretrained(tmp_path / "one").size == small.size


def test_trimmed_maps_know_who_waits_for_them():
    maps, called = mixing_maps(), []
    maps.on_saved = lambda: called.append(1)
    assert maps.trimmed().on_saved is maps.on_saved


def test_arithmetic_of_maps_of_different_ranks():
    maps, other = mixing_maps(), mixing_maps() * 0.5
    assert not list((maps - maps).acting())
    assert (maps - other).rank == 2, "equal columns of V are one, and the idle rank is gone"
    assert {name: a.rank for name, a in maps.subset(r"unet\.[ad]").named_maps()} == {"unet.a": 0, "unet.d": 3}
    z = torch.ones(1, 5)
    mine, twice = (dict(one.named_maps())["unet.c"] for one in (maps, maps + maps))
    torch.testing.assert_close(twice(z), mine(z, 2.0))


def test_one_bin_with_an_axis_of_its_own_is_one_bin():
    numbers = {"unet.a.scale_offset": torch.zeros(1, 3), "unet.a.shift": torch.tensor([[1.0, 2.0, 3.0]])}
    ((_, affine),) = SteeringMaps.from_numbers(numbers, {}).named_maps()
    assert affine.shape == (3,)
    assert affine.shift.tolist() == [1.0, 2.0, 3.0]


def test_summary_has_columns_for_low_rank_parts_only_where_there_are_some(random_maps):
    assert "max|U|" not in random_maps.summary()
    head, *rows, last = mixing_maps().summary().splitlines()
    assert head.split() == ["module", "d", "r", "max|w-1|", "max|b|", "max|U|", "max|V|", "support"]
    assert [row.split()[1:3] for row in rows] == [["3", "0"], ["4", "0"], ["5", "2"], ["4", "3"]]
    assert {len(row) for row in rows} == {len(head)}
    assert f"{mixing_maps().size} parameters" in last


def test_summary_lists_modules_and_counts_parameters(random_maps):
    summary = random_maps.summary()
    assert all(name in summary for name, _ in random_maps.named_maps())
    assert f"{sum(p.numel() for p in random_maps.parameters())} parameters" in summary
