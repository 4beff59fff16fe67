"""Explanations of a selection: the target texts that each document covers, and each target's
coverage.

They are views of a selection: they enter no record.
"""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.core import Corpus, Features, Selection
from shortlist.diagnostics.formatting import shorten
from shortlist.models.linear import unit
from shortlist.ot import Plan, calibrate
from shortlist.selectors.base import Selector

LISTED = 3  # targets per document, and documents per target
TEXT = 200  # characters of a listed text
BATCH = 512  # selected documents whose plan is computed at a time
SAMPLE = 1000  # pool documents that the mean cost is measured on; first by id, hence uniform
SOFTNESS = 0.01  # epsilon of soft nearest targets, relative to the mean cost
FAR = 0.5  # from the median cost of a selected document to the mean cost: see `uncovered`


@dataclass(frozen=True)
class CoverageSummary:
    """Coverage of one target by a selection.

    Attributes:
        how: `plan` (the method's transport plan) or `cosine` (soft nearest targets).
        member: name of the member of the selector, `""` for a selector without members.
        targets: number of target texts.
        uncovered: number of uncovered ones.
        limit: cost above which a text is uncovered.
        near: median cost of a selected document to its nearest target text.
        mean_cost: mean cost between pool and target.
        half: smallest number of target texts that receive half of the mass.
    """

    how: str
    member: str
    targets: int
    uncovered: int
    limit: float
    near: float
    mean_cost: float
    half: int


@dataclass(frozen=True)
class Explanations:
    """What is known of each selected document and of each target text, as rows of plain data.

    Attributes:
        picks: rows of `reasons.jsonl`, one per selected document, best first: `id`, `rank` from 1,
            `score`, `domain`; `cluster` of near copies (its smallest id), and how many others of
            it are in the pool (`copies_in_pool`) and in the selection (`copies_chosen`). A method
            with vectors adds `targets`, the `LISTED` target texts that receive most of the
            document's mass (`id`, `share` of the mass, `cost`, `text`); one with a transport plan
            adds `potential` and calibrated `gradient`, by target where there are several.
        targets: rows of `targets.jsonl`, one per target text: `id`, `text`, the `mass` it receives
            (1 on average), the `nearest` selected document (`id`, `cost`), the documents that bring
            it most (`covered_by`: `id`, `share` of its mass), and whether it is `uncovered`. Empty
            for a method without vectors.
        coverage: the summary of each target, by its name.

    Where there are several targets, `of` names the target of a text.
    """

    picks: Sequence[Mapping[str, Any]]
    targets: Sequence[Mapping[str, Any]]
    coverage: Mapping[str, CoverageSummary]


@dataclass(frozen=True)
class Explainer:
    """A fitted method in whose vectors a selection is explained, for one target.

    Attributes:
        target: name of the target.
        member: name of the member of the selector, `""` for a selector without members.
        documents: the target's texts.
        pool: vectors of the pool.
        features: vectors of the target, row for row with `documents`.
        scores: (n,) scores of the pool.
        selector: the fitted selector, whose `plan` is followed; None for soft nearest targets by
            cosine.
    """

    target: str
    member: str
    documents: Corpus
    pool: Features
    features: Features
    scores: NDArray[np.float64]
    selector: Selector | None

    @property
    def has_plan(self) -> bool:
        """Whether the selector gives a transport plan for the pool's (dense) vectors."""
        values: Any = self.pool.values
        if self.selector is None or not isinstance(values, np.ndarray):
            return False
        return self.selector.plan(torch.from_numpy(np.array(values[:1]))) is not None

    def plans(self, rows: NDArray[np.int64], epsilon: float) -> Iterator[Plan]:
        """Yields the plan of the pool's documents at `rows`, `BATCH` documents at a time.

        Args:
            rows: (k,) rows of the pool.
            epsilon: of soft nearest targets; a transport plan has its own.
        """
        pool: Any = self.pool.values
        for start in range(0, len(rows), BATCH):
            batch = pool[rows[start : start + BATCH]]
            plan = (
                cosine_plan(batch, self.features.values, epsilon=epsilon)
                if self.selector is None
                else self.selector.plan(torch.from_numpy(np.array(batch, dtype=np.float32)))
            )
            if plan is not None:
                yield plan


@dataclass(frozen=True)
class Coverage:
    """Mass between k selected documents and M target texts, each list in descending order.

    Attributes:
        targets: (k, t) targets that receive most of each document's mass.
        shares: (k, t) share of the document's mass that each receives.
        costs: (k, t) cost to each.
        least: (k,) cost of each document to its nearest target.
        mass: (M,) mass that each target receives, 1 on average.
        sources: (M, t) documents that bring each target most.
        brought: (M, t) share of the target's mass that each brings; 0 where it receives none.
        nearest: (M,) document at the least cost.
        distance: (M,) its cost.
    """

    targets: NDArray[np.int64]
    shares: NDArray[np.float64]
    costs: NDArray[np.float64]
    least: NDArray[np.float64]
    mass: NDArray[np.float64]
    sources: NDArray[np.int64]
    brought: NDArray[np.float64]
    nearest: NDArray[np.int64]
    distance: NDArray[np.float64]


def choose_explainer(candidates: Iterable[Explainer]) -> Explainer | None:
    """Returns the first candidate with a transport plan, else the first with vectors (which then
    explains by cosine), else None.
    """
    first: Explainer | None = None
    for candidate in candidates:
        if 0 in candidate.pool.shape:
            continue
        if candidate.has_plan:
            return candidate
        first = first or replace(candidate, selector=None)
    return first


def explain(
    pool: Corpus,
    selection: Selection,
    rows: NDArray[np.int64],
    clusters: NDArray[np.int64],
    explainers: Sequence[Explainer],
) -> Explanations:
    """Returns the explanation of each selected document and the coverage of each target text.

    Args:
        pool: the pool.
        selection: the selection.
        rows: (k,) rows of the selected documents in the pool, best first.
        clusters: (n,) smallest row of each document's cluster of near copies.
        explainers: one per target that documents were chosen toward; none for a method without
            vectors.
    """
    picks = _pick_rows(pool, selection, rows, clusters)
    targets: list[dict[str, Any]] = []
    coverage: dict[str, CoverageSummary] = {}
    for explainer in explainers:
        several = len(explainers) > 1
        mark = {"of": explainer.target} if several else {}
        sample = np.arange(min(SAMPLE, len(explainer.pool)))
        means = [float(plan.costs.mean()) for plan in explainer.plans(sample, 1.0)]
        mean_cost = float(np.mean(means))
        traced = target_coverage(explainer.plans(rows, SOFTNESS * mean_cost), LISTED)
        far, limit = uncovered(traced, mean_cost)
        mine = _target_rows(explainer.documents, selection, traced, far)
        targets += [{**row, **mark} for row in mine]
        for place, pick in enumerate(picks):
            near = zip(
                traced.targets[place], traced.shares[place], traced.costs[place], strict=True
            )
            pick.setdefault("targets", []).extend(
                {"id": mine[at]["id"], "share": float(share), "cost": float(cost)}
                | {"text": mine[at]["text"], **mark}
                for at, share, cost in near
            )
        if explainer.selector is not None:
            g = -torch.from_numpy(explainer.scores)
            for name, numbers in (("potential", g), ("gradient", calibrate(g))):
                for pick, number in zip(picks, numbers[rows].tolist(), strict=True):
                    if several:
                        pick.setdefault(name, {})[explainer.target] = number
                    else:
                        pick[name] = number
        running = np.cumsum(np.sort(traced.mass)[::-1])
        coverage[explainer.target] = CoverageSummary(
            how="cosine" if explainer.selector is None else "plan",
            member=explainer.member,
            targets=len(mine),
            uncovered=int(far.sum()),
            limit=limit,
            near=float(np.median(traced.least)),
            mean_cost=mean_cost,
            half=int(np.searchsorted(running, running[-1] / 2)) + 1,
        )
    return Explanations(picks, targets, coverage)


def _pick_rows(
    pool: Corpus, selection: Selection, rows: NDArray[np.int64], clusters: NDArray[np.int64]
) -> list[dict[str, Any]]:
    ids, domains = pool.ids, pool.domains
    sizes = np.bincount(clusters, minlength=len(clusters))
    selected = np.bincount(clusters[rows], minlength=len(clusters))
    return [
        {
            "id": ids[row],
            "rank": rank,
            "score": float(selection.scores[rank - 1]),
            "domain": domains[row],
            "cluster": ids[clusters[row]],
            "copies_in_pool": int(sizes[clusters[row]]) - 1,
            "copies_chosen": int(selected[clusters[row]]) - 1,
        }
        for rank, row in enumerate(rows.tolist(), start=1)
    ]


def _target_rows(
    documents: Corpus, selection: Selection, traced: Coverage, far: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    return [
        {
            "id": key,
            "text": shorten(text, TEXT),
            "mass": float(traced.mass[at]),
            "nearest": {
                "id": selection.ids[traced.nearest[at]],
                "cost": float(traced.distance[at]),
            },
            "covered_by": [
                {"id": selection.ids[place], "share": float(share)}
                for place, share in zip(traced.sources[at], traced.brought[at], strict=True)
                if share > 0
            ],
            "uncovered": bool(far[at]),
        }
        for at, (key, text) in enumerate(zip(documents.ids, documents.texts, strict=True))
    ]


def cosine_plan(documents: Any, targets: Any, *, epsilon: float) -> Plan:
    """Returns soft nearest targets by cosine, for methods whose scores come from no plan.

    Shares are the softmax over i of -C_ij / epsilon with C = 1 - cosine. A vector of zeros has
    cosine 0 to all.

    Args:
        documents: (b, d), dense or CSR.
        targets: (M, d), likewise.
        epsilon: absolute, above 0.
    """
    product: Any = unit(documents, np.float32) @ unit(targets, np.float32).T
    dense: Any = product.toarray() if hasattr(product, "toarray") else product
    costs = torch.from_numpy(np.asarray(1 - dense, dtype=np.float32)).clamp_min(0)
    return Plan(torch.softmax(-costs / epsilon, 1), costs)


def target_coverage(plans: Iterable[Plan], top: int) -> Coverage:
    """Returns the mass between selected documents and targets.

    Args:
        plans: the plan of the documents, batch after batch; k x M numbers are never held.
        top: how many targets per document and documents per target are listed.
    """
    rows: list[tuple[torch.Tensor, ...]] = []
    best = sources = nearest = distance = mass = torch.empty(0)
    first = 0
    for plan in plans:
        shares, costs = plan.shares.double().cpu(), plan.costs.double().cpu()
        value, index = shares.topk(min(top, shares.shape[1]), dim=1)
        rows.append((index, value, costs.gather(1, index), costs.amin(1)))
        batch_best, at = shares.T.topk(min(top, len(shares)), dim=1)
        batch_distance, where = costs.min(0)
        if first == 0:
            mass, best, sources = shares.sum(0), batch_best, at
            nearest, distance = where, batch_distance
        else:
            mass = mass + shares.sum(0)
            both, places = torch.cat([best, batch_best], 1), torch.cat([sources, at + first], 1)
            best, order = both.topk(min(top, both.shape[1]), dim=1)
            sources = places.gather(1, order)
            closer = batch_distance < distance
            nearest = torch.where(closer, where + first, nearest)
            distance = torch.where(closer, batch_distance, distance)
        first += len(shares)
    brought = torch.where(mass[:, None] > 0, best / mass[:, None], 0.0)
    index, value, cost, least = (torch.cat(column) for column in zip(*rows, strict=True))
    return Coverage(
        targets=index.numpy(),
        shares=value.numpy(),
        costs=cost.numpy(),
        least=least.numpy(),
        mass=(mass * len(mass) / mass.sum()).numpy(),
        sources=sources.numpy(),
        brought=brought.numpy(),
        nearest=nearest.numpy(),
        distance=distance.numpy(),
    )


def uncovered(coverage: Coverage, mean_cost: float) -> tuple[NDArray[np.bool_], float]:
    """Returns which targets no selected document is near to, (M,), and the limit of the cost.

    A target is uncovered if the cost of its nearest document exceeds near + `FAR` (mean - near),
    where near is the median cost of a document to its own nearest target and mean is the mean cost
    between pool and target. Received mass does not show this: a balanced plan sends every target
    its mass at whatever cost.

    Args:
        coverage: the coverage of the targets.
        mean_cost: mean cost between pool and target.
    """
    near = float(np.median(coverage.least))
    limit = near + FAR * max(mean_cost - near, 0.0)
    return coverage.distance > limit, limit
