"""Explanations, clusters of near copies and map of a cell's selection: stages that enter no record."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file

from shortlist.diagnostics.explanations import Explainer, choose_explainer, explain
from shortlist.diagnostics.projection import project_selection
from shortlist.pipeline.scoring import aims_of
from shortlist.store import formats
from shortlist.store.atomic import write_jsonl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.pipeline.context import Context
    from shortlist.pipeline.scoring import Judge
    from shortlist.store.cache import Artifact


def find_copies(cell: Context, pool: Artifact) -> Artifact:
    """Returns the pool's clusters of near copies: `labels.npy`, the smallest row of each."""

    def compute(directory: Path) -> dict[str, Any]:
        from shortlist.data.duplicates import clusters  # numba takes a third of a second to import

        found = clusters(formats.load_corpus(pool.path / "corpus.arrow").texts)
        np.save(directory / "labels.npy", found.labels)
        return {"clusters": len(np.unique(found.labels)), "not_compared": found.not_compared}

    inputs = {"corpus": pool.facts["fingerprint"]}
    return cell.store.stage("clusters", 1, {}, inputs, compute)


def explainers(cell: Context) -> list[Explainer]:
    """Returns the explainer of each target that documents were chosen toward, where there is one."""
    toward = aims_of(cell).toward or list(cell.judges)[:1]
    found = [choose_explainer(_candidates(target, cell.judges[target])) for target in toward]
    return [explainer for explainer in found if explainer is not None]


def _candidates(target: str, judges: Mapping[str, Judge]) -> Iterator[Explainer]:
    for member, judge in judges.items():
        fitted = copy.deepcopy(judge.method.selector)
        fitted.restore(load_file(judge.fitted.path / "fitted.safetensors"))
        yield Explainer(
            target,
            member,
            formats.load_corpus(judge.targets),
            formats.load_features(judge.pool.path),
            formats.load_features(judge.target.path),
            np.load(judge.scores.path / "scores.npy"),
            fitted,
        )


def explained(
    cell: Context,
    through: Sequence[Explainer],
    pool: Artifact,
    selection: Artifact,
    copies: Artifact,
) -> Artifact:
    """Returns `reasons.jsonl`, a row a pick, and `targets.jsonl`, a row a target text."""

    def compute(directory: Path) -> dict[str, Any]:
        documents = formats.load_corpus(pool.path / "corpus.arrow")
        chosen = formats.load_selection(selection.path / "selection.parquet")
        labels = np.load(copies.path / "labels.npy")
        made = explain(documents, chosen, rows_of(documents.ids, chosen.ids), labels, through)
        if through:
            write_jsonl(directory / "targets.jsonl", made.targets)
        write_jsonl(directory / "reasons.jsonl", made.picks)
        return {target: asdict(summary) for target, summary in made.coverage.items()}

    inputs = {"selection": selection.key, "copies": copies.key}
    for explainer in through:
        judge = cell.judges[explainer.target][explainer.member]
        inputs[f"fit.{explainer.target}"] = judge.fitted.key
        inputs[f"scores.{explainer.target}"] = judge.scores.key
    return cell.store.stage("reasons", 3, {}, inputs, compute)


def drawn_map(
    cell: Context, through: Sequence[Explainer], pool: Artifact, selection: Artifact
) -> Artifact:
    """Returns the map: `places.npy` of samples of the pool, of the targets and of the selection.

    Where targets have vectors of their own (tuned on each), the first is shown.
    """
    judges = [cell.judges[explainer.target][explainer.member] for explainer in through]
    shown = [at for at, judge in enumerate(judges) if judge.pool.key == judges[0].pool.key]

    def compute(directory: Path) -> dict[str, Any]:
        ids = formats.load_corpus(pool.path / "corpus.arrow").ids
        chosen = formats.load_selection(selection.path / "selection.parquet")
        targets = [through[at].features.values for at in shown]
        made = project_selection(through[0].pool.values, targets, rows_of(ids, chosen.ids))
        np.save(directory / "places.npy", made.places)
        return {"sizes": made.sizes, "totals": made.totals, "explained": made.explained}

    inputs = {"selection": selection.key, "pool": judges[0].pool.key}
    inputs |= {f"target.{number}": judges[at].target.key for number, at in enumerate(shown)}
    return cell.store.stage("map", 1, {}, inputs, compute)


def rows_of(pool: Sequence[str], selected: Sequence[str]) -> NDArray[np.int64]:
    """Returns the (k,) rows in the pool of the selected ids."""
    row = {key: index for index, key in enumerate(pool)}
    return np.array([row[key] for key in selected])
