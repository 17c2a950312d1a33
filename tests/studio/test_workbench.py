"""What a window has: styles of its own over shared models, a dial's row, and words that make its picture again."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps
from linea_diffusion.scoring.images.saving import read_record
from linea_diffusion.shapeland import MODELS, learned_styles
from linea_diffusion.studio.looking import looks, set_by_hand
from linea_diffusion.studio.workbench import POSITIONS, Workbench, folder_name, load_known_styles

HAND = {"values": {"one": 0.5, "two": 0.0}, "off": [], "turning": "one", "window": [0, 1], "mask": None}


def _told(**changes):
    return {**HAND, **changes}


def test_two_windows_share_models_and_nothing_else(model, random_maps):
    first, second = Workbench(model), Workbench(model)
    assert first.pipe.unet is second.pipe.unet
    assert first.pipe.scheduler is not second.pipe.scheduler
    assert first.add(random_maps, "one") == "one 2", "a name that is taken gets a number"
    first.remove("two")
    assert (first.styles, second.styles, list(model.pipe.steering)) == (
        ["one", "one 2"],
        ["one", "two"],
        ["one", "two"],
    )
    assert first.render([first.scene])[0].tobytes() == second.render([second.scene])[0].tobytes()
    with pytest.raises(LineaError, match="got adapter 'two'"):
        first.remove("two")
    folder = first.folder
    first.close()
    second.close()
    assert not folder.exists()


def test_a_dial_shows_the_picture_first_and_then_its_row(bench):
    begun = list(looks(bench, bench.turning, begin=True))
    assert [("row" in one, one.get("busy", False)) for one in begun] == [(False, True), (False, True), (True, False)]
    assert [one["begin"] for one in begun] == [True, False, False]
    assert begun[0]["now"]["strengths"] == {"one": 0.75, "two": 0.0}
    assert [one["at"] for one in begun[-1]["row"]] == list(POSITIONS)
    assert begun[-1]["plain"] == begun[-1]["row"][2]["src"] != begun[-1]["now"]["src"] == begun[-1]["row"][5]["src"]
    turning = set_by_hand(bench, _told())
    (turned,) = looks(bench, turning)
    assert turned["now"]["src"] == begun[-1]["row"][4]["src"], "it was there already"
    set_by_hand(bench, _told(off=["one"]))
    (rested,) = looks(bench, "one")
    assert rested["now"]["src"] == begun[-1]["plain"]
    assert [(one["on"], one["value"]) for one in rested["styles"]] == [(False, 0.5), (True, 0.0)]


def test_slow_models_make_rows_when_they_are_asked_to(bench):
    bench.render([bench.scene])
    bench.seconds = 60.0
    bench.render = bench.pictures.of
    *_, last = looks(bench, "one")
    assert "row" not in last
    assert not last["quick"]
    *_, last = looks(bench, "one", fill=True)
    assert "row" in last


def test_hands_that_say_nonsense_are_refused_in_a_sentence(bench):
    for wrong in (
        {}, _told(values=3), _told(window=[0.5, 0.2]), _told(window=["x", 1]), _told(values={"one": "much"}),
        _told(values={"one": 1e9}),
    ):  # fmt: skip
        with pytest.raises(LineaError, match="expected"):
            set_by_hand(bench, wrong)
    set_by_hand(bench, _told(values={"one": 0.5, "stranger": 3.0}, turning="stranger"))
    assert bench.scene.strengths == {"one": 0.5}
    bench.pictures.arguments["num_inference_steps"] = "many"
    (shown,) = looks(bench, "one")
    assert "the model raised" in shown["error"]
    assert "\n" not in shown["error"]


def test_a_picture_goes_with_its_recipe(bench, tmp_path):
    set_by_hand(bench, _told(window=[0, 0.5]))
    *_, last = looks(bench, "one", keep=True)
    file = tmp_path / last["download"]["name"]
    file.write_bytes(base64.b64decode(last["download"]["src"].partition(",")[2]))
    record = read_record(file)
    assert file.name == "a-red-heart-0.png"
    assert (record["prompt"], record["strengths"]) == ("a red heart", {"one": 0.5, "two": 0.0})
    assert record["arguments"] == {"num_inference_steps": 2, "guidance_scale": 1.0, "steering_end": 0.5}


def test_the_lines_of_python_make_the_same_picture(bench, monkeypatch, tmp_path):
    set_by_hand(bench, _told(values={"one": 0.5, "two": -0.25}))
    bench.pipe.default_arguments.update(num_inference_steps=2)
    *_, shown = looks(bench, "one")
    for name in ("one", "two"):
        bench.pipe.steering[name].save_pretrained(tmp_path / name)
        bench.pipe.steering.sources[name] = str(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    fresh = LinEASDiffusionPipeline(bench.pipe.base)
    fresh.default_arguments.update(bench.model.arguments)
    monkeypatch.setattr(LinEASDiffusionPipeline, "from_pretrained", lambda name: fresh)
    *_, shown = looks(bench, "one")
    space: dict = {}
    exec(shown["python"], space)
    mine, theirs = (np.asarray(one, dtype=int) for one in (bench.pictures.of([bench.scene])[0], space["image"]))
    assert np.abs(mine - theirs).max() <= 2
    command = (
        f"--steering one={tmp_path / 'one'} --steering two={tmp_path / 'two'} --strength one=0.5,two=-0.25 --seed 0"
    )
    assert shown["command"] == f"linea generate 'a red heart' {command} --out picture.png"
    set_by_hand(bench, _told(window=[0, 0.5]))
    *_, shown = looks(bench, "one")
    assert shown["command"] == "", "the command line has no words for it"
    assert "steering_end=0.5" in shown["python"]


def test_scores_have_their_conventions(model, bench):
    from linea_diffusion import ClipScorer

    *_, shown = looks(bench, "one", scores=True)
    assert "no CLIP" in shown["scores_of"]
    model.scorer = ClipScorer
    model.pipe.steering["one"].metadata["concept"] = "neon"
    model.pipe.steering["one"].metadata |= {"text": "a picture in neon style", "neutral": "a picture of something"}
    *_, shown = looks(bench, "one", scores=True)
    labels = {one["label"]: one for one in shown["scores"]}
    assert labels["CLIP, style"]["convention"] == "raw cosine"
    assert -1 < labels["like unsteered"]["value"] < 1
    for name in ("concept", "text", "neutral"):
        del model.pipe.steering["one"].metadata[name]


def test_packaged_styles_load_and_turn(pipe, tmp_path):
    known = learned_styles("shapeland-unet")
    assert list(known) == [
        "neon", "halftone", "mosaic", "pixel art", "watercolor", "blueprint", "pencil sketch",
    ]  # fmt: skip
    assert learned_styles("somebody/else") == {}
    assert set(known.values()) <= {*(MODELS["shapeland-unet"].parent.glob("styles/*/*"))}
    SteeringMaps.from_pretrained(known["neon"]).save_pretrained(tmp_path / "styles" / "mine")
    load_known_styles(pipe, "shapeland-unet", tmp_path)
    assert list(pipe.steering) == [*known, "neon 2"]
    assert pipe.steering["neon"].dial().name != pipe.steering["neon"].dial(False).name, "they are calibrated"


def test_names_of_folders_lead_nowhere_else():
    assert folder_name("../../Glow in the dark!") == "glow-in-the-dark"
    with pytest.raises(LineaError, match="some letters"):
        folder_name("../..")
