"""Copies within clusters against all pairs written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from shortlist.core import Budget, Corpus, Features
from shortlist.selectors.base import ScoredPool
from shortlist.selectors.semdedup import Semdedup


def pool(groups: int = 12, copies: int = 5, seed: int = 0) -> Features:
    """Groups of vectors whose cosines within a group are about .98, in the order of their ids."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(groups, 16)), copies, axis=0)
    values = (centres + 0.14 * rng.normal(size=centres.shape)).astype(np.float32)
    corpus = Corpus.build([f"text {row}" for row in range(len(values))]).canonical()
    return Features(values[rng.permutation(len(values))], corpus.fingerprint, "key", corpus)


def fitted(features: Features, **changed: Any) -> tuple[Semdedup, dict[str, Any]]:
    selector = Semdedup(**({"threshold": 0.9, "cluster_size": 1000, "keep": "far"} | changed))
    return selector, dict(selector.fit(features, features))


@pytest.mark.parametrize("keep", ["far", "near"])
@pytest.mark.parametrize("threshold", [0.6, 0.95, 0.98])
def test_of_one_cluster_what_stays_is_that_of_all_pairs_in_the_order_of_the_centroid(
    keep: str, threshold: float
) -> None:
    features = pool()
    selector, facts = fitted(features, keep=keep, threshold=threshold)
    unit = features.dense / np.linalg.norm(features.dense, axis=1, keepdims=True)
    nearness = unit @ unit.mean(0)
    similar = cosine_similarity(features.dense)
    order = sorted(range(60), key=lambda row: nearness[row] * (1 if keep == "far" else -1))
    stays = [
        row
        for place, row in enumerate(order)
        if all(similar[row, other] < threshold for other in order[:place])
    ]
    assert facts == {"clusters": 1, "kept": len(stays), "copies": 60 - len(stays)}
    ranking = np.argsort(-selector.pool_scores.numpy(), kind="stable")
    assert ranking[: len(stays)].tolist() == sorted(stays)  # rows are in the order of the ids
    assert sorted(ranking.tolist()) == list(range(60))


def test_clusters_find_the_copies_of_tight_groups_and_a_budget_beyond_them_says_so() -> None:
    features = pool(groups=40, copies=10)
    selector, facts = fitted(features, cluster_size=40)
    assert (facts["clusters"], facts["kept"]) == (10, 40)
    assert features.documents is not None
    scored = ScoredPool(
        selector.pool_scores.numpy(), features.documents.id_bits(), report=facts,
        documents=features.documents,
    )  # fmt: skip
    for budget, copies in ((40, 0), (45, 5)):
        choice = selector.select(scored, Budget(budget), torch.Generator())
        assert choice.report == {"copies": copies}


def test_the_order_of_the_rows_changes_nothing() -> None:
    features = pool(groups=40, copies=10)
    assert features.documents is not None
    rows = np.random.default_rng(1).permutation(400)
    documents = features.documents.take(rows)
    turned = Features(features.dense[rows], documents.fingerprint, "key", documents)
    one, other = (fitted(each, cluster_size=40)[0].pool_scores for each in (features, turned))
    np.testing.assert_array_equal(one.numpy()[rows], other.numpy())
