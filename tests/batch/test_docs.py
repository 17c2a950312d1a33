"""What docs/scaling.md says about jobs holds: its lines are jobs, its table has every field, its options exist."""

from __future__ import annotations

import re
from pathlib import Path

from linea_diffusion.batch.engine import plan_batch
from linea_diffusion.batch.jobs.field_names import FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()


def test_the_lines_are_jobs(pipe, random_maps, tmp_path):
    pipe.load_steering(random_maps, "neon")
    pipe.load_steering(random_maps.inverse(), "mosaic")
    (block,) = re.findall(r"```json\n(\{.*?)```", PAGE, flags=re.DOTALL)
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text(block)
    plan = plan_batch(pipe, jobs, tmp_path / "out")
    assert (plan.images, plan.bad_lines) == (2 * 3 + 3 + 1, 0)


def test_the_table_has_every_field():
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    for field in FIELDS:
        assert f"`{field}`" in table, field


def test_help_has_every_field_with_what_it_holds(linea):
    code, shown, _ = linea("batch", "--help")
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert code == 0
    for field, meaning in FIELDS.items():
        assert f"{field} {meaning}" in lines


def test_the_options_exist():
    from typer.main import get_command

    from linea_diffusion import cli

    options = {name for option in get_command(cli.app).commands["batch"].params for name in option.opts}
    for line in PAGE.replace("\\\n", " ").splitlines():
        if "batch jobs.jsonl" in line:
            used = set(re.findall(r"--[a-z-]+", line.partition("batch jobs.jsonl")[2]))
            assert used <= options, line
    assert set(re.findall(r"`(--[a-z_-]+)", PAGE)) - {"--node_rank"} <= options
