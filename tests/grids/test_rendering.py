"""What is rendered is what single calls give, in batches of a bounded size, and the pipeline is left as it was."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from linea_diffusion import LineaError, SteeringMaps, StyleGrid
from linea_diffusion.grids.plan_rendering import loaded

from ..conftest import seeded

FOREIGN = SteeringMaps({"unet.elsewhere": 4})
FEW = {"num_inference_steps": 2}


def difference(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())


@pytest.fixture(scope="module")
def other_maps(random_maps):
    return random_maps * -1.0


def test_styles_and_dials_are_the_pictures_of_single_calls(pipe, random_maps, other_maps):
    pipe.load_steering(random_maps, "a")
    pipe.load_steering(other_maps, "b")
    styles = StyleGrid.render_styles(pipe, "a red heart", [0, 0.5], seed=3, **FEW)
    dials = StyleGrid.render_dials(pipe, "a red heart", [0.5], row_strengths=[0.25], adapters=("a", "b"), seed=3, **FEW)
    for cell in [*styles.cells, *dials.cells]:
        alone = pipe("a red heart", strength=cell.strengths, generator=seeded(3), **FEW).images[0]
        assert difference(cell.image, alone) <= 2, cell.strengths
    assert difference(styles.rows[0][1].image, styles.rows[1][1].image) > 20
    assert dials.cells[0].strengths == {"a": 0.25, "b": 0.5}


def test_methods_ask_in_words_and_lend_their_maps(pipe, random_maps, other_maps):
    pipe.load_steering(other_maps, "maps")
    pipe.set_steering("maps", 0.3)
    grid = StyleGrid.render_methods(
        pipe, "a red heart", [0, 1], methods={"maps": random_maps, "words": None}, style="neon", **FEW
    )
    expected = pipe("a red heart, neon", strength=0, generator=seeded(), **FEW).images[0]
    assert difference(grid.rows[1][1].image, expected) <= 2
    assert (grid.rows[1][1].prompt, grid.rows[1][1].asked) == ("a red heart", "a red heart, neon")
    assert not grid.rows[1][1].is_unsteered
    assert grid.rows[1][0].is_unsteered
    assert pipe.steering["maps"] is other_maps
    assert pipe.get_active_steering() == {"maps": pytest.approx(0.3)}


def test_adapters_are_what_they_were_also_after_an_error(pipe, random_maps, other_maps):
    pipe.load_steering(random_maps, "a")
    with pytest.raises(LineaError, match="another model"), loaded(pipe, {"a": other_maps, "new": FOREIGN}):
        pytest.fail("foreign maps were loaded")
    assert dict(pipe.steering) == {"a": random_maps}


@pytest.mark.parametrize(
    ("rows", "columns", "size", "lengths"),
    [(3, 2, 2, [2, 2, 2]), (3, 2, 5, [4, 2]), (2, 5, 2, [2, 2, 1, 2, 2, 1]), (2, 3, 100, [6]), (1, 4, 1, [1] * 4)],
)
def test_calls_are_whole_rows_or_pieces_of_one(pipe, random_maps, rows, columns, size, lengths):
    pipe.load_steering(random_maps, "a")
    seen: list[int] = []
    hook = pipe.unet.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len((args or [kwargs["sample"]])[0])), with_kwargs=True
    )
    prompts, strengths = [f"star {row}" for row in range(rows)], [column / 8 for column in range(columns)]
    with hook:
        grid = StyleGrid.render(pipe, prompts, strengths, batch_size=size, num_inference_steps=1)
    assert seen == lengths
    assert [(cell.prompt, cell.strength) for cell in grid.cells] == [(p, s) for p in prompts for s in strengths]


def test_a_lack_of_memory_halves_calls_and_changes_no_picture(pipe, random_maps, little_memory):
    pipe.load_steering(random_maps, "a")
    prompts, strengths = ["a red heart", "a blue fish"], [0, 0.5, 1]
    expected = StyleGrid.render(pipe, prompts, strengths, batch_size=6, **FEW)
    rows = little_memory(2)
    grid = StyleGrid.render(pipe, prompts, strengths, batch_size=6, **FEW)
    assert set(rows) == {6, 3, 1}  # it is not asked for 3 again
    assert rows.count(6) == rows.count(3) == 1
    assert all(difference(a.image, b.image) <= 2 for a, b in zip(grid.cells, expected.cells, strict=True))
    little_memory(0)
    with pytest.raises(LineaError, match="memory ran out with this image alone"):
        StyleGrid.render(pipe, prompts, strengths, **FEW)


def test_the_batch_size_bounds_a_call_and_changes_no_picture(pipe, random_maps):
    pipe.load_steering(random_maps, "a")
    sizes: list[int] = []
    hook = pipe.unet.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len((args or [kwargs["sample"]])[0])), with_kwargs=True
    )
    prompts, strengths = ["a red heart", "a blue fish"], [0, 0.5, 1]
    ways = {}
    with hook:
        for size in (None, 2, 6):
            sizes.clear()
            ways[size] = (StyleGrid.render(pipe, prompts, strengths, batch_size=size, **FEW), set(sizes))
    assert [seen for _, seen in ways.values()] == [{3}, {2, 1}, {6}]
    for grid, _ in ways.values():
        assert all(difference(a.image, b.image) <= 2 for a, b in zip(grid.cells, ways[None][0].cells, strict=True))


def test_arguments_for_one_prompt_go_to_all(pipe, random_maps):
    pipe.load_steering(random_maps, "a")
    arguments = {"negative_prompt": "a blue fish", "guidance_scale": 3.0, **FEW}
    grid = StyleGrid.render(pipe, ["a red heart"], [0, 1], **arguments)
    plain = StyleGrid.render(pipe, ["a red heart"], [0, 1], **FEW)
    alone = pipe("a red heart", strength=1, generator=seeded(), **arguments).images[0]
    assert difference(grid.cells[1].image, alone) <= 2
    assert difference(grid.cells[1].image, plain.cells[1].image) > 5
    assert grid.facts["arguments"]["negative_prompt"] == "a blue fish"


def test_facts_name_model_maps_versions_and_arguments(pipe, random_maps, tmp_path):
    pipe.load_steering(random_maps, "a")
    random_maps.save_pretrained(tmp_path / "maps")
    grid = StyleGrid.render(pipe, ["a red heart"], [0], **FEW)
    config = json.loads((tmp_path / "maps" / "config.json").read_text())
    assert grid.facts["maps"] == {"a": config["weights_sha256"]}
    assert grid.facts["maps"]["a"] == hashlib.sha256((tmp_path / "maps/steering.safetensors").read_bytes()).hexdigest()
    assert grid.facts["model"] == "shapeland-unet"
    assert grid.facts["arguments"] == {"num_inference_steps": 2, "guidance_scale": 1.0}
    assert set(grid.facts["library_versions"]) == {"linea-diffusion", "torch", "diffusers", "transformers"}
    json.dumps(grid.facts)


def test_pictures_in_a_folder_are_not_held(pipe, random_maps, tmp_path):
    pipe.load_steering(random_maps, "a")
    held = StyleGrid.render(pipe, ["a red heart"], [0, 1], **FEW)
    streamed = StyleGrid.render(pipe, ["a red heart"], [0, 1], folder=tmp_path / "deep" / "pictures", **FEW)
    assert [cell.picture.name for cell in streamed.cells] == ["000-000.png", "000-001.png"]
    assert all(difference(a.image, b.image) == 0 for a, b in zip(held.cells, streamed.cells, strict=True))
    assert streamed.cells[0].image is not streamed.cells[0].image


@pytest.mark.parametrize(
    "given", [{"generator": None}, {"num_images_per_prompt": 2}, {"strength": 1}, {"batch_size": 0}]
)
def test_what_a_grid_gives_itself_is_refused(pipe, given):
    with pytest.raises(LineaError, match=f"got {next(iter(given))}"):
        StyleGrid.render(pipe, ["a"], [0], **given)
