"""One bar at a time: its own, or a part of the whole; lines where nobody sees a bar."""

from __future__ import annotations

import pytest

from linea_diffusion import progress
from linea_diffusion.progress import is_busy, stage, whole


@pytest.fixture
def bars(monkeypatch):
    """Every bar that is made, on a terminal."""
    made = []

    class Bar(progress.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(progress, "tqdm", Bar)
    monkeypatch.setattr(progress, "draws", lambda: True)
    return made


def test_a_stage_has_a_bar_of_its_own_and_hides_those_within(bars):
    with stage("render", 3, unit="picture", done=1) as going:
        assert is_busy()
        with stage("calibrate", 9) as hidden:
            hidden.update()
        going.update(loss=1)
    (bar,) = bars
    assert (bar.n, bar.total, bar.desc, bar.postfix) == (2, 3, "render", "loss=1")
    assert not is_busy()


def test_stages_of_the_whole_move_one_bar_by_what_they_weigh(bars):
    with whole([("record", 10.0), ("skipped", 5.0), ("learn", 60.0), ("render", 30.0)]):
        (bar,) = bars
        assert bar.total == 105
        with stage("record", 4) as going:
            going.update(2)
            assert (bar.n, bar.desc) == (5, "record 2/4 steps")
        assert bar.n == 10, "what a stage did not need is done"
        with stage("learn", 6, done=3) as going:
            assert bar.total == 70, "neither what was passed over nor what was done before counts"
            going.update(3)
        with stage("unknown", 6) as going:
            going.update(6)
        with stage("render", 30) as going:
            going.update(30)
        assert bar.n == bar.total == 70
    assert len(bars) == 1
    with stage("later", 1):
        assert len(bars) == 2


def test_a_stage_that_fails_says_no_more_than_it_did(bars):
    def fail() -> None:
        with whole([("learn", 8.0)]), stage("learn", 4) as going:
            going.update()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert bars[0].n == 2
    assert not is_busy()


def test_a_log_gets_a_line_at_the_start_and_at_the_end(capsys):
    with whole([("record", 1.0), ("learn", 9.0)]):
        for name in ("record", "learn"):
            with stage(name, 100, unit="iteration") as going:
                for number in range(100):
                    going.update(loss=number)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("record: 0%")
    assert last.startswith("learn 100/100 iterations: 100%, 00:00 gone, 00:00 left, loss=99")
    with stage("score", 5, unit="picture") as going:
        going.update(5)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_process_that_shows_nothing(capsys):
    with stage("learn", 5, shown=False) as going:
        going.update()
    assert capsys.readouterr().err == ""
