"""Choosing rows by score: randomness that belongs to the document, ties that belong to nobody.

A draw that depends on the row number changes when a pool is shuffled or cut into other files. Here
each document's noise is a hash of its id and of one key drawn from the generator: the same seed
gives the same documents, however the rows are ordered or sharded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from shortlist.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def draw_key(generator: torch.Generator) -> int:
    """Returns 63 random bits from the generator: the key that turns ids into noise."""
    return int(torch.randint(0, 2**63 - 1, (1,), generator=generator).item())


def uniform(id_words: NDArray[np.uint64], key: int) -> NDArray[np.float64]:
    """Returns one number in (0, 1) per document, a function of (id, key) alone, shape (n,).

    The finaliser of SplitMix64 (Steele, Lea, Flood 2014) applied to id XOR the finalised key; the
    upper 53 bits become the fraction, and half a unit is added so that 0 and 1 cannot come out.
    """
    with np.errstate(over="ignore"):
        start = _finalise(np.array([key], dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15))
        bits = _finalise((id_words ^ start) + np.uint64(0x9E3779B97F4A7C15))
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _finalise(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def gumbel(id_words: NDArray[np.uint64], key: int) -> NDArray[np.float64]:
    """Returns one standard Gumbel number per document: -log(-log u), shape (n,).

    Adding it to log-weights and taking the k largest samples k documents without replacement, each
    time with probability proportional to the weights that are left (Kool et al. 2019; DSIR, section
    3).
    """
    return -np.log(-np.log(uniform(id_words, key)))


def with_replacement(
    weights: NDArray[np.float64],
    id_words: NDArray[np.uint64],
    key: int,
    amount: int,
    costs: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns (rows, times) of draws with replacement in proportion to `weights`, in their order.

    Each document has a Poisson process of its own with its weight as rate, whose k-th waiting time
    is a hash of (key, id, k). In the order of their times, the arrivals of all processes are
    independent draws in proportion to the weights (superposition of Poisson processes); the draws
    of a larger amount begin with those of a smaller one, and the order of the rows has no say.

    Args:
        weights: (n,) not negative, not all zero.
        id_words: (n,) 64 bits of each id.
        key: from `draw_key`.
        amount: how many draws, or what all of them may cost.
        costs: (n,) cost of a draw of each row, or None where each costs 1.

    Raises:
        InvalidInput: no document that may be drawn costs anything.
    """
    held = np.flatnonzero(weights > 0)
    rates = weights[held] / weights[held].sum()
    price = 1.0 if costs is None else float(rates @ costs[held])
    if price <= 0:
        raise InvalidInput(
            f"a budget of {amount:,} was to be drawn, but the documents that may be drawn cost nothing; "
            "look at the pool's empty texts"
        )
    expected = amount / price
    horizon = expected + 6 * np.sqrt(expected) + 16
    while True:
        rows, times = _arrivals(held, rates, id_words[held], key, horizon)
        taken = within_budget(rows, costs, amount)
        if len(taken) < len(rows):
            return taken, times[: len(taken)]
        horizon *= 2


def _arrivals(
    rows: NDArray[np.int64],
    rates: NDArray[np.float64],
    words: NDArray[np.uint64],
    key: int,
    horizon: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns (rows, times) of all arrivals before `horizon`, sorted by time, then by id."""
    clock = np.zeros(len(rows))
    found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint64]]] = []
    number = 0
    while len(rows):
        clock = clock - np.log(uniform(words, key + 0x9E3779B9 * number)) / rates
        number += 1
        early = clock <= horizon
        rows, rates, words, clock = rows[early], rates[early], words[early], clock[early]
        found.append((rows, clock, words))
    all_rows, times, ids = (np.concatenate(part) for part in zip(*found, strict=True))
    by_time = np.lexsort((ids, times))
    return all_rows[by_time], times[by_time]


def order(scores: NDArray[np.float64], id_words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns the rows from the largest score to the smallest; equal scores in the order of their
    ids.
    """
    return np.lexsort((id_words, -scores)).astype(np.int64)


def within_budget(
    rows: NDArray[np.int64], costs: NDArray[np.int64] | None, amount: int
) -> NDArray[np.int64]:
    """Returns the longest prefix of `rows` whose cost does not exceed `amount`.

    Args:
        rows: rows, best first.
        costs: (n,) cost of each row of the pool (tokens), or None where each costs 1.
        amount: the budget. A prefix, so that a larger budget always contains a smaller one's
            choice.
    """
    if costs is None:
        return rows[:amount]
    return rows[: int(np.searchsorted(np.cumsum(costs[rows]), amount, side="right"))]


def in_proportion(
    ranked: Sequence[NDArray[np.int64]], shares: Sequence[float], amount: int
) -> NDArray[np.int64]:
    """Returns `amount` different rows out of several rankings, so that every prefix holds about its
    share of each.

    A row is taken from the ranking that is furthest behind its share, the best that no other has
    taken.

    Args:
        ranked: rows of one set, best first, one ranking for each share; all hold every row.
        shares: numbers above 0 that sum to 1.
        amount: how many; at most as many as there are rows.
    """
    taken = np.zeros(max(len(rows) for rows in ranked), dtype=bool)
    counts, places = np.zeros(len(ranked)), [0] * len(ranked)
    wanted = np.asarray(shares, dtype=np.float64)
    found = np.empty(amount, dtype=np.int64)
    for place in range(amount):
        turn = int(np.argmax((place + 1) * wanted - counts))
        rows = ranked[turn]
        while taken[rows[places[turn]]]:
            places[turn] += 1
        found[place] = rows[places[turn]]
        taken[found[place]] = True
        counts[turn] += 1
    return found
