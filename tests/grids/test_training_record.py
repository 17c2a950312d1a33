"""What a training leaves beside its maps."""

from __future__ import annotations

import csv

import pytest

from linea_diffusion import LineaError, SteeringMaps, losses_plot, save_losses

MAPS = SteeringMaps(
    {"unet.a": 3}, {"concept": "neon", "training": {"strengths": [1.0, 0.5]}, "losses": [4.0, 9.0, 2.0, 6.0, 1.0]}
)


def test_every_loss_is_a_line_with_its_strength(tmp_path):
    save_losses(MAPS, tmp_path / "maps")
    rows = list(csv.DictReader((tmp_path / "maps" / "losses.csv").open()))
    assert [(int(row["iteration"]), float(row["strength"]), float(row["loss"])) for row in rows] == [
        (0, 1.0, 4.0), (1, 0.5, 9.0), (2, 1.0, 2.0), (3, 0.5, 6.0), (4, 1.0, 1.0),
    ]  # fmt: skip
    assert (tmp_path / "maps" / "losses.columns.json").is_file()
    assert "<svg" in (tmp_path / "maps" / "losses.svg").read_text()


def test_each_strength_is_a_line_of_the_plot():
    plot = losses_plot(MAPS)
    assert plot.title == "Training: neon"
    assert "strength 1, 4 at 0, 2 at 2, 1 at 4." in plot.alt
    assert "strength 0.5, 9 at 1, 6 at 3." in plot.alt
    with pytest.raises(LineaError, match="without losses"):
        losses_plot(SteeringMaps({"unet.a": 3}))
