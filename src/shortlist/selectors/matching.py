"""Stand-ins: for each pick, in order, another row drawn at random among those like it.

The i-th stand-in hangs on the first i picks alone, so that a longer list of picks leaves the first
stand-ins as they are. A pick may be drawn again: a control is what chance gives among such rows,
and the picks are such rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def by_size(
    picks: NDArray[np.int64],
    sizes: NDArray[np.integer[Any]],
    noise: NDArray[np.float64],
    id_words: NDArray[np.uint64],
    neighbours: int,
) -> Iterator[int]:
    """Returns for each pick the row of largest noise among the unused of its `neighbours` nearest.

    Nearness is by rank in size (equal sizes in the order of ids), so that long tails are matched as
    closely as the middle. Where all neighbours are used the neighbourhood doubles.

    Args:
        picks: rows, best first.
        sizes: (n,) what is matched.
        noise: (n,) random numbers; -inf is never drawn.
        id_words: (n,) what decides among equal sizes.
        neighbours: how many nearest rows, the pick's own included, are drawn from.
    """
    ranked = np.lexsort((id_words, sizes))
    ranked = ranked[noise[ranked] > -np.inf]
    place = np.full(len(sizes), -1)
    place[ranked] = np.arange(len(ranked))
    used = np.zeros(len(sizes), dtype=bool)
    for pick in picks[: len(ranked)]:
        width = min(neighbours, len(ranked))
        while True:
            start = min(max(int(place[pick]) - width // 2, 0), len(ranked) - width)
            near = ranked[start : start + width]
            free = near[~used[near]]
            if len(free):
                break
            width = min(2 * width, len(ranked))
        drawn = int(free[np.argmax(noise[free])])
        used[drawn] = True
        yield drawn


def by_stratum(
    picks: NDArray[np.int64], strata: NDArray[Any], noise: NDArray[np.float64]
) -> Iterator[int]:
    """Returns for each pick the row of its stratum whose noise is the largest that is left.

    A pick is passed over where its stratum has no row left (it was picked more often than it has
    rows).

    Args:
        picks: rows, best first.
        strata: (n,) what must be equal.
        noise: (n,) random numbers; -inf is never drawn.
    """
    ranked = np.argsort(-noise, kind="stable")
    ranked = ranked[noise[ranked] > -np.inf]
    queues = {
        name: iter(ranked[strata[ranked] == name].tolist()) for name in set(strata[picks].tolist())
    }
    for pick in picks:
        drawn = next(queues[strata[pick]], None)
        if drawn is not None:
            yield drawn
