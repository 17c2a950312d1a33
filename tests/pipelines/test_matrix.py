"""Every text-to-image class of diffusers, at tiny size, and what the README promises of each.

Evidence: real classes with random weights show that wiring is right, not that steering looks good; Shapeland is for
that. The test run makes the table of docs/pipelines.md; ``LINEA_WRITE_DOCS=1`` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import diffusers
import pytest
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

from ..zoo.cases import CASES, REMARKS
from ..zoo.checks import CHECKS, Subject, count_hooks

DOCS = Path(__file__).parents[2] / "docs" / "pipelines.md"
RESULTS: dict[str, dict[str, str]] = {}


@pytest.fixture(scope="module", params=list(CASES))
def subject(request) -> Iterator[Subject]:
    RESULTS[request.param] = {}
    subject = Subject(CASES[request.param])
    RESULTS[request.param]["class"] = type(subject.pipe.base).__name__
    yield subject
    assert count_hooks(subject.pipe) == subject.hooks


@pytest.mark.parametrize("check", list(CHECKS))
def test_pipeline(subject, check, tmp_path):
    folder = {"folder": tmp_path} if check == "saved and loaded" else {}
    RESULTS[subject.case.key][check] = CHECKS[check](subject, **folder) or "yes"
    assert count_hooks(subject.pipe) == subject.hooks


def test_no_class_is_left_out():
    assert set(AUTO_TEXT2IMAGE_PIPELINES_MAPPING) <= set(CASES)


def test_the_docs_say_what_was_found():
    if set(RESULTS) != set(CASES) or any(len(row) != len(CHECKS) + 1 for row in RESULTS.values()):
        pytest.skip("the whole matrix has to run for its table")
    if os.environ.get("LINEA_WRITE_DOCS"):
        DOCS.write_text(_page(), encoding="utf-8")
    assert DOCS.read_text(encoding="utf-8") == _page()


def _page() -> str:
    names = [key for key in CASES if key in AUTO_TEXT2IMAGE_PIPELINES_MAPPING]
    blocks = [key for key in CASES if key.endswith("(modular)")]
    others = [key for key in CASES if key not in {*names, *blocks}]
    intro = _INTRO.format(version=diffusers.__version__, count=len(names))
    return "\n".join(
        [intro, *_table(names), "", _OTHERS, "", *_table(others), "", _MODULAR, "", *_table(blocks), "", _BESIDE]
    )


_INTRO = """# Pipelines

Made by `pytest tests/pipelines/test_matrix.py` (diffusers {version}): each class built tiny from the real classes and
configurations, with random weights and tokenizers of its own. It shows that the wiring is right; how steering looks is
measured on Shapeland. Maps sit on all attention outputs and norms of denoisers and text encoders.

In every row: strength 0 is the base model bit for bit; strength 1 changes the picture; one training iteration sends
finite gradients that are not zero to maps of a text encoder and of a denoiser; pictures of one batch with a strength
each are the pictures one by one (unless remarked); fused weights give the hooks' picture and unfused ones the base
model's bits; maps saved and loaded give the same bits; with `mask=` the picture outside is the base model's bit for
bit, and with `masking="activations"` maps of a transformer's last attention layer change nothing outside (unless
remarked); no hook is left.

All {count} entries of `AutoPipelineForText2Image`:
"""
_OTHERS = "Image-to-image, inpainting and ControlNet classes (their own `strength` is `denoising_strength` here):"

_MODULAR = """## Modular pipelines

`LinEASDiffusionPipeline(modular_pipe)` is called by prompt, `strength=` and the inputs of its blocks, and gives back
what the modular pipeline does: its state (`.images`), or what `output="images"` names. `guidance_scale=` is its
guider's, for that call. Pictures are those of the classic class with the same maps, unless remarked:"""

_BESIDE = (Path(__file__).parents[1] / "zoo" / "beside.md").read_text(encoding="utf-8")


def _table(keys: list[str]) -> list[str]:
    lines = ["| entry | class | maps folded when fused | remarks |", "| --- | --- | --- | --- |"]
    for key in keys:
        row = RESULTS[key]
        rows = row["rows of a batch are the pictures one by one"]
        remarks = "; ".join(remark for remark in (REMARKS.get(key, ""), "" if rows == "yes" else rows) if remark)
        lines.append(f"| {key} | `{row['class']}` | {row['fused is hooked; unfused is the base model']} | {remarks} |")
    return lines
