"""DSIR against the log-ratio written out, and its draw against the weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from shortlist.core import Budget, Corpus, Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import ScoredPool, score_pool
from shortlist.selectors.dsir import DSIR

RNG = np.random.default_rng(0)
POOL = RNG.poisson(0.3, (40, 30)).astype(np.float32)
TARGET = RNG.poisson(np.where(np.arange(30) < 10, 1.0, 0.05), (15, 30)).astype(np.float32)
DOMAINS = ["b", "a", "c"] * 5
DOCUMENTS = Corpus.build([f"text {row}" for row in range(15)], DOMAINS)


def dsir(**changed: Any) -> DSIR:
    settings: dict[str, Any] = {
        "smoothing": 1.0, "floor": 0.0, "temperature": 1.0, "minimum_length": 0,
        "separate": False, "proportions": None,
    }  # fmt: skip
    return DSIR(**{**settings, **changed})


def fitted(**changed: Any) -> DSIR:
    return with_facts(**changed)[0]


def with_facts(**changed: Any) -> tuple[DSIR, Mapping[str, Any]]:
    selector = dsir(**changed)
    target = Features(csr_array(TARGET), DOCUMENTS.fingerprint, "", DOCUMENTS)
    return selector, selector.fit(target, Features(csr_array(POOL), "p", ""))


def log_ratio(target: np.ndarray, smoothing: float, floor: float) -> np.ndarray:
    p, q = (counts.sum(0, dtype=float) + smoothing for counts in (target, POOL))
    return np.log(p / p.sum() + floor) - np.log(q / q.sum() + floor)


@pytest.mark.parametrize(("smoothing", "floor"), [(0.5, 0.0), (1.0, 0.0), (0.0, 1e-8), (2.0, 0.1)])
def test_a_score_is_the_smoothed_log_ratio_of_the_documents_grams(
    machine: Any, smoothing: float, floor: float
) -> None:
    found = score_pool(
        fitted(smoothing=smoothing, floor=floor), Features(csr_array(POOL), "p", ""), machine
    )
    # Counts are exact; sums of some tens in float64.
    np.testing.assert_allclose(found, POOL @ log_ratio(TARGET, smoothing, floor), atol=1e-10)


def test_a_separate_target_has_the_scores_that_it_would_have_alone(machine: Any) -> None:
    selector, facts = with_facts(separate=True)
    found = score_pool(selector, Features(csr_array(POOL), "p", ""), machine)
    assert facts["targets"] == ["a", "b", "c"]
    for column, name in enumerate("abc"):
        alone = TARGET[np.array(DOMAINS) == name]
        np.testing.assert_allclose(found[:, column], POOL @ log_ratio(alone, 1, 0), atol=1e-10)


def test_separate_targets_share_the_budget_as_their_proportions_say() -> None:
    proportions = {"a": 1.0, "b": 2.0, "c": 5.0}
    selector, facts = with_facts(separate=True, temperature=0.0, proportions=proportions)
    assert facts["proportions"] == [0.125, 0.25, 0.625]
    # Every document is good for one target alone, by its row modulo 3.
    row = np.arange(600)
    columns = {str(t): np.where(row % 3 == t, 9.0, -9.0) - row / 1e3 for t in range(3)}
    scored = ScoredPool(
        selector.combine(columns), row.astype(np.uint64), columns=columns, report=facts
    )
    generator = torch.Generator().manual_seed(0)
    for budget in (8, 80, 160):
        rows = selector.select(scored, Budget(budget), generator).rows
        assert np.bincount(rows % 3).tolist() == [budget // 8, budget // 4, budget * 5 // 8]
        assert len(set(rows.tolist())) == budget


def test_without_proportions_a_target_weighs_as_many_grams_as_it_has() -> None:
    _, facts = with_facts(separate=True)
    sizes = np.array([TARGET[np.array(DOMAINS) == name].sum() for name in "abc"])
    np.testing.assert_allclose(facts["proportions"], sizes / sizes.sum())


@pytest.mark.parametrize(
    "changed",
    [{"smoothing": 0.0}, {"floor": -1.0}, {"proportions": {"a": 1.0}},
     {"separate": True, "proportions": {"a": 1.0, "b": 0.0, "c": 1.0}}],
)  # fmt: skip
def test_settings_without_a_meaning_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"selector\.(smoothing|proportions)"):
        dsir(**changed)


def test_proportions_of_other_targets_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"must name the target's domains \['a', 'b', 'c'\]"):
        fitted(separate=True, proportions={"a": 1.0, "z": 1.0})


def test_one_target_cannot_be_kept_apart() -> None:
    one = Corpus.build(DOCUMENTS.texts, "only")
    pool = Features(csr_array(POOL), "p", "")
    with pytest.raises(InvalidInput, match="several domains, found the one 'only'"):
        dsir(separate=True).fit(Features(csr_array(TARGET), one.fingerprint, "", one), pool)


def test_dense_and_sparse_counts_have_the_same_scores() -> None:
    selector, sparse = fitted(), csr_array(POOL)
    as_sparse = torch.sparse_csr_tensor(
        torch.from_numpy(sparse.indptr.astype(np.int64)),
        torch.from_numpy(sparse.indices.astype(np.int64)),
        torch.from_numpy(sparse.data),
        size=sparse.shape,
        check_invariants=True,
    )
    # A running sum of 400 numbers of size 1 in float64.
    torch.testing.assert_close(
        selector.score(as_sparse), selector.score(torch.from_numpy(POOL)), atol=1e-12, rtol=0
    )


def test_a_document_without_grams_has_score_zero(machine: Any) -> None:
    values = np.zeros((3, 30), dtype=np.float32)
    values[1, 0] = 1
    scores = score_pool(fitted(), Features(csr_array(values), "p", ""), machine)
    assert scores[[0, 2]].tolist() == [0.0, 0.0] and scores[1] != 0.0


LENGTHS = Corpus.build([" ".join(["word"] * size) + str(size) for size in range(1, 11)])


def chosen(selector: DSIR, budget: int) -> list[int]:
    scored = ScoredPool(np.zeros(10), LENGTHS.id_bits(), documents=LENGTHS)
    rows = selector.select(scored, Budget(budget), torch.Generator().manual_seed(0)).rows
    return sorted(row + 1 for row in rows.tolist())


def test_short_documents_are_chosen_unless_a_minimum_length_says_otherwise() -> None:
    assert chosen(dsir(), 10) == list(range(1, 11))
    assert chosen(dsir(minimum_length=4), 7) == list(range(4, 11))


def test_short_documents_are_counted_and_a_budget_beyond_the_long_ones_is_refused() -> None:
    selector = dsir(minimum_length=4)
    values = csr_array(np.ones((10, 30), dtype=np.float32))
    features = Features(values, LENGTHS.fingerprint, "", LENGTHS)
    facts = selector.fit(features, features)
    assert facts["too_short"] == 3
    with pytest.raises(InvalidInput, match="minimum_length=4 leaves 7 documents of the pool"):
        chosen(selector, 8)


def test_temperature_zero_takes_the_largest_weights() -> None:
    scores = ScoredPool(np.arange(20.0), np.arange(20, dtype=np.uint64))
    choice = fitted(temperature=0.0).select(scores, Budget(3), torch.Generator().manual_seed(0))
    assert choice.rows.tolist() == [19, 18, 17]


def test_temperature_one_draws_in_proportion_to_the_weights() -> None:
    weights, draws = np.array([1.0, 2.0, 3.0, 4.0]) / 10, 1000
    scores, selector = ScoredPool(np.log(weights), np.arange(4, dtype=np.uint64)), fitted()
    firsts = [
        selector.select(scores, Budget(1), torch.Generator().manual_seed(seed)).rows[0]
        for seed in range(draws)
    ]
    found = np.bincount(firsts, minlength=4) / draws
    # 4.5 standard errors of a proportion
    assert (np.abs(found - weights) < 4.5 * np.sqrt(weights * (1 - weights) / draws)).all()
