"""The package as a stranger meets it: instant import, public names, a lock; what the README says, test_pages runs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import linea_diffusion

ROOT = Path(__file__).parent.parent


def test_importing_the_package_and_asking_for_help_import_nothing_heavy():
    heavy = ("torch", "diffusers", "numpy", "matplotlib")
    code = f"import sys, linea_diffusion.cli.commands; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists_and_is_documented():
    for name in linea_diffusion.__all__:
        value = getattr(linea_diffusion, name)
        assert isinstance(value, str) or value.__doc__, name
    assert dir(linea_diffusion) == linea_diffusion.__all__


def test_the_lock_holds_one_version_that_pyproject_allows_of_each_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for group in project["optional-dependencies"].values() for line in group),
    ]
    locked: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if not line.startswith("#"):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate():
                locked.setdefault(canonicalize_name(one.name), set()).update(s.version for s in one.specifier)
    for one in map(Requirement, wanted):
        if one.name != project["name"]:
            (version,) = locked[canonicalize_name(one.name)]
            assert one.specifier.contains(version), f"{one} and {version}: run make lock"


def test_the_readme_and_contributing_name_the_targets_of_make():
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "check", "lock", "newest", "docs"):
        assert f"make {target}" in text
        assert f"\n{target}:" in makefile


def test_the_citation_is_of_this_version():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {linea_diffusion.__version__}" in lines
    assert "linea-diffusion contributors" in " ".join(lines)
    assert "url: https://arxiv.org/abs/2503.10679" in " ".join(lines)


def test_the_doctor_knows_the_extras_that_users_may_want():
    from linea_diffusion.cli.doctor.packages import EXTRAS

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert EXTRAS.keys() == extras.keys() - {"test", "check", "docs", "release"}
