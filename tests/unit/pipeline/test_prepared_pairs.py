"""Preparation of tasks whose examples are pairs of texts."""

from __future__ import annotations

import pytest

from shortlist.core import Corpus
from shortlist.data.splits import TaskData
from shortlist.errors import InvalidInput
from shortlist.pipeline.preparation import Preparation, prepare_task
from shortlist.prepare.base import Operation
from shortlist.prepare.cleaning import BoilerplateLines, Whitespace
from shortlist.prepare.duplicates import ExactDuplicates
from shortlist.prepare.heuristics import Length

PREMISE = "the premise that many pairs share"
PAIRS = [
    (PREMISE, "first claim here", "yes"),
    (PREMISE, "second  claim here", "no"),
    (PREMISE, "second claim here", "no"),
    (PREMISE, "short", "yes"),
    ("short", "third claim here", "yes"),
    ("fourth claim here", PREMISE, "yes"),
]


def task() -> TaskData:
    first, second, labels = (list(column) for column in zip(*PAIRS, strict=True))
    one = Corpus.build(first, "own", texts_b=second, labels=labels).canonical()
    return TaskData(one, one, one, one.unlabelled(), ("no", "yes"), {})


def preparation(**operations: Operation) -> Preparation:
    return Preparation(operations, [])


def test_a_pair_is_dropped_where_one_of_its_texts_fails_or_the_whole_repeats() -> None:
    how = preparation(
        whitespace=Whitespace(),
        length=Length(None, None, 2, None),
        exact_duplicates=ExactDuplicates(True, "longest"),
    )
    made, verdicts = prepare_task("own", task(), how)
    assert sorted(zip(made.train.texts, made.train.texts_b or (), strict=True)) == [
        ("fourth claim here", PREMISE), (PREMISE, "first claim here"), (PREMISE, "second claim here"),
    ]  # fmt: skip
    counts = verdicts["train"].counts
    assert (counts["rows_read"], counts["kept"], counts["dropped"]) == (6, 3, 3)
    assert counts["dropped.length"] == 2 and counts["dropped.exact_duplicates"] == 1
    assert counts["edited.whitespace"] == 1
    assert len(made.test) == 6 and made.counts["failing_test"] == 2


def test_pairs_that_share_one_text_are_no_duplicates() -> None:
    how = preparation(exact_duplicates=ExactDuplicates(False, "longest"))
    made, _ = prepare_task("own", task(), how)
    assert len(made.train) == 6


def test_operations_that_edit_what_documents_share_are_refused_for_pairs() -> None:
    with pytest.raises(InvalidInput, match="found boilerplate_lines, which edits what many"):
        prepare_task("own", task(), preparation(boilerplate_lines=BoilerplateLines(2, 3)))
