"""Distillation of a method's scores into one file, the fidelity of that file, and its opening.

A scorer file is one safetensors file: arrays, and JSON under `shortlist` in its header. One file is
copied, attached and uploaded whole, any safetensors reader shows what it is, and nothing in it is
executed. A fastText classifier is a `.bin` file of fastText's own.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.special import ndtri
from scipy.stats import rankdata

from shortlist.errors import InvalidInput, Missing
from shortlist.kernels.hashing import splitmix64
from shortlist.store.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus

FORMAT = 1  # of the files; raised when older programs could not read them
MOST_BYTES = 50_000_000
TOP = 0.01  # share of the held-out documents whose recall is reported
LEAST = 5  # documents that are learned from, and that are held out
_QUANTILES = 1001


@dataclass(frozen=True)
class Fidelity:
    """How well a scorer repeats the method on documents that it has not learned from.

    Attributes:
        trained: documents that were learned from.
        held_out: documents that were not; the others follow from these.
        spearman: rank correlation of the scorer with the method.
        top_recall: share of the method's best 1 % that are among the scorer's best 1 %; at least
            one document each.
    """

    trained: int
    held_out: int
    spearman: float
    top_recall: float


@dataclass(frozen=True)
class Description:
    """What a scorer file says of itself.

    Attributes:
        kind: the class that opens it: `linear`, `static` or `fasttext`.
        settings: how texts are read.
        fidelity: measured on held-out documents; None where it is not known.
        made: method, task, pool and whatever else it was made of, by name.
        quantiles: scores of the held-out documents at even steps from the smallest to the largest.
    """

    kind: str
    settings: Mapping[str, Any]
    fidelity: Fidelity | None = None
    made: Mapping[str, str] = field(default_factory=dict[str, str])
    quantiles: tuple[float, ...] = ()

    def percentiles(self, scores: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Returns the (n,) shares of the held-out documents with a smaller score, from 0 to 1; None
        where the file does not hold their scores.
        """
        if not self.quantiles:
            return None
        return np.interp(scores, self.quantiles, np.linspace(0, 1, len(self.quantiles)))


@dataclass(frozen=True)
class Scorer(ABC):
    """A function from texts to scores; larger is chosen first.

    Attributes:
        description: what its file says.
    """

    description: Description

    @abstractmethod
    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns the (n,) scores; none is NaN, and beyond rounding none depends on other texts."""

    @abstractmethod
    def write(self, path: Path) -> None:
        """Writes the file."""


@dataclass(frozen=True)
class Hints:
    """What a method knows beside its scores; no distiller needs it, some learn more by it.

    Attributes:
        vectors: (n, d) dense vectors of the documents, or None.
        target: texts of the target.
    """

    vectors: NDArray[Any] | None = None
    target: Sequence[str] = ()

    def of(self, rows: NDArray[np.int64]) -> Hints:
        """Returns the hints on these documents."""
        return self if self.vectors is None else replace(self, vectors=self.vectors[rows])


NO_HINTS = Hints()


class Distiller(ABC):
    """Learns a scorer from texts and numbers.

    Attributes:
        version: raised when the same settings would give another scorer.
        suffix: ending of the file's name.
    """

    version: ClassVar[int] = 1
    suffix: ClassVar[str] = ".safetensors"

    def identity(self) -> dict[str, str]:
        """Returns digests of what is read besides texts and scores, by name."""
        return {}

    @abstractmethod
    def learn(
        self, texts: Sequence[str], wanted: NDArray[np.float64], hints: Hints = NO_HINTS
    ) -> Scorer:
        """Returns the scorer.

        Args:
            texts: the n documents.
            wanted: (n,) normal scores of the method's ranks, see `normal_scores`.
            hints: what else the method knows of the documents.
        """


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


def write_arrays(path: Path, description: Description, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes a scorer file in one step."""
    header = {"format": FORMAT, **asdict(description)}
    tensors = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    content = save(tensors, {"shortlist": json.dumps(header, sort_keys=True)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_arrays(path: Path) -> tuple[Description, dict[str, NDArray[Any]]]:
    """Returns the description of a scorer file and its arrays.

    Raises:
        Missing: there is no such file.
        InvalidInput: it is no scorer file, or one of a later format.
    """
    if not path.is_file():
        raise Missing(f"--scorer: expected a scorer file, found no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["shortlist"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        form = header.pop("format")
        if form != FORMAT:
            raise InvalidInput(
                f"{path}: expected a scorer file of format {FORMAT}, found format {form}; install "
                "the version of shortlist that wrote it"
            )
        known = header.pop("fidelity")
        quantiles = tuple(map(float, header.pop("quantiles")))
        measured = None if known is None else Fidelity(**known)
        return Description(**header, fidelity=measured, quantiles=quantiles), arrays
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{path}: expected a scorer file (distil=linear or static writes one), found another: "
            f"{type(error).__name__}: {error}"
        ) from error
