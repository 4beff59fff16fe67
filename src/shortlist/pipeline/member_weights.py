"""Weights of the members of a composed method, learned on target texts that were held out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.pipeline.stage import Cell, Stage
from shortlist.selectors.base import TransductiveSelector
from shortlist.stats.probes import probe_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.pipeline.candidates import Candidates
    from shortlist.pipeline.scoring import FittedMethod

_LEAST = 5  # target texts that members are fitted to, and that are held out


def learn_weights(
    cell: Cell, share: float, members: Mapping[str, FittedMethod], candidates: Candidates
) -> Stage:
    """Returns the stage whose facts are the members' weights, by the share of the target's texts
    that is held out: the first by id.

    Each member is fitted again, to the other texts, and ranks the held-out ones among the pool.

    Raises:
        InvalidInput: there are too few texts, a member cannot score a text outside of the pool or
            knows the held-out ones, or no member tells them from the pool.
    """

    def compute(directory: Path) -> dict[str, Any]:
        probes: dict[str, NDArray[np.float64]] = {}
        pool: dict[str, NDArray[np.float64]] = {}
        for name, fitted in members.items():
            _check(name, fitted)
            target = fitted.target.features
            order = np.argsort(fitted.target.corpus.id_bits(), kind="stable")
            count = round(share * len(order))
            if min(count, len(order) - count) < _LEAST:
                raise InvalidInput(
                    f"selector.rule=learned needs {_LEAST} target texts to fit to and {_LEAST} to hold "
                    f"out, found {len(order) - count} and {count}; set selector.rule=mean_rank"
                )
            held, kept = (_rows(target, np.sort(part)) for part in (order[:count], order[count:]))
            selector = copy.deepcopy(fitted.method.selector).to(cell.parts.runtime.device)
            selector.show_progress = cell.parts.runtime.progress
            selector.fit(kept, fitted.candidates.features)
            for found, features in ((probes, held), (pool, fitted.candidates.features)):
                scores = selector.score_all(features, cell.parts.runtime)
                found[name] = scores if scores.ndim == 1 else scores.max(axis=1)
        known = candidates.selectable & np.all([one > -np.inf for one in pool.values()], axis=0)
        learned = probe_weights(probes, {name: one[known] for name, one in pool.items()})
        return {
            "weights": dict(learned.weights),
            "area_alone": dict(learned.alone),
            "area_together": learned.together,
            "probes": len(next(iter(probes.values()))),
        }

    settings = {
        "probes": share,
        "members": {name: dict(one.method.selector_settings) for name, one in members.items()},
        "versions": {name: one.method.selector.version for name, one in members.items()},
    }
    inputs = {"leaks": candidates.leaks.stage.key}
    for name, one in members.items():
        inputs |= {
            f"target.{name}": one.target.stage.key,
            f"pool.{name}": one.candidates.stage.key,
        }
    return cell.stage("weights", 1, settings, inputs, compute)


def _check(name: str, fitted: FittedMethod) -> None:
    needs = fitted.method.featurizer.requirements()
    if isinstance(fitted.method.selector, TransductiveSelector):
        reason = "scores the pool alone, and no text outside of it"
    elif needs.learns_from == "target" or needs.tuning is not None:
        reason = "reads vectors that have learned the whole target"
    else:
        return
    raise InvalidInput(
        f"selector.rule=learned: the member {name} {reason}; leave it out, or set "
        "selector.rule=mean_rank"
    )


def _rows(features: Features, rows: NDArray[np.int64]) -> Features:
    """Returns some rows with their documents."""
    assert features.documents is not None
    documents = features.documents.take(rows)
    return replace(
        features, values=features.values[rows], corpus=documents.fingerprint, documents=documents
    )
