"""Budget recommendation: the number of documents at which a larger selection stops helping.

Two quantities are computed along the ranking by score (without random draws, floors or a token
limit):

- the *calibrated gradient* of the last selected document, where scores are minus potentials of a
  transport problem: it is negative while one more document lowers the transport cost;
- the debiased Sinkhorn divergence between the target and the mixture (1 - lambda) pool + lambda
  selection (Kang et al. 2024, Lemma 1), where lambda grows with the budget (`selection_share`). The
  divergence falls while good documents are left and rises again when the selection approaches the
  pool. With the same lambda for every budget, the minimum lies at a few dozen documents whatever
  the pool (10 of 3,900 by word embeddings), so that variant is not used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.config import Advice
from shortlist.ot import Cost, calibrate, mean_cost, sinkhorn_divergence
from shortlist.progress import quiet
from shortlist.stats.sampling import order

TOLERANCE = 1e-3  # L1 error of a marginal; its effect on a divergence is of second order


@dataclass(frozen=True)
class BudgetRecommendation:
    """A recommended budget and what it follows from, under the names that records use.

    Attributes:
        budget: recommended number of documents, at least 1.
        reason: the recommendation in one sentence.
        divergence_stops_falling_at: smallest budget within the slack of the lowest divergence.
        gradient_changes_sign_at: number of documents with a negative calibrated gradient; None
            where scores are not potentials.
        pool_divergence: divergence between target and pool alone.
        curve: one row per budget, ascending: `budget` (documents), `share` (mass of the selection
            in the mixture), `tokens` (of the selection, where the budget counts them), `gradient`
            (of the last selected document, None where scores are not potentials) and `divergence`
            (between target and mixture).
    """

    budget: int
    reason: str
    divergence_stops_falling_at: int
    gradient_changes_sign_at: int | None
    pool_divergence: float
    curve: Sequence[Mapping[str, Any]]


def recommend_budget(
    scores: NDArray[np.float64],
    id_bits: NDArray[np.uint64],
    vectors: NDArray[Any],
    targets: Sequence[NDArray[Any]],
    weights: Sequence[float],
    *,
    budget: int,
    tokens: NDArray[np.int64] | None,
    potentials: bool,
    settings: Advice,
) -> BudgetRecommendation:
    """Returns the smallest budget at which the divergence to the target has stopped falling, but no
    larger than the budget at which the calibrated gradient changes its sign.

    The pool, the targets and large selections are represented by the first `settings.documents` (of
    a target: `settings.targets`) of their rows: a pool is ordered by ids, which are hashes, so
    these are uniform samples.

    Args:
        scores: (n,) scores for all targets together, larger first; documents at -inf are left out.
        id_bits: (n,) 64 bits of each id, which order equal scores.
        vectors: (n, d) dense vectors of the pool, may be memory-mapped.
        targets: (m_t, d) dense vectors of each target.
        weights: mass of each target; they sum to 1.
        budget: the budget of the cell, which becomes a point of the curve.
        tokens: (n,) tokens of each document where the budget counts tokens, else None.
        potentials: whether a score is minus the potential of a transport problem.
        settings: sample sizes, number of points, weight of a selected document, epsilon, ground
            cost and slack.
    """
    ranking = order(scores, id_bits)
    ranking = ranking[np.isfinite(scores[ranking])]
    n = len(ranking)
    running = None if tokens is None else np.cumsum(tokens[ranking])
    size = budget if running is None else int(np.searchsorted(running, budget)) + 1
    budgets = candidate_budgets(n, settings.budgets, size)
    shares = [selection_share(k, n, settings.weight) for k in budgets]

    def sample(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(vectors[np.sort(rows)[: settings.documents]], dtype=np.float32)

    sampled = [np.asarray(target[: settings.targets], dtype=np.float32) for target in targets]
    masses = [
        np.full(len(target), weight / len(target))
        for target, weight in zip(sampled, weights, strict=True)
    ]
    with quiet("shortlist.ot"):
        pool_divergence, divergences = mixture_divergences(
            sample(ranking),
            [sample(ranking[:k]) for k in budgets],
            shares,
            np.concatenate(sampled),
            np.concatenate(masses),
            relative_epsilon=settings.relative_epsilon,
            cost=cast("Cost", settings.cost),
        )
    gradients = calibrated_gradients(scores[ranking]) if potentials else None
    lowest = first_within_slack(divergences, pool_divergence, settings.slack)
    turn = None if gradients is None else sign_change(gradients)
    return BudgetRecommendation(
        budget=budgets[lowest] if turn is None else max(1, min(budgets[lowest], turn)),
        reason=_reason(budgets[lowest], turn, pool_divergence, divergences, divergences[lowest]),
        divergence_stops_falling_at=budgets[lowest],
        gradient_changes_sign_at=turn,
        pool_divergence=pool_divergence,
        curve=[
            {
                "budget": k,
                "share": share,
                **({} if running is None else {"tokens": int(running[k - 1])}),
                "gradient": None if gradients is None else float(gradients[k - 1]),
                "divergence": divergence,
            }
            for k, share, divergence in zip(budgets, shares, divergences, strict=True)
        ],
    )


def candidate_budgets(n: int, count: int, budget: int) -> list[int]:
    """Returns up to `count` budgets from n / 1000 to n, evenly spaced in the logarithm, and
    `budget` itself.
    """
    spaced = np.geomspace(max(1, n / 1000), n, count).round().astype(int)
    return sorted({*spaced.tolist(), min(budget, n)})


def calibrated_gradients(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the calibrated gradients, (n,), of documents whose scores are minus their potentials.

    A negative one means that the transport cost falls if this document gains mass and all others
    lose the same amount.
    """
    return calibrate(torch.as_tensor(-scores)).numpy()


def sign_change(gradients: NDArray[np.float64]) -> int:
    """Returns the number of negative calibrated gradients.

    To first order, exactly the documents with negative gradients lower the transport cost.
    """
    return int((gradients < 0).sum())


def selection_share(k: int, n: int, weight: float) -> float:
    """Returns lambda = weight k / (n + weight k), the share of a selection in the mixture.

    Lemma 1 of GOT-D describes the data that a model has seen after a light fine-tuning as the
    mixture (1 - lambda) pool + lambda selection. Here each of the k selected documents counts as
    `weight` of the n documents of the pool.
    """
    return weight * k / (n + weight * k)


def mixture_divergences(
    pool: NDArray[np.float32],
    selections: Sequence[NDArray[np.float32]],
    shares: Sequence[float],
    target: NDArray[np.float32],
    target_masses: NDArray[np.float64],
    *,
    relative_epsilon: float,
    cost: Cost,
) -> tuple[float, list[float]]:
    """Returns the divergence to the target of the pool, and of its mixture with each selection.

    The mixture is (1 - lambda) pool + lambda selection, both uniform (Kang et al. 2024, Lemma 1).
    All divergences use the same absolute epsilon.

    Args:
        pool: (n, d) vectors of a sample of the pool.
        selections: (k, d) vectors of each selection, or of a sample of it.
        shares: lambda of each selection.
        target: (m, d) vectors of the targets.
        target_masses: (m,) their masses.
        relative_epsilon: regularisation as a share of the mean cost between pool and target.
        cost: ground cost.
    """
    epsilon = relative_epsilon * mean_cost(pool, target, cost=cost)

    def divergence(points: NDArray[np.float32], masses: NDArray[np.float64]) -> float:
        return sinkhorn_divergence(
            points, target, epsilon=epsilon, relative=False, cost=cost,
            a=target_masses, b=masses, tolerance=TOLERANCE,
        ).value  # fmt: skip

    def uniform(rows: int, mass: float) -> NDArray[np.float64]:
        return np.full(rows, mass / rows)

    alone = divergence(pool, uniform(len(pool), 1.0))
    mixed = [
        divergence(
            np.concatenate([pool, chosen]),
            np.concatenate([uniform(len(pool), 1 - mass), uniform(len(chosen), mass)]),
        )
        for chosen, mass in zip(selections, shares, strict=True)
    ]
    return alone, mixed


def first_within_slack(values: Sequence[float], start: float, slack: float) -> int:
    """Returns the first position whose value is at most lowest + slack * (start - lowest).

    `lowest` is the smallest of the values; where none is below `start`, the result is the position
    of the smallest value.
    """
    lowest = min(values)
    bound = lowest + slack * max(0.0, start - lowest)
    return next(at for at, value in enumerate(values) if value <= bound)


def _reason(
    budget: int, turn: int | None, start: float, divergences: Sequence[float], lowest: float
) -> str:
    """Returns the recommendation and what it rests on, in one sentence."""
    if min(divergences) >= start:
        why = (
            f"{budget:,} documents: no selection brings the pool nearer to the target, this one "
            f"takes it the least far off (divergence {start:.4g} to {lowest:.4g})"
        )
    else:
        why = (
            f"{budget:,} documents: the divergence between target and pool mixed with the selection "
            f"falls from {start:.4g} to {lowest:.4g} there and no further"
        )
    if turn is None:
        return why
    if turn < budget:
        return (
            f"{max(1, turn):,} documents: the calibrated gradient changes its sign there, although "
            f"the divergence falls up to {budget:,}"
        )
    return f"{why}; the calibrated gradient stays negative up to {turn:,}"
