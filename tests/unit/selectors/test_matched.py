"""Controls: what a method gains over documents that are like its picks in one respect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from shortlist.core import Budget, Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import NoFeatures
from shortlist.selectors.base import (
    UNRANKED,
    Choice,
    Member,
    ScoredPool,
    Selector,
    TransductiveSelector,
)
from shortlist.selectors.controls import TAPT, Random
from shortlist.selectors.matched_controls import (
    MatchedControl,
    RandomDomain,
    RandomLength,
    RandomTokens,
)

N = 3000
RNG = np.random.default_rng(0)
WORDS = RNG.integers(3, 60, N)
DOCUMENTS = Corpus.build(
    [f"{row} " + " ".join(["word"] * size) for row, size in enumerate(WORDS)],
    [f"d{row % 5}" for row in range(N)],
)
LENGTHS = np.array([len(text) for text in DOCUMENTS.texts])
TOKENS = WORDS + 1 + (np.arange(N) % 3) * 20


def control(kind: type[MatchedControl], **settings: Any) -> MatchedControl:
    return kind(members={"like": Member(Selector(), NoFeatures())}, **settings)


def choose(
    selector: Selector, like: np.ndarray, budget: Budget, seed: int = 0, **changed: Any
) -> Choice:
    """The choice of a control whose method scores as `like` says."""
    columns: Mapping[str, np.ndarray] = {"like": like}
    settings: dict[str, Any] = {"documents": DOCUMENTS, "columns": columns, "tokens": TOKENS}
    values = selector.combine(columns)
    scored = ScoredPool(values, DOCUMENTS.id_bits(), **{**settings, **changed})
    return selector.select(scored, budget, torch.Generator().manual_seed(seed))


def worth(rows: np.ndarray, quality: np.ndarray) -> tuple[float, float]:
    """Mean quality of a selection, and its standard error."""
    return float(quality[rows].mean()), float(quality[rows].std() / np.sqrt(len(rows)))


BUDGET = Budget(300)
NOISE = RNG.normal(size=N)
SHORT = -LENGTHS + 20 * RNG.normal(size=N)  # a method that has found short documents, no more
PLAIN, MATCHED = Random(), control(RandomLength, neighbours=50)


def gain(quality: np.ndarray, like: np.ndarray, over: Selector) -> float:
    """Standard errors by which the picks of `like` are better than those of a control."""
    picks = np.argsort(-like)[: BUDGET.amount]
    (mine, mine_error), (other, other_error) = (
        worth(rows, quality) for rows in (picks, choose(over, like, BUDGET).rows)
    )
    return (mine - other) / np.hypot(mine_error, other_error)


def test_a_method_that_only_takes_short_documents_gains_over_random_and_not_over_matched() -> None:
    quality = -LENGTHS / LENGTHS.std() + NOISE  # short documents are better, whatever they say
    assert gain(quality, SHORT, PLAIN) > 10
    assert abs(gain(quality, SHORT, MATCHED)) < 3


def test_a_method_that_knows_more_than_length_keeps_its_gain_over_matched() -> None:
    quality = -LENGTHS / LENGTHS.std() + NOISE
    assert gain(quality, SHORT / 100 + NOISE, MATCHED) > 10


@pytest.mark.parametrize(
    ("kind", "sizes"), [(RandomLength, LENGTHS), (RandomTokens, TOKENS)], ids=["length", "tokens"]
)
def test_the_sizes_are_those_of_the_picks(kind: type[MatchedControl], sizes: np.ndarray) -> None:
    choice = choose(control(kind, neighbours=10), NOISE, BUDGET)
    picks = np.argsort(-NOISE)[: BUDGET.amount]
    # Ten neighbours of 3,000 are a three-hundredth of the range apart; runs of ties aside.
    close = np.abs(np.sort(sizes[choice.rows]) - np.sort(sizes[picks]))
    assert close.mean() < 0.01 * np.ptp(sizes)
    assert len(set(choice.rows.tolist()) & set(picks.tolist())) < 100


def test_the_domains_are_exactly_those_of_the_picks() -> None:
    domains = np.array(DOCUMENTS.domains)
    like = NOISE + 3 * (domains == "d2") - 3 * (domains == "d4")
    choice = choose(control(RandomDomain), like, BUDGET)
    assert Counter(domains[choice.rows]) == Counter(domains[np.argsort(-like)[: BUDGET.amount]])
    assert choice.report["without_stand_in"] == 0


@pytest.mark.parametrize("kind", [RandomLength, RandomTokens, RandomDomain])
def test_a_token_budget_is_spent_whatever_the_picks_cost(kind: type[MatchedControl]) -> None:
    settings = {} if kind is RandomDomain else {"neighbours": 20}
    for like in (TOKENS, -TOKENS):  # picks of many tokens, picks of few
        choice = choose(
            control(kind, **settings), like.astype(float), Budget(5000, "tokens"), costs=TOKENS
        )
        assert 5000 - TOKENS.max() < TOKENS[choice.rows].sum() <= 5000


def test_a_method_that_orders_a_part_of_the_pool_alone_has_a_control_of_as_many_tokens() -> None:
    like = np.where(np.sort(NOISE)[-800] < NOISE, NOISE, UNRANKED)
    selector = RandomTokens(
        members={"like": Member(TransductiveSelector(), NoFeatures())}, neighbours=20
    )
    choice = choose(selector, like, Budget(5000, "tokens"), costs=TOKENS)
    assert 5000 - TOKENS.max() < TOKENS[choice.rows].sum() <= 5000
    # The same matched controls, one for each pick, as of a method that has put all in order.
    whole = RandomTokens(members={"like": Member(Selector(), NoFeatures())}, neighbours=20)
    other = choose(whole, NOISE, Budget(5000, "tokens"), costs=TOKENS)
    assert choice.rows.tolist() == other.rows.tolist()


def test_a_control_of_cheap_stand_ins_reads_on_along_the_picks_with_the_same_draw() -> None:
    small, large = (
        choose(control(RandomDomain), TOKENS.astype(float), Budget(amount, "tokens"), costs=TOKENS)
        for amount in (2000, 20000)
    )
    assert large.rows[: len(small.rows)].tolist() == small.rows.tolist()
    assert 20000 - TOKENS.max() < TOKENS[large.rows].sum() <= 20000


def test_a_method_that_chooses_among_the_target_is_no_member() -> None:
    with pytest.raises(InvalidInput, match="chooses among the task's own texts"):
        RandomDomain(members={"like": Member(TAPT(), NoFeatures())})


def test_the_overlap_with_the_picks_is_reported() -> None:
    choice = choose(control(RandomDomain), NOISE, BUDGET)
    picks = np.argsort(-NOISE)[: BUDGET.amount]
    assert choice.report["overlap"] == len(set(choice.rows.tolist()) & set(picks.tolist()))


def test_the_method_draws_as_if_it_stood_alone() -> None:
    like = Random()
    selector = RandomDomain(members={"like": Member(like, NoFeatures())})
    zeros = np.zeros(N)
    alone = like.select(
        ScoredPool(zeros, DOCUMENTS.id_bits()), BUDGET, torch.Generator().manual_seed(7)
    )
    domains = np.array(DOCUMENTS.domains)
    choice = choose(selector, zeros, BUDGET, seed=7)
    assert domains[choice.rows].tolist() == domains[alone.rows].tolist()


def test_another_name_than_like_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"must have the one entry `like`, found \['gotd'\]"):
        RandomDomain(members={"gotd": Member(Selector(), NoFeatures())})
