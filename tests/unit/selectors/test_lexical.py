"""BM25, the classifier, Moore-Lewis, perplexity, least toxic against formulas in plain Python."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from scipy.optimize import minimize
from scipy.sparse import csr_array

from shortlist.core import Corpus, Features
from shortlist.errors import InvalidInput
from shortlist.featurizers.ngrams import NGrams
from shortlist.selectors.bag_of_words import BM25, Classifier
from shortlist.selectors.base import score_pool
from shortlist.selectors.model_scores import LeastToxic, Perplexity
from shortlist.selectors.moore_lewis import MooreLewis, MooreLewisModels, TargetPath

TARGET = Corpus.build([*toy.sentences("sailing", 6), "A reef, a reef!"])
POOL = Corpus.build([*toy.sentences("sailing", 9, 5), *toy.sentences("baking", 9), "", "Zyx"])


def features(corpus: Corpus, machine: Any, buckets: int = 2**20, max_n: int = 1) -> Features:
    values, _ = NGrams(buckets, max_n).compute(corpus, Path(), machine)
    return Features(values, corpus.fingerprint, "key", corpus)


def numbers(*values: float) -> Features:
    return Features(np.array(values, dtype=np.float32)[:, None], "print", "key")


def terms(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+|[^\w\s]+", text.lower()))


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.0), (2.0, 1.0)])
def test_bm25_is_the_mean_over_the_target_texts_of_the_textbook_score(
    machine: Any, k1: float, b: float
) -> None:
    bags = [terms(text) for text in POOL.texts]
    mean = sum(bag.total() for bag in bags) / len(bags)

    def bm25(query: Counter[str], bag: Counter[str]) -> float:
        score = 0.0
        for term, times in query.items():
            if not bag[term]:
                continue
            holding = sum(term in other for other in bags)
            idf = np.log(1 + (len(bags) - holding + 0.5) / (holding + 0.5))
            norm = bag[term] + k1 * (1 - b + b * bag.total() / mean)
            score += times * idf * bag[term] * (k1 + 1) / norm
        return score

    expected = [np.mean([bm25(terms(text), bag) for text in TARGET.texts]) for bag in bags]
    selector, pool = BM25(k1, b), features(POOL, machine)
    selector.fit(features(TARGET, machine), pool)
    np.testing.assert_allclose(score_pool(selector, pool, machine), expected, rtol=1e-9)


def test_bm25_refuses_vectors_that_are_no_counts(machine: Any) -> None:
    with pytest.raises(InvalidInput, match="set featurizer=unigrams"):
        BM25(1.5, 0.75).fit(numbers(1.0), numbers(1.0))


def test_the_classifier_is_the_minimum_of_its_penalised_balanced_loss(machine: Any) -> None:
    near, far = (features(corpus, machine, 16, 2) for corpus in (TARGET, POOL))
    selector = Classifier(3.0, 1000, 500)
    facts = selector.fit(near, far)
    rows = np.concatenate([near.values.toarray(), far.values.toarray()]).astype(float)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    signs = np.repeat([1.0, -1.0], [len(near), len(far)])
    share = np.where(signs > 0, len(rows) / (2 * len(near)), len(rows) / (2 * len(far)))

    def loss(point: np.ndarray) -> float:
        margins = signs * (rows @ point[:-1] + point[-1])
        return point[:-1] @ point[:-1] / 2 + 3.0 * (share * np.logaddexp(0, -margins)).sum()

    best = minimize(loss, np.zeros(17), method="BFGS", options={"gtol": 1e-8}).x
    found = score_pool(selector, far, machine)
    # Both minimisers stop at a gradient of about 1e-6 of a loss of some tens.
    np.testing.assert_allclose(found, rows[len(near) :] @ best[:-1] + best[-1], atol=1e-4)
    assert facts["fitted_to_the_end"] and facts["negatives"] == len(POOL)


def test_the_classifier_serves_dense_vectors_alike(machine: Any) -> None:
    near, far = (features(corpus, machine, 64, 1) for corpus in (TARGET, POOL))
    scores = []
    for kind in (csr_array, lambda values: values.toarray()):
        pair = [Features(kind(f.values), f.corpus, "", f.documents) for f in (near, far)]
        selector = Classifier(3.0, 1000, 500)
        selector.fit(*pair)
        scores.append(score_pool(selector, pair[1], machine))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)


def test_the_classifiers_sample_of_the_pool_is_the_same_in_any_order(machine: Any) -> None:
    odds = []
    for corpus in (POOL, POOL.take(np.arange(len(POOL))[::-1])):
        selector = Classifier(3.0, 7, 500)
        facts = selector.fit(features(TARGET, machine), features(corpus, machine))
        assert facts["negatives"] == 7
        odds.append(score_pool(selector, features(POOL, machine), machine))
    np.testing.assert_allclose(odds[0], odds[1], atol=1e-4)


def test_moore_lewis_prefers_what_the_target_says_and_length_is_worth_nothing(machine: Any) -> None:
    pool = Corpus.build([*POOL.texts, *(f"{text} {text}" for text in POOL.texts[:3])])
    near, far = (Features(np.zeros((len(c), 0)), c.fingerprint, "", c) for c in (TARGET, pool))
    selector = MooreLewis(2, 2**16)
    selector.fit(near, far)
    scores = selector.score_all(far, machine)
    # Eighteen of two kinds: nine right of nine come by chance once in 48,620, eight once in 600.
    assert (np.argsort(-scores[:18])[:9] < 9).sum() >= 8
    twice = scores[-3:] - scores[:3]
    assert np.abs(twice).max() < 0.25 * np.abs(scores[:3]).max()


def test_moore_lewis_without_documents_says_what_it_needs(machine: Any) -> None:
    with pytest.raises(InvalidInput, match="selector=moore_lewis reads the documents themselves"):
        MooreLewis(2, 16).fit(numbers(0.0), numbers(0.0))


@pytest.mark.parametrize(
    ("part", "best"),
    [("top", [0, 1, 2, 3, 4]), ("bottom", [4, 3, 2, 1, 0]), ("mid", [2, 3, 1, 4, 0])],
)
def test_perplexity_takes_the_part_of_the_pool_that_it_names(
    machine: Any, part: str, best: list[int]
) -> None:
    pool, selector = numbers(9.0, 4.0, 3.0, 2.5, 1.0), Perplexity(part)
    selector.fit(numbers(0.0), pool)
    assert np.argsort(-score_pool(selector, pool, machine)).tolist() == best


def test_least_toxic_takes_the_smallest_numbers(machine: Any) -> None:
    pool, selector = numbers(0.3, 0.1, 0.9), LeastToxic()
    selector.fit(pool, pool)
    assert np.argsort(-score_pool(selector, pool, machine)).tolist() == [1, 0, 2]


def test_target_path_ranks_by_the_share_of_the_loss_that_is_lost_and_moore_lewis_by_the_loss(
    machine: Any,
) -> None:
    losses = np.array([[4.0, 3.0], [2.0, 1.2], [1.0, 1.5], [0.0, 0.0]], dtype=np.float32)
    pool = Features(losses, "print", "key")
    scores = []
    for selector in (TargetPath(), MooreLewisModels()):
        assert selector.fit(pool, pool)["saved_on_pool"] == pytest.approx(1.3 / 4, rel=1e-6)
        scores.append(score_pool(selector, pool, machine))
    np.testing.assert_allclose(scores[0], [0.25, 0.4, -0.5, -np.inf], rtol=1e-6)
    np.testing.assert_allclose(scores[1], [1.0, 0.8, -0.5, -np.inf], rtol=1e-6)
    with pytest.raises(InvalidInput, match="selector=target_path needs two losses"):
        TargetPath().fit(numbers(1.0), numbers(1.0))


@pytest.mark.parametrize("selector", [Perplexity("top"), LeastToxic()])
def test_methods_that_rate_by_one_number_refuse_vectors(selector: Any, machine: Any) -> None:
    wide = Features(np.zeros((2, 3), dtype=np.float32), "print", "key")
    with pytest.raises(InvalidInput, match="needs one number a document, found vectors of 3"):
        selector.fit(wide, wide)
