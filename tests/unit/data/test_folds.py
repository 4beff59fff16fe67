"""Splits by groups: laws on a thousand random small sets, brute force on tiny ones, time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.data.folds import (
    CrossValidation,
    Resplit,
    by_time,
    groups_of,
    k_folds,
    shares,
    times_of,
)
from shortlist.data.splits import SPLITS, Split, TaskData
from shortlist.errors import InvalidInput


def random_set(rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Groups and classes of a small set: few groups, uneven sizes, rare classes."""
    n = int(rng.integers(4, 40))
    groups = rng.zipf(1.5, n) % int(rng.integers(3, 14))
    labels = np.minimum(rng.geometric(0.5, n), int(rng.integers(1, 5)))
    if rng.random() < 0.3:
        labels = groups % 3  # a group decides its class
    return [f"g{group}" for group in groups], labels.astype(np.int64)


def test_no_fold_is_empty_and_every_class_is_in_train_over_a_thousand_random_sets() -> None:
    refused = 0
    for seed in range(1000):
        groups, labels = random_set(np.random.default_rng(seed))
        folds = 2 + seed % 4
        try:
            parts = k_folds(groups, folds, seed, labels, labels)
        except InvalidInput:
            refused += 1
            owners = {
                label: {g for g, own in zip(groups, labels, strict=True) if own == label}
                for label in labels
            }
            few = len(set(groups)) < folds or min(map(len, owners.values())) < 2
            assert few or not possible(groups, labels, folds)
            continue
        assert set(parts) == set(range(folds))
        for fold in range(folds):
            assert set(labels[parts != fold]) == set(labels)
        assert len({(g, p) for g, p in zip(groups, parts, strict=True)}) == len(set(groups))
    assert 100 < refused < 700  # both outcomes are common


def possible(groups: list[str], labels: np.ndarray, folds: int) -> bool:
    """Whether any deal of the groups has rows in every fold and every class outside of each."""
    names = sorted(set(groups))
    classes = [{int(b) for a, b in zip(groups, labels, strict=True) if a == name} for name in names]
    if folds ** len(names) > 300_000:
        return False  # too many to try; such sets are not refused in the tests below
    for deal in itertools.product(range(folds), repeat=len(names)):
        if len(set(deal)) < folds:
            continue
        where: dict[int, set[int]] = {}
        for part, own in zip(deal, classes, strict=True):
            for label in own:
                where.setdefault(label, set()).add(part)
        if all(len(parts) > 1 for parts in where.values()):
            return True
    return False


def test_shares_hold_every_class_in_train_and_leave_no_part_empty() -> None:
    for seed in range(300):
        groups, labels = random_set(np.random.default_rng(seed))
        try:
            parts = shares(groups, (0.6, 0.2, 0.2), seed, labels, labels)
        except InvalidInput as error:
            assert len(set(groups)) < 3 or "no deal" in str(error)
            continue
        assert set(parts) == {0, 1, 2} and set(labels[parts == 0]) == set(labels)


def test_folds_of_single_rows_are_as_even_as_they_can_be() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    parts = k_folds([f"r{row}" for row in range(100)], 5, 0, labels, labels, tolerance=0.001)
    for label, count in ((0, 10), (1, 6), (2, 4)):
        assert np.bincount(parts[labels == label]).tolist() == [count] * 5


def test_the_order_of_the_rows_has_no_effect_and_the_seed_has() -> None:
    groups, labels = [f"g{row % 20}" for row in range(90)], np.arange(90) % 3
    parts = k_folds(groups, 4, 7, labels, labels)
    order = np.random.default_rng(0).permutation(90)
    again = k_folds([groups[row] for row in order], 4, 7, labels[order], labels[order])
    np.testing.assert_array_equal(parts[order], again)
    assert (k_folds(groups, 4, 8, labels, labels) != parts).any()


def test_a_group_that_is_too_large_for_the_tolerance_is_refused() -> None:
    groups = ["big"] * 60 + [f"g{row}" for row in range(40)]
    with pytest.raises(InvalidInput, match="off by 40%; the largest group has 60% of the rows"):
        k_folds(groups, 5, 0, tolerance=0.1)


@pytest.mark.parametrize(
    ("groups", "labels", "message"),
    [
        (["a", "b"], [0, 1], "expected at least 3 groups, one for each part, found 2"),
        (["a", "b", "c", "d"], [0, 0, 0, 1], "found class number 1 in one"),
    ],
)
def test_what_cannot_be_dealt_is_refused_by_its_reason(
    groups: list[str], labels: list[int], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        k_folds(groups, 3, 0, None, np.array(labels))


def test_time_is_cut_at_changes_and_the_past_is_train() -> None:
    times = ["2020", "2019", "2021", "2020", "2022", "2021", "2021", "2023"]
    parts = by_time(times, (0.5, 0.25, 0.25))
    assert parts.tolist() == [0, 0, 1, 0, 2, 1, 1, 2]
    with pytest.raises(
        InvalidInput, match="at least 2 different times, one for each part, found 1 in 4 rows"
    ):
        by_time(["2020"] * 4, (0.5, 0.5))


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


def test_equal_texts_without_words_are_one_group() -> None:
    corpus = Corpus.build(["!!!", "???", "!!!", "a b c d e f", "A b c d e f."])
    names = groups_of(corpus, "near_copies")
    assert names[0] == names[2] != names[1] and names[3] == names[4]


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


def test_numbers_are_ordered_as_numbers_and_dates_as_dates() -> None:
    assert times_of(["10", "9", "1e1"]) == [10.0, 9.0, 10.0]
    early, late = times_of(["2024-05-01T23:00:00+02:00", "2024-05-01T22:00:00+00:00"])
    assert early < late  # type: ignore[operator]
    for wrong, message in (
        (["2024-05-01", "May 2024"], "found 'May 2024'"),
        (["2024-05-01", "2024-05-01T00:00:00Z"], "found both"),
        (["nan", "1"], "found 'nan'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            times_of(wrong, "when")


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
