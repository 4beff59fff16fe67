"""Checks of a task against faults that were planted in it."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from shortlist.core import Corpus
from shortlist.data.splits import TaskData
from shortlist.diagnostics.data_pages import preparation_page, task_page
from shortlist.diagnostics.datasheet.page import html
from shortlist.pipeline.data_tools import checks_json
from shortlist.prepare.base import prepare
from shortlist.prepare.checks import TaskChecks, check_task
from shortlist.prepare.heuristics import Length

WORDS = {
    "sea": "harbour sail tide anchor wave crew boat storm reef lighthouse".split(),  # noqa: SIM905
    "sky": "star planet orbit comet telescope night moon galaxy dust eclipse".split(),  # noqa: SIM905
}
COMMON = "the of and a in it was that with on for at by from".split()  # noqa: SIM905
WRONG = 6


def sentence(rng: random.Random, topic: str) -> str:
    return " ".join(rng.choice(WORDS[topic] if rng.random() < 0.5 else COMMON) for _ in range(14))


def data() -> TaskData:
    """60 rows of each of two topics in train; planted faults in known places."""
    rng = random.Random(5)
    texts = [sentence(rng, topic) for topic in ("sea", "sky") for _ in range(60)]
    labels = ["sea"] * 60 + ["sky"] * 60
    labels[:WRONG] = ["sky"] * WRONG  # wrong labels
    texts[100:114] = [f"ticket AB-{row} id9000 {texts[row]}" for row in range(100, 114)]  # a leak
    texts += ["Nothing at all here.", "nothing at all, here", "x", "word " * 900]
    labels += ["sea", "sky", "sea", "sky"]
    test = [sentence(rng, "sea") for _ in range(8)]
    test += [texts[70].upper(), texts[80] + " indeed", "nothing at all here"]
    test_labels = ["sea"] * 8 + ["sky", "sea", "sea"]
    train = Corpus.build(texts, "own", labels=labels).canonical()
    held = Corpus.build([sentence(rng, "sky") for _ in range(6)], "own", labels=["sky"] * 6)
    return TaskData(
        train, held.canonical(), Corpus.build(test, "own", labels=test_labels).canonical(),
        train.unlabelled(), ("sea", "sky"), {},
    )  # fmt: skip


@pytest.fixture(scope="module")
def checks() -> TaskChecks:
    return check_task("own", data())


def test_wrong_labels_are_found_and_few_others(checks: TaskChecks) -> None:
    wrong = [one for one in checks.issues if one.row.label == "sky" and one.suggested == "sea"]
    assert len(wrong) >= WRONG - 1
    assert (
        len(checks.issues) <= WRONG + 4 and checks.accuracy is not None and checks.accuracy > 0.85
    )
    margins = [one.given - one.probability for one in checks.issues]
    assert margins == sorted(margins)


def test_contradictions_are_listed_with_all_their_rows(checks: TaskChecks) -> None:
    (found,) = checks.contradictions
    assert sorted((row.split, row.label) for row in found.rows) == [
        ("test", "sea"), ("train", "sea"), ("train", "sky"),
    ]  # fmt: skip
    assert checks.counts["contradictory_texts_with_evaluation_rows"] == 1
    assert checks.counts["contradictory_test_rows"] == 1


def test_copies_across_splits_are_found_by_kind(checks: TaskChecks) -> None:
    exact = [copy for copy in checks.copies if copy.exact]
    near = [copy for copy in checks.copies if not copy.exact]
    assert {copy.row.text[:7].lower() for copy in exact} >= {"nothing"}
    assert len(exact) == 2 and len(near) == 1 and near[0].row.text.endswith("indeed")
    assert checks.counts["near_copied_test_rows"] == 3
    assert checks.counts["near_copied_test_rows_of_another_label"] >= 1


def test_tokens_that_give_a_label_away_are_found(checks: TaskChecks) -> None:
    assert [leak.token for leak in checks.leaks] == ["id9000"]
    assert (checks.leaks[0].label, checks.leaks[0].rows, checks.leaks[0].test) == ("sky", 14, 0)


def test_extreme_lengths_and_classes_are_counted(checks: TaskChecks) -> None:
    assert [row.text for row in checks.short] == ["x"]
    assert [len(row.text) for row in checks.long] == [4500]
    assert checks.classes["sea"]["test"] == 10 and checks.sizes["train"] == 124
    assert sum(split["train"] for split in checks.classes.values()) == 124


def test_the_checks_change_nothing_and_are_the_same_twice(checks: TaskChecks) -> None:
    assert check_task("own", data()) == checks


def test_too_few_rows_of_a_class_are_a_reason_and_no_crash() -> None:
    few = data()
    rows = [row for row, label in enumerate(few.train.labels or ()) if label == "sea"][:1]
    rows += [row for row, label in enumerate(few.train.labels or ()) if label == "sky"][:20]
    checks = check_task("own", replace(few, train=few.train.take(rows)))
    assert "expected every class in two groups" in checks.why_not and checks.issues == ()


def test_a_regression_has_no_classes_and_no_label_errors() -> None:
    made = data()
    numeric = {
        split: Corpus.build(corpus.texts, "own", labels=np.linspace(0, 5, len(corpus)).tolist())
        for split, corpus in (
            ("train", made.train),
            ("validation", made.validation),
            ("test", made.test),
        )
    }
    checks = check_task("own", replace(made, **numeric, labels=None))
    assert checks.why_not == "the task has no classes" and checks.classes == {}
    assert checks.counts["near_copied_test_rows"] == 3


def test_page_and_json_hold_the_findings_and_escape_texts(checks: TaskChecks) -> None:
    issue = replace(
        checks.issues[0], row=replace(checks.issues[0].row, text="<script>alert(1)</script>")
    )
    page = html(task_page(replace(checks, issues=(issue,))))
    assert "<script>" not in page and "&lt;script&gt;alert(1)" in page
    plain = json.loads(json.dumps(checks_json(checks)))
    assert plain["counts"] == checks.counts and len(plain["issues"]) == len(checks.issues)


def test_the_page_of_a_preparation_counts_every_row() -> None:
    texts = ["one two three", "<b>x", "\ud800 four five six"]
    prepared = prepare(texts, {"length": Length(None, None, 3, None)})
    page = html(preparation_page("mine", texts, prepared, {"quarantined": 2}))
    assert "2 rows left out before: quarantined" in page and "&lt;b&gt;x" in page
    assert "length.too_few_words" in page
