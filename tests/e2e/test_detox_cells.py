"""Cells that are questioned after the warm-up: prompts continued and judged, end to end."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
import toy
from hydra import initialize_config_dir

from shortlist.core import unpack_item_scores
from shortlist.evaluation.base import EvalContext
from shortlist.evaluation.perplexity import Perplexity
from shortlist.leaderboard.submission import problems
from shortlist.models import generation
from shortlist.store import formats
from shortlist.store.cache import executions

pytestmark = pytest.mark.whole

SOURCES = ("jigsaw", "olid", "davidson", "stormfront", "toxigen_seed")
OFF = "~task.evaluators.toxicity"
RUDE = " you wretched rotten fool"
TYPED = (
    "task=detox", "pool=domains", "source=local", "model=gpt2_mini", "model.vocabulary=300",
    "model.layers=1", "model.heads=2", "model.width=16", "model.positions=64",
    "model.pretraining.block=64", "model.pretraining.max_length=64",
    "model.pretraining.epochs=1", "model.pretraining.precision=32", "warmup.block=64",
    "warmup.max_length=64", "warmup.epochs=1", "warmup.precision=32", "budget=20",
    "task.evaluators.toxicity.continuations=3", "task.evaluators.perplexity.path=texts.jsonl",
    "runtime.accelerator=cpu",
    "runtime.progress=false", "runtime.report=false",
)  # fmt: skip


def texts(seed: int, n: int) -> list[str]:
    """Every second text of a topic is rude."""
    return [text + RUDE * (at % 2) for at, text in enumerate(toy.sentences("stars", n, seed))]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as source=local reads it; the pool holds one of the prompts, and one of the
    texts whose perplexity is measured.
    """
    root = tmp_path / "data"
    for at, split in enumerate(("train", "validation", "test")):
        halves = texts(10 + at, 24), texts(20 + at, 24)
        rows = [
            {
                "prompt": first, "toxicity": 0.9 if RUDE in first else 0.05, "continuation": second,
                "continuation_toxicity": 0.9 if RUDE in second else 0.05, "doc": f"{split}{row}",
            }
            for row, (first, second) in enumerate(zip(*halves, strict=True))
        ]  # fmt: skip
        toy.write_jsonl(root / "toxicity" / "realtoxicityprompts" / f"{split}.jsonl", rows)
    measured = texts(2, 5)
    documents = [*texts(1, 60), rows[4]["prompt"], measured[0]]
    toy.write_jsonl(root / "pools" / "web.jsonl", [{"text": text} for text in documents])
    toy.write_jsonl(root / "texts.jsonl", [{"text": text} for text in measured])
    label(root, seed=30)
    return root


def label(root: Path, seed: int) -> None:
    """Writes the labelled texts where the scorers' YAMLs look for them."""
    folder = root / "toxicity" / "labelled"
    folder.mkdir(parents=True, exist_ok=True)
    for at, split in enumerate(("train", "validation", "test")):
        rows = [
            {"text": text, "label": "toxic" if RUDE in text else "fine", "source": SOURCES[n // 2]}
            for n, text in enumerate(texts(seed + at, 10))
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))


@pytest.fixture
def cell(tmp_path: Path, data: Path, composed: Any) -> Callable[..., Any]:
    """A function from overrides to the record of a small cell.

    The negative target is composed by the Hydra that runs; one is started here around the cell.
    """
    places = [f"paths.{name}={tmp_path / name}" for name in ("results", "cache", "runs", "data")]

    def execute(*overrides: str) -> Any:
        composition = composed(*TYPED, *places, *overrides)
        with initialize_config_dir(str(cells.ROOT / "conf"), version_base="1.3"):
            return cells.execute(composition, tmp_path / "runs" / "cell")

    return execute


def artifact(tmp_path: Path, record: Any, stage: str) -> Path:
    key = next(cost.key for cost in record.stages if cost.stage == stage)
    return tmp_path / "cache" / stage / key


def test_a_model_is_pretrained_warmed_up_questioned_and_judged_twice(
    cell: Any, data: Path, tmp_path: Path
) -> None:
    record = cell("selector=random", "featurizer=none")
    assert (record.status, record.reason) == ("done", "")
    assert list(problems(record)) == []
    values = {metric.name: metric for metric in record.metrics}
    assert [name for name, metric in values.items() if metric.primary] == ["emt_toxic"]
    sides = [f"{name}_{side}" for name in ("emt", "tp") for side in ("toxic", "nontoxic")]
    assert set(record.item_scores) > {
        *sides, *(f"{name}_second" for name in sides), "perplexity",
    }  # fmt: skip
    for name in sides:
        assert values[name].n == 12 and 0 <= values[name].value <= 1
        assert values[name].value == pytest.approx(
            unpack_item_scores(record.item_scores[name], 12).mean(), abs=1e-3
        )
        assert values[f"{name}_from"].value <= values[name].value <= values[f"{name}_to"].value
    assert np.isfinite(values["perplexity"].value) and values["perplexity"].n == 5
    written = generation.load(artifact(tmp_path, record, "generate"))
    test = formats.load_corpus(artifact(tmp_path, record, "task") / "test.arrow")
    assert written.prompts == test.ids and len(written.prompts) == 24
    # Neither the methods nor the model that is made here may see what is measured on.
    assert record.counts["leaked"] == record.counts["pretrained_left_out"] == 2
    pool = formats.load_corpus(artifact(tmp_path, record, "pool") / "corpus.arrow")
    text = dict(zip(pool.ids, pool.texts, strict=True))
    measured = formats.load_corpus(artifact(tmp_path, record, "texts") / "texts.arrow")
    kept_out = {*test.texts, *measured.texts}
    assert len(set(text.values()) & kept_out) == 2
    everything = cell("selector=random", "featurizer=none", "budget=60")
    chosen = formats.load_selection(
        artifact(tmp_path, everything, "selection") / "selection.parquet"
    )
    assert {text[name] for name in chosen.ids} == set(pool.texts) - kept_out


def test_what_is_questioned_is_the_model_after_the_warm_up_and_the_one_before_stands_beside(
    cell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[EvalContext] = []
    evaluate = Perplexity.evaluate

    def noted(self: Perplexity, context: EvalContext) -> Any:
        contexts.append(context)
        return evaluate(self, context)

    monkeypatch.setattr(Perplexity, "evaluate", noted)
    for selector in ("random", "vanilla"):
        record = cell(f"selector={selector}", "featurizer=none", "task.primary=perplexity", OFF)
        assert (record.status, record.reason) == ("done", "")
        base = artifact(tmp_path, record, "pretrained")
        warm = artifact(tmp_path, record, "warmup") if selector == "random" else base
        assert (contexts[-1].model.directory(), contexts[-1].base.directory()) == (warm, base)


def test_methods_share_the_base_and_a_judge_of_other_texts_makes_another_result(
    cell: Any, data: Path, tmp_path: Path
) -> None:
    def count(stage: str) -> int:
        return [name for name, _ in executions(tmp_path / "cache")].count(stage)

    first = cell("selector=vanilla", "featurizer=none")
    for typed in (
        ("selector=gotd_clean", "featurizer=static"),
        ("selector=gotd_contrast", "featurizer=static"),
        ("selector=least_toxic",),
    ):
        record = cell(*typed)
        assert (record.status, record.reason) == ("done", "")
        told = any(
            "chosen by the scorer that also measures" in warning for warning in record.warnings
        )
        assert told == (typed == ("selector=least_toxic",))
        same = [record.metric(name).protocol for name in ("emt_toxic", "perplexity")]
        assert same == [first.metric(name).protocol for name in ("emt_toxic", "perplexity")]
    assert count("pretrained") == 1
    before = count("generate"), count("score")
    label(data, seed=40)
    again = cell("selector=vanilla", "featurizer=none")
    assert (count("generate"), count("score")) == (before[0], before[1] + 2)
    assert again.key != first.key
    assert again.metric("emt_toxic").protocol != first.metric("emt_toxic").protocol


def test_toward_clean_away_from_toxic_and_least_toxic_choose_less_of_the_rude(
    cell: Any, tmp_path: Path
) -> None:
    def rude(*typed: str) -> float:
        record = cell(*typed, "until=select", "advice=null")
        pool = formats.load_corpus(artifact(tmp_path, record, "pool") / "corpus.arrow")
        text = dict(zip(pool.ids, pool.texts, strict=True))
        chosen = formats.load_selection(
            artifact(tmp_path, record, "selection") / "selection.parquet"
        )
        return float(np.mean([RUDE in text[name] for name in chosen.ids]))

    clean = rude("selector=gotd_clean", "featurizer=static")
    assert rude("selector=gotd_contrast", "featurizer=static") <= clean < 0.5
    assert rude("selector=least_toxic") < 0.5


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["until=finetune"], "has no labels to fine-tune on; set until=warmup or evaluate"),
        (["task.evaluators.toxicity.scorers.linear.labelled=none.jsonl"], "labelled texts: "),
        (["task.primary=emt_toxik"], "expected task.primary among the metrics of its evaluators"),
        (["evaluator@task.evaluators.more=toxicity"], "two evaluators measure"),
        (["scorer@task.evaluators.toxicity.scorers.extra=detoxify"], "scorer=detoxify "),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_computed(
    cell: Any, tmp_path: Path, typed: list[str], said: str
) -> None:
    typed = [f"+{word}" if "@" in word else word for word in typed]
    record = cell("selector=random", "featurizer=none", *typed)
    assert record.status == "failed" and said in record.reason
    assert not list(executions(tmp_path / "cache"))
