"""Selectors by neighbours: round robin, centroid, facility location, k-centre, herding, TSDS."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from shortlist.core import Budget, Corpus, Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Choice, ScoredPool, Selector
from shortlist.selectors.coverage import FacilityLocation, Herding, KCenter
from shortlist.selectors.similarity import Centroid, RDSPlus, TAPTCurated
from shortlist.selectors.tsds import TSDS

RNG = np.random.default_rng(0)


def features(values: np.ndarray) -> Features:
    corpus = Corpus.build([f"text {row}" for row in range(len(values))])
    return Features(values.astype(np.float32), corpus.fingerprint, "key", corpus)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


POOL, TARGET = features(RNG.normal(size=(200, 6))), features(RNG.normal(size=(9, 6)) + 1)
COSINES = unit(np.asarray(TARGET.values)) @ unit(np.asarray(POOL.values)).T


def choose(
    selector: Selector, pool: Features, amount: int, machine: Any, seed: int = 0, **kw: Any
) -> Choice:
    assert pool.documents is not None
    scores = ScoredPool(selector.score_all(pool, machine), pool.documents.id_bits(), **kw)
    unit = "tokens" if "costs" in kw else "documents"
    return selector.select(scores, Budget(amount, unit), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "selector", [TAPTCurated(20), RDSPlus(20, "round_robin")], ids=["tapt", "rds"]
)
def test_each_target_gets_its_nearest_before_any_gets_its_second(
    selector: Selector, machine: Any
) -> None:
    facts = selector.fit(TARGET, POOL)
    ranked = np.argsort(-COSINES, axis=1)
    for rounds in (1, 2, 5):
        wanted = set(ranked[:, :rounds].ravel().tolist())
        assert set(choose(selector, POOL, len(wanted), machine).rows.tolist()) == wanted
    counts = Counter(ranked[:, :20].ravel().tolist())
    assert facts["duplicates"] == 180 - len(counts)
    assert facts["wanted_by_several"] == sum(count > 1 for count in counts.values()) > 0
    assert facts["distinct_after_rounds"]["10"] == len({*ranked[:, :10].ravel()})
    with pytest.raises(InvalidInput, match=r"put in order; set selector\.neighbours larger"):
        choose(selector, POOL, len(counts) + 1, machine)


def test_rds_plus_by_best_scores_by_the_nearest_target(machine: Any) -> None:
    selector = RDSPlus(20, "best")
    selector.fit(TARGET, POOL)
    np.testing.assert_allclose(selector.score_all(POOL, machine), COSINES.max(0), atol=1e-6)


def test_the_centroid_is_the_mean_of_unit_vectors(machine: Any) -> None:
    selector = Centroid()
    selector.fit(TARGET, POOL)
    centre = unit(np.asarray(TARGET.values)).mean(0)
    expected = unit(np.asarray(POOL.values)) @ (centre / np.linalg.norm(centre))
    np.testing.assert_allclose(selector.score_all(POOL, machine), expected, atol=1e-6)
    zero = features(np.zeros((1, 6)))
    assert selector.score_all(zero, machine).tolist() == [0.0]


def test_facility_location_covers_every_kind_of_target_where_the_nearest_do_not(
    machine: Any,
) -> None:
    # Three kinds of target; the pool holds many near the first, few near the others, and noise.
    kinds = np.eye(3, 6)
    target = features(np.repeat(kinds, [20, 3, 3], axis=0) + 0.01 * RNG.normal(size=(26, 6)))
    near = [kinds[[0]] + 0.02 * RNG.normal(size=(50, 6))]
    near += [kinds[[kind]] + 0.3 * RNG.normal(size=(5, 6)) for kind in (1, 2)]
    pool = features(np.concatenate([*near, RNG.normal(size=(100, 6))]))
    selector, plain = FacilityLocation(160, 0.1, 50), RDSPlus(160, "best")
    facts = selector.fit(target, pool)
    plain.fit(target, pool)
    similar = unit(np.asarray(target.values)) @ unit(np.asarray(pool.values)).T

    def cover(rows: np.ndarray) -> np.ndarray:
        best = similar[:, rows].max(1)
        return np.array([best[:20].min(), best[20:23].min(), best[23:].min()])

    assert cover(choose(selector, pool, 3, machine).rows).min() > 0.7
    assert cover(choose(plain, pool, 3, machine).rows).min() < 0.4
    assert facts["ordered"] == 50
    with pytest.raises(InvalidInput, match=r"beyond the 50 documents .* selector\.limit or"):
        choose(selector, pool, 51, machine)


def test_k_centre_reaches_every_cluster_and_herding_the_targets_mean(machine: Any) -> None:
    centres = 10 * np.eye(6)
    pool = features(
        np.repeat(centres, [100, 40, 20, 5, 2, 1], axis=0) + 0.1 * RNG.normal(size=(168, 6))
    )
    kind = np.repeat(np.arange(6), [100, 40, 20, 5, 2, 1])
    cover = KCenter(50)
    cover_facts = cover.fit(TARGET, pool)
    assert set(kind[choose(cover, pool, 6, machine).rows]) == set(range(6))
    assert cover_facts["radius"] < 1
    target = features(centres[[0, 0, 0, 1]] + 0.1 * RNG.normal(size=(4, 6)))
    herd = Herding(50)
    herd_facts = herd.fit(target, pool)
    assert Counter(kind[choose(herd, pool, 20, machine).rows].tolist()) == {0: 15, 1: 5}
    assert herd_facts["discrepancy"]["10"] < 0.1


@pytest.mark.parametrize("sigma", [0.0, 0.15])
def test_tsds_draws_by_its_probabilities(sigma: float, machine: Any) -> None:
    selector = TSDS(0.5, 1.0, sigma, 50)
    facts = selector.fit(TARGET, POOL)
    chance = selector.score_all(POOL, machine)
    assert chance.sum() == pytest.approx(1) and (chance >= 0).all()
    assert facts["reached"] == (chance > 0).sum() == (chance > 1e-12).sum() < 200
    drawn = choose(selector, POOL, 20_000, machine)
    error = np.sqrt(chance * (1 - chance) / 20_000)
    assert (np.abs(np.bincount(drawn.rows, minlength=200) / 20_000 - chance) <= 5 * error).all()
    costs = RNG.integers(1, 9, 200)
    tokens = choose(selector, POOL, 500, machine, costs=costs)
    assert 492 < costs[tokens.rows].sum() <= 500
    assert tokens.rows.tolist() == drawn.rows[: len(tokens.rows)].tolist()
    assert (np.diff(tokens.scores) <= 0).all()
    assert choose(selector, POOL, 20, machine, seed=1).rows.tolist() != drawn.rows[:20].tolist()


def test_copies_share_the_mass_of_one_document_under_kde_alone(machine: Any) -> None:
    far = np.array([6, 0, 0, 0, 0, 0])
    near = unit(RNG.normal(size=(40, 6)) + far)
    copied = features(np.concatenate([near, np.repeat(near[:1], 9, axis=0)]))
    target = features(unit(RNG.normal(size=(5, 6)) + far))
    shares = []
    for sigma in (0.0, 0.01):
        selector = TSDS(0.01, 1.0, sigma, 49)  # as even as the kernel lets it be
        selector.fit(target, copied)
        chance = selector.score_all(copied, machine)
        shares.append(chance[[0, *range(40, 49)]].sum() / chance[1:40].mean())
    assert shares[0] > 9 and 0.9 < shares[1] < 1.2


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TAPTCurated(0), "selector.neighbours must be at least 1"),
        (lambda: RDSPlus(5, "worst"), "selector.by must be one of round_robin, best"),  # type: ignore[arg-type]
        (lambda: TSDS(0.0, 1.0, 0.1, 5), "selector.alpha must lie in"),
        (lambda: FacilityLocation(5, -1.0, 5), "selector.relevance not negative"),
        (lambda: KCenter(0), "selector.limit must be at least 1"),
        (lambda: Herding(0), "selector.limit must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(make: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        make()
