"""Methods that look at domains, or at the task's own texts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from shortlist.core import Budget, Corpus
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Choice, ScoredPool, Selector
from shortlist.selectors.controls import DAPT, TAPT, AllDomains

SIZES = {"small": 5, "middle": 30, "large": 65}
DOCUMENTS = Corpus.build(
    [f"text {name} {row}" for name, size in SIZES.items() for row in range(size)],
    [name for name, size in SIZES.items() for _ in range(size)],
).canonical()
DOMAINS = np.array(DOCUMENTS.domains)


def choose(selector: Selector, budget: Budget, seed: int = 0, costs: np.ndarray | None = None,
           values: np.ndarray | None = None) -> Choice:  # fmt: skip
    scored = ScoredPool(
        np.zeros(100) if values is None else values, DOCUMENTS.id_bits(), costs, DOCUMENTS
    )
    return selector.select(scored, budget, torch.Generator().manual_seed(seed))


def mix(choice: Choice) -> dict[str, int]:
    return dict(Counter(DOMAINS[choice.rows].tolist()))


def test_all_domains_give_the_same_number_while_they_last() -> None:
    assert mix(choose(AllDomains(), Budget(12))) == {"small": 4, "middle": 4, "large": 4}
    choice = choose(AllDomains(), Budget(45))
    assert mix(choice) == {"small": 5, "middle": 20, "large": 20}
    assert choice.report == {"exhausted": 1}


def test_all_domains_differ_by_one_at_most_where_the_budget_does_not_divide() -> None:
    seen = set()
    for seed in range(20):
        counts = mix(choose(AllDomains(), Budget(10), seed))
        assert sorted(counts.values()) == [3, 3, 4]
        seen.add(max(counts, key=lambda name: counts[name]))
    assert seen == set(SIZES)


def test_dapt_chooses_from_the_named_domains_alone_and_every_document_alike() -> None:
    found = Counter(
        row
        for seed in range(600)
        for row in choose(DAPT(["middle"]), Budget(10), seed).rows.tolist()
    )
    assert set(DOMAINS[list(found)]) == {"middle"} and len(found) == 30
    # 4.5 standard errors of a proportion of a third
    assert max(abs(k / 600 - 1 / 3) for k in found.values()) < 4.5 * np.sqrt(2 / 9 / 600)


def test_dapt_refuses_an_unknown_domain_and_a_budget_beyond_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="no domain 'middel'; did you mean `middle`"):
        choose(DAPT(["middel"]), Budget(1))
    with pytest.raises(InvalidInput, match="hold 35 documents, less than budget=36"):
        choose(DAPT(["small", "middle"]), Budget(36))
    with pytest.raises(InvalidInput, match=r"selector\.domains is empty"):
        DAPT([])


def test_tapt_takes_every_text_once_before_any_a_second_time() -> None:
    choice = choose(TAPT(), Budget(250))
    counts = Counter(choice.rows.tolist())
    assert sorted(counts.values()) == [2] * 50 + [3] * 50
    assert sorted(choice.rows[:100].tolist()) == sorted(choice.rows[100:200].tolist())
    assert choice.rows[:100].tolist() != choice.rows[100:200].tolist()
    assert choice.report == {"repeated": 150}
    assert choose(TAPT(), Budget(100)).report == {"repeated": 0}


def test_tapt_fills_a_token_budget_with_repeats_and_never_with_a_forbidden_text() -> None:
    costs = np.arange(1, 101)
    values = np.where(np.arange(100) < 20, 0.0, -np.inf)
    rows = choose(TAPT(), Budget(1000, "tokens"), costs=costs, values=values).rows
    assert 1000 - 20 < costs[rows].sum() <= 1000 and set(rows.tolist()) == set(range(20))


def test_tapt_without_a_text_that_may_be_chosen_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no text that may be chosen"):
        choose(TAPT(), Budget(3), values=np.full(100, -np.inf))
