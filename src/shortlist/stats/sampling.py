"""Seeded generators, and sampling and ranking of documents by their ids, independent of the order
of the rows.

The random numbers of a document are a hash of its id and of one key drawn from the generator, so a
seed gives the same documents however a pool is shuffled or cut into files. Equal scores are ranked
by id.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.kernels.hashing import GOLDEN, splitmix64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def seeded(seed: int, *names: str) -> torch.Generator:
    """Returns a generator whose stream is a function of the seed and of the names of its use."""
    material = ":".join([str(seed), *names]).encode()
    return torch.Generator().manual_seed(
        int.from_bytes(hashlib.sha256(material).digest()[:8], "little") >> 1
    )


def draw_key(generator: torch.Generator) -> int:
    """Returns 63 random bits from the generator: the key that turns ids into random numbers."""
    return int(torch.randint(0, 2**63 - 1, (1,), generator=generator).item())


def uniform(id_bits: NDArray[np.uint64], key: int) -> NDArray[np.float64]:
    """Returns one number in (0, 1) per document, a function of (id, key) alone, shape (n,).

    The finaliser of SplitMix64 applied to id XOR the finalised key; the upper 53 bits become the
    fraction, and half a unit is added, which excludes 0 and 1.
    """
    start = splitmix64(np.array([key], dtype=np.uint64) + GOLDEN)
    bits = splitmix64((id_bits ^ start) + GOLDEN)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def gumbel(id_bits: NDArray[np.uint64], key: int) -> NDArray[np.float64]:
    """Returns one standard Gumbel number per document: -log(-log u), shape (n,).

    The k largest sums of log-weight and Gumbel number are a sample of k documents without
    replacement, each drawn in proportion to the remaining weights (Kool et al. 2019; DSIR, section
    3).
    """
    return -np.log(-np.log(uniform(id_bits, key)))


def with_replacement(
    weights: NDArray[np.float64],
    id_bits: NDArray[np.uint64],
    key: int,
    amount: int,
    costs: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns (rows, times) of draws with replacement in proportion to `weights`, in order of time.

    Each document has a Poisson process with its weight as rate, whose k-th waiting time is a hash
    of (key, id, k). The arrivals of all processes, sorted by time, are independent draws in
    proportion to the weights (superposition of Poisson processes). The draws of a larger amount
    begin with those of a smaller one.

    Args:
        weights: (n,) not negative, not all zero.
        id_bits: (n,) 64 bits of each id.
        key: from `draw_key`.
        amount: the budget: total cost of the draws.
        costs: (n,) cost of a draw of each row; None: 1 each.

    Raises:
        InvalidInput: all documents of positive weight cost 0.
    """
    positive = np.flatnonzero(weights > 0)
    rates = weights[positive] / weights[positive].sum()
    price = 1.0 if costs is None else float(rates @ costs[positive])
    if price <= 0:
        raise InvalidInput(
            f"expected documents that cost something to fill a budget of {amount:,}, found that all "
            "documents of positive weight cost nothing; remove empty texts from the pool"
        )
    expected = amount / price
    horizon = expected + 6 * np.sqrt(expected) + 16
    while True:
        rows, times = _arrivals(positive, rates, id_bits[positive], key, horizon)
        drawn = within_budget(rows, costs, amount)
        if len(drawn) < len(rows):
            return drawn, times[: len(drawn)]
        horizon *= 2


def _arrivals(
    rows: NDArray[np.int64],
    rates: NDArray[np.float64],
    ids: NDArray[np.uint64],
    key: int,
    horizon: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns (rows, times) of all arrivals before `horizon`, sorted by time, then by id."""
    clock = np.zeros(len(rows))
    arrivals: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint64]]] = []
    number = 0
    while len(rows):
        clock = clock - np.log(uniform(ids, key + 0x9E3779B9 * number)) / rates
        number += 1
        early = clock <= horizon
        rows, rates, ids, clock = rows[early], rates[early], ids[early], clock[early]
        arrivals.append((rows, clock, ids))
    all_rows, times, all_ids = (np.concatenate(part) for part in zip(*arrivals, strict=True))
    by_time = np.lexsort((all_ids, times))
    return all_rows[by_time], times[by_time]


def order(scores: NDArray[np.float64], id_bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns the rows from the largest score to the smallest, equal scores by id, shape (n,)."""
    return np.lexsort((id_bits, -scores)).astype(np.int64)


def within_budget(
    rows: NDArray[np.int64], costs: NDArray[np.int64] | None, amount: int
) -> NDArray[np.int64]:
    """Returns the longest prefix of `rows` whose cost does not exceed `amount`.

    Args:
        rows: rows, best first.
        costs: (n,) cost of each row of the pool (tokens); None: 1 each.
        amount: the budget. The selection for a larger budget contains that for a smaller one.
    """
    if costs is None:
        return rows[:amount]
    return rows[: int(np.searchsorted(np.cumsum(costs[rows]), amount, side="right"))]


def in_proportion(
    ranked: Sequence[NDArray[np.int64]], shares: Sequence[float], amount: int
) -> NDArray[np.int64]:
    """Returns `amount` distinct rows of several rankings, every prefix of which holds about the
    given share of each ranking.

    The next row is the best unused one of the ranking that is furthest behind its share.

    Args:
        ranked: one ranking per share, best first; each holds all rows.
        shares: numbers above 0 that sum to 1.
        amount: number of rows, at most that of a ranking.
    """
    used = np.zeros(max(len(rows) for rows in ranked), dtype=bool)
    counts, places = np.zeros(len(ranked)), [0] * len(ranked)
    wanted = np.asarray(shares, dtype=np.float64)
    mixed = np.empty(amount, dtype=np.int64)
    for place in range(amount):
        behind = int(np.argmax((place + 1) * wanted - counts))
        rows = ranked[behind]
        while used[rows[places[behind]]]:
            places[behind] += 1
        mixed[place] = rows[places[behind]]
        used[mixed[place]] = True
        counts[behind] += 1
    return mixed
