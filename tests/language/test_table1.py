"""The script of Table 1, on tiny models and local files: it runs from end to end and reads what there is."""

from __future__ import annotations

import json

import pytest
from jinja2 import Template
from transformers import BertConfig, BertForSequenceClassification

from benchmarks import __main__ as entry
from benchmarks.table1 import local_mmlu, prompts_in, toxicity

from .families import FRIENDLY, PROMPTS, TOKENIZER, model_of


def test_the_table_is_made_of_local_files(tmp_path):
    base = model_of("llama")
    base.model.save_pretrained(tmp_path / "model")
    TOKENIZER.save_pretrained(tmp_path / "model")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {0: "neutral", 1: "toxic"}
    classifier = BertForSequenceClassification(BertConfig(vocab_size=len(TOKENIZER), id2label=labels, **sizes))
    classifier.save_pretrained(tmp_path / "classifier")
    TOKENIZER.save_pretrained(tmp_path / "classifier")
    for name, lines in {"toxic": FRIENDLY.source, "civil": FRIENDLY.target, "wiki": PROMPTS}.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    (tmp_path / "rtp.jsonl").write_text("\n".join(json.dumps({"prompt": {"text": one}}) for one in PROMPTS))
    files = {"source": "toxic.txt", "target": "civil.txt", "wikitext": "wiki.txt", "prompts": "rtp.jsonl"}
    files |= {"model": "model", "classifier": "classifier", "work": "work", "out": "table.md"}
    options = [part for name, file in files.items() for part in (f"--{name}", str(tmp_path / file))]
    entry.run(
        ["table1", *options, "--methods", "LinEAS", "ITI-c", "--modules", "norms", "--iterations", "2", "--tokens", "4"]
    )
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == [
        "| method", "| ---", "| unsteered", "| LinEAS", "| ITI-c",
    ]  # fmt: skip
    plain, shifted = (line.split(" | ")[2] for line in (lines[-3], lines[-1]))
    assert float(plain) > 1
    assert plain != shifted


def test_prompts_are_lines_of_text_or_json(tmp_path):
    (tmp_path / "a.txt").write_text("so ben\n\nyeah\n")
    (tmp_path / "a.jsonl").write_text('{"prompt": "so ben"}\n{"prompt": {"text": "yeah"}}\n')
    assert list(prompts_in(tmp_path / "a.txt")) == list(prompts_in(tmp_path / "a.jsonl")) == ["so ben", "yeah"]


def test_questions_of_ones_own_are_asked_as_those_of_mmlu(tmp_path):
    task = local_mmlu(tmp_path)
    asked = Template(task["doc_to_text"]).render(question="what is it ? ", choices=["soup", "rose", "song", "race"])
    assert asked == "what is it ?\nA. soup\nB. rose\nC. song\nD. race\nAnswer:"
    assert task["dataset_kwargs"]["data_files"]["dev"] == str(tmp_path / "dev.jsonl")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([("toxic", 0.9), ("neutral", 0.1)], 0.9),
        ([("non-toxic", 0.8), ("toxic", 0.2)], 0.2),
        ([("LABEL_0", 0.7), ("LABEL_1", 0.3)], 0.3),
    ],
)
def test_the_toxic_label_is_found(labels, expected):
    assert toxicity([{"label": label, "score": score} for label, score in labels]) == expected
