"""Splits and samples depend on content and seed alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.data.splits import sample_rows, split_of
from shortlist.errors import InvalidInput

FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}


def test_the_shares_of_a_split_are_about_the_fractions() -> None:
    names = [split_of(f"document {n}", FRACTIONS, seed=0) for n in range(4000)]
    for name, fraction in FRACTIONS.items():
        # Four standard errors of a share of 4,000 draws.
        assert (
            abs(names.count(name) / 4000 - fraction) < 4 * (fraction * (1 - fraction) / 4000) ** 0.5
        )


def test_another_seed_splits_otherwise() -> None:
    one, two = ([split_of(str(n), FRACTIONS, seed) for n in range(50)] for seed in (0, 1))
    assert one != two


def test_fractions_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"sum 0\.9"):
        split_of("a", {"train": 0.5, "test": 0.4}, 0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=5), unique=True, max_size=30), st.integers(0, 35), st.randoms())
def test_a_sample_depends_on_the_set_of_ids_alone(
    ids: list[str], size: int, random: object
) -> None:
    shuffled = sorted(ids, key=lambda _: random.random())  # type: ignore[attr-defined]
    one = {ids[row] for row in sample_rows(ids, size, seed=7)}
    two = {shuffled[row] for row in sample_rows(shuffled, size, seed=7)}
    assert one == two
    assert len(one) == min(size, len(ids))
