"""What every selector inherits: streaming, taking, keeping."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_array

from shortlist.core import Budget, Features
from shortlist.errors import InvalidInput
from shortlist.selectors import base
from shortlist.selectors.base import ScoredPool, Selector, score_pool, take
from shortlist.stats.sampling import order

WORDS = np.array([3, 1, 2, 0], dtype=np.uint64)


class Sum(Selector):
    """The sum of a vector, plus what was kept."""

    def fit(self, target: Features, pool: Features) -> dict[str, Any]:
        self.keep("added", torch.tensor([float(target.shape[0])]))
        return {}

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.to_dense().sum(1) + self.added


def fitted(added: float = 0.0) -> Sum:
    selector = Sum()
    selector.keep("added", torch.tensor([added]))
    return selector


def features(values: Any) -> Features:
    return Features(values, "print", "key")


@pytest.mark.parametrize("sparse", [False, True])
def test_a_pool_streamed_in_blocks_has_the_scores_of_the_pool_at_once(
    monkeypatch: pytest.MonkeyPatch, machine: Any, sparse: bool
) -> None:
    values = np.random.default_rng(0).integers(0, 3, (23, 5)).astype(np.float32)
    monkeypatch.setattr(base, "BATCH_ROWS", 7)
    pool = features(csr_array(values) if sparse else values)
    np.testing.assert_array_equal(score_pool(fitted(1), pool, machine), values.sum(1) + 1)


def test_scores_that_are_no_numbers_are_refused_and_counted(machine: Any) -> None:
    values = np.array([[1.0], [np.nan], [np.nan]], dtype=np.float32)
    with pytest.raises(InvalidInput, match="Sum gave no number for 2 of 3 documents"):
        score_pool(fitted(), features(values), machine)


def test_what_fit_kept_comes_back_from_a_file_into_a_new_selector(
    tmp_path: Path, machine: Any
) -> None:
    selector, pool = Sum(), features(np.ones((4, 2), dtype=np.float32))
    selector.fit(pool, pool)
    save_file(selector.state_dict(), tmp_path / "f.safetensors")
    other = Sum()
    other.restore(load_file(tmp_path / "f.safetensors"))
    np.testing.assert_array_equal(
        score_pool(other, pool, machine), score_pool(selector, pool, machine)
    )


def test_keeping_twice_keeps_the_second() -> None:
    selector = fitted(1.0)
    selector.keep("added", torch.tensor([5.0, 6.0]))
    assert selector.added.tolist() == [5.0, 6.0]


def test_what_must_never_be_chosen_is_not_chosen_where_the_budget_has_room() -> None:
    scores = ScoredPool(np.array([1.0, -np.inf, 3.0, -np.inf]), WORDS)
    choice = take(order(scores.values, WORDS), scores, Budget(4))
    assert choice.rows.tolist() == [2, 0]


def test_what_must_never_be_chosen_costs_no_tokens() -> None:
    scores = ScoredPool(np.array([1.0, np.inf, 3.0, -np.inf]), WORDS, np.array([2, 2, 2, 90]))
    assert take(np.array([3, 1, 2, 0]), scores, Budget(4, "tokens")).rows.tolist() == [1, 2]


def test_a_token_budget_below_the_first_document_is_refused() -> None:
    scores = ScoredPool(np.ones(4), WORDS, np.full(4, 10))
    with pytest.raises(InvalidInput, match="budget=9 tokens is less than the first document"):
        take(order(scores.values, WORDS), scores, Budget(9, "tokens"))


def test_the_selector_that_decides_nothing_takes_the_largest_scores() -> None:
    scores = ScoredPool(np.array([1.0, 4.0, 3.0, 2.0]), WORDS)
    choice = Selector().select(scores, Budget(2), torch.Generator())
    assert choice.rows.tolist() == [1, 2]
