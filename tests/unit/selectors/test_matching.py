"""Stand-ins are like the picks, differ from one another, and hang on nothing that comes later."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from shortlist.selectors.matched_controls import match_size, match_stratum

RNG = np.random.default_rng(0)
N = 600
SIZES = RNG.lognormal(5, 1, N).astype(np.int64)
STRATA = RNG.integers(0, 4, N)
WORDS = RNG.integers(0, 2**63, N, dtype=np.uint64)
PICKS = np.argsort(SIZES)[: N // 2 : 3]


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(N)


def sized(picks: np.ndarray, drawn: np.ndarray, neighbours: int = 20) -> list[int]:
    return list(match_size(picks, SIZES, drawn, WORDS, neighbours))


def test_a_stand_in_is_among_the_nearest_in_size_while_any_of_them_is_left() -> None:
    rank = np.argsort(np.lexsort((WORDS, SIZES)))
    few = PICKS[::10]
    distance = np.abs(rank[sized(few, noise())] - rank[few])
    assert distance.max() <= 20 and distance.max() > 5


def test_no_row_stands_in_twice_even_where_neighbourhoods_run_out() -> None:
    found = sized(np.argsort(SIZES), noise(), neighbours=4)
    assert sorted(found) == list(range(N))


def test_more_picks_leave_the_first_stand_ins_as_they_are() -> None:
    assert sized(PICKS, noise())[:20] == sized(PICKS[:20], noise())
    whole = list(match_stratum(PICKS, STRATA, noise()))
    assert whole[:20] == list(match_stratum(PICKS[:20], STRATA, noise()))


def test_strata_are_matched_one_by_one() -> None:
    found = list(match_stratum(PICKS, STRATA, noise()))
    assert STRATA[found].tolist() == STRATA[PICKS].tolist()
    assert len(set(found)) == len(PICKS)


def test_a_pick_too_many_of_a_stratum_is_passed_over() -> None:
    alone = np.array([9, 9, 0, 1])
    found = list(match_stratum(np.array([2, 2, 3]), alone, np.array([0.1, 0.2, 0.3, 0.4])))
    assert found == [2, 3]


def test_what_must_never_be_drawn_is_not() -> None:
    drawn = np.where(np.arange(N) % 2 == 0, noise(), -np.inf)
    picks = np.flatnonzero(np.arange(N) % 2 == 0)[:100]
    for found in (sized(picks, drawn), list(match_stratum(picks, STRATA, drawn))):
        assert len(found) == 100 and all(row % 2 == 0 for row in found)


@pytest.mark.parametrize("kind", ["size", "stratum"])
def test_every_row_like_a_pick_is_as_likely_as_another(kind: str) -> None:
    pick, counts, draws = np.array([PICKS[40]]), Counter[int](), 1500
    for seed in range(draws):
        drawn = noise(seed)
        counts.update(
            sized(pick, drawn, 8) if kind == "size" else match_stratum(pick, np.zeros(N), drawn)
        )
    if kind == "size":
        # 4.5 standard errors of a proportion of an eighth.
        assert len(counts) == 8
        assert all(abs(k / draws - 1 / 8) < 4.5 * np.sqrt(7 / 64 / draws) for k in counts.values())
    else:
        # One stratum of 600: no row more often than a Poisson number of mean 2.5 is once in 10^6.
        assert len(counts) > 500 and max(counts.values()) < 16
