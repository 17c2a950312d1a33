"""Evaluation: what is rendered, what is scored, what is written; methods by name."""

from __future__ import annotations

import numpy as np
import pytest

from linea_diffusion import ClipScorer, LineaError, SteeringMaps, TrainingConfig, evaluate, load_concept, recipe_for
from linea_diffusion.evaluation.method_names import METHOD_NAMES
from linea_diffusion.evaluation.methods import METHODS, fit, kept_maps, maps_by_seed
from linea_diffusion.evaluation.records import (
    Record,
    curves,
    read_records,
    summarise,
    write_records,
)
from linea_diffusion.maps.digests import maps_digest
from linea_diffusion.scoring.figures import OF_PICTURES
from linea_diffusion.shapeland.truth import held_out_prompts, truth_judge

from ..conftest import NEON, SHORT, seeded

PROMPTS = ["a red heart", "a blue fish", "one green star"]
STRENGTHS = (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def scorer():
    return ClipScorer()


@pytest.fixture(scope="module")
def records(loaded_pipe, random_maps, scorer):
    methods = {"random": random_maps, "half": 0.5 * random_maps, "prompting": None}
    texts = load_concept("neon").texts
    return evaluate(
        loaded_pipe, methods, texts, PROMPTS, strengths=STRENGTHS, scorer=scorer, judge=truth_judge("neon"), seed=7,
        batch_size=2, num_inference_steps=4,
    )  # fmt: skip


def _one(records, method, strength, prompt) -> Record:
    return next(r for r in records if (r.method, r.strength, r.prompt) == (method, strength, prompt))


def test_every_method_strength_and_prompt_has_a_record(records):
    keys = [(r.method, r.strength, r.prompt) for r in records]
    assert len(set(keys)) == len(keys) == 2 * 3 * 3 + 2 * 3
    turned = [name for name in OF_PICTURES if name != "directional_similarity"]
    for record in records:
        assert set(record.scores) - {"directional_similarity"} == set(turned)
        assert ("directional_similarity" in record.scores) == (record.strength > 0)


def test_strength_zero_is_the_base_model_for_all(records):
    for prompt in PROMPTS:
        zero = [_one(records, method, 0.0, prompt) for method in ("random", "half", "prompting")]
        assert zero[0].scores["similarity_to_unsteered"] == pytest.approx(1, abs=1e-5)
        assert {z.scores["clip_style_probability"] for z in zero} == {zero[0].scores["clip_style_probability"]}
    # half of the maps at 1 are the maps at a half
    half, other = _one(records, "half", 1.0, PROMPTS[0]), _one(records, "random", 0.5, PROMPTS[0])
    assert half.scores["clip_style_cosine"] == pytest.approx(other.scores["clip_style_cosine"], abs=1e-3)


def test_figures_are_those_of_the_pictures(records, pipe, random_maps, scorer):
    with random_maps.apply(pipe, 0.5):
        picture = pipe(PROMPTS[1], generator=seeded(8), num_inference_steps=4).images
    plain = pipe(PROMPTS[1], generator=seeded(8), num_inference_steps=4).images
    texts, record = load_concept("neon").texts, _one(records, "random", 0.5, PROMPTS[1])
    assert record.scores["clip_prompt_cosine"] == pytest.approx(
        scorer.text_similarity(picture, PROMPTS[1]).item(), abs=2e-3
    )
    assert record.scores["clip_style_cosine"] == pytest.approx(
        scorer.text_similarity(picture, texts.text).item(), abs=2e-3
    )
    assert record.scores["similarity_to_unsteered"] == pytest.approx(
        scorer.image_similarity(picture, plain).item(), abs=2e-3
    )
    style = scorer.style_probability(picture, texts.text, texts.neutral).item()
    assert record.scores["clip_style_probability"] == pytest.approx(style, abs=5e-3)


def test_asking_in_words_is_the_upper_line(records):
    assert np.mean([_one(records, "prompting", 1.0, prompt).scores["truth_style"] for prompt in PROMPTS]) > 0.8
    assert np.mean([_one(records, "prompting", 0.0, prompt).scores["truth_style"] for prompt in PROMPTS]) < 0.2


def test_summary_curves_and_files(records, tmp_path):
    entry = next(e for e in summarise(records) if (e["method"], e["strength"]) == ("random", 1.0))
    values = [r.scores["similarity_to_unsteered"] for r in records if (r.method, r.strength) == ("random", 1.0)]
    mean, low, high = entry["similarity_to_unsteered"]
    assert mean == pytest.approx(np.mean(values))
    assert min(values) <= low <= mean <= high <= max(values)
    strengths, curve = curves(records, "neon", "random", "similarity_to_unsteered")
    assert strengths == list(STRENGTHS)
    assert curve.shape == (3, 3)
    assert curve[:, 0] == pytest.approx(1, abs=1e-5)
    write_records(records, tmp_path / "records.csv")
    again = read_records(tmp_path / "records.csv")
    assert [(r.style, r.method, r.strength, r.prompt) for r in again] == [
        (r.style, r.method, r.strength, r.prompt) for r in records
    ]
    assert again[5].scores["similarity_to_unsteered"] == pytest.approx(
        records[5].scores["similarity_to_unsteered"], abs=1e-5
    )


def test_methods_are_trained_and_judged_with_every_seed(pipe, random_maps, scorer):
    asked = []

    def trained(seed: int):
        asked.append(seed)
        return (seed + 1) * 0.4 * random_maps

    call = {"strengths": (0.0, 1.0), "scorer": scorer, "num_inference_steps": 1, "seed": 7}
    methods = {"mine": trained, "given": random_maps, "words": None}
    made = evaluate(pipe, methods, load_concept("neon").texts, PROMPTS, seeds=(0, 1), **call)
    assert asked == [0, 1]
    assert len(made) == (2 + 1 + 1) * 2 * 3
    assert {r.seed for r in made} == {7, 8, 9}
    assert {(r.method, r.training_seed) for r in made} == {("mine", 0), ("mine", 1), ("given", None), ("words", None)}
    likeness = {
        r.training_seed: r.scores["similarity_to_unsteered"]
        for r in made
        if (r.method, r.strength, r.prompt) == ("mine", 1.0, PROMPTS[0])
    }
    assert likeness[0] > likeness[1], "each seed's own maps are judged"
    for seeds in ((), (1, 1), (0.5,)):
        with pytest.raises(LineaError, match="seed"):
            evaluate(pipe, methods, load_concept("neon").texts, PROMPTS, seeds=seeds, **call)
    with pytest.raises(LineaError, match="function of the seed"):
        evaluate(pipe, {"given": random_maps}, load_concept("neon").texts, PROMPTS, seeds=(0, 1), **call)


def test_maps_of_each_seed_are_kept_and_found_again(pipe, monkeypatch, tmp_path):
    quick = {"iterations": 1, "target_modules": "text-attention", "calibrate": False, "num_inference_steps": 1}
    monkeypatch.setattr(
        "linea_diffusion.evaluation.methods.recipe_for",
        lambda pipe, concept=None, **settings: recipe_for(pipe, concept, **quick, **settings),
    )
    by_seed = maps_by_seed("lineas", pipe, NEON, tmp_path)
    first, other = by_seed(0), by_seed(1)
    assert (tmp_path / "lineas" / "config.json").is_file()
    assert (tmp_path / "seed-1" / "lineas" / "config.json").is_file()
    assert [one.metadata["training"]["seed"] for one in (first, other)] == [0, 1]
    monkeypatch.setattr("linea_diffusion.evaluation.methods.METHODS", {"lineas": None})  # nothing is trained again
    again = maps_by_seed("lineas", pipe, NEON, tmp_path)
    assert maps_digest(again(0)) == maps_digest(first)
    assert maps_digest(again(1)) == maps_digest(other)
    assert maps_digest(maps_by_seed(str(tmp_path / "lineas"), pipe, NEON, tmp_path)) == maps_digest(first)
    assert maps_by_seed("prompting", pipe, NEON, tmp_path) is None


def test_a_training_that_is_killed_leaves_its_state_beside_the_maps(tmp_path, short_maps, monkeypatch):
    places = []

    def train(pipe, concept, config, *, checkpoint):
        places.append(checkpoint)
        return short_maps

    monkeypatch.setitem(METHODS, "lineas", train)
    assert kept_maps("lineas", None, NEON, SHORT, tmp_path) is short_maps
    assert places == [tmp_path / "lineas-unfinished"]
    assert SteeringMaps.from_pretrained(tmp_path / "lineas").maps.keys() == short_maps.maps.keys()


def test_the_pipelines_own_steering_comes_back(pipe, random_maps, scorer):
    pipe.load_steering(random_maps, "mine")
    texts = load_concept("neon").texts
    evaluate(pipe, {"none": None}, texts, PROMPTS[:1], strengths=(0.0, 1.0), scorer=scorer, num_inference_steps=1)
    assert pipe.get_list_steering() == ["mine"]


def test_a_lack_of_memory_halves_calls_once(pipe, random_maps, scorer, little_memory):
    """The smaller size is kept for all methods and strengths."""

    def pictures() -> list[np.ndarray]:
        kept: list[np.ndarray] = []
        evaluate(
            pipe, {"random": random_maps, "words": None}, load_concept("neon").texts, PROMPTS, strengths=(0.0, 1.0),
            scorer=scorer, on_pictures=lambda *values: kept.extend(map(np.asarray, values[2])), num_inference_steps=1,
        )  # fmt: skip
        return kept

    expected = pictures()
    tried = little_memory(2)
    made = pictures()
    assert tried == [3, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert all(np.abs(a.astype(int) - b.astype(int)).max() <= 2 for a, b in zip(made, expected, strict=True))


@pytest.mark.parametrize("name", ["generator", "strength", "num_images_per_prompt", "output_type"])
def test_what_rendering_sets_itself_is_refused(pipe, scorer, name):
    with pytest.raises(LineaError, match=f"got {name}=1, which is set here for each picture: leave it out"):
        evaluate(pipe, {"none": None}, load_concept("neon").texts, PROMPTS, scorer=scorer, **{name: 1})


@pytest.mark.parametrize(
    "bad", [{"prompts": []}, {"methods": {}}, {"strengths": (0.5, 1.0)}, {"strengths": (0, 1, 0.5)}]
)
def test_impossible_evaluations_are_refused(pipe, scorer, bad):
    call = {"methods": {"none": None}, "prompts": PROMPTS, "strengths": (0.0, 1.0), **bad}
    with pytest.raises(LineaError, match=r"strengths that ascend from 0|expected some of each"):
        evaluate(pipe, call["methods"], load_concept("neon").texts, call["prompts"], strengths=call["strengths"],
                 scorer=scorer)  # fmt: skip


def test_held_out_prompts_are_learned_from_by_no_concept():
    prompts = held_out_prompts(64)
    assert len(set(prompts)) == 64
    assert not set(prompts) & set(load_concept("neon").source)


def test_methods_by_name(pipe, monkeypatch):
    quick = {"iterations": 1, "target_modules": "text-attention", "calibrate": False}
    monkeypatch.setattr(
        "linea_diffusion.evaluation.methods.recipe_for",
        lambda pipe, concept=None, **settings: recipe_for(pipe, concept, **quick, **settings),
    )
    config = TrainingConfig(**quick, num_inference_steps=1, sparsity=0.5, seed=4)
    maps = {name: fit(name, pipe, NEON, config) for name in METHODS}
    assert fit("prompting", pipe, NEON, config) is None
    assert maps["lineas"].support == pytest.approx(0.5, abs=0.01)
    assert maps["lineas-dense"].support > 0.9
    assert maps["lineas-laws"].support == pytest.approx(0.1, abs=0.01)
    assert maps["lineas-paper"].metadata["training"]["strengths"] == (1.0,)
    assert maps["lineas-paper"].support > 0.9
    assert {name for name, made in maps.items() if made.rank} == {"lineas", "lineas-dense"}
    for made in maps.values():
        training = made.metadata["training"]
        assert training["pairing"] == ("rows" if made.rank else "law")
        assert (training["num_inference_steps"], training["seed"]) == (1, 4), "as the pipeline is called for all"
    assert len({sum(p.sum().item() for p in m.parameters()) for m in maps.values()}) == len(METHODS)
    with pytest.raises(LineaError, match="nearest: mean-shift"):
        fit("mean-shiff", pipe, NEON, config)


def test_each_method_is_read_on_its_own_dial(pipe, random_maps, scorer):
    curve = {"strengths": [0.0, 0.8, 1.0], "values": [0.0, 0.3, 1.0], "measure": "truth"}
    calibrated = 1.0 * random_maps
    calibrated.metadata["calibration"] = curve
    methods = {"plain": random_maps, "calibrated": calibrated}
    options = {"strengths": (0.0, 0.3, 1.0), "scorer": scorer, "seed": 7, "num_inference_steps": 2}

    def figures(**way) -> dict[str, float]:
        records = evaluate(pipe, methods, load_concept("neon").texts, PROMPTS[:1], **options, **way)
        return {record.method: record.scores["similarity_to_unsteered"] for record in records if record.strength == 0.3}

    on_dials, as_trained = figures(), figures(calibrated=False)
    assert on_dials["plain"] == pytest.approx(as_trained["plain"], abs=1e-6)
    assert as_trained["calibrated"] == pytest.approx(as_trained["plain"], abs=1e-6)
    assert on_dials["calibrated"] < as_trained["calibrated"] - 1e-3
    with pytest.raises(LineaError, match="without a calibration"):
        figures(calibrated=True)


def test_names_of_methods_are_known_without_the_methods():
    assert tuple(METHODS) == METHOD_NAMES
