"""Decision accuracy against counting pairs, and in worlds whose answer is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from shortlist.stats.decisions import decision_accuracy


def test_it_is_the_share_of_pairs_ordered_alike_and_a_tie_counts_half() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        small, large = generator.integers(0, 4, (2, 7)).astype(float)
        pairs = [(a, b) for a, b in combinations(range(7), 2) if large[a] != large[b]]
        alike = [
            0.5 if small[a] == small[b] else float((small[a] < small[b]) == (large[a] < large[b]))
            for a, b in pairs
        ]
        found = decision_accuracy(small, large)
        assert found is not None and found.pairs == len(pairs)
        assert found.value == pytest.approx(np.mean(alike))
        assert found.low <= found.value <= found.high


def test_the_same_order_is_certain_and_the_reverse_too() -> None:
    order = np.arange(8.0)
    for small, value in ((order**3, 1.0), (-order, 0.0)):
        found = decision_accuracy(small, order)
        assert found is not None and (found.low, found.value, found.high) == (value, value, value)


def test_nothing_is_decided_where_the_large_one_orders_nothing() -> None:
    assert decision_accuracy(np.arange(4.0), np.ones(4)) is None
    assert decision_accuracy(np.arange(1.0), np.ones(1)) is None


def test_the_interval_holds_the_accuracy_over_all_methods() -> None:
    # Of methods whose small and large means correlate by r, arccos(-r) / pi of the pairs agree.
    generator, r, held, worlds = np.random.default_rng(1), 0.8, 0, 200
    known = np.arccos(-r) / np.pi
    for _ in range(worlds):
        large, noise = generator.normal(size=(2, 12))
        found = decision_accuracy(r * large + (1 - r**2) ** 0.5 * noise, large)
        assert found is not None
        held += found.low <= known <= found.high
    assert held >= 0.88 * worlds  # percentiles of 12 methods: somewhat less than 95 %
