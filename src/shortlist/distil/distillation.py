"""Distillation of a method's scores into one scorer file, and the fidelity of that file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from shortlist.distil.base import NO_HINTS, Distiller, Fidelity, Hints
from shortlist.errors import InvalidInput
from shortlist.kernels.hashing import splitmix64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from shortlist.core import Corpus

MOST_BYTES = 50_000_000
TOP = 0.01  # share of the held-out documents whose recall is reported
LEAST = 5  # documents that are learned from, and that are held out
_QUANTILES = 1001


@dataclass(frozen=True)
class Distilled:
    """A scorer file.

    Attributes:
        path: where it is.
        bytes: its size.
        fidelity: how well it repeats the method.
        left_out: documents without a score of the method (leaks, say), which took no part.
    """

    path: Path
    bytes: int
    fidelity: Fidelity
    left_out: int

    @property
    def facts(self) -> dict[str, Any]:
        """The fields but the path, for a record."""
        return {**asdict(self.fidelity), "bytes": self.bytes, "left_out": self.left_out}


def distil(
    distiller: Distiller,
    documents: Corpus,
    scores: NDArray[np.float64],
    path: Path,
    *,
    held_out: float = 0.2,
    made: Mapping[str, str] | None = None,
    hints: Hints = NO_HINTS,
) -> Distilled:
    """Returns the scorer file that `distiller` learns from the scores of a method.

    The scorer is learned from the normal scores of the ranks, which a monotone change of the scores
    does not move and in which outliers weigh no more than their rank. Documents are held out by a
    hash of their id: the order of rows has no effect.

    Args:
        distiller: what is learned.
        documents: the n documents.
        scores: (n,) scores; -inf marks documents that take no part.
        path: where the file is written; its ending is `distiller.suffix`.
        held_out: share of the documents by which the fidelity is measured.
        made: what the scores were made of, by name, for the file.
        hints: what else the method knows of the documents.

    Raises:
        InvalidInput: there are too few documents, a score is NaN, all scores are equal, or the file
            would be larger than `MOST_BYTES`.
        Missing: a package is not installed.
    """
    if scores.shape != (len(documents),) or np.isnan(scores).any():
        raise InvalidInput(
            f"distil: expected {len(documents):,} scores that are numbers, found shape "
            f"{scores.shape} with {int(np.isnan(scores).sum()):,} NaN; score the pool again"
        )
    scored = scores > -np.inf
    aside = is_held_out(documents.id_bits(), held_out)
    train, test = np.flatnonzero(scored & ~aside), np.flatnonzero(scored & aside)
    if min(len(train), len(test)) < LEAST:
        raise InvalidInput(
            f"distil: expected {LEAST} documents to learn from and {LEAST} to hold out, found "
            f"{len(train):,} and {len(test):,}; take a larger pool"
        )
    if np.ptp(scores[train]) == 0 or np.ptp(scores[test]) == 0:
        raise InvalidInput("distil: expected different scores, found one; choose another method")
    texts = documents.joined()
    wanted, known = normal_scores(scores[train]), hints.of(train)
    scorer = distiller.learn([texts[row] for row in train], wanted, known)
    found = scorer.score([texts[row] for row in test])
    measured = fidelity(found, scores[test], len(train))
    quantiles = tuple(np.quantile(found, np.linspace(0, 1, _QUANTILES)).tolist())
    described = replace(
        scorer.description, fidelity=measured, made=dict(made or {}), quantiles=quantiles
    )
    replace(scorer, description=described).write(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        path.unlink()
        raise InvalidInput(
            f"{path}: expected a file of at most {MOST_BYTES // 10**6} MB, found {size / 1e6:,.0f} MB; "
            "set fewer buckets (distil.buckets)"
        )
    return Distilled(path, size, measured, int((~scored).sum()))


def is_held_out(id_bits: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Returns (n,) whether documents are held out: a hash of the id, so that those whose ids begin
    alike (a sample by id) are not held out together.
    """
    return splitmix64(id_bits).astype(np.float64) < share * 2.0**64


def normal_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the (n,) normal quantiles at (rank - 1/2) / n; equal scores share their mean rank."""
    return ndtri((rankdata(scores) - 0.5) / len(scores))


def fidelity(found: NDArray[np.float64], scores: NDArray[np.float64], trained: int) -> Fidelity:
    """Returns the fidelity of (n,) scores of a scorer to those of the method.

    Args:
        found: the scorer's.
        scores: the method's.
        trained: documents that were learned from.
    """
    n = len(scores)
    top = max(round(TOP * n), 1)
    best, chosen = (set(np.argsort(-one, kind="stable")[:top].tolist()) for one in (scores, found))
    with np.errstate(invalid="ignore"):  # a constant scorer has no correlation: 0
        spearman = np.corrcoef(rankdata(found), rankdata(scores))[0, 1]
    return Fidelity(trained, n, float(np.nan_to_num(spearman)), len(best & chosen) / top)
