"""Cells whose model is pre-trained first: once for all of them, keyed by what it has read."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import pytest
import toy

from shortlist.store.cache import executions

pytestmark = pytest.mark.whole

SCRATCH = (
    "model=gpt2_mini",
    "model.vocabulary=300",
    "model.layers=1",
    "model.heads=2",
    "model.width=16",
    "model.positions=32",
    "model.pretraining.block=32",
    "model.pretraining.max_length=32",
    "model.pretraining.epochs=1",
    "model.pretraining.precision=32",
    "trainer@warmup=clm",
    "warmup.block=32",
    "warmup.max_length=32",
    "warmup.precision=32",
    "warmup.epochs=1",
    "until=warmup",
)


@pytest.fixture
def cell(tmp_path: Path, composed: Any) -> Callable[..., Any]:
    """A function from overrides to the record of a small cell over data of the test's own."""
    data = toy.write_data(tmp_path / "data")
    small = [
        typed
        for typed in cells.settings(tmp_path, data, tmp_path)
        if not typed.startswith(("model", "warmup."))
    ]

    def execute(*overrides: str, scratch: tuple[str, ...] | None = None) -> Any:
        if scratch is None:
            scratch = SCRATCH if "trainer@warmup=mlm" not in overrides else SCRATCH[:10]
        return cells.execute(composed(*small, *scratch, *overrides), tmp_path / "runs" / "cell")

    return execute


def made(tmp_path: Path) -> list[str]:
    """Keys of the models that were pre-trained so far."""
    return [key for stage, key in executions(tmp_path / "cache") if stage == "pretrained"]


def test_methods_seeds_and_vectors_share_one_model_and_another_pool_has_another(
    cell: Any, tmp_path: Path
) -> None:
    first = cell("selector=random")
    assert (first.status, first.reason) == ("done", "")
    assert {metric.name for metric in first.metrics} >= {"clm_loss_before", "clm_loss_drop"}
    assert first.counts["pretrained_documents"] == 50
    assert first.counts["pretrained_tokens"] > 500
    small = ("featurizer.max_length=32", "featurizer.precision=32")
    for typed in (
        ("selector=random", "seed=1", "budget_unit=tokens", "budget=100"),
        ("selector=centroid", "featurizer=transformer", *small),
        ("selector=perplexity", "featurizer.max_length=32"),
    ):
        record = cell(*typed)
        assert (record.status, record.reason) == ("done", "")
    assert len(made(tmp_path)) == 1
    for typed in ("pool.domains=[far]", "model.seed=1", "model.pretraining.learning_rate=1e-3"):
        assert cell("selector=random", typed).status == "done"
    assert len(set(made(tmp_path))) == 4


def test_evaluation_texts_in_the_sample_are_left_out_and_counted(cell: Any, tmp_path: Path) -> None:
    test = tmp_path / "data" / "tasks" / "citation_intent" / "test.jsonl"
    leaked = json.loads(test.read_text(encoding="utf-8").splitlines()[0])["text"]
    clean = cell("selector=random")
    with (tmp_path / "data" / "pools" / "far.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": leaked}) + "\n")
    record = cell("selector=random")
    assert (record.counts["pretrained_documents"], record.counts["pretrained_left_out"]) == (50, 1)
    assert clean.counts["pretrained_left_out"] == 0
    cell("selector=random", "leaks.action=report")
    assert len(set(made(tmp_path))) == 3  # what was left out is part of the key


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("trainer@warmup=mlm", "set trainer@warmup=clm"),
        ("check.assumption=true", "set check.assumption=false"),
        ("model.pretraining.block=64", "model.pretraining.block=64 exceeds model.positions=32"),
        ("warmup.block=64", "set warmup.block=32"),
        ("warmup.max_length=64", "set warmup.max_length=32"),
    ],
)
def test_what_such_a_model_is_not_for_is_refused_by_name(
    cell: Any, tmp_path: Path, typed: str, message: str
) -> None:
    record = cell("selector=random", typed)
    assert record.status == "failed" and message in record.reason
    assert made(tmp_path) == []


def test_vectors_that_all_methods_share_cannot_wait_for_it(cell: Any) -> None:
    record = cell("pool.prefilter.keep=1", "featurizer@pool.prefilter.featurizer=transformer")
    assert record.status == "failed"
    assert "pool.prefilter.featurizer takes vectors as they are" in record.reason


def test_the_record_of_a_quantised_model_says_so_and_the_conversion_is_a_stage(
    cell: Any, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    llama = toy.write_llama(tmp_path / "llama", toy.write_words(tmp_path / "words"))
    file = toy.write_gguf(tmp_path / "toy.gguf", llama)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    typed = [one for one in SCRATCH if not one.startswith("model")]
    typed += ["model=smollm2", "model.file=a/toy.gguf", f"model.sha256={digest}", "selector=random"]
    missing = cell(*typed, scratch=())
    assert missing.status == "failed" and "run: shortlist fetch smollm2" in missing.reason
    (tmp_path / "cache" / "models").mkdir(parents=True)
    shutil.copy(file, tmp_path / "cache" / "models")
    record = cell(*typed, scratch=())
    assert (record.status, record.reason) == ("done", "")
    assert any("quantised to 4 bits" in warning for warning in record.warnings)
    assert [cost.stage for cost in record.stages if cost.role == "preparation"].count(
        "converted"
    ) == 1
    assert record.inputs["read.model.gguf"] == digest
