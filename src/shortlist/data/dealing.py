"""Rows dealt into parts by groups and strata, or cut by time.

Rows of one group stay on one side. Every part has rows, and every class is in train; where that
cannot be had, the deal is refused. scikit-learn's StratifiedGroupKFold promises neither (its issues
33085 and 34828). A deal depends on the contents of the rows and on the seed, not on their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.near_copies import clusters
from shortlist.data.splits import draw
from shortlist.errors import InvalidInput

ORDERS = 200  # orders of the groups that are tried before a deal is refused


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
