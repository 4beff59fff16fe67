"""Cells whose model learns another task's labels first: once for all of them, never from what is
measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import pytest
import toy
from safetensors.torch import load_file

from shortlist.store.cache import executions

pytestmark = pytest.mark.whole


@pytest.fixture
def cell(tmp_path: Path, composed: Any) -> Callable[..., Any]:
    """A function from overrides to the record of a small cell that starts after a lesson in pairs."""
    data = toy.write_data(tmp_path / "data")
    pairs = zip(toy.sentences("music", 12), toy.sentences("stars", 12), strict=True)
    rows = [
        {"text_a": a, "text_b": b, "label": "neutral" if row % 2 else "entailment"}
        for row, (a, b) in enumerate(pairs)
    ]
    for split in ("train", "validation", "test"):
        toy.write_jsonl(data / "tasks" / "mnli" / f"{split}.jsonl", rows)
    small = [
        typed for typed in cells.settings(tmp_path, data, tmp_path) if not typed.startswith("model")
    ]
    lesson = (
        "model=minilm_mnli",
        "model@model.base=local",
        f"model.base.path={toy.write_bert(tmp_path / 'bert')}",
        f"model.head={cells.HEAD}",
        "model.trainer.max_length=32",
        "model.trainer.epochs=1",
        "model.trainer.precision=32",
    )

    def execute(*overrides: str) -> Any:
        return cells.execute(composed(*small, *lesson, *overrides), tmp_path / "runs" / "cell")

    return execute


def made(tmp_path: Path, stage: str = "intermediate") -> list[str]:
    """Keys of the models that were taught so far."""
    return [key for name, key in executions(tmp_path / "cache") if name == stage]


def test_methods_and_seeds_share_one_model_which_is_not_the_base(cell: Any, tmp_path: Path) -> None:
    first = cell("selector=random")
    assert (first.status, first.reason) == ("done", "")
    assert (first.counts["intermediate_examples"], first.counts["intermediate_left_out"]) == (12, 0)
    vectors = ("featurizer.max_length=32", "featurizer.precision=32", "until=warmup")
    for typed in (
        ("selector=random", "seed=1"),
        ("selector=vanilla",),
        ("selector=gotd", *vectors),
    ):
        record = cell(*typed)
        assert (record.status, record.reason) == ("done", "")
    (key,) = made(tmp_path)
    assert len(made(tmp_path, "head")) == 1  # a head of its own, over the taught encoder
    name = "bert.encoder.layer.0.attention.self.query.weight"
    before = load_file(tmp_path / "bert" / "model.safetensors")[name]
    after = load_file(tmp_path / "cache" / "intermediate" / key / "model.safetensors")[name]
    assert (before != after).any()


def test_what_it_is_taught_decides_the_cell(cell: Any, tmp_path: Path) -> None:
    first = cell("selector=random", "until=warmup")
    path = tmp_path / "data" / "tasks" / "mnli" / "train.jsonl"
    rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(rows[:-1]) + "\n", encoding="utf-8")
    second = cell("selector=random", "until=warmup")
    assert first.key != second.key and second.counts["intermediate_examples"] == 11
    assert len(set(made(tmp_path))) == 2


def test_examples_that_repeat_evaluation_texts_are_left_out_and_counted(
    cell: Any, tmp_path: Path
) -> None:
    test = tmp_path / "data" / "tasks" / "citation_intent" / "test.jsonl"
    leaked = json.loads(test.read_text(encoding="utf-8").splitlines()[0])["text"]
    with (tmp_path / "data" / "tasks" / "mnli" / "train.jsonl").open("a", encoding="utf-8") as file:
        row = {"text_a": f"{leaked} {leaked}", "text_b": "Who is to say?", "label": "neutral"}
        file.write(json.dumps(row) + "\n")
    record = cell("selector=random", "until=warmup")
    assert (record.counts["intermediate_examples"], record.counts["intermediate_left_out"]) == (
        12,
        1,
    )
