"""Scores for several targets become one score a document before anything is selected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Budget, Corpus, Features, TargetSpec
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import NoFeatures
from shortlist.pipeline.scoring import targets_of
from shortlist.pipeline.selection import TargetScores, check_budget, combine_scores
from shortlist.selectors.base import UNRANKED, Member, Selector
from shortlist.selectors.controls import Random
from shortlist.selectors.dsir import DSIR
from shortlist.selectors.ensemble import Ensemble
from shortlist.selectors.gotd import GOTD
from shortlist.selectors.gotd_diverse import GOTDDiverse
from shortlist.selectors.matched_controls import RandomDomain
from shortlist.selectors.model_scores import Perplexity
from shortlist.selectors.similarity import Centroid, TAPTCurated

A, B = np.array([3.0, 1.0, 2.0, 9.0]), np.array([100.0, 400.0, 300.0, 900.0])
CORPUS = Corpus.build(toy.sentences("music", 4)).canonical()
SELECTABLE = np.array([True, True, True, False])  # the last of four documents leaks


def combined(
    selector: Selector, spec: TargetSpec, scores: dict[str, dict[str, Any]]
) -> TargetScores:
    return combine_scores(selector, spec, scores, CORPUS, SELECTABLE)


def gotd() -> GOTD:
    settings: dict[str, Any] = dict.fromkeys(("target_penalty", "pool_penalty", "stored_mib"))
    return GOTD("sqeuclidean", 0.01, 0.01, 12, sensitivity=False, masses="documents", **settings)


def test_gradients_add_up_as_they_are_and_a_leak_is_in_no_column() -> None:
    spec = TargetSpec.of(["a"], {"a": 1, "b": 0.5}, negative="b")
    found = combined(gotd(), spec, {"a": {"": A}, "b": {"": B}})
    np.testing.assert_allclose(found.total.values, [*(A - 0.5 * B)[:3], -np.inf])
    np.testing.assert_array_equal(found.by_target["b"].values, [*B[:3], -np.inf])


def test_scores_without_a_common_unit_are_brought_to_one_scale_over_what_may_be_chosen() -> None:
    found = combined(Centroid(), TargetSpec.of(["a", "b"]), {"a": {"": A}, "b": {"": B}})
    scaled = [(x[:3] - x[:3].mean()) / x[:3].std() for x in (A, B)]
    np.testing.assert_allclose(found.total.values[:3], sum(scaled) / 2, atol=1e-12)
    np.testing.assert_allclose(found.by_target["b"].values[:3], scaled[1], atol=1e-12)


def test_a_single_target_keeps_the_scores_of_its_method() -> None:
    found = combined(Centroid(), TargetSpec.of(["a"]), {"a": {"": A}})
    np.testing.assert_array_equal(found.total.values, [3, 1, 2, -np.inf])


def test_several_scores_a_document_are_refused_where_targets_would_be_weighed() -> None:
    both = np.stack([A, B], axis=1)
    with pytest.raises(InvalidInput, match="cannot also weigh `a` and `b`"):
        combined(gotd(), TargetSpec.of(["a", "b"]), {"a": {"": both}, "b": {"": both}})
    found = combined(gotd(), TargetSpec.of(["a"], floors={"a": 0.5}), {"a": {"": both}})
    assert list(found.total.columns) == ["0", "1"]


class Best(Selector):
    """The larger of its members' scores: no sum, so the order of combining shows."""

    def __init__(self) -> None:
        super().__init__()
        featurizer: Any = None
        self.members = {"one": Member(gotd(), featurizer), "two": Member(gotd(), featurizer)}

    def combine(self, columns: Any) -> Any:
        return np.maximum(columns["one"], columns["two"])


def test_targets_are_summed_within_each_member_and_members_are_combined_after() -> None:
    columns = {"a": {"one": A, "two": -A}, "b": {"one": -B, "two": B}}
    found = combined(Best(), TargetSpec.of(["a", "b"], {"a": 1, "b": 3}), columns)
    one = 0.25 * A - 0.75 * B
    np.testing.assert_allclose(found.total.values[:3], np.maximum(one, -one)[:3])
    np.testing.assert_allclose(found.total.columns["one"][:3], one[:3])
    np.testing.assert_allclose(found.by_target["a"].values[:3], A[:3])


def test_what_a_method_did_not_put_in_order_for_one_target_is_last_there_and_drowns_no_other() -> (
    None
):
    first = np.array([-1.0, 0.0, UNRANKED, 0.0])
    second = np.array([UNRANKED, 0.0, UNRANKED, -1.0])
    found = combined(
        TAPTCurated(1), TargetSpec.of(["a", "b"]), {"a": {"": first}, "b": {"": second}}
    )
    np.testing.assert_allclose(found.by_target["a"].values[:2], [-(0.5**0.5), 2**0.5])
    assert found.by_target["a"].values[2:].tolist() == [UNRANKED, -np.inf]
    assert found.total.values[1] > found.total.values[0] > UNRANKED == found.total.values[2]
    with pytest.raises(InvalidInput, match="reaches beyond the 2 documents"):
        TAPTCurated(1).select(found.total, Budget(3), torch.Generator())


def test_a_control_is_matched_to_picks_for_all_targets() -> None:
    def spec(method: Selector) -> TargetSpec:
        control = RandomDomain({"like": Member(method, NoFeatures())})
        return targets_of(TargetSpec.of(["a", "b"]), control)

    assert list(spec(Centroid()).weights) == ["a", "b"]
    assert list(spec(Random()).weights) == ["a"]


def test_a_member_that_gives_several_columns_is_one_voice() -> None:
    dsir = DSIR(1.0, 0.0, 1.0, 0, separate=True, proportions=None)
    two = Ensemble(
        {"dsir": Member(dsir, NoFeatures()), "mean": Member(Centroid(), NoFeatures())},
        "mean_rank",
        60,
        0.5,
    )
    columns = {
        "dsir.0": np.array([3.0, 0.0, 1.0]),
        "dsir.1": np.array([0.0, 5.0, 1.0]),
        "mean": np.array([2.0, 1.0, 3.0]),
    }
    # DSIR's own ranks, by the target a document fits best: 2, 1, 3; the other's: 2, 3, 1.
    assert two.combine(columns).tolist() == [-2.0, -2.0, -2.0]
    assert GOTDDiverse({"dsir": two.members["dsir"]}, 0.9, 1).combine(columns).tolist() == [3, 5, 1]


def test_a_document_without_a_token_to_predict_is_in_no_part_of_the_losses() -> None:
    losses = np.array([[0.0], [1.0], [2.0], [4.0]], dtype=np.float32)
    pool = Features(losses, "corpus", "key", None)
    for part, best in {"bottom": 1, "mid": 2, "top": 3}.items():
        selector = Perplexity(part)
        selector.fit(pool, pool)
        found = selector.score(torch.from_numpy(losses))
        assert int(found.argmax()) == best and found[0] == -torch.inf


def test_a_budget_beyond_the_documents_with_a_score_is_refused_with_their_number() -> None:
    with pytest.raises(InvalidInput, match=r"the pool's 3 \(without 2 that have no score"):
        check_budget(Budget(4), 3, 0, 2)


@pytest.mark.parametrize(
    ("available", "leaked", "advice"),
    [
        (
            0,
            7,
            "(without 7 that repeat evaluation texts); set a larger pool, or leaks.action=report",
        ),
        (2, 7, "; set budget=2 or less, or a larger pool, or leaks.action=report"),
        (0, 0, "the pool's 0; set a larger pool"),
    ],
)
def test_the_advice_on_a_budget_can_be_followed(available: int, leaked: int, advice: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_budget(Budget(4), available, leaked, 0)
    assert str(refused.value).endswith(advice) and "budget=0" not in str(refused.value)
