"""Each command through its entry point on the embedded model, and every kind of bad input."""

from __future__ import annotations

import csv
import json
import re

import pytest
from PIL import Image

from linea_diffusion import Concept, SteeringMaps, TrainingConfig, cli, list_concepts, load_concept
from linea_diffusion.shapeland.world import Scene, render


@pytest.fixture(scope="module")
def maps_folder(random_maps, tmp_path_factory):
    """Maps on disk."""
    folder = tmp_path_factory.mktemp("maps") / "maps"
    facts = {"concept": "neon", "text": "a picture in neon style", "neutral": "a picture of something"}
    SteeringMaps.of(dict(random_maps.named_maps()), facts).save_pretrained(folder)
    return folder


def test_help_of_every_command_has_an_example(linea):
    code, out, _ = linea("--help")
    assert code == 0
    names = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
    learning = {"demo", "train", "calibrate", "evaluate", "bench"}
    pictures = {"generate", "grid", "batch", "score"}
    sharing = {"push", "export", "import"}
    assert learning | pictures | sharing | {"concepts", "modules", "info", "doctor", "studio"} == set(names)
    for name in names:
        assert name in out
        assert f"Example: linea {name}" in linea(name, "--help")[1]


def test_train_then_info(linea, tmp_path):
    settings = ("--iterations", 2, "--batch-size", 4, "--steps", 1, "--lr", 0.01, "--seed", 3)
    code, out, _ = linea("train", "neon", "--out", tmp_path / "neon", *settings)
    assert code == 0
    assert "17 maps" in out
    config = json.loads((tmp_path / "neon" / "config.json").read_text())
    assert (config["training"]["iterations"], config["training"]["seed"]) == (2, 3)
    code, out, _ = linea("info", tmp_path / "neon")
    assert code == 0
    assert len(out.splitlines()) < 20
    for words in (
        "neon",
        "shapeland-unet (StableDiffusionPipeline)",
        "iterations=2",
        "seed=3",
        "training time",
        "dial",
    ):
        assert words in out
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["text_encoder", "unet"]
    attention = "unet.mid_block.attentions.0.transformer_blocks.0.attn2"
    assert attention not in out
    assert attention in linea("info", tmp_path / "neon", "--modules")[1]
    assert len((tmp_path / "neon" / "losses.csv").read_text().splitlines()) == 3
    assert (tmp_path / "neon" / "losses.svg").is_file()


def test_maps_of_zeros_only_are_exit_code_1_unless_asked_for(linea, tmp_path):
    settings = ("--iterations", 1, "--rank", 0, "--steps", 1, "--modules", "text-attention", "--set", "l1=100")
    code, _, err = linea("train", "neon", "--out", tmp_path / "a", *settings)
    assert code == 1
    assert next(line for line in err.splitlines() if "all zero" in line).startswith("linea: got maps whose")
    assert err.count("all zero") == 1
    assert (tmp_path / "a" / "config.json").is_file()
    assert linea("train", "neon", "--out", tmp_path / "b", *settings, "--allow-zeros")[0] == 0


@pytest.mark.parametrize(
    ("shape", "formula"),
    [((1, 4), "((w - 1) * z + b), coordinate"), ((1, 4, 2), "((w - 1) * z + U V^T z + b), with U")],
)
def test_info_tells_what_maps_do(linea, tmp_path, shape, formula):
    maps = SteeringMaps({"unet.a": shape}).requires_grad_(False)
    for parameter in maps.parameters():
        parameter.fill_(0.5)
    maps.save_pretrained(tmp_path)
    out = linea("info", tmp_path)[1]
    assert re.search(rf"map: +T\(z\) = z \+ strength \* {re.escape(formula)}", out)
    assert ("of rank 2 or less" in out) == (len(shape) == 3)
    assert ("max|U|" in linea("info", tmp_path, "--modules")[1]) == (len(shape) == 3)


def test_train_from_prompt_files_and_chosen_modules(linea, tmp_path):
    (tmp_path / "a.txt").write_text("a red heart\na blue fish\n")
    (tmp_path / "b.txt").write_text("a red heart, mosaic\na blue fish, mosaic\n")
    files = ("--source", tmp_path / "a.txt", "--target", tmp_path / "b.txt")
    options = ("--modules", "text-attention", "--iterations", 1, "--steps", 1, "--guidance", 2)
    code, out, _ = linea("train", "tiles", "--out", tmp_path / "tiles", *files, *options)
    assert code == 0
    assert "3 maps" in out
    options = ("--strengths", "0,1", "--out", tmp_path)
    code, out, _ = linea("grid", "a red heart", "--steering", tmp_path / "tiles", *options)
    assert code == 0
    assert {row["style"] for row in csv.DictReader((tmp_path / "scores.csv").open())} == {"tiles"}


def test_train_from_a_template_with_levels(linea, tmp_path):
    (tmp_path / "a.txt").write_text("a red heart\na blue fish\na teal cat\n")
    files = ("--source", tmp_path / "a.txt", "--template", "{prompt}, mosaic")
    levels = ("--level", "0.5={prompt}, half mosaic", "--level", "0.25 = {prompt}, slightly mosaic")
    options = ("--modules", "text-attention", "--iterations", 1, "--steps", 1, "--guidance", 2)
    digests = []
    for name, more in (("plain", ()), ("levels", levels)):
        assert linea("train", name, "--out", tmp_path / name, *files, *more, *options)[0] == 0
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert (config["concept"], config["text"]) == (name, "a picture of something, mosaic")
        digests.append(config["prompts_sha256"])
    half = {0.25: "{prompt}, slightly mosaic", 0.5: "{prompt}, half mosaic"}
    with pytest.warns(UserWarning, match="from so few"):
        made = [
            Concept.from_template(["a red heart", "a blue fish", "a teal cat"], "{prompt}, mosaic", levels=more)
            for more in (None, half)
        ]
    assert digests == [concept.digest for concept in made]


def test_generate_one_and_several(linea, maps_folder, tmp_path):
    assert linea("generate", "a red heart", "--out", tmp_path / "plain.png", "--seed", 4)[0] == 0
    assert linea("generate", "a red heart", "--steering", maps_folder, "--strength", "0,0.5,1", "--seed", 4,
                 "--out", tmp_path / "h.png")[0] == 0  # fmt: skip
    pictures = [Image.open(tmp_path / name) for name in ("plain.png", "h-0.png", "h-0.5.png", "h-1.png")]
    bytes_of = [picture.tobytes() for picture in pictures]
    assert bytes_of[0] == bytes_of[1]
    assert len(set(bytes_of)) == 3


def test_generate_survives_a_lack_of_memory(linea, maps_folder, tmp_path, little_memory):
    command = ("generate", "a red heart", "--steering", maps_folder, "--strength", "0,0.5,1", "--steps", 1)
    little_memory(1)
    code, out, _ = linea(*command, "--out", tmp_path / "h.png")
    assert code == 0
    assert len(out.splitlines()) == len(list(tmp_path.glob("h-*.png"))) == 3
    little_memory(0)
    code, _, error = linea(*command, "--out", tmp_path / "none.png")
    assert code == 2
    assert error.splitlines()[-1].startswith("linea: memory ran out with this image alone")
    assert not list(tmp_path.glob("none*"))


def test_grid(linea, maps_folder, tmp_path):
    code, out, _ = linea(
        "grid", "a red heart", "--steering", maps_folder, "--strengths", "0,1", "--out", tmp_path / "g"
    )
    assert code == 0
    assert "P(style)" in out
    assert Image.open(tmp_path / "g" / "grid.png").size[0] > 400
    assert len(list(csv.DictReader((tmp_path / "g" / "scores.csv").open()))) == 2


def test_score_pictures_made_elsewhere(linea, tmp_path):
    render(Scene("heart", "red", "neon", 1.0)).save(tmp_path / "a.png")
    render(Scene("heart", "red")).save(tmp_path / "b.png")
    code, out, _ = linea("score", tmp_path, "--text", "a picture in neon style")
    assert code == 0
    rows = list(csv.DictReader(out.splitlines()))
    probability = "clip_style_probability"
    assert float(rows[0][probability]) > 0.9 > 0.1 > float(rows[1][probability])
    code, _, _ = linea("score", tmp_path, "--text", "a picture in neon style", "--out", tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().splitlines() == out.splitlines()


def test_concepts_are_listed_by_models_and_kind(linea):
    code, out, _ = linea("concepts")
    assert code == 0
    groups = [line for line in out.splitlines() if not line.startswith(" ")]
    real = "for Stable Diffusion, SDXL, FLUX and others that know the real world:"
    kinds = ("style", "object removal", "perspective")
    embedded = [f"style, for the embedded {models}:" for models in ("models", "language model")]
    assert groups == [*embedded, *(f"{kind}, {real}" for kind in kinds)]
    listed = [line.split()[0] for line in out.splitlines() if line.startswith(" ")]
    assert sorted(listed) == sorted([*list_concepts(), *list_concepts(world="wordland")])
    assert listed.index("pencil-sketch") < listed.index("anime") < listed.index("remove-cats") < listed.index("fisheye")
    assert "32 -> 32 prompts, e.g. 'a red star, neon'" in out


def test_one_concept_is_shown_whole(linea, tmp_path):
    code, out, _ = linea("concepts", "remove-cats")
    assert code == 0
    concept = load_concept("remove-cats")
    assert out.startswith("name: remove cats\nkind: object removal\ntext: a picture with a cat\nneutral: ")
    assert [line.strip() for line in out.splitlines() if line.startswith("  ")] == [*concept.source, *concept.target]
    (tmp_path / "mine.csv").write_text("side,prompt\n" + "".join(f"source,a {c}\ntarget,b {c}\n" for c in "wxyz"))
    assert "name: mine" in linea("concepts", tmp_path / "mine.csv")[1]
    assert "rows: pairs" in out


def test_levels_of_a_concept_are_shown(linea):
    out = linea("concepts", "neon")[1]
    assert "\nlevel 0.25, 32 prompts:\n  a red star, slightly neon\n" in out
    assert out.index("target, 32") < out.index("level 0.25") < out.index("level 0.5,") < out.index("level 0.75")


def test_modules(linea, random_maps):
    recipe = TrainingConfig()
    each = recipe.scale + recipe.shift + 2 * recipe.rank
    code, out, _ = linea("modules", "shapeland-unet", "--modules", "text-attention")
    assert code == 0
    assert out.splitlines()[-1] == f"3 modules, {each * 3 * 128} numbers in dense maps"
    lines = linea("modules", "shapeland-unet")[1].splitlines()
    features = [affine.features for _, affine in random_maps.named_maps()]  # of attention outputs, as by default
    assert f"{len(features)} modules, {each * sum(features)} numbers in dense maps" in lines
    attention = next(line.split()[:3] for line in reversed(lines) if line.startswith("attention "))
    assert attention == ["attention", str(len(features)), str(each * sum(features))]


TEMPLATE = ("train", "x", "--source", "TWO", "--template", "{prompt}, x", "--out", "OUT")
BAD = {
    "unknown style": (("demo", "--style", "neom", "--out", "OUT"), "nearest: neon"),
    "unknown concept": (("train", "neom", "--out", "OUT"), "nearest: neon"),
    "empty prompt file": (("train", "x", "--source", "EMPTY", "--target", "EMPTY", "--out", "OUT"), "got 0 prompts"),
    "one prompt": (("train", "x", "--source", "ONE", "--target", "ONE", "--out", "OUT"), "got 1 prompts"),
    "concept that does not exist": (("concepts", "neom"), "nearest: neon"),
    "concept file with a mistake": (("train", "BROKEN.csv", "--out", "OUT"), "got side 'left' in line 2 of "),
    "only a source": (("train", "x", "--source", "ONE", "--out", "OUT"), "--target"),
    "only a template": (
        ("train", "x", "--template", "{prompt}, x", "--out", "OUT"),
        "got --template: expected --source",
    ),
    "target and template": (
        ("train", "x", "--source", "ONE", "--target", "ONE", "--template", "{prompt}, x", "--out", "OUT"),
        "got --source and --target and --template: expected --source with either",
    ),
    "template without a place": (
        ("train", "x", "--source", "TWO", "--template", "neon", "--out", "OUT"),
        "expected text with {prompt}",
    ),
    "level without a template": (
        ("train", "neon", "--level", "0.5={prompt}, x", "--out", "OUT"),
        "without --template: expected both",
    ),
    "level without a strength": ((*TEMPLATE, "--level", "{prompt}, x"), "expected STRENGTH=TEMPLATE"),
    "level of words": ((*TEMPLATE, "--level", "half={prompt}, x"), "expected STRENGTH=TEMPLATE"),
    "level too strong": ((*TEMPLATE, "--level", "1.5={prompt}, x"), "got strength 1.5 for a level"),
    "level without a place": ((*TEMPLATE, "--level", "0.5=x"), "got 'x' as a template of level 0.5"),
    "level twice": ((*TEMPLATE, "--level", "0.5={prompt}, x", "--level", "0.50={prompt}, y"), "got --level 0.50 twice"),
    "no such module": (("train", "neon", "--modules", "unet.*atn1", "--out", "OUT"), "nearest: "),
    "no such model": (("train", "neon", "--model", "./nowhere", "--out", "OUT"), "no such folder"),
    "no such maps": (
        ("generate", "a red heart", "--steering", "nowhere/maps", "--out", "OUT/x.png"),
        "expected an existing folder",
    ),
    "maps of another model": (("generate", "x", "--steering", "FOREIGN", "--out", "OUT/x.png"), "'unet.elsewhere'"),
    "strength is a word": (
        ("generate", "x", "--steering", "MAPS", "--strength", "much", "--out", "OUT/x.png"),
        "finite",
    ),
    "strength is NaN": (("generate", "x", "--steering", "MAPS", "--strength", "nan", "--out", "OUT/x.png"), "finite"),
    "strength without maps": (("generate", "x", "--strength", "0.5", "--out", "OUT/x.png"), "call load_steering"),
    "not a picture name": (("generate", "x", "--out", "OUT/x.doc"), "expected a file name ending"),
    "maps that do not say what to score": (("grid", "x", "--steering", "SILENT", "--out", "OUT"), "--concept"),
    "folder not writable": (("demo", "--out", "FILE/out"), "writable"),
    "unknown CLIP": (("grid", "x", "--steering", "MAPS", "--clip", "ViT-B-23", "--out", "OUT"), "nearest: ViT-B-32"),
    "CLIP without network": (
        ("grid", "x", "--steering", "MAPS", "--clip", "ViT-B-32-quickgelu", "--clip-weights", "openai", "--out", "OUT"),
        "cannot be loaded here",
    ),
    "unknown device": (("generate", "x", "--device", "tpu9", "--out", "OUT/x.png"), "device"),
    "unknown dtype": (("generate", "x", "--dtype", "int3", "--out", "OUT/x.png"), "dtype"),
    "missing picture": (("score", "nowhere.png", "--text", "x"), "existing picture"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_code_2_and_leaves_nothing(linea, case, tmp_path, maps_folder):
    from linea_diffusion import SteeringMaps

    arguments, message = BAD[case]
    (tmp_path / "EMPTY").write_text("")
    (tmp_path / "ONE").write_text("only one\n")
    (tmp_path / "TWO").write_text("a cat\na dog\na hen\na fox\n")
    (tmp_path / "FILE").write_text("")
    (tmp_path / "BROKEN.csv").write_text("side,prompt\nleft,a dog\n")
    SteeringMaps({"unet.elsewhere": 4}).save_pretrained(tmp_path / "FOREIGN")
    SteeringMaps({"unet.conv_norm_out": 64}).save_pretrained(tmp_path / "SILENT")
    places = {
        name: str(tmp_path / name) for name in ("EMPTY", "ONE", "TWO", "FILE", "BROKEN.csv", "FOREIGN", "SILENT", "OUT")
    }
    places["MAPS"] = str(maps_folder)
    filled = list(arguments)
    for name, place in places.items():
        filled = [a.replace(name, place) if a.split("/")[0] == name else a for a in filled]
    code, _, err = linea(*filled)
    lines = [line for line in err.splitlines() if line.startswith("linea: ")]
    assert code == 2
    assert len(lines) == 1
    assert lines[0] == err.splitlines()[-1]
    assert message in lines[0]
    assert "expected" in lines[0] or "call load_steering" in lines[0]
    out = tmp_path / "OUT"
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.parametrize("model", ["shapeland-unet", "shapeland-dit"])
def test_demo_writes_what_it_promises(linea, tmp_path, model):
    options = ("--style", "mosaic", "--out", tmp_path / "demo", "--seed", 1, "--model", model)
    code, out, _ = linea("demo", "--quick", *options)
    assert code == 0
    rows = list(csv.DictReader((tmp_path / "demo" / "scores.csv").open()))
    assert len({row["prompt"] for row in rows}) >= 4
    assert {float(row["strength"]) for row in rows} == {0, 0.25, 0.5, 0.75, 1}
    assert (tmp_path / "demo" / "grid.png").stat().st_size > 10_000
    assert "Turn the dial" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    maps = SteeringMaps.from_pretrained(tmp_path / "demo" / "maps")
    assert (maps.metadata["training"]["iterations"], maps.metadata["training"]["seed"]) == (2, 1)
    assert "P(style)" in out
