"""A scorer file of the scores of a cell, as a stage."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.distil.base import Fidelity, Hints
from shortlist.distil.distillation import distil
from shortlist.pipeline.stage import Cell, Notes
from shortlist.store.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.pipeline.selection import Ranking

log = logging.getLogger(__name__)

SCORER = "scorer"  # name of the file, before the ending of its kind


def distil_scores(cell: Cell, ranking: Ranking) -> Notes:
    """Returns the fidelity of the scorer file that `distil` asks for; the file is copied into the
    directory of the run.
    """
    distiller, candidates = cell.parts.distiller, ranking.candidates
    if distiller is None:
        return Notes()
    name, targets = f"{SCORER}{distiller.suffix}", list(ranking.spec.weights)
    method = type(ranking.selector).__name__

    def compute(directory: Path) -> dict[str, Any]:
        values = ranking.combined.total.values
        made = {
            "method": method,
            "targets": ", ".join(targets),
            "pool": candidates.corpus.fingerprint,
        }
        done = distil(
            distiller, candidates.corpus, values, directory / name, made=made, hints=_hints(ranking)
        )
        return done.facts

    settings = {
        "distil": cell.settings["distil"],
        "selector": ranking.settings,
        "version": ranking.selector.version,
        "weights": ranking.spec.weights,
    }
    inputs = ranking.inputs | {f"read_{one}": key for one, key in distiller.identity().items()}
    stage = cell.stage("distil", distiller.version, settings, inputs, compute)
    path = cell.directory / name
    with replacing(path) as temporary:
        shutil.copyfile(stage.path / name, temporary)
    facts = stage.facts
    log.info("scorer     %s  %.1f MB; %s", path, facts["bytes"] / 1e6, Fidelity.of(facts))
    return Notes(stages=(stage,), selection={"distil": dict(facts)})


def _hints(ranking: Ranking) -> Hints:
    """Returns the dense vectors of the first method and the texts of its target, where it has
    them.
    """
    methods = next(iter(ranking.scores.methods.values()))
    fitted = next(iter(methods.values()))
    values = fitted.candidates.features.values
    dense = isinstance(values, np.ndarray) and values.shape[1] > 0
    aware = fitted.method.selector.traits.target_aware
    return Hints(
        np.asarray(values) if dense else None, fitted.target.corpus.joined() if aware else ()
    )
