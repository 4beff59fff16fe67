"""What cells of related methods share, and what a method may choose from, through the whole pipeline."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cells
import pytest
import toy

from shortlist.core import Record
from shortlist.store.cache import executions
from shortlist.store.formats import load_corpus, load_selection
from shortlist.store.records import read_records

pytestmark = pytest.mark.whole


def ran(home: Path) -> dict[str, int]:
    return dict(Counter(stage for stage, _ in executions(home / "cache")))


def keys(record: Record, stage: str) -> list[str]:
    return [found.key for found in record.stages if found.stage == stage]


def test_a_sweep_over_five_budgets_selects_five_times_and_does_all_else_once(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    typed = ("-m", *small, *cells.GOTD, "until=select", "budget=3,5,8,13,21")
    assert cells.command(*typed).code == 0
    assert ran(tmp_path) == {  # twice: GOT-D, and soft-kNN that its picks are compared with
        "pool": 1, "task": 1, "leaks": 1, "features": 2, "fit": 2, "scores": 2, "selection": 10,
        "sensitivity": 1, "advice": 5,
    }  # fmt: skip


def test_controls_compute_nothing_of_gotd_that_its_own_cell_has_computed(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    selectors = "selector=gotd,random_length,random_tokens,random_domain"
    typed = ("-m", *small, *cells.GOTD[1:], selectors, "until=select")
    ended = cells.command(*typed)
    assert (ended.code, ended.refusals) == (0, [])
    assert ran(tmp_path) == {
        "pool": 1, "task": 1, "leaks": 1, "features": 2, "fit": 2, "scores": 2, "selection": 5,
        "tokens": 1, "sensitivity": 1, "advice": 1,
    }  # fmt: skip
    found = {
        record.axes.selector: record.selection for record in read_records(tmp_path / "results")
    }
    assert found["random_domain"]["domains"] == found["gotd"]["domains"]
    digests = [selection["sha256"] for selection in found.values()]
    assert digests.count(found["gotd"]["sha256"]) == 1


def test_tapt_reads_the_tasks_own_texts_over_and_over_from_the_model_that_others_start_from(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    typed = ("-m", *small, "selector=tapt,random", "until=warmup", "budget=40")
    ended = cells.command(*typed)
    assert (ended.code, ended.refusals) == (0, [])
    found = {record.axes.selector: record for record in read_records(tmp_path / "results")}
    tapt, cache = found["tapt"], tmp_path / "cache"
    chosen = load_selection(cache / "selection" / keys(tapt, "selection")[0] / "selection.parquet")
    own = load_corpus(cache / "task" / keys(tapt, "task")[0] / "target.arrow")
    assert set(chosen.ids) == set(own.ids) and len(chosen) == 40 > len(own)
    assert tapt.selection["repeated"] == 40 - len(own)
    assert keys(tapt, "head") == keys(found["random"], "head")
    before = {r.axes.selector: r.stages for r in found.values()}
    assert len({stage.key for stages in before.values() for stage in stages
                if stage.stage == "held_out"}) == 3  # fmt: skip


def test_separate_targets_by_label_each_have_their_share(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    rows = [
        {"text": text, "label": topic}
        for topic in ("sailing", "baking")
        for text in toy.sentences(topic, 12, 8)
    ]
    train = toy.write_jsonl(tmp_path / "own.jsonl", rows)
    ended = cells.command(
        *[word for word in small if word != "task=citation_intent"],
        "task=own", f"task.train={train}", "task.domain=label", "task.holdout=0", "until=select",
        "selector=dsir", "selector.separate=true", "selector.proportions={sailing: 1, baking: 3}",
        "selector.temperature=0", "selector.smoothing=0.01", "budget=8",
    )  # fmt: skip
    assert (ended.code, ended.refusals) == (0, [])
    (record,) = read_records(tmp_path / "results")
    assert record.selection["fit"]["targets"] == ["baking", "sailing"]
    (listed,) = (tmp_path / "runs").rglob("shortlist.jsonl")
    words = {topic: set(toy.TOPICS[topic].split()) for topic in ("sailing", "baking")}
    topics = Counter(
        max(words, key=lambda topic: len(words[topic] & set(json.loads(line)["text"].split())))
        for line in listed.read_text().splitlines()
    )
    assert topics == {"baking": 6, "sailing": 2}


def test_dapt_without_a_domain_and_least_toxic_without_labels_say_what_to_type(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    for selector, said in (
        ("dapt", "selector.domains"),
        ("least_toxic", "featurizer.scorer.labelled"),
    ):
        ended = cells.command(*small, f"selector={selector}", "until=select")
        assert ended.code != 0 and any(said in line for line in ended.refusals), ended.err
