"""What a distiller learns: a scorer of texts, and what its file says of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


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

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Returns the fidelity that a record or a file holds among other facts."""
        return cls(**{one.name: facts[one.name] for one in fields(cls)})

    def __str__(self) -> str:
        return (
            f"Spearman {self.spearman:.3f}, recall of the top 1 % {self.top_recall:.3f} on "
            f"{self.held_out:,} held-out documents"
        )


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
