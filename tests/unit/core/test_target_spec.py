"""Weights and floors by target."""

from __future__ import annotations

import pytest

from shortlist.core import TargetSpec
from shortlist.errors import InvalidInput


def test_targets_weigh_alike_unless_weights_are_given_and_only_their_ratio_counts() -> None:
    assert TargetSpec.of(["a", "b"]).weights == {"a": 0.5, "b": 0.5}
    assert TargetSpec.of(["a", "b"], {"a": 14, "b": 6}).weights == {"a": 0.7, "b": 0.3}


def test_what_is_gone_away_from_weighs_1_against_all_others_together_unless_it_says_so() -> None:
    assert TargetSpec.of(["a", "b"], negative="c").weights == {"a": 0.5, "b": 0.5, "c": -1.0}
    found = TargetSpec.of(["a"], {"a": 4, "c": 0.5}, negative="c")
    assert found.weights == {"a": 1.0, "c": -0.5} and found.toward == {"a": 1.0}
    assert TargetSpec.of(["a"], {"a": 0, "c": 1}, negative="c").weights == {"a": 0.0, "c": -1.0}


def test_one_target_without_a_floor_is_single() -> None:
    assert TargetSpec.of(["a"]).single and TargetSpec.of(["a"], {"a": 3}, {"a": 0}).single
    assert (
        not TargetSpec.of(["a"], None, {"a": 0.5}).single and not TargetSpec.of(["a", "b"]).single
    )
    assert not TargetSpec.of(["a"], negative="b").single


@pytest.mark.parametrize(
    ("weights", "floors", "says"),
    [
        ({"c": 1}, None, "target_weights names no target `c`; .*known: a, b"),
        ({"a": 1}, None, "target_weights leaves out `b`"),
        ({"a": 1, "b": -1}, None, "`b` must be 0 or more, found -1; name it negative_target"),
        ({"a": 1, "b": float("nan")}, None, "`b` must be 0 or more, found nan"),
        ({"a": 0, "b": 0}, None, "all 0"),
        (None, {"c": 0.1}, "target_floors names no target `c`"),
        (None, {"b": 1.1}, "`b` must be a share of the budget from 0 to 1, found 1.1"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    weights: dict[str, float], floors: dict[str, float], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        TargetSpec.of(["a", "b"], weights, floors)


def test_nothing_is_kept_for_the_best_of_what_is_gone_away_from() -> None:
    with pytest.raises(InvalidInput, match="target_floors names no target `c`"):
        TargetSpec.of(["a"], None, {"c": 0.1}, "c")
