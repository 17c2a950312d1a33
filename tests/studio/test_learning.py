"""A training in the page: others render meanwhile, the maps have the same bits, and a stop keeps what is learned."""

from __future__ import annotations

import threading

import pytest
import torch

from linea_diffusion import LineaError, SteeringMaps, load_concept
from linea_diffusion.maps.facts import Facts
from linea_diffusion.studio.learning import Learning
from linea_diffusion.studio.wording import concept_of, known_concepts, read_concept, targets_of

from ..conftest import NEON, SHORT


def _learning(bench, folder, **changes) -> Learning:
    return Learning(bench.model.own_pipe(), NEON, SHORT, folder, bench.model.turns)


def test_the_same_maps_whoever_renders_meanwhile(bench, tmp_path, short_maps):
    training = _learning(bench, tmp_path / "neon")
    heard, looked = training.hear, []

    def look_in_between(stage, done, total, facts):
        if stage == "learn" and done == 2:
            waiting = threading.Thread(target=lambda: looked.extend(bench.render([bench.scene])))
            waiting.start()
            while bench.model.turns._next == bench.model.turns._serving + 1:  # until it stands in the queue
                threading.Event().wait(0.001)
        heard(stage, done, total, facts)

    training.hear = look_in_between
    training.start()
    training._thread.join()
    assert looked, "rendered while the training waited"
    assert training.error == ""
    for name, tensor in training.result.numbers().items():
        assert torch.equal(tensor, short_maps.numbers()[name]), name
    assert (len(training.losses), training.after, training.share) == (3, 3, pytest.approx(1.0))
    assert [at for at, _ in training.pictures] == [0.0, 0.5, 1.0]
    assert len({picture.tobytes() for _, picture in training.pictures}) > 1
    kept = SteeringMaps.from_pretrained(tmp_path / "neon")
    assert Facts.of(kept.metadata).base_model == bench.model.name == "shapeland-unet"
    assert (tmp_path / "neon" / "losses.csv").exists()


def test_a_stop_keeps_what_is_learned(bench, tmp_path):
    training = _learning(bench, tmp_path / "neon")
    heard = training.hear

    def stop_early(stage, done, total, facts):
        if stage == "learn" and done == 1:
            training.stop()
        heard(stage, done, total, facts)

    training.hear = stop_early
    training.start()
    training._thread.join()
    assert Facts.of(training.result.metadata).stopped_after == 1
    assert SteeringMaps.from_pretrained(tmp_path / "neon").stored


def test_a_stop_before_anything_is_learned_leaves_nothing(bench, tmp_path):
    training = _learning(bench, tmp_path / "neon")
    training.stop()
    training.start()
    training._thread.join()
    assert "stopped before anything was learned" in training.error
    assert not (tmp_path / "neon").exists()
    assert bench.render([bench.scene]), "the models are free again"


def test_concepts_as_they_are_typed(tmp_path):
    neon = load_concept("neon")
    lines = ["\n".join(side) for side in (neon.source, neon.target)]
    assert concept_of(" my  neon ", *lines, "neon").levels == neon.levels
    assert concept_of("neon", lines[0] + "\na red fish", lines[1] + "\na red fish, neon", "neon").levels == ()
    assert targets_of("a red heart\n\n a blue fish ", "{prompt}, neon") == "a red heart, neon\na blue fish, neon"
    assert "neon" in known_concepts("shapeland-unet")
    assert "neon" not in known_concepts("stabilityai/sdxl")
    (tmp_path / "mine.txt").write_text("a red heart\na blue fish\n")
    assert read_concept(tmp_path / "mine.txt") == (None, ("a red heart", "a blue fish"), None)
    (tmp_path / "mine.csv").write_text("side,prompt\nsource,a red heart\nsource,a cat\ntarget,a,b\n")
    for wrong in (
        lambda: concept_of("", *lines), lambda: concept_of("x" * 61, *lines),
        lambda: concept_of("x", "a\n" * 3000, "b"), lambda: concept_of("x", "a red heart", "a red heart, neon"),
        lambda: targets_of("a red heart", "neon"), lambda: read_concept(tmp_path / "mine.csv"),
    ):  # fmt: skip
        with pytest.raises(LineaError, match="expected"):
            wrong()
