"""Explanations of picks and coverage of targets, against plain formulas on whole plans."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.metrics.pairwise import cosine_similarity

from shortlist.core import Budget, Corpus, Features, Selection
from shortlist.diagnostics.explanations import (
    Explainer,
    choose_explainer,
    cosine_plan,
    explain,
    target_coverage,
    uncovered,
)
from shortlist.ot import Plan, calibrate, solve, transport_plan
from shortlist.selectors.base import Selector

RNG = np.random.default_rng(0)


def cloud(centres: list[list[float]], each: int, spread: float = 0.3) -> np.ndarray:
    rows = [np.array(centre) + spread * RNG.normal(size=(each, len(centre))) for centre in centres]
    return np.concatenate(rows).astype(np.float32)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def test_nearest_targets_by_cosine_are_those_of_scikit_learn_dense_or_sparse() -> None:
    documents = (RNG.poisson(0.5, size=(15, 30))).astype(np.float32)
    targets = (RNG.poisson(0.5, size=(6, 30))).astype(np.float32)
    documents[3] = 0
    dense = cosine_plan(documents, targets, epsilon=0.05)
    sparse = cosine_plan(csr_array(documents), csr_array(targets), epsilon=0.05)
    expected = 1 - cosine_similarity(documents, targets)
    np.testing.assert_allclose(dense.costs, expected, atol=1e-6)
    np.testing.assert_allclose(sparse.costs, expected, atol=1e-6)
    weights = np.exp(-expected / 0.05)
    np.testing.assert_allclose(dense.shares, weights / weights.sum(1, keepdims=True), atol=1e-5)


def random_plan(k: int, m: int) -> Plan:
    shares = torch.from_numpy(RNG.dirichlet(np.full(m, 0.3), size=k))
    return Plan(shares, torch.from_numpy(RNG.uniform(size=(k, m))))


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_coverage_is_that_of_the_whole_plan_whatever_the_batch(batch: int) -> None:
    plan = random_plan(40, 11)
    pieces = (
        Plan(plan.shares[at : at + batch], plan.costs[at : at + batch])
        for at in range(0, 40, batch)
    )
    found = target_coverage(pieces, top=3)
    shares, costs_ = plan.shares.numpy(), plan.costs.numpy()
    mass = shares.sum(0)
    np.testing.assert_allclose(found.mass, mass / mass.mean())
    np.testing.assert_array_equal(found.targets, np.argsort(-shares, axis=1)[:, :3])
    np.testing.assert_array_equal(found.sources, np.argsort(-shares, axis=0)[:3].T)
    np.testing.assert_allclose(found.brought, np.sort(shares / mass, axis=0)[::-1][:3].T)
    np.testing.assert_array_equal(found.nearest, costs_.argmin(0))
    np.testing.assert_allclose(found.distance, costs_.min(0))
    np.testing.assert_allclose(found.least, costs_.min(1))


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_the_targets_of_a_domain_that_the_pool_lacks_are_uncovered(gone: int) -> None:
    centres = (4 * np.eye(6)).tolist()
    target = cloud(centres[:3], 10)  # three domains of the target ...
    kept = [centre for index, centre in enumerate(centres) if index != gone]

    def left(pool: np.ndarray) -> np.ndarray:
        found = solve(pool, target, epsilon=0.02)
        picks = np.argsort(found.g.numpy())[:150]
        plans = [
            transport_plan(
                *tensors(rows, target), found.f, epsilon=found.epsilon, cost="sqeuclidean"
            )
            for rows in (pool[picks], pool)
        ]
        traced = target_coverage(plans[:1], 3)
        return np.flatnonzero(uncovered(traced, float(plans[1].costs.mean()))[0])

    assert left(cloud(centres, 60)).tolist() == []  # ... all of them, and others, in the pool
    assert left(cloud(kept, 60)).tolist() == list(range(10 * gone, 10 * gone + 10))


class Moves(Selector):
    """Sends all of a document's mass to the target at the row that its first number names."""

    def plan(self, batch: torch.Tensor) -> Plan:
        shares = torch.nn.functional.one_hot(batch[:, 0].long(), 3).double()
        return Plan(shares, 1 - shares)


POOL = Corpus.build([f"text {row}" for row in range(6)], ["a", "a", "b", "b", "c", "c"])
ROWS = np.array([4, 0, 1])
CHOSEN = Selection(
    tuple(POOL.ids[row] for row in ROWS),
    np.array([3.0, 2.0, 1.0]),
    POOL.fingerprint,
    Budget(3),
    "",
)


def explainer(name: str, selector: Selector | None, columns: int = 2) -> Explainer:
    """Three targets; the pool's documents go to the targets 0, 0, 1, 1, 1 and 1."""
    values = np.array([[0, 1], [0, 1], [1, 1], [1, 1], [1, 1], [1, 1]], np.float32)[:, :columns]
    documents = Corpus.build([f"{name} {row}" for row in range(3)])
    return Explainer(
        name, "", documents, Features(values, POOL.fingerprint, ""),
        Features(np.eye(3, columns, dtype=np.float32), documents.fingerprint, ""),
        -np.arange(6.0), selector,
    )  # fmt: skip


def test_a_pick_has_its_place_its_near_copies_and_the_targets_that_get_its_mass() -> None:
    clusters = np.array([0, 0, 0, 3, 4, 5])
    made = explain(POOL, CHOSEN, ROWS, clusters, [explainer("music", Moves())])
    best, second, third = made.picks
    assert [pick["id"] for pick in made.picks] == list(CHOSEN.ids)
    assert (best["rank"], best["score"], best["domain"]) == (1, 3.0, "c")
    assert (best["cluster"], best["copies_in_pool"], best["copies_chosen"]) == (best["id"], 0, 0)
    assert second["cluster"] == third["cluster"] == POOL.ids[0]
    assert (second["copies_in_pool"], second["copies_chosen"]) == (2, 1)
    assert best["targets"][0] == {
        "id": made.targets[1]["id"],
        "share": 1,
        "cost": 0,
        "text": "music 1",
    }
    assert [pick["potential"] for pick in made.picks] == [4, 0, 1]
    expected = calibrate(torch.arange(6, dtype=torch.float64))[ROWS].tolist()
    assert [pick["gradient"] for pick in made.picks] == expected


def test_coverage_names_what_each_target_gets_and_which_ones_are_uncovered() -> None:
    made = explain(POOL, CHOSEN, ROWS, np.arange(6), [explainer("music", Moves())])
    assert [row["mass"] for row in made.targets] == [2, 1, 0]
    assert [row["uncovered"] for row in made.targets] == [False, False, True]
    assert made.targets[0]["covered_by"] == [
        {"id": CHOSEN.ids[1], "share": 0.5}, {"id": CHOSEN.ids[2], "share": 0.5},
    ]  # fmt: skip
    assert made.targets[2]["covered_by"] == [] and made.targets[2]["nearest"]["cost"] == 1
    summary = made.coverage["music"]
    assert (summary.how, summary.targets, summary.uncovered, summary.half) == ("plan", 3, 1, 1)
    assert summary.near == 0 and summary.limit == summary.mean_cost / 2 == pytest.approx(1 / 3)


def test_of_several_targets_each_has_its_rows_potentials_and_summary() -> None:
    both = [explainer("music", Moves()), explainer("stars", Moves())]
    made = explain(POOL, CHOSEN, ROWS, np.arange(6), both)
    assert [row.get("of") for row in made.targets] == ["music"] * 3 + ["stars"] * 3
    assert [one.get("of") for one in made.picks[0]["targets"]] == ["music"] * 3 + ["stars"] * 3
    assert made.picks[0]["potential"] == {"music": 4, "stars": 4}
    assert list(made.coverage) == ["music", "stars"]
    alone = explain(POOL, CHOSEN, ROWS, np.arange(6), both[:1])
    assert [{**row, "of": "music"} for row in alone.targets] == made.targets[:3]


def test_a_method_without_vectors_explains_no_targets() -> None:
    assert choose_explainer([explainer("music", Moves(), columns=0)]) is None
    made = explain(POOL, CHOSEN, ROWS, np.arange(6), [])
    assert (made.targets, made.coverage) == ([], {})
    assert all("targets" not in pick and "potential" not in pick for pick in made.picks)


def test_the_first_member_with_a_plan_explains_else_the_first_with_vectors_by_cosine() -> None:
    blind, still, moves = (
        explainer("music", Selector(), 0), explainer("music", Selector()), explainer("music", Moves()),
    )  # fmt: skip
    assert choose_explainer([blind, still, moves]) is moves
    chosen = choose_explainer([blind, still])
    assert chosen is not None and chosen.pool is still.pool and chosen.selector is None
    made = explain(POOL, CHOSEN, ROWS, np.arange(6), [chosen])
    assert made.coverage["music"].how == "cosine"
    assert all("potential" not in pick for pick in made.picks)
