"""How a strength is read: the curve backwards, its three ways, and that every place where strengths enter agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linea_diffusion import LineaError, SteeringMaps, StyleGrid
from linea_diffusion.steering.dial import Calibration, choose_calibration, word_for

from ..batches import tiny_pipe, tiny_style
from ..conftest import seeded

CURVE = {"strengths": [0.0, 0.5, 0.75, 1.0], "values": [0.0, 0.2, 0.8, 1.0], "measure": "truth"}
SMALL = {"num_inference_steps": 2, "height": 16, "width": 16, "output_type": "latent"}


def _read(strengths: list, values: list, *wanted: float) -> list[float]:
    curve = {"strengths": strengths, "values": values, "measure": "truth"}
    return Calibration(curve).positions(torch.tensor(wanted, dtype=torch.float64)).tolist()


def test_the_curve_is_read_backwards():
    assert _read([0, 0.5, 0.75, 1], [0, 0.2, 0.8, 1], 0.1, 0.2, 0.5, 0.8, 0.9) == pytest.approx(
        [0.25, 0.5, 0.625, 0.75, 0.875]
    )


def test_a_dial_that_does_nothing_at_first_begins_where_the_change_does():
    assert _read([0, 0.25, 0.5, 1], [0, 0, 0.5, 1], 0.0, 1e-9, 0.25) == pytest.approx([0, 0.25, 0.375])
    assert _read([0, 0.25, 0.5, 1], [0, 0, 0.5, 1], -0.1, 0.0) == [-0.1, 0]


def test_a_level_part_is_passed_over_and_gives_the_least_strength():
    assert _read([0, 0.2, 0.4, 0.6, 1], [0, 0.5, 0.5, 0.5, 1], 0.4999, 0.5, 0.5001) == pytest.approx(
        [0.2, 0.2, 0.6], abs=1e-3
    )
    assert _read([0, 0.5, 0.7, 1], [0, 0.4, 1, 1], 0.4, 0.7, 0.999999, 1) == pytest.approx([0.5, 0.6, 0.7, 1], abs=1e-5)
    assert _read([0, 0.5, 1], [0, 0, 1], 1e-12, 1 - 1e-12) == pytest.approx([0.5, 1])


@st.composite
def curves(draw) -> dict:
    count = draw(st.integers(0, 8))
    knots = draw(st.lists(st.integers(1, 999), min_size=count, max_size=count, unique=True))
    values = draw(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0, 0.5, 1])), min_size=count, max_size=count))
    return {"strengths": [0, *(k / 1000 for k in sorted(knots)), 1], "values": [0, *sorted(values), 1], "measure": ""}


@given(curves(), st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_the_curve_at_what_is_read_is_what_was_wanted(curve, wanted):
    dial = torch.tensor(sorted(wanted), dtype=torch.float64)
    read = Calibration(curve).positions(dial)
    assert bool((read.diff() >= -1e-12).all())
    assert bool(((read >= 0) & (read <= 1)).all())
    assert np.interp(read, curve["strengths"], curve["values"]) == pytest.approx(dial.numpy(), abs=1e-9)
    ends = torch.tensor([-3.0, -1e-3, 0.0, 1.0, 1.001, 40.0])
    assert torch.equal(Calibration(curve).positions(ends), ends)


def test_three_ways_to_read():
    strengths = torch.tensor([0.2, 0.8])
    for curve in (CURVE, None):
        assert torch.equal(choose_calibration(curve, False).positions(strengths), strengths)
    assert torch.equal(choose_calibration(None, None).positions(strengths), strengths)
    assert torch.allclose(choose_calibration(CURVE, None).positions(strengths), torch.tensor([0.5, 0.75]))
    assert torch.allclose(choose_calibration(CURVE, True).positions(strengths), torch.tensor([0.5, 0.75]))
    with pytest.raises(LineaError, match="call calibrate first"):
        choose_calibration(None, True)
    for wrong in ("yes", 1, 0.0):
        with pytest.raises(LineaError, match="expected True"):
            choose_calibration(CURVE, wrong)
    names = [choose_calibration(CURVE, way).name for way in (None, True, False)]
    assert names == ["calibrated by truth", "calibrated by truth", "share of the way in activations"]
    assert [word_for(some) for some in (names[:2], names, [])] == ["calibrated strength", "strength", "strength"]


@pytest.fixture(scope="module")
def steered():
    """Two styles, of which one is calibrated."""
    pipe = tiny_pipe()
    pipe.set_progress_bar_config(disable=True)
    pipe.load_steering(tiny_style(pipe, 1, calibration=CURVE), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    return pipe


def _latents(pipe, **dial) -> torch.Tensor:
    return pipe("a red heart", generator=seeded(), **SMALL, **dial).images


def test_a_call_reads_each_set_of_maps_on_its_own_dial(steered):
    latents = _latents(steered, strength={"neon": 0.2, "mosaic": 0.2})
    behind = _latents(steered, strength={"neon": 0.5, "mosaic": 0.2}, calibrated=False)
    plain = _latents(steered, strength={"neon": 0.2, "mosaic": 0.2}, calibrated=False)
    assert torch.equal(latents, behind)
    assert not torch.equal(latents, plain)
    assert torch.equal(_latents(steered, strength=0.2), latents)
    with pytest.raises(LineaError, match="call calibrate first"):
        _latents(steered, strength=0.2, calibrated=True)
    with pytest.raises(LineaError, match="expected True"):
        _latents(steered, strength=0.2, calibrated="yes")
    outside = {"neon": 1.4, "mosaic": -0.5}
    assert torch.equal(_latents(steered, strength=outside), _latents(steered, strength=outside, calibrated=False))


def test_what_set_steering_chose_is_read_on_the_dial_of_the_call(steered):
    steered.set_steering("neon", 0.2)
    try:
        assert steered.get_active_steering() == {"neon": pytest.approx(0.2)}
        assert torch.equal(_latents(steered), _latents(steered, strength={"neon": 0.5}, calibrated=False))
        assert torch.equal(
            _latents(steered, calibrated=False), _latents(steered, strength={"neon": 0.2}, calibrated=False)
        )
        steered.disable_steering()
        assert torch.equal(_latents(steered, calibrated=True), _latents(steered, strength=0))
    finally:
        steered.enable_steering()
        steered.set_steering(["neon", "mosaic"])


@pytest.mark.parametrize(("way", "stands"), [(None, 0.5), (True, 0.5), (False, 0.2)])
def test_every_way_in_reads_alike(steered, way, stands):
    neon = steered.steering["neon"]
    expected = _latents(steered, strength={"neon": stands}, calibrated=False)
    with neon.apply(steered, 0.2, calibrated=way):
        applied = steered.base("a red heart", generator=seeded(), **SMALL).images
    torch.testing.assert_close(applied, expected, atol=1e-4, rtol=1e-3)
    alone = type(steered)(steered.base)
    alone.load_steering(neon, "neon")
    fused = alone.fuse_steering(0.2, calibrated=way)
    assert fused.folded or fused.hooked
    folded = _latents(alone)
    alone.unfuse_steering()
    torch.testing.assert_close(folded, expected, atol=1e-4, rtol=1e-3)
    text = tiny_pipe()
    text.load_steering(_of_text(text), "neon")
    embeds, _ = text.encode_prompt("a red heart", "cpu", 1, False, strength=0.2, calibrated=way)
    same, _ = text.encode_prompt("a red heart", "cpu", 1, False, strength=stands, calibrated=False)
    assert torch.equal(embeds, same)
    call = {"prompt_embeds": embeds, "generator": seeded(), "guidance_scale": 1.0, **SMALL}
    text(strength=stands, calibrated=False, **call)  # taken as steered: the maps stand where they stood


def _of_text(pipe) -> SteeringMaps:
    from linea_diffusion.pipelines.calling import measure_activations
    from linea_diffusion.steering.presets import find_modules

    modules = find_modules(pipe, r"text_encoder\..*layer_norm.*")
    shapes = measure_activations(pipe, modules)
    maps = SteeringMaps({name: features for name, (_, features) in shapes.items()}, {"calibration": CURVE})
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in maps.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return maps.requires_grad_(False)


def test_embeddings_of_another_dial_are_not_taken(steered):
    text = tiny_pipe()
    text.load_steering(_of_text(text), "neon")
    embeds, _ = text.encode_prompt("a red heart", "cpu", 1, False, strength=0.2)
    with pytest.raises(LineaError):
        text(prompt_embeds=embeds, strength=0.2, calibrated=False, guidance_scale=1.0, **SMALL)


def test_a_grid_turns_and_names_the_dial(steered, tmp_path):
    from linea_diffusion import grid_page
    from linea_diffusion.scoring.images.saving import read_record

    small = {"num_inference_steps": 1, "height": 16, "width": 16}
    made = {
        way: StyleGrid.render_styles(steered, "a red heart", [0, 0.2, 1], styles=["neon"], calibrated=way, **small)
        for way in (None, False)
    }
    cells = {way: [cell.image.tobytes() for cell in grid.cells] for way, grid in made.items()}
    assert [a == b for a, b in zip(cells[None], cells[False], strict=True)] == [True, False, True]
    assert made[None].facts["dials"] == {"neon": "calibrated by truth"}
    assert made[False].facts["dials"] == {"neon": "share of the way in activations"}
    for way, word in ((None, "calibrated strength"), (False, "strength")):
        grid = made[way]
        assert grid.strength_name == word
        grid.save(tmp_path / "grid.png")
        assert read_record(tmp_path / "grid.png")["dials"] == grid.facts["dials"]
        page = grid_page(grid, maps={"neon": steered.steering["neon"]})
        assert page.along == word
        assert ("dials: neon", grid.facts["dials"]["neon"]) in page.facts[0].entries
        assert ("calibration", "by truth, 4 strengths measured") in page.facts[1].entries
    assert made[None].image(cell_size=32).tobytes() != made[False].image(cell_size=32).tobytes()
    both = StyleGrid.render(steered, ["a red heart"], [0.2], **small)
    assert both.strength_name == "strength"
    with pytest.raises(LineaError, match="call calibrate first"):
        StyleGrid.render(steered, ["a red heart"], [0.2], calibrated=True, **small)


def test_the_caption_of_an_animation_says_which_dial(steered, tmp_path, monkeypatch):
    from linea_diffusion.grids import animation

    texts = []
    monkeypatch.setattr(animation, "shorten", lambda text, **_: texts.append(text) or text)
    grid = StyleGrid.render_styles(
        steered, "a red heart", [0, 1], styles=["neon"], num_inference_steps=1, height=16, width=16
    )
    grid.save_animation(tmp_path / "a.gif", cell_size=32)
    assert "calibrated strength 1" in texts


def test_algebra_makes_maps_that_no_calibration_was_measured_for():
    maps = SteeringMaps({"unet.a": 2}, {"calibration": CURVE})
    assert maps.dial().curve == CURVE
    for made in (0.5 * maps, -maps, maps + maps, maps.inverse(), maps.subset("unet")):
        assert made.dial().curve is None
