"""Splits by groups: shares for train, validation and test, and the folds of cross-validation.

Rows of one group stay on one side. Every part has rows, and every class is in train; where that
cannot be had, the split is refused. scikit-learn's StratifiedGroupKFold promises neither (its issues
33085 and 34828). Splits depend on the contents of the rows and on the seed, not on their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.near_copies import clusters
from shortlist.data.splits import SPLITS, Split, TaskData, draw
from shortlist.errors import InvalidInput

Grouping: TypeAlias = Literal["near_copies", "text", "domain", "column"]
GROUPINGS: tuple[Grouping, ...] = ("near_copies", "text", "domain", "column")
Values: TypeAlias = Mapping[Split, Mapping[str, str]]  # of a column, by split and id of the row
ORDERS = 200  # orders of the groups that are tried before a split is refused
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
        """Returns the task whose test split is one fold of all of its rows.

        The rows of all published splits are dealt; repeated rows stay, on one side.

        Args:
            name: the task's name.
            data: its splits.
            values: the values of `column`.

        Raises:
            InvalidInput: there is no such fold, or no deal has rows in every part and every class in
                train.
        """
        last = self.folds * self.repeats - 1
        if not 0 <= self.fold <= last:
            raise InvalidInput(f"expected a fold from 0 to {last}, found fold={self.fold}")
        repeat, part = divmod(self.fold, self.folds)
        try:
            rows, of_column = _joined(data, values, self.column)
            strata = _strata(rows, data.labels) if self.stratified else None
            groups = groups_of(rows, self.group) if of_column is None else of_column
            required = None if data.labels is None else _strata(rows, data.labels)
            parts = k_folds(
                groups, self.folds, self.seed + repeat, strata, required, self.tolerance
            )
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


def groups_of(corpus: Corpus, group: str) -> list[str]:
    """Returns the group of each row, named by the smallest text of the group (or the domain)."""
    if group == "domain":
        return corpus.domains
    texts = corpus.joined()
    if group == "text":
        return texts
    labels = clusters(texts).labels
    first: dict[str, int] = {}  # texts without words have no near copies but may be equal
    owner = [first.setdefault(text, int(label)) for text, label in zip(texts, labels, strict=True)]
    name: dict[int, str] = {}
    for text, label in zip(texts, owner, strict=True):
        name[label] = min(text, name.get(label, text))
    return [name[label] for label in owner]


def k_folds(
    groups: Sequence[str],
    folds: int,
    seed: int,
    strata: NDArray[np.int64] | None = None,
    required: NDArray[np.int64] | None = None,
    tolerance: float = 1.0,
) -> NDArray[np.int64]:
    """Returns the fold of each row, (n,).

    Args:
        groups: the group of each row.
        folds: number of folds.
        seed: seed of the deal.
        strata: the stratum of each row, whose shares are kept alike in the folds; None for none.
        required: the class of each row: every class is outside of every fold; None for none.
        tolerance: largest difference between the share of a fold and 1/folds.

    Raises:
        InvalidInput: no such deal was found.
    """
    deal = _Deal.of(groups, np.full(folds, 1 / folds), strata, required, among=None)
    return deal.solve(seed, tolerance)


def shares(
    groups: Sequence[str],
    wanted: Sequence[float],
    seed: int,
    strata: NDArray[np.int64] | None = None,
    required: NDArray[np.int64] | None = None,
    tolerance: float = 1.0,
) -> NDArray[np.int64]:
    """Returns the part of each row, (n,); part 0 is train and holds every class of `required`.

    Arguments and errors as in `k_folds`; `wanted` are the shares of the parts, which sum to 1.
    """
    if abs(sum(wanted) - 1) > 1e-9 or min(wanted) <= 0:
        raise InvalidInput(f"expected shares above 0 that sum to 1, found {list(wanted)}")
    return _Deal.of(groups, np.array(wanted), strata, required, among=0).solve(seed, tolerance)


def by_time(times: Sequence[Any], wanted: Sequence[float]) -> NDArray[np.int64]:
    """Returns the part of each row, (n,), the earliest first; rows of one time stay together.

    Args:
        times: values that can be ordered: numbers, dates, ISO 8601 strings of one form.
        wanted: shares of the parts; each cut is moved to the nearest change of time.

    Raises:
        InvalidInput: there are fewer different times than parts.
    """
    order = sorted(range(len(times)), key=lambda row: times[row])
    changes = [
        place for place in range(1, len(order)) if times[order[place]] != times[order[place - 1]]
    ]
    if len(changes) < len(wanted) - 1 or not times:
        raise InvalidInput(
            f"expected at least {len(wanted)} different times, one for each part, found "
            f"{len(changes) + bool(times)} in {len(times)} rows"
        )
    parts = np.zeros(len(times), dtype=np.int64)
    first = 0
    for part, end in enumerate(np.cumsum(wanted)[:-1] * len(times), start=1):
        later = len(wanted) - 1 - part  # cuts that still need a change of their own
        possible = range(first, len(changes) - later)
        chosen = min(possible, key=lambda place: (abs(changes[place] - end), place))
        parts[order[changes[chosen] :]] = part
        first = chosen + 1
    return parts


def times_of(values: Sequence[str], column: str = "") -> list[float] | list[datetime]:
    """Returns the values of a column as numbers, or else as ISO 8601 dates.

    Raises:
        InvalidInput: a value is neither, or some dates have a time zone and others have none.
    """
    try:
        numbers = [float(value) for value in values]
        if np.isfinite(numbers).all():
            return numbers
    except ValueError:
        pass
    dates: list[datetime] = []
    for value in values:
        try:
            dates.append(datetime.fromisoformat(value.strip()))
        except ValueError as error:
            raise InvalidInput(
                f"column {column!r}: expected numbers, or ISO 8601 dates (2024-05-01, "
                f"2024-05-01T12:00:00+00:00), found {value!r}"
            ) from error
    if len({date.tzinfo is None for date in dates}) > 1:
        raise InvalidInput(
            f"column {column!r}: expected a time zone on every date or on none, found both"
        )
    return dates


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


@dataclass(frozen=True)
class _Deal:
    """Groups to be dealt into parts.

    Attributes:
        names: the G groups, sorted.
        of_row: (n,) the group of each row.
        counts: (G, C) rows of each group by stratum; the last column is their sum.
        classes: the required classes of each group.
        wanted: (P,) shares of the parts.
        among: the part that must hold every class; None: every class in two parts or more.
    """

    names: tuple[str, ...]
    of_row: NDArray[np.int64]
    counts: NDArray[np.int64]
    classes: tuple[frozenset[int], ...]
    wanted: NDArray[np.float64]
    among: int | None

    @staticmethod
    def of(
        groups: Sequence[str],
        wanted: NDArray[np.float64],
        strata: NDArray[np.int64] | None,
        required: NDArray[np.int64] | None,
        among: int | None,
    ) -> _Deal:
        names = tuple(sorted(set(groups)))
        place = {name: number for number, name in enumerate(names)}
        of_row = np.array([place[group] for group in groups], dtype=np.int64)
        strata = np.zeros(len(groups), dtype=np.int64) if strata is None else strata
        width = int(strata.max(initial=0)) + 1
        counts = np.zeros((len(names), width + 1), dtype=np.int64)
        np.add.at(counts, (of_row, strata), 1)
        counts[:, -1] = counts.sum(axis=1)
        classes: list[set[int]] = [set() for _ in names]
        for group, label in zip(
            of_row.tolist(), [] if required is None else required.tolist(), strict=False
        ):
            classes[group].add(label)
        return _Deal(names, of_row, counts, tuple(map(frozenset, classes)), wanted, among)

    def solve(self, seed: int, tolerance: float) -> NDArray[np.int64]:
        """Returns the part of each row of the first order that gives an admissible deal."""
        if len(self.names) < len(self.wanted):
            raise InvalidInput(
                f"expected at least {len(self.wanted)} groups, one for each part, found "
                f"{len(self.names)} in {len(self.of_row)} rows; give more rows or fewer folds"
            )
        alone = Counter(label for classes in self.classes for label in classes)
        single = min((label for label, count in alone.items() if count < 2), default=None)
        if self.among is None and single is not None:
            raise InvalidInput(
                f"expected every class in two groups or more, found class number {single} in one: it "
                "would be missing in train where that group is the test fold"
            )
        best, error = None, np.inf
        for attempt in range(ORDERS):
            parts = self._deal(seed, attempt)
            if parts is None:
                continue
            sizes = np.bincount(parts, weights=self.counts[:, -1], minlength=len(self.wanted))
            off = float(np.abs(sizes / len(self.of_row) - self.wanted).max())
            if off < error:
                best, error = parts, off
            if error <= tolerance:
                break
        if best is None:
            raise InvalidInput(
                f"found no deal of {len(self.names)} groups into {len(self.wanted)} parts with every "
                f"class in train in {ORDERS} tries; give more rows, or fewer folds"
            )
        if error > tolerance:
            largest = self.counts[:, -1].max() / len(self.of_row)
            raise InvalidInput(
                f"expected parts within {tolerance:.0%} of their shares, found one off by {error:.0%}; "
                f"the largest group has {largest:.0%} of the rows; raise the tolerance or set another group"
            )
        return best[self.of_row]

    def _deal(self, seed: int, attempt: int) -> NDArray[np.int64] | None:
        """Returns the part of each group, (G,), dealt one after another to where the shares need it
        most; None if a class or a part would be left out.

        The first order is by size; later ones are by hash, groups of several classes first.
        """
        keys = [draw(name, seed + (attempt << 32)) for name in self.names]
        size = self.counts[:, -1]

        def rank(group: int) -> tuple[int, int, str]:
            first = -int(size[group]) if attempt == 0 else -len(self.classes[group]) * (attempt % 2)
            return first, keys[group], self.names[group]

        order = sorted(range(len(self.names)), key=rank)
        total = self.counts.sum(axis=0).clip(1)
        target = self.wanted[:, None] * total
        filled = np.zeros_like(target)
        parts = np.full(len(self.names), -1, dtype=np.int64)
        left = Counter(label for classes in self.classes for label in classes)
        where: dict[int, set[int]] = {label: set() for label in left}
        empty = set(range(len(self.wanted)))
        for place, group in enumerate(order):
            allowed = set(range(len(self.wanted)))
            if len(order) - place == len(empty):
                allowed = set(empty)
            for label in self.classes[group]:
                left[label] -= 1
                if left[label] == 0:
                    allowed -= self._forbidden(where[label])
            if not allowed:
                return None
            added = self.counts[group]
            cost = ((2 * (filled - target) * added + added**2) / total).sum(axis=1)
            part = min(allowed, key=lambda one: (float(cost[one]), one))
            parts[group] = part
            filled[part] += added
            empty.discard(part)
            for label in self.classes[group]:
                where[label].add(part)
        return parts

    def _forbidden(self, where: set[int]) -> set[int]:
        """Returns the parts that may not get the last group of a class that lies in `where`."""
        if self.among is None:
            return where if len(where) == 1 else set()
        return set() if self.among in where else set(range(len(self.wanted))) - {self.among}


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
