"""The command that opens the page, and the Space that runs the same code."""

from __future__ import annotations

import importlib.util
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

from linea_diffusion import LineaError
from linea_diffusion.studio import page

ROOT = Path(__file__).parents[2]


@pytest.fixture
def opened(monkeypatch):
    """What would be served, and how."""
    from linea_diffusion.studio.page import app
    from linea_diffusion.training.state.stopping import Stopped

    seen = {}

    @contextmanager
    def served(model, **how):
        seen.update(model=model, **how)
        yield "http://127.0.0.1:7860/"
        raise Stopped("enough")

    monkeypatch.setattr(app, "served", served)
    monkeypatch.setattr("threading.Event.wait", lambda self, timeout=None: True)
    return seen


def test_it_opens_on_this_machine_alone_with_the_packaged_styles(linea, opened, tmp_path):
    _code, out, err = linea("studio", "--out", tmp_path / "mine")
    assert "open http://127.0.0.1:7860/ (7 styles" in out, err
    assert (opened["host"], opened["port"], opened["share"]) == ("127.0.0.1", None, False)
    assert (opened["model"].name, opened["model"].is_private) == ("shapeland-unet", True)
    assert opened["model"].folder == tmp_path / "mine"


def test_whoever_opens_it_to_others_pushes_nothing(linea, opened, tmp_path, short_maps):
    short_maps.save_pretrained(tmp_path / "neon")
    linea("studio", "--out", tmp_path, "--host", "0.0.0.0", "--steering", tmp_path / "neon", "--steps", 2)
    assert list(opened["model"].pipe.steering) == ["neon"]
    assert opened["model"].arguments == {"num_inference_steps": 2}
    assert not opened["model"].is_private


def test_without_gradio_it_says_what_to_install(linea, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    code, _, err = linea("studio", "--out", tmp_path)
    assert code == 2
    assert err.strip().endswith('expected pip install "linea-diffusion[studio]"')
    assert err.count("\n") == 1


def test_the_space_is_the_same_page(opened, monkeypatch, tmp_path):
    from linea_diffusion.training.state.stopping import Stopped

    monkeypatch.setenv("LINEA_FOLDER", str(tmp_path))
    spec = importlib.util.spec_from_file_location("space", ROOT / "spaces" / "app.py")
    space = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(space)
    monkeypatch.setattr(space, "served", page.app.served)
    with pytest.raises(Stopped):
        space.main()
    assert (opened["host"], opened["port"], opened["model"].is_private) == ("0.0.0.0", 7860, False)
    card = (ROOT / "spaces" / "README.md").read_text()
    assert "sdk: gradio\n" in card
    assert "app_file: app.py\n" in card
    assert "linea-diffusion[studio]" in (ROOT / "spaces" / "requirements.txt").read_text()


def test_a_port_that_is_taken_is_one_sentence(model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        expected = pytest.raises(LineaError, match=f"got no page at 127.0.0.1:{port} .*another with --port")
        with expected, page.app.served(model, port=port):
            pass
