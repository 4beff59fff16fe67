"""Weights of domains: the domain of the target, a target of two domains, the draw by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Budget, Corpus, Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import ScoredPool
from shortlist.selectors.mixture import Mixture, random_mixtures

TOPICS = ("sailing", "baking", "stars")
POOL = Corpus.build(
    [text for topic in TOPICS for text in toy.sentences(topic, 100)],
    [topic for topic in TOPICS for _ in range(100)],
).canonical()
DOMAINS = np.array(POOL.domains)


def features(corpus: Corpus) -> Features:
    return Features(np.zeros((len(corpus), 0), np.float32), corpus.fingerprint, "key", corpus)


def fitted(texts: list[str], **changed: int) -> tuple[Mixture, dict[str, Any]]:
    settings = {"mixtures": 48, "documents": 60, "max_n": 2, "buckets": 2**14, "seed": 0}
    selector = Mixture(**(settings | changed))
    selector.show_progress = False
    return selector, dict(selector.fit(features(Corpus.build(texts)), features(POOL)))


def test_the_domain_of_the_target_gets_the_weight_and_both_of_a_target_of_two() -> None:
    _, facts = fitted(toy.sentences("stars", 40, seed=9))
    assert facts["weights"]["stars"] > 0.75 and sum(facts["weights"].values()) == pytest.approx(1)
    assert facts["spearman_left_out"] > 0.8  # of losses of mixtures that took no part
    assert facts["loss_of_weights"] < facts["loss_of_pool_shares"]
    halves = [*toy.sentences("stars", 40, seed=9), *toy.sentences("baking", 40, seed=9)]
    weights = fitted(halves)[1]["weights"]
    assert min(weights["stars"], weights["baking"]) > 0.25 > weights["sailing"]


def test_the_predicted_loss_is_that_of_a_model_trained_on_the_weights() -> None:
    target = features(Corpus.build(toy.sentences("stars", 40, seed=9)))
    selector, facts = fitted(target.documents.texts)  # type: ignore[union-attr]
    draw = np.random.default_rng(1)
    by_domain = [np.flatnonzero(name == DOMAINS) for name in facts["weights"]]
    losses = []
    for _ in range(20):
        counts = draw.multinomial(60, list(facts["weights"].values()))
        rows = [draw.choice(one, k) for one, k in zip(by_domain, counts, strict=True)]
        losses.append(selector._loss(POOL.take(np.concatenate(rows)), target))
    assert facts["loss_of_weights"] == pytest.approx(np.mean(losses), rel=0.05)


def test_a_sample_has_the_weights_as_its_shares_and_is_random_within_a_domain() -> None:
    selector, facts = fitted(toy.sentences("stars", 40, seed=9))
    scored = ScoredPool(selector.pool_scores.numpy(), POOL.id_bits(), documents=POOL)
    assert len(np.unique(scored.values)) == 3
    shares = dict.fromkeys(TOPICS, 0.0)
    seen = set()
    for seed in range(50):
        rows = selector.select(scored, Budget(20), torch.Generator().manual_seed(seed)).rows
        seen |= {row for row in rows.tolist() if DOMAINS[row] == "stars"}
        for name in TOPICS:
            shares[name] += float((DOMAINS[rows] == name).mean()) / 50
    assert len(seen) > 95
    for name, share in shares.items():  # 1,000 draws, a fifth of a domain gone at the end of each
        assert share == pytest.approx(facts["weights"][name], abs=0.06)


def test_random_mixtures_lie_around_the_mean_and_reach_the_corners() -> None:
    drawn = random_mixtures(np.random.default_rng(0), np.array([0.64, 0.32, 0.04]), 4000)
    np.testing.assert_allclose(drawn.sum(1), 1)
    roots = np.sqrt([0.64, 0.32, 0.04])
    np.testing.assert_allclose(drawn.mean(0), roots / roots.sum(), atol=0.02)
    assert (drawn.max(0) > 0.95).all() and (drawn > 0).all()


def test_one_domain_is_refused() -> None:
    pool = features(Corpus.build(toy.sentences("stars", 20), "one"))
    with pytest.raises(InvalidInput, match="weighs domains, found the one 'one'"):
        Mixture(8, 20, 2, 2**10, 0).fit(pool, pool)
