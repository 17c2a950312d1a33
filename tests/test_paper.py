"""The paper's experiments on the real classes of SDXL and FLUX, tiny, with the embedded CLIP: wiring, not figures."""

from __future__ import annotations

import json

import pytest

from benchmarks import __main__ as entry
from benchmarks import paper, paper_setup
from benchmarks.paper_table import lines
from linea_diffusion import LinEASDiffusionPipeline, load_concept
from linea_diffusion.errors import LineaError
from linea_diffusion.evaluation.records import Record
from linea_diffusion.training import recipes

from .zoo.cases import CASES

SIZE = ["--call", "height=16", "width=16"]
DISTILLED = {"stable-diffusion-xl": "dmd2", "flux": "schnell"}
CONCEPT = """
name = "warm"
text = "a picture in neon style"
source = ["a red heart", "a blue fish"]
target = ["a red heart, neon", "a blue fish, neon"]
"""


@pytest.fixture
def model(request, tmp_path):
    """A folder with a tiny model of a class."""
    name = f"{request.param}-{DISTILLED[request.param]}"
    CASES[request.param].build().save_pretrained(tmp_path / name)
    return str(tmp_path / name)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Options that all runs share; trainings for laws take two iterations."""
    for kind in recipes.RECIPES.values():
        monkeypatch.setitem(kind["law"], "iterations", 2)
    (tmp_path / "warm.toml").write_text(CONCEPT)
    notes = [{"image_id": n, "id": n, "caption": f"a green star {n}\n"} for n in range(3)]
    (tmp_path / "captions.json").write_text(json.dumps({"annotations": notes}))
    return [
        "paper", "--concepts", str(tmp_path / "warm.toml"), "--captions", str(tmp_path / "captions.json"),
        "--prompts", "2", "--strengths", "0,0.5,1", "--shown", "1", "--clip", "shapeland-clip", "--device", "cpu",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("model", "methods"),
    [
        ("stable-diffusion-xl", ["lineas-paper", "lin-act-at-once", "prompting"]),
        ("flux", ["lineas", "prompting"]),
    ],
    indirect=["model"],
)
def test_every_method_is_fitted_turned_and_scored_and_a_killed_run_goes_on(
    model, methods, asked, tmp_path, monkeypatch
):
    tiny = ["--model", model, "--steps", "1", *SIZE, "max_sequence_length=32"][: None if "flux" in model else -1]
    few = ["--set", "iterations=1", "rank=1", "sparsity=0.0"]
    out = tmp_path / "out" / "steps-1"
    ended = paper.evaluate

    def killed(pipe, ways, *rest, **options):
        if methods[-1] in ways:
            raise KeyboardInterrupt
        return ended(pipe, ways, *rest, **options)

    monkeypatch.setattr(paper, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        entry.run([*asked, *tiny, *few, "--methods", *methods])
    done = {path.name for path in (out / "warm").iterdir()}
    assert done == {*methods[:-1], f"{methods[-1]}.part", "maps"}
    fitted = {path.name for path in (out / "warm" / "maps").iterdir()}
    assert fitted == {*methods} - {"prompting"}, "maps that are saved leave no state of their training"

    def only_the_last(pipe, ways, *rest, **options):
        assert list(ways) == [methods[-1]], "what is done is not done again"
        return ended(pipe, ways, *rest, **options)

    monkeypatch.setattr(paper, "evaluate", only_the_last)
    entry.run([*asked, *tiny, *few, "--methods", *methods])
    text = (out / "paper.md").read_text()
    assert all(f"| {method} | " in text for method in methods)
    assert "| printed: method | P(style) | content kept |" in text
    assert (out / "report.html").is_file()
    assert all((out / "warm" / method / "grid.webp").is_file() for method in methods)


@pytest.mark.parametrize("model", ["stable-diffusion-xl"], indirect=True)
def test_a_dry_run_says_time_and_memory_and_does_nothing(model, asked, capsys, tmp_path):
    entry.run(
        [*asked, "--model", model, "--steps", "1", "4", *SIZE, "--methods", "lineas-paper", "prompting", "--dry-run"]
    )
    said = capsys.readouterr().out
    assert "1 steps, 1 concepts, called with num_inference_steps=1, guidance_scale=0.0, timesteps=[399]" in said
    assert "4 steps, 1 concepts" in said
    assert "memory, counted: " in said
    assert "Nothing was done." in said
    assert not (tmp_path / "out").exists()


def test_one_caption_an_image_is_taken_and_what_is_no_caption_file_is_named(tmp_path):
    file = tmp_path / "captions.json"
    notes = [(2, 5, "later "), (1, 9, "second"), (1, 3, "a  dog\nruns")]
    file.write_text(
        json.dumps({"annotations": [dict(zip(("image_id", "id", "caption"), one, strict=False)) for one in notes]})
    )
    assert paper_setup.coco_captions(file) == ["a dog runs", "later"]
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    assert paper_setup.coco_captions(tmp_path / "lines.txt") == ["one", "two"]
    file.write_text("[]")
    with pytest.raises(LineaError, match=r"expected COCO's format, annotations with id, image_id and caption"):
        paper_setup.coco_captions(file)


def test_what_is_to_go_is_judged_on_captions_that_name_it():
    captions = ["a dog", "two umbrellas", "an Umbrella in rain"]
    removal = load_concept("remove-umbrellas")
    assert sorted(paper_setup.held_out(removal, "any", captions, 9, 0)) == ["an Umbrella in rain", "two umbrellas"]
    with pytest.raises(LineaError, match="got no caption with 'umbrella'"):
        paper_setup.held_out(removal, "any", ["a dog"], 9, 0)
    assert len(paper_setup.held_out(load_concept("anime"), "any", captions, 2, 0)) == 2


def test_distilled_models_are_called_as_they_were_distilled():
    pipe = LinEASDiffusionPipeline(CASES["stable-diffusion-xl"].build())
    one = paper_setup.called(pipe, "you/SDXL-DMD2", 1, {})
    assert one == {"num_inference_steps": 1, "guidance_scale": 0.0, "timesteps": [399]}
    assert type(pipe.base.scheduler).__name__ == "LCMScheduler"
    pipe = LinEASDiffusionPipeline(CASES["stable-diffusion-xl"].build())
    four = paper_setup.called(pipe, "SDXL-Lightning", 4, {"guidance_scale": 1.5})
    assert four == {"num_inference_steps": 4, "guidance_scale": 1.5}
    assert pipe.base.scheduler.config.timestep_spacing == "trailing"
    assert paper_setup.called(pipe, "sdxl", 4, {}) == {"num_inference_steps": 4}


def test_the_table_has_means_and_the_printed_figures():
    names = ("clip_style_probability", "clip_style_cosine", "clip_prompt_cosine", "similarity_to_unsteered")
    values = {0: (0.1, 0.2, 0.4, 1.0), 0.5: (0.3, 0.2, 0.35, 0.9), 1: (0.5, 0.3, 0.2, 0.8)}
    records = [
        Record("anime", "lineas", at, prompt, dict(zip(names, figures, strict=False)))
        for prompt in ("a", "b")
        for at, figures in values.items()
    ]
    styles = "\n".join(lines(records, removal=False))
    assert "| lineas | 0.100 -> 0.500 | 0.200 -> 0.300 | 0.400 -> 0.200 | 0.80 [0.80, 0.80] | 0.50 |" in styles
    assert "| Lin-AcT | 0.12 -> 0.95 | 0.80 |" in styles
    assert "| LinEAS | 0.18 | 0.66 |" in "\n".join(lines(records, removal=True))
