"""Submission: valid records are copied, others are refused with their path and the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core import Metric, Record, pack_item_scores
from shortlist.errors import ShortlistError
from shortlist.leaderboard import submission
from shortlist.leaderboard.__main__ import main
from shortlist.leaderboard.consistency import override_problems
from shortlist.leaderboard.submission import check, problems
from shortlist.store import atomic
from shortlist.store.keys import key
from shortlist.store.records import read_records, write_record

Maker = Callable[..., Record]
NO_CONF = ["--conf", "/nowhere"]  # toy records name no options of conf/


LOSSES = np.linspace(1.0, 3.0, 40)


@pytest.fixture
def good(record: Maker) -> Record:
    """A record that keeps every rule; its task, model and so on are no options of `conf/`."""
    made = record(selection={"size": 100, "unique": 100, "domains": {"news": 100}})
    config = {"budget": 100, "budget_unit": "documents", "seed": 0, "until": "evaluate"}
    loss, accuracy = made.metrics
    return replace(
        made,
        key=key("cell", 2, config, {}),
        code={"shortlist": "0.2.0"},
        config=config,
        metrics=(
            replace(
                loss,
                protocol="p",
                split="test",
                value=float(LOSSES.mean()),
                stderr=float(LOSSES.std(ddof=1)) / len(LOSSES) ** 0.5,
            ),
            replace(accuracy, value=0.5, stderr=0.055),
        ),
        item_scores={
            "mlm_loss_after": pack_item_scores(LOSSES),
            "accuracy": pack_item_scores(np.arange(80) % 2.0),
        },
    ).sealed()


def of(record: Record, **changes: Any) -> Record:
    """Returns the record with another primary metric."""
    loss, accuracy = record.metrics
    return replace(record, metrics=(loss, replace(accuracy, **changes)))


def counting(record: Record, **counts: int) -> Record:
    return replace(record, counts=counts)


def test_a_good_record_has_no_problem(good: Record) -> None:
    assert list(problems(good)) == []


def test_a_method_that_reads_nothing_has_no_problem_with_its_budget(good: Record) -> None:
    nothing = replace(good, selection={"size": 0, "unique": 0, "domains": {}})
    assert list(problems(nothing.sealed())) == []


def with_losses(record: Record, drop: float) -> Record:
    """Returns the record with a loss of 2.5 before the warm-up, and this drop to 2."""
    after = record.metrics[0]
    before = replace(after, name="mlm_loss_before", value=2.5)
    dropped = replace(after, name="mlm_loss_drop", unit="nats_gained", value=drop)
    return replace(record, metrics=(*record.metrics, before, dropped))


CHANGES: dict[str, tuple[Callable[[Record], Record], str]] = {
    "edited": (lambda r: replace(r, config={**r.config, "extra": 1}), "its key is"),
    "not sealed": (lambda r: replace(r, digest=""), "no digest"),
    "other contents": (lambda r: replace(r, code={"shortlist": "0.3.0"}), "those of its digest"),
    "no code": (lambda r: replace(r, code={}), "version of the code"),
    "seed": (lambda r: replace(r, axes=replace(r.axes, seed=7)), "seed is 7, but 0"),
    "budget of the axes": (
        lambda r: replace(r, axes=replace(r.axes, budget=7)),
        "budget is 7, but",
    ),
    "unit": (
        lambda r: replace(r, axes=replace(r.axes, budget_unit="tokens")),
        "budget_unit is 'tokens', but 'documents'",
    ),
    "until": (lambda r: replace(r, until="warmup"), "until is 'warmup', but 'evaluate'"),
    "selector": (
        lambda r: replace(r, axes=replace(r.axes, selector="dsir")),
        "selector is dsir, but gotd in its overrides",
    ),
    "failed with metrics": (lambda r: replace(r, status="failed", reason="x"), "has metrics"),
    "value": (lambda r: of(r, value=0.51), "accuracy is 0.51, the mean of its item scores 0.5"),
    "item": (lambda r: of(r, value=0.5 + 1 / 80), "the mean of its item scores 0.5"),
    "precise": (lambda r: of(r, stderr=0.01), "standard error 0.01, its item scores 0.0563"),
    "vague": (lambda r: of(r, stderr=0.4), "standard error 0.4, its item scores 0.0563"),
    "item scores removed": (lambda r: replace(r, item_scores={}), "has no item scores"),
    "item scores of no metric": (
        lambda r: replace(r, item_scores={**r.item_scores, "f1": "eJwDAAAAAAE="}),
        "item scores of f1, but no such metric",
    ),
    "loss drop": (lambda r: with_losses(r, 0.6), "mlm_loss_drop is 0.6, by the others it is 0.5"),
    "end below": (
        lambda r: replace(
            r, metrics=(*r.metrics, Metric("accuracy_to", "fraction", True, 0.4, 80, protocol="p"))
        ),
        "metric accuracy_to is 0.4, accuracy 0.5",
    ),
    "utility": (
        lambda r: replace(
            r,
            metrics=(
                *r.metrics,
                Metric("utility", "fraction", True, 0.9, 80, protocol="p"),
                Metric("utility_boolq", "fraction", True, 0.5, 80, protocol="p"),
            ),
        ),
        "metric utility is 0.9, by the others it is 0.5",
    ),
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
        "item scores of 80 items, found those of 40",
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
    "split": (lambda r: of(r, split="train"), "accuracy is of the train split, expected test"),
    "another unit": (
        lambda r: of(r, unit="correlation"),
        "is a correlation, by its name it is a fraction",
    ),
    "direction": (lambda r: of(r, higher_is_better=False), "wrong direction: higher is better"),
    "negative count": (lambda r: counting(r, leaked=-1), "count leaked is -1"),
    "pool counts": (
        lambda r: counting(r, pool_rows_read=9, pool_kept=7, pool_exact_copies=1),
        "9 rows of the pool were read, its counts add up to 8",
    ),
    "task counts": (
        lambda r: counting(r, task_rows_read_test=90, task_test=80, task_quarantined_test=9),
        "90 rows of the task were read, its counts add up to 89",
    ),
    "unknown labels": (
        lambda r: counting(
            r,
            **{f"task_rows_read_{s}": 80 for s in ("train", "validation", "test")},
            **{f"task_{s}": 80 for s in ("train", "validation", "test")},
            task_unknown_labels_test=81,
        ),
        "more unknown labels than rows in the test split",
    ),
    "items": (
        lambda r: counting(r, finetune_truncated=0, task_test=81),
        "accuracy was measured on 80 items, the test split has 81",
    ),
    "truncated": (
        lambda r: counting(r, evaluate_truncated=81, task_test=80),
        "count evaluate_truncated is 81, of 80 at most",
    ),
    "warm-up": (
        lambda r: counting(r, warmup_documents=99),
        "read 99 documents, the selection holds",
    ),
    "override": (
        lambda r: replace(r, overrides=("seed=0", "seed=99")),
        "seed is 99 in its overrides, but 0 in its configuration",
    ),
    "home": (lambda r: replace(r, warnings=("see /home/me/x",)), "a path of the machine"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_wrong_with_a_record_is_said(good: Record, change: str) -> None:
    make, message = CHANGES[change]
    changed = make(good)
    assert any(message in problem for problem in problems(changed))
    if "digest" not in message:  # a digest that is made again hides nothing else
        assert any(message in problem for problem in problems(changed.sealed()))


def test_a_run_of_elsewhere_is_one_command_away(
    good: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "outputs" / "sweep" / "0"
    run.mkdir(parents=True)
    (run / "record.json").write_text(good.to_json())
    results = tmp_path / "results"
    arguments = ["submit", str(tmp_path / "outputs"), "--results", str(results), *NO_CONF]
    assert main(arguments) == 0
    assert read_records(results) == [good]
    assert "leaderboard.html" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in results.rglob("*.*")}
    assert main(arguments) == 0  # again: nothing changes
    assert {path: path.read_bytes() for path in results.rglob("*.*")} == before
    assert main(["check", "--results", str(results), *NO_CONF]) == 0
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
    assert main(["submit", str(tmp_path), "--results", str(results), *NO_CONF]) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note == "not compared with the options of conf/: /nowhere is no directory"
    assert str(path) in error
    assert not results.exists()


def test_existing_numbers_are_not_replaced(
    good: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    write_record(results, good)
    scores = {**good.item_scores, "accuracy": pack_item_scores(np.arange(80) % 2.0 * 0.5)}
    other = replace(of(good, value=0.25, stderr=0.028), item_scores=scores).sealed()
    (tmp_path / "record.json").write_text(other.to_json())
    assert main(["submit", str(tmp_path / "record.json"), "--results", str(results), *NO_CONF]) == 2
    assert "other numbers of the same cell" in capsys.readouterr().err
    assert read_records(results) == [good]


def test_check_names_the_broken_record(
    good: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_record(tmp_path, replace(good, warnings=("/tmp/x",)).sealed())
    assert main(["check", "--results", str(tmp_path), *NO_CONF]) == 2
    assert str(path) in capsys.readouterr().err
    path.write_text(good.to_json().replace("  ", "   "))
    assert main(["check", "--results", str(tmp_path), *NO_CONF]) == 2
    assert "expected the JSON that the program writes" in capsys.readouterr().err


def test_a_directory_without_a_record_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(tmp_path), "--results", str(tmp_path / "results")]) == 2
    assert "contains no record.json" in capsys.readouterr().err


def test_every_bad_record_is_named_and_files_in_the_place_of_none(
    good: Record, tmp_path: Path
) -> None:
    paths = [write_record(tmp_path, replace(good, key=name).sealed()) for name in ("b", "a")]
    stray = tmp_path / "records" / "toy" / "notes.txt"
    stray.write_text("")
    write_record(tmp_path, good)
    checked = check(tmp_path)
    assert len(checked.records) == 3
    assert [text.partition(": ")[0] for text in checked.problems] == list(
        map(str, [stray, *sorted(paths)])
    )


@pytest.mark.parametrize("place", ["render", "write"])
def test_a_submission_that_fails_late_leaves_nothing(
    good: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    results = tmp_path / "results"
    write_record(results, good)
    other = replace(good, axes=replace(good.axes, task="new")).sealed()
    (tmp_path / "record.json").write_text(other.to_json())
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}

    def fail(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device") if place == "write" else TypeError("a table")

    module = submission if place == "render" else atomic
    monkeypatch.setattr(module, "render" if place == "render" else "write_text", fail)
    with pytest.raises(ShortlistError, match=r"a table|more room than there is"):
        submission.submit(results, [tmp_path / "record.json"])
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    assert not list(results.glob(".*"))


def test_rows_that_left_in_a_way_of_their_own_are_not_added_up(good: Record) -> None:
    counts = {"pool_rows_read": 9, "pool_kept": 7, "pool_prepare_dropped": 2}
    counts |= {"task_rows_read_train": 9, "task_train": 7, "task_fold_left_out": 2}
    assert list(problems(replace(good, counts=counts).sealed())) == []


def test_overrides_are_compared_as_numbers_and_the_last_one_holds(good: Record) -> None:
    for typed in ("+budget=1e2", "budget=100.0", "seed=0", "selector=gotd", "pool.paths=[a]"):
        assert (
            list(override_problems(replace(good, overrides=("budget=7", "budget=100", typed))))
            == []
        )
