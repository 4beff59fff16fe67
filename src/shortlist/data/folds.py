"""Splits of a task made of all of its rows: the folds of cross-validation, or shares cut anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.dealing import by_time, groups_of, k_folds, shares, times_of
from shortlist.data.splits import SPLITS, Split, TaskData
from shortlist.errors import InvalidInput

Grouping: TypeAlias = Literal["near_copies", "text", "domain", "column"]
GROUPINGS: tuple[Grouping, ...] = ("near_copies", "text", "domain", "column")
Values: TypeAlias = Mapping[Split, Mapping[str, str]]  # of a column, by split and id of the row
BINS = 5  # of numeric labels, which are stratified by quantile


@dataclass(frozen=True)
class CrossValidation:
    """How the rows of a task become folds.

    Attributes:
        folds: number of folds k, at least 2.
        fold: number of the fold that becomes the test split.
        repeats: how often the rows are dealt anew; fold f is part f % k of repeat f // k.
        group: what stays on one side: near copies (with equal texts), equal texts, the rows of one
            domain (`task.domain=COLUMN` of a user's files), or those of one value of `column`.
        column: the column whose values are the groups of `group=column`.
        test: what is tested: the `fold`, or the task's `own` test split, whose rows are then not
            dealt; the fold becomes the validation split.
        stratified: whether the shares of the classes are kept alike.
        validation_share: share of the rows outside the test fold that becomes validation.
        tolerance: largest difference between the share of a fold and 1/k.
        seed: seed of the deal.
    """

    folds: int
    fold: int
    repeats: int
    group: str
    stratified: bool
    validation_share: float
    tolerance: float
    seed: int
    column: str | None = None
    test: Literal["fold", "own"] = "fold"

    def __post_init__(self) -> None:
        if self.folds < 2 or self.repeats < 1:
            raise InvalidInput(
                "cross-validation needs task.folds of at least 2 and task.cross_validation.repeats of "
                f"at least 1, found {self.folds} and {self.repeats}"
            )
        if self.group not in GROUPINGS:
            raise InvalidInput(
                f"task.cross_validation.group must be one of {', '.join(GROUPINGS)}, found "
                f"{self.group!r}"
            )
        _check_column("task.cross_validation", "group", self.group, self.column, ("column",))
        if not 0 < self.validation_share < 1 or self.tolerance <= 0:
            raise InvalidInput(
                "task.cross_validation needs validation_share between 0 and 1 and tolerance above 0, "
                f"found {self.validation_share:g} and {self.tolerance:g}"
            )

    def split(self, name: str, data: TaskData, values: Values | None = None) -> TaskData:
        """Returns the task whose test split is one fold of all of its rows; with `test=own` its
        validation split is one fold of the others.

        The rows of all published splits are dealt; repeated rows stay, on one side.

        Args:
            name: the task's name.
            data: its splits.
            values: the values of `column`.

        Raises:
            InvalidInput: there is no such fold, or no deal has rows in every part and every class
                in train.
        """
        last = self.folds * self.repeats - 1
        if not 0 <= self.fold <= last:
            raise InvalidInput(f"expected a fold from 0 to {last}, found fold={self.fold}")
        repeat, part = divmod(self.fold, self.folds)
        dealt, own = data, self.test == "own"
        if own:
            if not len(data.test):
                raise InvalidInput(
                    f"task {name!r} has no test split of its own; set task.cross_validation.test=fold"
                )
            dealt = replace(data, test=data.test.take(np.arange(0)))
        try:
            rows, of_column = _joined(dealt, values, self.column)
            strata = _strata(rows, data.labels) if self.stratified else None
            groups = groups_of(rows, self.group) if of_column is None else of_column
            required = None if data.labels is None else _strata(rows, data.labels)
            parts = k_folds(
                groups, self.folds, self.seed + repeat, strata, required, self.tolerance
            )
            if own:
                cut = _with_splits(
                    data, rows, (parts == part).astype(np.int64), {"fold_groups": len(set(groups))}
                )
                counts = {**cut.counts, "test": len(data.test)}
                return replace(cut, test=data.test, counts=counts)
            rest = np.flatnonzero(parts != part)
            sides = np.full(len(rows), 2)
            sides[rest] = shares(
                [groups[row] for row in rest],
                (1 - self.validation_share, self.validation_share),
                self.seed + repeat,
                None if strata is None else strata[rest],
                None if required is None else required[rest],
            )
        except InvalidInput as error:
            raise InvalidInput(f"task {name!r}, task.folds={self.folds}: {error}") from error
        return _with_splits(data, rows, sides, {"fold_groups": len(set(groups))})


@dataclass(frozen=True)
class Resplit:
    """How all rows of a task are cut anew into train, validation and test.

    Attributes:
        by: `time`: the earliest rows of `column` become train, the latest test; else what stays on
            one side: rows of one value of `column`, near copies, equal texts, or a domain.
        column: the column of the times or of the groups.
        validation_share: share of all rows that becomes validation.
        test_share: share of all rows that becomes test.
        stratified: whether the shares of the classes are kept alike, except by time.
        tolerance: largest difference between the share of a split and the wanted one.
        seed: seed of the deal.
    """

    by: str
    column: str | None
    validation_share: float
    test_share: float
    stratified: bool
    tolerance: float
    seed: int

    def __post_init__(self) -> None:
        known = ("time", *GROUPINGS)
        if self.by not in known:
            raise InvalidInput(
                f"task.split.by must be one of {', '.join(known)}, found {self.by!r}"
            )
        _check_column("task.split", "by", self.by, self.column, ("time", "column"))
        held = (self.validation_share, self.test_share)
        if min(held) <= 0 or sum(held) >= 1 or self.tolerance <= 0:
            raise InvalidInput(
                "task.split needs validation_share and test_share above 0 that leave rows to train, "
                f"and a tolerance above 0, found {held[0]:g}, {held[1]:g} and {self.tolerance:g}"
            )

    def split(self, name: str, data: TaskData, values: Values | None = None) -> TaskData:
        """Returns the task with other splits of all of its rows; repeated rows stay.

        Args:
            name: the task's name.
            data: its splits.
            values: the values of `column`.

        Raises:
            InvalidInput: a row has no value or no time, a class would be missing in train, or the
                shares cannot be had within the tolerance.
        """
        wanted = (
            1 - self.validation_share - self.test_share, self.validation_share, self.test_share
        )  # fmt: skip
        try:
            rows, of_column = _joined(data, values, self.column)
            required = None if data.labels is None else _strata(rows, data.labels)
            if self.by == "time":
                times = times_of(of_column or (), self.column or "")
                parts = _by_time(times, wanted, rows, data.labels, self.tolerance)
            else:
                groups = groups_of(rows, self.by) if of_column is None else of_column
                strata = _strata(rows, data.labels) if self.stratified else None
                parts = shares(groups, wanted, self.seed, strata, required, self.tolerance)
        except InvalidInput as error:
            raise InvalidInput(f"task {name!r}, task.split.by={self.by}: {error}") from error
        return _with_splits(data, rows, parts, {})


def _with_splits(
    data: TaskData, rows: Corpus, parts: NDArray[np.int64], counts: Mapping[str, int]
) -> TaskData:
    """Returns the task with the rows of part 0 as train, 1 as validation and 2 as test."""
    train, validation, test = (
        rows.take(np.flatnonzero(parts == part)).canonical() for part in range(3)
    )
    sizes = {"train": len(train), "validation": len(validation), "test": len(test)}
    return replace(
        data, train=train, validation=validation, test=test, target=train.unlabelled(),
        counts={**sizes, **counts}, quarantined=(),
    )  # fmt: skip


def _check_column(
    place: str, setting: str, chosen: str, column: str | None, needing: Sequence[str]
) -> None:
    if (chosen in needing) != (column is not None):
        raise InvalidInput(
            f"{place}.column names the column that {setting}={' or '.join(needing)} reads, found "
            f"{setting}={chosen} and column={column}; set both or neither"
        )


def _by_time(
    values: Sequence[float] | Sequence[datetime],
    wanted: Sequence[float],
    rows: Corpus,
    labels: Sequence[str] | None,
    tolerance: float,
) -> NDArray[np.int64]:
    parts = by_time(values, wanted)
    off = np.abs(np.bincount(parts, minlength=len(wanted)) / len(parts) - np.array(wanted)).max()
    if off > tolerance:
        value, most = Counter(values).most_common(1)[0]
        raise InvalidInput(
            f"expected parts within {tolerance:.0%} of their shares, found one off by {off:.0%}; "
            f"{most / len(parts):.0%} of the rows have the time {value}; raise task.split.tolerance"
        )
    if labels is not None:
        own = np.array(rows.labels, dtype=object)
        late = sorted(set(own) - set(own[parts == 0]))
        if late:
            raise InvalidInput(
                f"expected every class among the earliest rows, which are train, found {late[0]!r} "
                "in later ones alone; raise the share of train or leave the class out"
            )
    return parts


def _joined(
    data: TaskData, values: Values | None, column_name: str | None
) -> tuple[Corpus, list[str] | None]:
    """Returns the rows of all splits as one corpus, sorted by content, and the value of each row.

    Raises:
        InvalidInput: a row has no value.
    """
    filled: dict[Split, Corpus] = {s: data.split(s) for s in SPLITS if len(data.split(s))}

    def column(name: str) -> list[Any] | None:
        if any(name not in one.table.column_names for one in filled.values()):
            return None
        return [value for one in filled.values() for value in one.table[name].to_pylist()]

    texts, domains = column("text") or [], column("domain") or []
    second, labels, masses = column("text_b"), column("label"), column("mass")
    order = list(range(len(texts)))
    found: list[str] = []
    if column_name is not None and values is not None:
        of_rows = [values[split].get(key) for split, one in filled.items() for key in one.ids]
        absent = sum(value is None for value in of_rows)
        if absent:
            first = next(text for text, v in zip(texts, of_rows, strict=True) if v is None)
            raise InvalidInput(
                f"expected a value of the column {column_name!r} in every row, found none in {absent:,} "
                f"of {len(texts):,}; first: {first[:60]!r}"
            )
        found = [value for value in of_rows if value is not None]
        # Repeated rows have ids by their order, which must not be that of the files.
        order.sort(key=lambda row: (found[row], domains[row]))

    def taken(cells: list[Any] | None) -> list[Any] | None:
        return None if cells is None else [cells[row] for row in order]

    joined = Corpus.build(
        [texts[row] for row in order], [domains[row] for row in order],
        texts_b=taken(second), labels=taken(labels), masses=taken(masses),
    )  # fmt: skip
    rows = joined.canonical()
    if not found:
        return rows, None
    by_id = dict(zip(joined.ids, (found[row] for row in order), strict=True))
    return rows, [by_id[key] for key in rows.ids]


def _strata(rows: Corpus, labels: Sequence[str] | None) -> NDArray[np.int64]:
    """Returns the number of the class of each row, (n,), or of its quantile for numeric labels."""
    values = rows.labels
    if values is None:
        return np.zeros(len(rows), dtype=np.int64)
    if labels is None:
        numbers = np.array(values, dtype=np.float64)
        cuts = np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1])
        return np.searchsorted(cuts, numbers).astype(np.int64)
    number: Mapping[Hashable, int] = {
        label: place for place, label in enumerate(sorted(set(values)))
    }
    return np.array([number[value] for value in values], dtype=np.int64)
