"""A uniform sample: every document as likely as every other, whatever its score."""

import numpy as np
import torch

from shortlist.core import Budget
from shortlist.selectors.base import ScoredPool
from shortlist.selectors.controls import Random

WORDS = np.random.default_rng(0).integers(0, 2**64, 20, dtype=np.uint64)


def chosen(seed: int, budget: int, values: np.ndarray | None = None) -> list[int]:
    scores = ScoredPool(np.zeros(20) if values is None else values, WORDS)
    generator = torch.Generator().manual_seed(seed)
    return Random().select(scores, Budget(budget), generator).rows.tolist()


def test_every_document_is_as_likely_as_every_other() -> None:
    draws = 2000
    found = np.bincount([row for seed in range(draws) for row in chosen(seed, 5)], minlength=20)
    # 4.5 standard errors of a proportion of a quarter, 20 times: exceeded with probability 1e-4
    assert np.abs(found / draws - 0.25).max() < 4.5 * np.sqrt(0.25 * 0.75 / draws)


def test_scores_have_no_say() -> None:
    assert chosen(0, 5) == chosen(0, 5, np.arange(20.0))


def test_what_must_never_be_chosen_is_not() -> None:
    values = np.where(np.arange(20) < 15, -np.inf, 0.0)
    assert sorted(chosen(0, 20, values)) == [15, 16, 17, 18, 19]


def test_another_seed_chooses_others() -> None:
    assert set(chosen(0, 10)) != set(chosen(1, 10))
