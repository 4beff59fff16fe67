"""GOT-D without near-duplicates, ensembles, LESS and TAROT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.special import ndtri
from scipy.stats import rankdata

from shortlist.core import Budget, Corpus, Features
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import NoFeatures
from shortlist.pipeline.compose import build_component
from shortlist.selectors.base import Member, ScoredPool
from shortlist.selectors.controls import Random
from shortlist.selectors.ensemble import Ensemble
from shortlist.selectors.gotd_diverse import GOTDDiverse
from shortlist.selectors.less import LESS
from shortlist.selectors.tarot import TAROT

RNG = np.random.default_rng(0)
DRAW = torch.Generator()


def features(values: np.ndarray, domains: Any = "") -> Features:
    corpus = Corpus.build([f"text {row}" for row in range(len(values))], domains)
    return Features(values.astype(np.float32), corpus.fingerprint, "key", corpus)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30)


def member() -> Member:
    return Member(Random(), NoFeatures())


def diverse(similarity: float = 0.9, most: int = 1) -> GOTDDiverse:
    return GOTDDiverse({"gotd": member()}, similarity, most)


def copies() -> tuple[Features, ScoredPool]:
    """Ten kinds of six near-copies each, the kinds ranked one after the other."""
    pool = features(
        np.repeat(RNG.normal(size=(10, 8)), 6, axis=0) + 0.01 * RNG.normal(size=(60, 8))
    )
    words = np.arange(60, dtype=np.uint64)
    return pool, ScoredPool(np.arange(60.0)[::-1].copy(), words, vectors={"gotd": pool})


@pytest.mark.parametrize("most", [1, 2, 6])
def test_no_kind_is_chosen_more_often_than_it_may_be(most: int) -> None:
    _, scores = copies()
    choice = diverse(most=most).select(scores, Budget(10), DRAW)
    assert np.bincount(choice.rows // 6).max() == most
    assert choice.rows[0] == 0 and (np.diff(choice.scores) < 0).all()
    assert choice.report["near_duplicates_kept"] == 0


def test_a_budget_that_the_kinds_cannot_fill_takes_the_best_of_those_passed_over_and_says_so() -> (
    None
):
    _, scores = copies()
    choice = diverse().select(scores, Budget(15), DRAW)
    assert choice.rows.tolist() == [*range(0, 60, 6), 1, 2, 3, 4, 5]
    assert choice.report == {"passed_over": 45, "near_duplicates_kept": 5}
    assert (np.diff(choice.scores) < 0).all()


def test_what_must_not_be_chosen_stands_in_nobodys_way() -> None:
    pool, scores = copies()
    values = scores.values.copy()
    values[0] = -np.inf
    choice = diverse().select(
        ScoredPool(values, scores.id_bits, vectors={"gotd": pool}), Budget(2), DRAW
    )
    assert choice.rows.tolist() == [1, 6]


def test_in_tokens_too_and_a_larger_budget_begins_with_a_smaller_one() -> None:
    pool, scores = copies()
    costs = np.arange(60) % 5 + 1
    priced = ScoredPool(scores.values, scores.id_bits, costs, vectors={"gotd": pool})
    small, large = (diverse().select(priced, Budget(n, "tokens"), DRAW).rows for n in (9, 20))
    assert costs[small].sum() <= 9 and costs[large].sum() <= 20
    assert large[: len(small)].tolist() == small.tolist()


def test_ranks_are_joined_by_their_mean_or_by_reciprocals() -> None:
    columns = {"a": RNG.normal(size=30).round(1), "b": RNG.normal(size=30).round(1)}
    never = np.arange(30) % 7 == 0
    columns = {name: np.where(never, -np.inf, column) for name, column in columns.items()}
    ranks = np.stack([rankdata(-column[~never]) for column in columns.values()])
    assert len(np.unique(ranks[0])) < (~never).sum()  # there are ties
    for rule, expected in (
        ("mean_rank", -ranks.mean(0)),
        ("reciprocal_rank", (1 / (60 + ranks)).sum(0)),
    ):
        joint = Ensemble({"a": member(), "b": member()}, rule, 60, 0.5).combine(columns)  # type: ignore[arg-type]
        np.testing.assert_allclose(joint[~never], expected)
        assert (joint[never] == -np.inf).all()


def test_an_ensemble_ranks_by_learned_weights_and_not_before_they_are_learned() -> None:
    columns = {"a": RNG.normal(size=30), "b": RNG.normal(size=30)}
    plain = Ensemble({"a": member(), "b": member()}, "learned", 60, 0.5)
    with pytest.raises(InvalidInput, match="before weights were learned"):
        plain.combine(columns)
    one = plain.weighted({"a": 1.0, "b": 0.0}).combine({**columns, "b": np.full(30, 1.0)})
    assert np.argsort(one).tolist() == np.argsort(columns["a"]).tolist()
    columns["a"][3] = -np.inf
    both = plain.weighted({"a": 0.5, "b": 0.5}).combine(columns)
    z = [ndtri((rankdata(np.delete(one, 3))) / 30) for one in columns.values()]
    np.testing.assert_allclose(np.delete(both, 3), (z[0] + z[1]) / 2)
    assert both[3] == -np.inf and plain.weights is None


def test_an_ensemble_of_one_ranks_as_it_does_and_scale_has_no_say() -> None:
    column = RNG.normal(size=30)
    one = Ensemble({"a": member()}, "reciprocal_rank", 60, 0.5)
    assert np.argsort(one.combine({"a": column})).tolist() == np.argsort(column).tolist()
    two = Ensemble({"a": member(), "b": member()}, "mean_rank", 60, 0.5)
    other = RNG.normal(size=30)
    first, second = (
        two.combine({"a": column, "b": other}),
        two.combine({"a": 1e9 * column, "b": other}),
    )
    assert (first == second).all()


def test_members_may_not_have_members_and_there_must_be_one() -> None:
    inner = Member(Ensemble({"a": member()}, "mean_rank", 0, 0.5), NoFeatures())
    with pytest.raises(InvalidInput, match=r"selector\.members\.x is itself made of others"):
        Ensemble({"x": inner}, "mean_rank", 60, 0.5)
    with pytest.raises(InvalidInput, match=r"selector\.members is empty"):
        Ensemble({}, "mean_rank", 60, 0.5)
    with pytest.raises(InvalidInput, match=r"must name one method"):
        GOTDDiverse({"a": member(), "b": member()}, 0.9, 1)


def test_what_a_member_cannot_serve_the_whole_cannot_serve() -> None:
    class Picky(Random):
        def applicable(self, task: str) -> str | None:
            return "needs labels" if task == "unlabelled" else None

    whole = GOTDDiverse({"inner": Member(Picky(), NoFeatures())}, 0.9, 1)
    assert whole.applicable("unlabelled") == "inner: needs labels"
    assert whole.applicable("classification") is None


@pytest.mark.parametrize("name", ["gotd_diverse", "ensemble"])
def test_members_are_written_out_as_they_stand_alone(composed: Any, name: str) -> None:
    # They share stages only if their settings are the same.
    for key, written in composed(f"selector={name}").selector.members.items():
        alone = composed(f"selector={key}")
        settings = [
            OmegaConf.to_container(node, resolve=True)
            for node in (written.selector, alone.selector)
        ]
        assert settings[0] == settings[1]
        assert OmegaConf.to_container(written.featurizer, resolve=True) == OmegaConf.to_container(
            alone.featurizer, resolve=True
        )


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "+selector.members.gotd.selector.tolerence=1",
            r"selector\.members\.gotd\.selector has no setting `tolerence`; did you mean `tolerance`",
        ),
        (
            "+selector.members.dsir.featurizer.bucket=1",
            r"selector\.members\.dsir\.featurizer has no setting `bucket`; did you mean `buckets`",
        ),
        ("~selector.members.dsir.featurizer", r"members\.dsir needs the setting `featurizer`"),
        ("selector.members.dsir.selector.smoothing=0", r"smoothing or .* must be above 0"),
        ("+selector.rules=1", r"selector has no setting `rules`; did you mean `rule`"),
    ],
)
def test_a_typo_inside_a_member_is_one_clear_line(composed: Any, typed: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        build_component(composed("selector=ensemble", typed), "selector")
    assert "\n" not in str(refused.value) and "full_key" not in str(refused.value)


def test_less_is_the_sum_of_cosines_by_checkpoint_and_the_best_sub_task(machine: Any) -> None:
    target = features(RNG.normal(size=(7, 6)), ["x", "y", "x", "y", "y", "x", "y"])
    values = RNG.normal(size=(40, 6))
    values[5] = 0
    pool = features(values)
    groups = ((0.75, slice(0, 3)), (0.25, slice(3, 6)))
    influence = sum(
        share * unit(values[:, part]) @ unit(np.asarray(target.values)[:, part]).T
        for share, part in groups
    )
    x = np.array([True, False, True, False, False, True, False])
    by_task = np.maximum(influence[:, x].mean(1), influence[:, ~x].mean(1))
    looked_at = np.arange(40) != 5

    def carried(rows: np.ndarray) -> Features:
        """Vectors that carry the rates themselves, as `featurizer=gradients` makes them."""
        return replace(
            target if len(rows) == 7 else pool,
            values=np.hstack([share**0.5 * unit(rows[:, part]) for share, part in groups]),
        )

    def half(rows: Features, which: int) -> Features:
        """These vectors in one half; the other is noise, but zero where nothing was looked at."""
        values = np.asarray(rows.values)
        noise = np.random.default_rng(1).normal(size=values.shape)
        halves = [noise * (values != 0).any(axis=1)[:, None]] * 2
        halves[which] = values
        return replace(rows, values=np.hstack(halves))

    for by, expected in (("domain", by_task), ("document", influence.max(1))):
        for weights, one, other in (
            ([3.0, 1.0], target, pool),
            (None, carried(np.asarray(target.values)), carried(values)),
        ):
            for halves in (False, True):
                selector = LESS(weights, by, halves)  # type: ignore[arg-type]
                facts = selector.fit(half(one, 1) if halves else one, other)
                found = selector.score_all(half(other, 0) if halves else other, machine)
                np.testing.assert_allclose(found[looked_at], expected[looked_at], atol=1e-6)
                assert found[5] == -np.inf  # outside the sub-pool
                assert facts["documents_without_gradient"] == 1
                assert facts["sub_tasks"] == (2 if by == "domain" else 7)


def test_less_refuses_columns_that_are_no_equal_groups() -> None:
    selector = LESS([1.0] * 4, "domain", False)
    with pytest.raises(InvalidInput, match=r"4 checkpoints .* must divide the 6 columns"):
        selector.fit(features(RNG.normal(size=(3, 6))), features(RNG.normal(size=(3, 6))))
    with pytest.raises(InvalidInput, match=r"selector\.weights must hold a learning rate"):
        LESS([], "domain", False)


def tarot(**changed: Any) -> TAROT:
    settings = {
        "folds": 5,
        "neighbours": 30,
        "ridge": 0.01,
        "relative_epsilon": 0.01,
        "tolerance": 1e-3,
        "released": False,
    }
    return TAROT(**{**settings, **changed})


def test_tarot_recommends_the_documents_of_the_targets_kind(machine: Any) -> None:
    def cloud(rows: int) -> np.ndarray:
        return RNG.normal(size=(rows, 8)) * [1, 1, 1, 1, 0.3, 0.3, 0.3, 0.3] + [5, *[0] * 7]

    target = features(cloud(60))
    pool = features(np.concatenate([cloud(80), RNG.normal(size=(320, 8))]))
    selector = tarot()
    facts = selector.fit(target, pool)
    recommended = facts["recommended_budget"]
    order = np.argsort(-selector.score_all(pool, machine))
    assert 40 <= recommended <= 110 and (order[:recommended] < 80).mean() > 0.9
    assert len(facts["layers"]) == 5 and min(facts["layers"]) >= 2
    assert facts["converged"] is True and facts["solves_not_converged"] == 0


def test_tarot_stops_each_fold_where_the_transport_distance_stops_falling() -> None:
    from shortlist.ot import solve
    from shortlist.selectors.tarot import joint_whitening, whiten

    target, pool = RNG.normal(size=(20, 4)) + 2, RNG.normal(size=(150, 4))
    selector = tarot(folds=2, neighbours=12)
    facts = selector.fit(features(target), features(pool))
    mean, matrix = joint_whitening([pool, target], 0.01)
    white, wanted = whiten(pool, mean, matrix), whiten(target, mean, matrix)
    ranked = (-(wanted @ white.T)).argsort(1)
    for fold in range(2):
        part = torch.arange(20) % 2 == fold
        distances = []
        for k in range(1, 12):
            documents = ranked[part, :k].unique()
            found = solve(
                white[documents], wanted[~part], epsilon=0.01, cost="euclidean", tolerance=1e-3
            )
            costs = torch.cdist(white[documents].double(), wanted[~part].double())
            plan = torch.softmax((found.f - costs) / found.epsilon, 1)  # each document's row
            distances.append(float((plan * costs).sum(1).mean()))
        stop = next(k for k in range(1, 11) if distances[k] >= distances[k - 1] - 1e-9)
        assert facts["layers"][fold] == stop
        assert facts["distances"][fold] == pytest.approx(distances[stop - 1], rel=5e-3)


def test_tarot_needs_as_many_targets_as_folds() -> None:
    with pytest.raises(
        InvalidInput, match=r"selector\.folds=5 needs as many target texts, found 3"
    ):
        tarot().fit(features(RNG.normal(size=(3, 4))), features(RNG.normal(size=(9, 4))))
