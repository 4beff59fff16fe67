"""A search over a small cell reads validation alone, and its record says what was spent."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import cells
import pytest

from shortlist.errors import InvalidInput
from shortlist.search import search
from shortlist.store.cache import executions
from shortlist.store.records import read_records
from shortlist.trials import Trial

pytestmark = pytest.mark.whole

SPACE = (
    "selector=random", "search=finetune", "search.trials=3", "search.startup=2",
    "search.space.finetune={learning_rate: {low: 0.001, high: 0.02}, epochs: {low: 1, high: 2}}",
    *(f"search.space.finetune.{name}=null" for name in ("batch_size", "weight_decay")),
)  # fmt: skip


def relabelled(data: Path, to: Path) -> Path:
    """Returns a copy of a data folder in which every test item has one label."""
    shutil.copytree(data, to)
    path = to / "tasks/citation_intent/test.jsonl"
    path.write_text(path.read_text().replace('sailing"}', 'baking"}'))
    return to


def run(typed: tuple[str, ...]) -> tuple[Any, list[Trial]]:
    seen: list[Trial] = []
    return search(typed, lambda trial, best, metric: seen.append(trial)), seen


@pytest.mark.slow  # two searches
def test_labels_of_test_items_change_no_trial(
    small: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    found, trials = run((*small, *SPACE))
    elsewhere = [f"paths.{name}={tmp_path / 'other' / name}" for name in ("cache", "runs")]
    data = relabelled(data, tmp_path / "data")
    changed, others = run((*small, *SPACE, *elsewhere, f"paths.data={data}"))
    assert trials == others and len(trials) == 3
    first, second = (
        next(metric for metric in one.record.metrics if metric.primary) for one in (found, changed)
    )
    assert first.value != second.value  # the labels did change


def test_a_search_evaluates_its_best_trial_alone_and_records_what_it_spent(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    found, trials = run((*small, *SPACE))
    done = [stage for stage, _ in executions(tmp_path / "cache")]
    assert done.count("evaluate") == 1 and "evaluate" in done[max(
        place for place, stage in enumerate(done) if stage == "finetune"
    ):]  # fmt: skip
    facts = found.record.selection["search"]
    assert facts["trials"] == 3 == facts["finished"] + facts["pruned"] + facts["failed"]
    best = max(trial.value for trial in trials if trial.state == "finished" and trial.value)
    assert facts["best_validation"] == best and facts["seed"] == 0
    assert facts["space"]["finetune.epochs"] == {"low": 1, "high": 2, "log": False, "step": None}
    written = json.loads((found.directory / "record.json").read_text())
    assert written["selection"]["search"] == json.loads(json.dumps(dict(facts)))

    again, more = run((*small, *SPACE))  # nothing is left to do
    assert more == [] and again.command == found.command
    assert [stage for stage, _ in executions(tmp_path / "cache")] == done
    typed = shlex.split(found.command)
    assert typed[:2] == ["python", "run.py"] and not any(
        text.startswith("search") for text in typed
    )
    ended = cells.command(*typed[2:])
    assert ended.code == 0, ended.err
    assert [stage for stage, _ in executions(tmp_path / "cache")] == done
    (kept,) = [one for one in read_records(tmp_path / "results") if one.key == found.record.key]
    assert kept.selection["search"] == facts  # the plain run does not take it away


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (("finetune.keep=last",), r"set finetune\.keep=best"),
        (("until=warmup",), "compares fine-tuned models on validation"),
        (("+search.space.finetune.learning_rat=[1,2]",), r"has no `learning_rat`; did you mean"),
        (("+search.space.finetune.schedule=[linear,triangle]",), "one of linear, constant, cosine"),
        (("search.reduction=1",), r"search\.reduction must be"),
        (("search.trials=0",), r"search\.trials must be"),
        (("search.spcae=1",), "there is no setting `search.spcae`"),
        (("search.sead=1",), "there is no setting `search.sead`"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_a_trial(
    small: tuple[str, ...], tmp_path: Path, typed: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        run((*small, *SPACE, *typed))
    assert not list(tmp_path.glob("cache/finetune/*"))


def test_a_search_without_a_space_is_refused(small: tuple[str, ...]) -> None:
    for typed, reason in (
        ((), "set search=finetune"),
        (("search.trials=3",), "set search=finetune"),
        (("search=fintune",), "search has no option `fintune`; did you mean `finetune`"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            run((*small, *typed))


def test_a_cell_is_no_search(small: tuple[str, ...]) -> None:
    ended = cells.command(*small, "search=finetune")
    assert ended.code == 1 and "run `shortlist search search=NAME" in ended.err
