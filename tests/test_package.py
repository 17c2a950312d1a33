"""The package as a stranger meets it: instant import, public names, README that runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import linea_diffusion

ROOT = Path(__file__).parent.parent


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, linea_diffusion.cli; print([m for m in ('torch', 'diffusers', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists_and_is_documented():
    for name in linea_diffusion.__all__:
        value = getattr(linea_diffusion, name)
        assert isinstance(value, str) or value.__doc__, name
    assert dir(linea_diffusion) == linea_diffusion.__all__


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert list(tmp_path.rglob("*.png"))


def test_the_readmes_commands_exist():
    text = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"^linea (\w+)", text, flags=re.MULTILINE))
    from linea_diffusion import cli

    known = {command.callback.__name__ for command in cli.app.registered_commands}
    assert commands
    assert commands <= known
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "check"):
        assert f"make {target}" in text
        assert f"\n{target}:" in makefile
