"""Submission: valid records are copied, others are refused with their path and the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core import Record, pack_item_scores
from shortlist.leaderboard.__main__ import main
from shortlist.leaderboard.submission import problems
from shortlist.store.keys import key
from shortlist.store.records import read_records, write_record

Maker = Callable[..., Record]


@pytest.fixture
def good(record: Maker) -> Record:
    made = record(selection={"size": 100, "unique": 100, "domains": {"news": 100}})
    config = {"budget": 100, "budget_unit": "documents", "seed": 0, "until": "evaluate"}
    metrics = tuple(replace(m, protocol="p", value=0.5, n=80) for m in made.metrics)
    item_scores = {"accuracy": pack_item_scores(np.arange(80) % 2.0)}
    return replace(
        made,
        key=key("cell", 2, config, {}),
        config=config,
        metrics=metrics,
        item_scores=item_scores,
    )


def test_a_good_record_has_no_problem(good: Record) -> None:
    assert list(problems(good)) == []


def test_a_method_that_reads_nothing_has_no_problem_with_its_budget(good: Record) -> None:
    nothing = replace(good, selection={"size": 0, "unique": 0, "domains": {}})
    assert list(problems(nothing)) == []


def altered(good: Record, **changes: Any) -> Record:
    return replace(good, **changes)


CHANGES: dict[str, tuple[Callable[[Record], Record], str]] = {
    "edited": (lambda r: replace(r, config={**r.config, "extra": 1}), "its key is"),
    "axes": (lambda r: replace(r, axes=replace(r.axes, seed=7)), "seed is 7, but 0"),
    "no reason": (lambda r: replace(r, status="failed"), "failed without a reason"),
    "no primary": (
        lambda r: replace(r, metrics=tuple(replace(m, primary=False) for m in r.metrics)),
        "one primary metric, found 0",
    ),
    "twice": (
        lambda r: replace(r, metrics=(*r.metrics, replace(r.metrics[1], primary=False))),
        "twice",
    ),
    "no items": (
        lambda r: replace(r, metrics=tuple(replace(m, n=0) for m in r.metrics)),
        "on 0 items",
    ),
    "no protocol": (
        lambda r: replace(r, metrics=tuple(replace(m, protocol="") for m in r.metrics)),
        "no protocol",
    ),
    "stderr": (
        lambda r: replace(r, metrics=tuple(replace(m, stderr=-1.0) for m in r.metrics)),
        "standard error -1",
    ),
    "item scores of others": (
        lambda r: replace(r, item_scores={"accuracy": pack_item_scores(np.ones(80))}),
        "the mean of its item scores 1",
    ),
    "item scores of fewer": (
        lambda r: replace(r, item_scores={"accuracy": pack_item_scores(np.arange(40) % 2.0)}),
        "40 item scores of 80 items",
    ),
    "item scores broken": (
        lambda r: replace(r, item_scores={"accuracy": "?"}),
        "item scores written by",
    ),
    "seconds": (
        lambda r: replace(r, stages=(replace(r.stages[0], seconds=-1.0),)),
        "took -1.0 seconds",
    ),
    "domains": (
        lambda r: replace(r, selection={"size": 100, "domains": {"news": 99}}),
        "the domains hold 99",
    ),
    "budget": (
        lambda r: replace(r, selection={"size": 90, "domains": {"news": 90}}),
        "90 documents were selected, the budget is 100",
    ),
    "home": (lambda r: replace(r, warnings=("see /home/me/x",)), "a path of the machine"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_wrong_with_a_record_is_said(good: Record, change: str) -> None:
    make, message = CHANGES[change]
    assert any(message in problem for problem in problems(make(good)))


def test_a_run_of_elsewhere_is_one_command_away(
    good: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "outputs" / "sweep" / "0"
    run.mkdir(parents=True)
    (run / "record.json").write_text(good.to_json())
    results = tmp_path / "results"
    arguments = ["submit", str(tmp_path / "outputs"), "--results", str(results)]
    assert main(arguments) == 0
    assert read_records(results) == [good]
    assert "leaderboard.html" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in results.rglob("*.*")}
    assert main(arguments) == 0  # again: nothing changes
    assert {path: path.read_bytes() for path in results.rglob("*.*")} == before
    assert main(["check", "--results", str(results)]) == 0
    assert "1 records, no problem" in capsys.readouterr().out


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw["metrics"][0].update(value=50.0, unit="fraction"),
        lambda raw: raw["metrics"][1].update(n=0),
        lambda raw: raw.update(key="0" * 16),
        lambda raw: raw.pop("axes"),
    ],
    ids=["percent", "items", "key", "axes"],
)
def test_a_broken_record_is_refused_with_its_path_and_nothing_is_written(
    good: Record,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[dict[str, Any]], Any],
) -> None:
    raw = json.loads(good.to_json())
    damage(raw)
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "record.json").write_text(good.to_json())
    (tmp_path / "1").mkdir()
    path = tmp_path / "1" / "record.json"
    path.write_text(json.dumps(raw))
    results = tmp_path / "results"
    assert main(["submit", str(tmp_path), "--results", str(results)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error and error.count("\n") == 1
    assert not results.exists()


def test_existing_numbers_are_not_replaced(
    good: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    write_record(results, good)
    metrics = tuple(replace(m, value=0.6) for m in good.metrics)
    (tmp_path / "record.json").write_text(replace(good, metrics=metrics, item_scores={}).to_json())
    assert main(["submit", str(tmp_path / "record.json"), "--results", str(results)]) == 2
    assert "other numbers of the same cell" in capsys.readouterr().err
    assert read_records(results) == [good]


def test_check_names_the_broken_record(
    good: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_record(tmp_path, replace(good, warnings=("/tmp/x",)))
    assert main(["check", "--results", str(tmp_path)]) == 2
    assert str(path) in capsys.readouterr().err
    path.write_text(good.to_json().replace("  ", "   "))
    assert main(["check", "--results", str(tmp_path)]) == 2
    assert "expected the JSON that the program writes" in capsys.readouterr().err


def test_a_directory_without_a_record_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(tmp_path), "--results", str(tmp_path / "results")]) == 2
    assert "contains no record.json" in capsys.readouterr().err
