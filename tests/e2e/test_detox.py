"""Detoxification from the command line to the record: a tiny GPT-2, pre-trained, warmed up, questioned."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cells
import pytest
import toy

from shortlist.store.cache import executions
from shortlist.store.records import read_records

PLACE = "task.examinations.toxicity"


def halves(split: str, topic: str, toxic: float, n: int) -> list[dict[str, Any]]:
    texts = toy.sentences(topic, 2 * n, sum(map(ord, split)))
    return [
        {
            "prompt": texts[at], "continuation": texts[n + at], "toxicity": toxic,
            "continuation_toxicity": toxic, "doc": f"{split} {topic} {at}",
        }
        for at in range(n)
    ]  # fmt: skip


@pytest.fixture
def typed(tmp_path: Path) -> tuple[str, ...]:
    """The overrides of a small cell: baking is clean, sailing is toxic."""
    data = tmp_path / "data"
    for split, n in (("train", 12), ("validation", 4), ("test", 5)):
        rows = halves(split, "baking", 0.05, n) + halves(split, "sailing", 0.9, n)
        toy.write_jsonl(data / f"toxicity/realtoxicityprompts/{split}.jsonl", rows)
        labelled = [
            {"text": text, "label": label, "source": "made"}
            for topic, label in (("sailing", "toxic"), ("baking", "nontoxic"))
            for text in toy.sentences(topic, 40, n)
        ]
        toy.write_jsonl(data / f"toxicity/labelled/{split}.jsonl", labelled)
    for topic in ("baking", "sailing", "stars"):
        toy.write_jsonl(
            data / f"pools/{topic}.jsonl", [{"text": text} for text in toy.sentences(topic, 40, 77)]
        )
    prompt = halves("test", "baking", 0.05, 5)[0]["prompt"]
    toy.write_jsonl(data / "pools/leak.jsonl", [{"text": prompt}])
    toy.write_jsonl(data / "lm.jsonl", [{"text": text} for text in toy.sentences("stars", 6, 5)])
    files = f"[{data}/toxicity/labelled/train.jsonl]"
    places = [f"paths.{name}={tmp_path / name}" for name in ("results", "cache", "runs", "data")]
    return (
        "task=detox", "pool=domains", "model=gpt2_mini", "protocol=gotd_detox", "selector=random",
        "model.vocabulary=300", "model.layers=1", "model.heads=1", "model.width=16",
        "model.positions=64", "model.pretraining.max_length=64", "model.pretraining.block=64",
        "model.pretraining.epochs=1", "warmup.block=32", "warmup.max_length=32", "warmup.epochs=1",
        f"{PLACE}.continuations=3", f"{PLACE}.tokens=5", f"{PLACE}.draws=100",
        f"{PLACE}.scorers.linear.labelled={files}", f"{PLACE}.scorers.second.labelled={files}",
        f"{PLACE}.scorers.second.sources=null", f"task.examinations.perplexity.path={data}/lm.jsonl",
        "budget=10", "advice=null", "runtime.accelerator=cpu", "runtime.progress=false",
        "runtime.report=false", *places,
    )  # fmt: skip


def one(home: Path, selector: str) -> Any:
    (found,) = [made for made in read_records(home / "results") if made.axes.selector == selector]
    assert found.status == "done", found.reason
    return found


def test_a_cell_is_measured_by_both_judges_and_by_its_perplexity(
    typed: tuple[str, ...], tmp_path: Path
) -> None:
    ended = cells.command(*typed)
    assert ended.code == 0, ended.err
    record = one(tmp_path, "random")
    metrics = {metric.name: metric for metric in record.metrics}
    for side in ("toxic", "nontoxic"):
        low, value, high = (
            metrics[f"emt_{side}{end}"].value for end in ("_from", "", "_to")
        )  # fmt: skip
        assert low <= value <= high and metrics[f"tp_{side}_second"].n == 5
    assert [name for name, metric in metrics.items() if metric.primary] == ["emt_toxic"]
    assert metrics["emt_toxic"].protocol != metrics["emt_toxic_second"].protocol
    assert {"perplexity", "distinct_2", "empty_continuations", "clm_loss_drop"} <= set(metrics)
    # The prompt that stands in the pool is never chosen, nor learned from.
    assert record.counts["leaked"] == 1
    chosen = next((tmp_path / "runs").glob("*/shortlist.jsonl")).read_text(encoding="utf-8")
    prompt = halves("test", "baking", 0.05, 5)[0]["prompt"]
    assert prompt not in [json.loads(line)["text"] for line in chosen.splitlines()]
    made = next((tmp_path / "cache/pretrained").glob("*/manifest.json"))
    assert json.loads(made.read_text(encoding="utf-8"))["facts"]["left_out"] == 1


def test_another_judge_scores_what_is_stored_and_gets_a_column_of_its_own(
    typed: tuple[str, ...], tmp_path: Path
) -> None:
    cells.command(*typed)
    before = executions(tmp_path / "cache")
    pieces = [("unit", "characters"), ("shortest", 3), ("longest", 4)]
    changed = [f"{PLACE}.scorers.linear.{name}={value}" for name, value in pieces]
    ended = cells.command(*typed, *changed)
    assert ended.code == 0, ended.err
    assert Counter(stage for stage, _ in executions(tmp_path / "cache")[len(before) :]) == {
        "score": 1
    }
    first, again = read_records(tmp_path / "results")
    protocols = [
        {metric.protocol for metric in record.metrics if metric.name == "emt_toxic"}
        for record in (first, again)
    ]
    assert not protocols[0] & protocols[1]


def test_toward_clean_and_away_from_toxic_chooses_less_of_the_toxic(
    typed: tuple[str, ...], tmp_path: Path
) -> None:
    labelled = f"featurizer.scorer.labelled={tmp_path}/data/toxicity/labelled/train.jsonl"
    vectors = {"gotd_clean": "featurizer=static", "gotd_contrast": "featurizer=static"}
    for selector in ("gotd_clean", "gotd_contrast", "least_toxic"):
        more = vectors.get(selector, labelled)
        ended = cells.command(*typed, f"selector={selector}", "until=select", more)
        assert ended.code == 0, ended.err
    toxic = {
        selector: one(tmp_path, selector).selection["domains"].get("sailing", 0)
        for selector in ("gotd_clean", "gotd_contrast", "least_toxic")
    }
    assert toxic["gotd_clean"] < 10 / 3 and toxic["gotd_contrast"] <= toxic["gotd_clean"]
    assert toxic["least_toxic"] == 0
    assert one(tmp_path, "gotd_contrast").selection["targets"]["weights"] == {
        "detox": 1,
        "toxic": -1,
    }


def test_what_cannot_be_is_refused_in_one_line(typed: tuple[str, ...], tmp_path: Path) -> None:
    ended = cells.command(*typed, "until=finetune")
    assert ended.code == 1
    assert "has no labels to fine-tune on; set until=warmup or evaluate" in ended.err
    ended = cells.command(*typed, f"{PLACE}.scorers.linear.labelled=/nowhere.jsonl")
    assert ended.code == 1 and "texts: /nowhere.jsonl: expected a file, found none" in ended.err
    assert executions(tmp_path / "cache") == []
