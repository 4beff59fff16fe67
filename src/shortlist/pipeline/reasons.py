"""Why these documents: near copies in the pool, who serves whom, and where everything lies.

These are views of a selection. They are kept in the store under keys of their own and enter no
record, so that a cell is the same with and without them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

from shortlist.diagnostics.datasheet.words import shortened
from shortlist.ot import calibrate
from shortlist.ot.explanation import cosine_plan, left_without, trace
from shortlist.pipeline.scoring import aims_of
from shortlist.store import formats
from shortlist.store.atomic import write_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus, Selection
    from shortlist.ot.explanation import Plan
    from shortlist.pipeline.context import Context
    from shortlist.pipeline.scoring import Judge
    from shortlist.selectors.base import Selector
    from shortlist.store.cache import Artifact

LISTED = 3  # targets of a pick, and picks of a target
TEXT = 200  # characters of a listed text
BATCH = 512  # picks at a time
SAMPLE = 1000  # pool documents that the mean cost is measured on; first by id, hence uniform
SOFTNESS = 0.01  # epsilon of soft nearest targets, as a fraction of the mean cost
MAPPED = {"pool": 1500, "target": 400, "picks": 500}


def find_copies(cell: Context, pool: Artifact) -> Artifact:
    """Returns the pool's clusters of near copies: `labels.npy`, the smallest row of each."""

    def compute(directory: Path) -> dict[str, Any]:
        from shortlist.data.duplicates import clusters  # numba takes a third of a second to import

        found = clusters(formats.load_corpus(pool.path / "corpus.arrow").texts)
        np.save(directory / "labels.npy", found.labels)
        return {"clusters": len(np.unique(found.labels)), "not_compared": found.not_compared}

    inputs = {"corpus": pool.facts["fingerprint"]}
    return cell.store.stage("clusters", 1, {}, inputs, compute)


class Lens(NamedTuple):
    """The method whose eyes the reasons are given through, for one target.

    Attributes:
        aim: the target.
        name: of the member, `""` for a method that stands alone.
        judge: the method and its artifacts.
        fitted: the method with what it learned for this target, if it has a transport plan; else
            None, and the nearest targets by cosine are told.
    """

    aim: str
    name: str
    judge: Judge
    fitted: Selector | None


def choose_lenses(cell: Context) -> list[Lens]:
    """Returns a lens for each target that documents were chosen toward: the first method with a
    transport plan, else the first with vectors; none where there are no vectors.
    """
    toward = aims_of(cell).toward or list(cell.judges)[:1]
    found = [_lens(aim, cell.judges[aim]) for aim in toward]
    return [lens for lens in found if lens is not None]


def _lens(aim: str, judges: Mapping[str, Judge]) -> Lens | None:
    seen: Lens | None = None
    for name, judge in judges.items():
        values = formats.load_features(judge.pool.path).values
        if 0 in (values.shape or (0,)):
            continue
        if isinstance(values, np.ndarray):
            fitted = copy.deepcopy(judge.method.selector)
            fitted.restore(load_file(judge.fitted.path / "fitted.safetensors"))
            if fitted.plan(torch.from_numpy(np.array(values[:1]))) is not None:
                return Lens(aim, name, judge, fitted)
        seen = seen or Lens(aim, name, judge, None)
    return seen


def explain(
    cell: Context, lenses: Sequence[Lens], pool: Artifact, selection: Artifact, copies: Artifact
) -> Artifact:
    """Returns `reasons.jsonl`, a line a pick, and `targets.jsonl`, a line a target document.

    Of a method without vectors there are no targets to tell. Of several targets each is told by
    its own plan: its texts are marked by `of`, and potentials and gradients are by its name. The
    facts are the sums over each target's texts, by its name.
    """

    def compute(directory: Path) -> dict[str, Any]:
        documents = formats.load_corpus(pool.path / "corpus.arrow")
        chosen = formats.load_selection(selection.path / "selection.parquet")
        row = {key: index for index, key in enumerate(documents.ids)}
        rows = np.array([row[key] for key in chosen.ids])
        lines = _picks(documents, chosen, rows, np.load(copies.path / "labels.npy"))
        facts: dict[str, Any] = {}
        served: list[dict[str, Any]] = []
        for lens in lenses:
            targets = formats.load_corpus(lens.judge.targets)
            mine, told, facts[lens.aim] = _serve(lens, chosen, rows, targets)
            several = len(lenses) > 1
            mark = {"of": lens.aim} if several else {}
            served += [{**line, **mark} for line in mine]
            for line, own in zip(lines, told, strict=True):
                line.setdefault("targets", []).extend({**one, **mark} for one in own["targets"])
                for name in ("potential", "gradient"):
                    if name in own and several:
                        line.setdefault(name, {})[lens.aim] = own[name]
                    elif name in own:
                        line[name] = own[name]
        if lenses:
            write_jsonl(directory / "targets.jsonl", served)
        write_jsonl(directory / "reasons.jsonl", lines)
        return facts

    inputs = {"selection": selection.key, "copies": copies.key}
    for lens in lenses:
        inputs[f"fit.{lens.aim}"] = lens.judge.fitted.key
        inputs[f"scores.{lens.aim}"] = lens.judge.scores.key
    return cell.store.stage("reasons", 2, {}, inputs, compute)


def _picks(
    documents: Corpus, chosen: Selection, rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> list[dict[str, Any]]:
    ids, domains = documents.ids, documents.domains
    sizes = np.bincount(labels, minlength=len(labels))
    taken = np.bincount(labels[rows], minlength=len(labels))
    return [
        {
            "id": ids[at],
            "rank": rank,
            "score": float(chosen.scores[rank - 1]),
            "domain": domains[at],
            "cluster": ids[labels[at]],
            "copies_in_pool": int(sizes[labels[at]]) - 1,
            "copies_chosen": int(taken[labels[at]]) - 1,
        }
        for rank, at in enumerate(rows.tolist(), start=1)
    ]


def _serve(
    lens: Lens,
    chosen: Selection,
    rows: NDArray[np.int64],
    targets: Corpus,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Returns the line of each target text, what each pick's line says of whom it serves, and the
    sums.
    """
    some = np.arange(min(SAMPLE, len(formats.load_features(lens.judge.pool.path))))
    mean = float(np.mean([float(plan.costs.mean()) for plan in _plans(lens, some, 1.0)]))
    plans = _plans(lens, rows, SOFTNESS * mean)
    traced = trace(plans, np.ones(len(rows)), LISTED)
    without, limit = left_without(traced, mean)
    ids = targets.ids
    texts = [shortened(text, TEXT) for text in targets.texts]
    told: list[dict[str, Any]] = [
        {
            "targets": [
                {"id": ids[at], "share": float(share), "cost": float(cost), "text": texts[at]}
                for at, share, cost in zip(near.tolist(), shares, costs, strict=True)
            ]
        }
        for near, shares, costs in zip(traced.targets, traced.shares, traced.costs, strict=True)
    ]
    if lens.fitted is not None:
        g = -torch.from_numpy(np.load(lens.judge.scores.path / "scores.npy"))
        gradients = calibrate(g)[rows].tolist()
        for line, potential, gradient in zip(told, g[rows].tolist(), gradients, strict=True):
            line |= {"potential": potential, "gradient": gradient}
    served = [
        {
            "id": ids[at],
            "text": texts[at],
            "mass": float(traced.mass[at]),
            "nearest": {
                "id": chosen.ids[traced.nearest[at]],
                "cost": float(traced.distance[at]),
            },
            "served_by": [
                {"id": chosen.ids[pick], "share": float(share)}
                for pick, share in zip(traced.servers[at], traced.brought[at], strict=True)
                if share > 0
            ],
            "left_without": bool(without[at]),
        }
        for at in range(len(ids))
    ]
    running = np.cumsum(np.sort(traced.mass)[::-1])
    return (
        served,
        told,
        {
            "how": "plan" if lens.fitted is not None else "cosine",
            "member": lens.name,
            "targets": len(ids),
            "left_without": int(without.sum()),
            "limit": limit,
            "near": float(np.median(traced.least)),
            "mean_cost": mean,
            "half": int(np.searchsorted(running, running[-1] / 2)) + 1,
        },
    )


def _plans(lens: Lens, rows: NDArray[np.int64], epsilon: float) -> Iterator[Plan]:
    """Yields the plan of documents of the pool, batch after batch."""
    pool: Any = formats.load_features(lens.judge.pool.path).values
    target: Any = formats.load_features(lens.judge.target.path).values
    for start in range(0, len(rows), BATCH):
        batch = pool[rows[start : start + BATCH]]
        plan = (
            lens.fitted.plan(torch.from_numpy(np.array(batch, dtype=np.float32)))
            if lens.fitted is not None
            else cosine_plan(batch, target, epsilon=epsilon)
        )
        if plan is not None:
            yield plan


def locate(cell: Context, lenses: Sequence[Lens], pool: Artifact, selection: Artifact) -> Artifact:
    """Returns the map: `places.npy` of a sample of the pool, of the target and of the picks.

    The samples of pool and target decide the axes; both are the first by id, hence uniform. Of the
    picks every n-th is shown, best first. Several targets share the places of one; where each has
    a space of its own (vectors tuned on it), the first is shown.
    """
    judge = lenses[0].judge
    aimed = [lens.judge.target for lens in lenses if lens.judge.pool.key == judge.pool.key]

    def compute(directory: Path) -> dict[str, Any]:
        from scipy.sparse import vstack

        from shortlist.diagnostics.projection import plane

        every: Any = formats.load_features(judge.pool.path).values
        targets: list[Any] = [formats.load_features(made.path).values for made in aimed]
        chosen = formats.load_selection(selection.path / "selection.parquet")
        keys = formats.load_corpus(pool.path / "corpus.arrow").ids
        row = {key: index for index, key in enumerate(keys)}
        shown = min(MAPPED["picks"], len(chosen))
        spread = np.linspace(0, len(chosen) - 1, shown).round().astype(int)
        picks = every[[row[chosen.ids[at]] for at in spread]]
        some = [one[: MAPPED["target"] // len(targets)] for one in targets]
        parts = [every[: MAPPED["pool"]], *some, picks]
        dense = isinstance(every, np.ndarray)
        values: Any = np.concatenate(parts) if dense else vstack(parts, format="csr")
        shares = [int(part.shape[0]) for part in parts]
        sizes = [shares[0], sum(shares[1:-1]), shares[-1]]
        found = plane(values, sizes[0] + sizes[1])
        np.save(directory / "places.npy", found.places.astype(np.float32))
        everyone = sum(int(one.shape[0]) for one in targets)
        totals = [int(every.shape[0]), everyone, len(chosen)]
        return {"sizes": sizes, "totals": totals, "explained": found.explained.tolist()}

    inputs = {"selection": selection.key, "pool": judge.pool.key}
    inputs |= {f"target.{number}": made.key for number, made in enumerate(aimed)}
    return cell.store.stage("map", 1, {}, inputs, compute)
