"""How much may be chosen, and what was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from shortlist.errors import ForeignFeatures, InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core.corpus import Corpus


@dataclass(frozen=True)
class Budget:
    """How much may be selected: `amount` documents, or tokens where `unit` says so."""

    amount: int
    unit: Literal["documents", "tokens"] = "documents"

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise InvalidInput(
                f"budget must be at least 1 {self.unit.rstrip('s')}, found {self.amount}; set budget=N"
            )


@dataclass(frozen=True)
class Selection:
    """The documents that were chosen, best first.

    Attributes:
        ids: (k,) ids; may repeat where the method samples with replacement.
        scores: (k,) score of each; larger was chosen first.
        corpus: fingerprint of the pool it was chosen from.
        budget: what was asked for.
        why: one sentence on how they were chosen.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.float64]
    corpus: str
    budget: Budget
    why: str

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.scores):
            raise InvalidInput(
                f"a selection needs one score per id, found {len(self.ids)} ids, "
                f"{len(self.scores)} scores"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def sha256(self) -> str:
        """Hash of the ids in order: equal hashes train equal models.

        After the ids come as many float64 ones, the weights that records of earlier versions hash.
        """
        state = hashlib.sha256("\n".join(self.ids).encode())
        state.update(np.ones(len(self.ids)).tobytes())
        return state.hexdigest()

    def of(self, corpus: Corpus) -> Corpus:
        """Returns the chosen documents out of the pool, best first.

        Raises:
            ForeignFeatures: `corpus` is not the pool the selection was made from.
        """
        if self.corpus != corpus.fingerprint:
            raise ForeignFeatures(
                f"selection was made from pool {self.corpus[:12]}, found pool {corpus.fingerprint[:12]}; "
                "select from this pool again"
            )
        row = {key: index for index, key in enumerate(corpus.ids)}
        return corpus.take([row[key] for key in self.ids])
