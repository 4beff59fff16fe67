"""Splits made of all rows of a task: folds, by time, by the values of a column."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.data.folds import CrossValidation, Resplit
from shortlist.data.splits import SPLITS, Split, TaskData
from shortlist.errors import InvalidInput

TEXTS = [
    f"text number {row} about the {row % 7} seas and some more words {row}" for row in range(60)
]


def task() -> TaskData:
    labels = ["even" if row % 2 else "odd" for row in range(60)]
    train = Corpus.build(TEXTS[:40], "own", labels=labels[:40]).canonical()
    validation = Corpus.build(TEXTS[40:50], "own", labels=labels[40:50]).canonical()
    test = Corpus.build([*TEXTS[50:], TEXTS[0].upper()], "own", labels=[*labels[50:], "odd"])
    return TaskData(train, validation, test, train.unlabelled(), ("even", "odd"), {})


def setup(**changes: object) -> CrossValidation:
    settings = {
        "folds": 4, "fold": 0, "repeats": 2, "group": "near_copies", "stratified": True,
        "validation_share": 0.1, "tolerance": 0.1, "seed": 0,
    }  # fmt: skip
    return CrossValidation(**{**settings, **changes})  # type: ignore[arg-type]


def test_every_row_is_tested_once_in_a_repeat_and_near_copies_stay_together() -> None:
    for repeat in range(2):
        splits = [setup(fold=4 * repeat + fold).split("own", task()) for fold in range(4)]
        tested = sorted(text for one in splits for text in one.test.texts)
        assert tested == sorted([*TEXTS, TEXTS[0].upper()])
        for one in splits:
            sides = [
                set(map(str.upper, one.split(s).texts)) for s in ("train", "validation", "test")
            ]
            assert not (sides[0] & sides[2] or sides[1] & sides[2] or sides[0] & sides[1])
            assert set(one.train.labels or ()) == {"even", "odd"} and len(one.validation) >= 2
            assert one.target.fingerprint == one.train.unlabelled().fingerprint


def test_folds_of_all_but_the_own_test_split_validate_every_row_once() -> None:
    whole = task()
    for repeat in range(2):
        splits = [setup(fold=4 * repeat + f, test="own").split("own", whole) for f in range(4)]
        assert {one.test.fingerprint for one in splits} == {whole.test.fingerprint}
        validated = sorted(text for one in splits for text in one.validation.texts)
        assert validated == sorted(TEXTS[:50])
        for one in splits:
            assert sorted([*one.train.texts, *one.validation.texts]) == sorted(TEXTS[:50])
            assert set(one.train.labels or ()) == {"even", "odd"}
            counts = [one.counts[name] for name in ("train", "validation", "test")]
            assert counts == [len(one.train), len(one.validation), 11]
    empty = replace(whole, test=whole.test.take(np.arange(0)))
    with pytest.raises(InvalidInput, match=r"no test split of its own; set task\.cross_validation"):
        setup(test="own").split("own", empty)


@pytest.mark.parametrize("fold", [-1, 8])
def test_a_fold_that_is_not_there_is_refused(fold: int) -> None:
    with pytest.raises(InvalidInput, match="expected a fold from 0 to 7"):
        setup(fold=fold).split("own", task())


def resplit(**changes: object) -> Resplit:
    values = {
        "by": "time", "column": "when", "validation_share": 0.2, "test_share": 0.2,
        "stratified": True, "tolerance": 0.15, "seed": 0,
    }  # fmt: skip
    return Resplit(**{**values, **changes})  # type: ignore[arg-type]


def dated(rows: list[tuple[int, int, int]]) -> tuple[TaskData, dict[Split, dict[str, str]]]:
    """A task of rows (text, class, value) that lie in all published splits, and their values."""
    sides = [rows[0::3], rows[1::3], rows[2::3]]
    corpora: list[Corpus] = []
    values: dict[Split, dict[str, str]] = {}
    for split, side in zip(SPLITS, sides, strict=True):
        texts, labels = [f"text {text}" for text, _, _ in side], [f"c{c}" for _, c, _ in side]
        one = Corpus.build(texts, "own", labels=labels)
        values[split] = dict(zip(one.ids, (str(value) for _, _, value in side), strict=True))
        corpora.append(one.canonical())
    train, validation, test = corpora
    labels = tuple(sorted({f"c{c}" for _, c, _ in rows}))
    return TaskData(train, validation, test, train.unlabelled(), labels, {}), values


ROWS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 2), st.integers(0, 12)), min_size=3, max_size=60
)


def sides_of(one: TaskData, rows: list[tuple[int, int, int]]) -> list[list[tuple[str, str]]]:
    made = [
        list(zip(c.texts, c.labels or (), strict=True))
        for c in (one.train, one.validation, one.test)
    ]
    wanted = sorted((f"text {text}", f"c{c}") for text, c, _ in rows)
    assert sorted(row for side in made for row in side) == wanted
    return made


@settings(max_examples=60, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_a_split_by_time_keeps_every_row_the_past_in_train_and_the_tolerance_or_is_refused(
    rows: list[tuple[int, int, int]], random: object
) -> None:
    data, values = dated(rows)
    try:
        one = resplit().split("own", data, values)
    except InvalidInput as error:
        assert "task 'own', task.split.by=time: expected" in str(error)
        return
    made = sides_of(one, rows)
    when: dict[tuple[str, str], set[int]] = {}
    for text, label, value in rows:
        when.setdefault((f"text {text}", f"c{label}"), set()).add(value)
    for early, late in ((0, 1), (1, 2), (0, 2)):
        # A repeated row may be of several times; its earliest cannot lie after another's latest.
        first = max(min(when[row]) for row in made[early])
        assert first < min(max(when[row]) for row in made[late]) or any(
            len(when[row]) > 1 for row in made[early] + made[late]
        )
    for side, wanted in zip(made, (0.6, 0.2, 0.2), strict=True):
        assert abs(len(side) / len(rows) - wanted) <= 0.15 + 1e-9
    assert {label for _, label in made[0]} == {f"c{label}" for _, label, _ in rows}
    random.shuffle(rows)  # type: ignore[attr-defined]
    again = resplit().split("own", *dated(rows))
    assert again.test.fingerprint == one.test.fingerprint


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_a_split_by_a_column_keeps_its_values_on_one_side_and_the_tolerance_or_is_refused(
    rows: list[tuple[int, int, int]],
) -> None:
    rows = [(number, label, value) for number, (_, label, value) in enumerate(rows)]
    value_of = {f"text {text}": value for text, _, value in rows}
    data, values = dated(rows)
    try:
        one = resplit(by="column").split("own", data, values)
    except InvalidInput as error:
        assert "task 'own', task.split.by=column: " in str(error)
        return
    made = sides_of(one, rows)
    owned = [{value_of[text] for text, _ in side} for side in made]
    assert not (owned[0] & owned[1] or owned[0] & owned[2] or owned[1] & owned[2])
    for side, wanted in zip(made, (0.6, 0.2, 0.2), strict=True):
        assert abs(len(side) / len(rows) - wanted) <= 0.15 + 1e-9
    assert {label for _, label in made[0]} == {f"c{label}" for _, label, _ in rows}


def test_folds_by_a_column_keep_its_values_on_one_side() -> None:
    rows = [(row, row % 2, row % 7) for row in range(42)]
    data, values = dated(rows)
    for fold in range(4):
        folds = setup(group="column", column="doc", fold=fold, repeats=1, tolerance=0.2)
        one = folds.split("own", data, values)
        tested, others = (
            {int(text.split()[1]) % 7 for text in side}
            for side in (one.test.texts, [*one.train.texts, *one.validation.texts])
        )
        assert tested and not tested & others


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"by": "month"}, "must be one of time, near_copies"),
        ({"column": None}, "set both or neither"),
        ({"by": "text"}, "set both or neither"),
        ({"test_share": 0.8}, "leave rows to train"),
    ],
)
def test_a_split_that_says_nothing_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        resplit(**changes)


def test_a_row_without_a_time_is_named() -> None:
    data, values = dated([(row, row % 2, row) for row in range(9)])
    values["test"].popitem()
    with pytest.raises(
        InvalidInput, match="'when' in every row, found none in 1 of 9; first: 'text"
    ):
        resplit().split("own", data, values)


def test_a_class_of_late_rows_alone_is_refused() -> None:
    data, values = dated([(row, row // 16, row) for row in range(20)])
    with pytest.raises(InvalidInput, match="earliest rows, which are train, found 'c1'"):
        resplit().split("own", data, values)
