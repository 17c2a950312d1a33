"""Strengths in every form and through every door: the right tensor, or one sentence of ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linea_diffusion import LineaError, StyleGrid
from linea_diffusion.batch.engine import plan_batch
from linea_diffusion.concepts.concept import StyleTexts
from linea_diffusion.evaluation.evaluate import evaluate
from linea_diffusion.pipelines.adapters import Adapters
from linea_diffusion.steering.dial import Dial, check_positions, check_strength

GOOD_ROWS = [
    [0, 0.5],
    (0.0, np.float32(0.5)),
    np.array([0, 0.5]),
    torch.tensor([0, 0.5]),
    torch.tensor([0, 0.5], dtype=torch.float16),
    [torch.tensor(0), np.array(0.5)],
]
GOOD = [
    0.5,
    np.float32(0.5),
    np.float64(0.5),
    np.array(0.5),
    torch.tensor(0.5),
    torch.tensor(0.5, dtype=torch.bfloat16),
]
BAD = {
    "huge": 10**400,
    "longer than Python writes out": 10**5000,
    "beyond float32": 1e39,
    "nan": float("nan"),
    "inf": np.float32("inf"),
    "complex": 1j,
    "bool": True,
    "numpy's bool": np.True_,
    "text": "0.5",
    "bytes": b"1",
    "meta": torch.empty(2, device="meta"),
    "sparse": torch.ones(2).to_sparse(),
    "two dimensions": np.ones((1, 1)),
    "a number for a name": {1: 0.5},
    "an object": object(),
}
ENTRIES = [10**400, 1e39, float("nan"), 1j, True, "0.5", None, [1], torch.ones(1), torch.tensor(1.0, device="meta")]


@pytest.mark.parametrize("row", GOOD_ROWS)
def test_rows(row):
    assert torch.equal(check_strength(row), torch.tensor([0.0, 0.5]))
    assert check_positions(row) == (0.0, 0.5)


@pytest.mark.parametrize("number", GOOD)
def test_numbers(number):
    assert torch.equal(check_strength(number), torch.tensor(0.5))
    with pytest.raises(LineaError, match="expected a list of numbers"):
        check_positions(number)


@pytest.mark.parametrize(
    "value",
    [*BAD.values(), *([one] for one in ENTRIES), [], np.array([]), np.array(["a"]), {1, 2}],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_strength(value):
    for check in (check_strength, check_positions):
        with pytest.raises(LineaError, match=r"^got strength") as caught:
            check(value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


_THINGS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=200)
@given(_THINGS)
def test_anything_is_a_strength_or_an_error_of_ours(thing):
    try:
        values = check_strength(thing)
    except LineaError:
        return
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    assert values.flatten().tolist() == pytest.approx(np.float32(thing).reshape(-1).tolist())


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_every_door_refuses_alike(pipe, random_maps, tmp_path, value):
    pipe.load_steering(random_maps, "one")
    doors = [
        lambda: pipe("a", strength=value),
        lambda: pipe("a", strength={"one": value}),
        lambda: pipe("a", strength=[0.0, value]),
        lambda: pipe.set_steering("one", value),
        lambda: pipe.set_steering(["one"], [value]),
        lambda: pipe.fuse_steering(value),
        lambda: random_maps.apply(pipe, value),
        lambda: StyleGrid.render(pipe, ["a"], [0.0, value]),
        lambda: StyleGrid.render_seeds(pipe, "a", [0.0, value], seeds=[0]),
        lambda: StyleGrid.render_styles(pipe, "a", [0.0, value]),
        lambda: evaluate(pipe, {"one": None}, StyleTexts("x", "x"), ["a"], strengths=[0.0, 1.0, value], scorer=None),
        lambda: plan_batch(pipe, [{"prompt": "a", "strength": {"one": value}}], tmp_path, strict=True, progress=False),
        lambda: plan_batch(pipe, ["a"], tmp_path, defaults={"strength": [value]}, strict=True, progress=False),
    ]
    for door in doors:
        with pytest.raises(LineaError) as caught:
            door()
        assert len(str(caught.value)) < 400
    assert pipe.get_active_steering() == {"one": 1.0}
    assert pipe.steering.fusion is None


@pytest.mark.parametrize("number", GOOD)
def test_set_steering_takes_numbers_and_rows_in_every_form(pipe, random_maps, number):
    for name in ("one", "a/b"):
        pipe.load_steering(random_maps, name)
    pipe.set_steering(["one", "a/b"], number)
    assert pipe.get_active_steering() == {"one": 0.5, "a/b": 0.5}
    pipe.set_steering(["one", "a/b"], [number, [0.25, number]])
    assert pipe.get_active_steering() == {"one": 0.5, "a/b": [0.25, 0.5]}
    pipe.set_steering(("one", "a/b"), np.array([0.25, 0.5]))
    assert pipe.get_active_steering() == {"one": 0.25, "a/b": 0.5}


@pytest.mark.parametrize("name", [5, "", " ", "\t", b"one", True])
def test_names_of_adapters_are_texts(pipe, random_maps, name):
    pipe.load_steering(random_maps, "one")
    for door in (
        lambda: pipe.load_steering(random_maps, name),
        lambda: pipe.set_steering([name]),
        lambda: pipe.set_steering(name),
        lambda: pipe("a", strength={name: 0.5}),
        lambda: pipe.fuse_steering({name: 0.5}),
        lambda: StyleGrid.render_styles(pipe, "a", [0.0], styles=[name]),
    ):
        with pytest.raises(LineaError, match="got adapter"):
            door()
    assert pipe.get_list_steering() == ["one"]


@pytest.mark.parametrize("share", ["0", True, None, float("nan"), 1j, [0.1], -0.1, 1.5, 10**400], ids=str)
def test_the_window_has_two_shares(pipe, share):
    for window in ({"steering_start": share}, {"steering_end": share}):
        with pytest.raises(LineaError, match="0 <= start < end <= 1"):
            pipe("a", **window)
    dial = Dial(start=np.float32(0.5), end=torch.tensor(1))
    assert (dial.start, dial.end) == (0.5, 1.0)


def test_numbers_of_numpy_in_jobs_are_those_of_python(pipe, random_maps, tmp_path):
    pipe.load_steering(random_maps, "one")
    plain = {"prompt": "a", "seed": [3, 4], "strength": [0.0, 0.5], "steps": 2, "steering_end": 0.5, "guidance": 2.0}
    numpy = {
        "prompt": "a", "seed": np.array([3, 4]), "strength": torch.tensor([0.0, 0.5]), "steps": np.int64(2),
        "steering_end": np.float32(0.5), "guidance": np.array(2.0),
    }  # fmt: skip
    plan = plan_batch(pipe, [plain, numpy], tmp_path, progress=False)
    assert (plan.images, plan.duplicates, plan.bad_lines) == (4, 4, 0)
    odd = [
        {"prompt": "a", "eta": torch.tensor(1.0, device="meta")},
        {"prompt": "a", 1: 2},
        {"prompt": "a", "size": (64, 64)},
    ]
    plan = plan_batch(pipe, odd, tmp_path, progress=False)
    assert (plan.images, plan.bad_lines) == (1, 2)
    settings = {"steps": np.int8(2), "strength": np.float32(0.5)}
    assert plan_batch(pipe, ["a"], tmp_path, defaults=settings, progress=False).images == 1


def test_maps_times_a_number_of_any_kind(random_maps):
    half = [parameter * 0.5 for parameter in random_maps.parameters()]
    for number in GOOD:
        for product in (random_maps * number, number * random_maps):
            assert all(torch.equal(one, other) for one, other in zip(product.parameters(), half, strict=True))
    for value in (10**400, "2", True, float("nan"), None):
        with pytest.raises(LineaError, match="times"):
            random_maps * value


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[5]", '[""]', "[" * 5000, "\0", '{"names": [], "enabled": true}'])
def test_a_damaged_list_of_adapters_is_one_sentence(tmp_path, text):
    (tmp_path / "steering").mkdir()
    (tmp_path / "steering" / "adapters.json").write_text(text)
    with pytest.raises(LineaError, match=r"got (list of adapters|adapter name)"):
        Adapters().load(tmp_path)
