"""Memory that is counted without numbers, against sums by hand and the loaded model's own weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from linea_diffusion.errors import LineaError
from linea_diffusion.pipelines.sizing.memory import CallMemory, call_memory, models_of
from linea_diffusion.pipelines.sizing.shapes import shapes_of


class ByHand:
    """A pipeline whose call has a closed form: 400 bytes, then 80 for each picture twice, one of which goes."""

    def __init__(self) -> None:
        self.components = {"unet": nn.Linear(10, 10, device="meta"), "scheduler": object()}

    def set_progress_bar_config(self, **_):
        pass

    def __call__(self, prompt, output_type):
        fixed = torch.empty(100, device="meta")
        first = torch.empty(len(prompt), 20, device="meta")
        second = first + 1
        del first
        third = second.view(-1)[:5] + 1  # fewer than what went
        return fixed, third


def test_what_is_alive_at_once_is_counted():
    counted = call_memory(ByHand())
    assert counted == CallMemory(weights=440, fixed=400, picture=160)
    assert counted.of(3) == 440 + 400 + 3 * 160


def test_the_largest_batch_fills_nine_tenths():
    counted = CallMemory(weights=500, fixed=100, picture=30)
    assert [counted.largest(size) for size in (700, 701, 1000)] == [1, 1, 10]
    assert counted.largest(600) == 0
    assert counted.of(10) <= 0.9 * 1000 < counted.of(11)


def test_shapes_are_those_of_the_model(pipe):
    shapes = shapes_of("shapeland-unet", torch.float32)
    assert shapes.components.keys() == pipe.base.components.keys()
    for name, model in models_of(shapes).items():
        loaded = pipe.base.components[name].state_dict()
        assert {one: value.shape for one, value in model.state_dict().items()} == {
            one: value.shape for one, value in loaded.items()
        }
        assert all(value.is_meta for value in model.parameters())


def test_weights_and_pictures_have_their_size():
    half, small = (call_memory(shapes_of("shapeland-unet", dtype)) for dtype in (torch.bfloat16, torch.float32))
    assert half.weights == pytest.approx(small.weights / 2, rel=0.001)  # integer buffers stay
    large = call_memory(shapes_of("shapeland-unet", torch.float32), height=128, width=128)
    assert large.picture == pytest.approx(4 * small.picture, rel=0.05)
    assert large.weights == small.weights


def test_a_model_whose_shapes_cannot_be_told_is_one_line(tmp_path):
    with pytest.raises(LineaError, match=r"got model '.*nothing', whose shapes .*: expected a diffusers"):
        shapes_of(tmp_path / "nothing", torch.float32)
