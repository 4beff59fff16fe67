"""A ranking thinned out, against the loop over all pairs."""

import numpy as np
import pytest

from shortlist.selectors import gotd_diverse
from shortlist.selectors.gotd_diverse import suppress_near_duplicates


def loop(
    points: np.ndarray,
    ranking: np.ndarray,
    similarity: float,
    most: int,
    amount: int,
    costs: np.ndarray,
) -> list[int]:
    """The rows passed over, one after the other."""
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    kept: list[int] = []
    passed: list[int] = []
    for row in ranking.tolist():
        if (unit[kept] @ unit[row] > similarity).sum() >= most:
            passed.append(row)
        elif costs[[*kept, row]].sum() > amount:
            break
        else:
            kept.append(row)
    return passed


@pytest.mark.parametrize("block", [3, 17, 1024])
@pytest.mark.parametrize(("similarity", "most"), [(0.8, 1), (0.6, 2), (0.99, 1), (-1.0, 1)])
@pytest.mark.parametrize("amount", [1, 25, 1000])
def test_those_passed_over_have_too_many_like_them_before_them(
    monkeypatch: pytest.MonkeyPatch, block: int, similarity: float, most: int, amount: int
) -> None:
    monkeypatch.setattr(gotd_diverse, "_ROWS", block)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(120, 3)).astype(np.float32)
    ranking, costs = rng.permutation(120)[:90], rng.integers(1, 4, 120)
    expected = loop(points, ranking, similarity, most, amount, costs)
    assert (
        suppress_near_duplicates(points, ranking, similarity, most, amount, costs).tolist()
        == expected
    )
    ones = np.ones(120, dtype=np.int64)
    expected = loop(points, ranking, similarity, most, amount, ones)
    assert suppress_near_duplicates(points, ranking, similarity, most, amount).tolist() == expected
