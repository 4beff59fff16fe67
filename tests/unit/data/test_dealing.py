"""Rows dealt into parts: groups stay together, every class in train, the past before the future."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from shortlist.core import Corpus
from shortlist.data.dealing import by_time, groups_of, k_folds, shares, times_of
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


def test_equal_texts_without_words_are_one_group() -> None:
    corpus = Corpus.build(["!!!", "???", "!!!", "a b c d e f", "A b c d e f."])
    names = groups_of(corpus, "near_copies")
    assert names[0] == names[2] != names[1] and names[3] == names[4]


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
