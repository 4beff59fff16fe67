"""Splits of a task and samples of documents, by hashes of content and seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.readers import RejectedRow
from shortlist.errors import InvalidInput

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
PROTECTED: tuple[Split, ...] = ("validation", "test")  # splits whose texts may not be selected


@dataclass(frozen=True)
class TaskData:
    """The splits of a task.

    Attributes:
        train: labelled examples to fine-tune on (unlabelled texts for an unlabelled task).
        validation: labelled examples apart from train, which decide which epoch is kept; pool
            documents that repeat one are never selected.
        test: labelled examples to measure on; an unlabelled task: texts to measure the loss on,
            none where none are held out.
        target: the training inputs without labels: the text that a selection should help with.
        labels: class names in the order of the model's outputs; None where there are no classes.
        counts: rows by fate and other counts, by name.
        quarantined: the rejected rows.
        revision: the commit the data come from, where they come from a hub.
        warnings: what limits the numbers that are measured on the data.
    """

    train: Corpus
    validation: Corpus
    test: Corpus
    target: Corpus
    labels: tuple[str, ...] | None
    counts: Mapping[str, int]
    quarantined: tuple[RejectedRow, ...] = ()
    revision: str = ""
    warnings: tuple[str, ...] = ()

    def split(self, name: Split) -> Corpus:
        """Returns the split called `name`."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def draw(key: str, seed: int) -> int:
    """Returns a number in [0, 2^64) that depends on `key` and `seed` alone."""
    raw = blake2b(
        key.encode("utf-8", "surrogatepass"),
        digest_size=8,
        salt=seed.to_bytes(16, "little", signed=True),
    )
    return int.from_bytes(raw.digest(), "little")


def sample_rows(ids: Sequence[str], size: int | None, seed: int) -> NDArray[np.int64]:
    """Returns the rows of a sample without replacement, ascending; all rows where `size` is None.

    The sample depends on the set of ids, not on their order; a smaller one lies within a larger
    one.

    Raises:
        InvalidInput: `size` is negative.
    """
    check_size(size)
    if size is None or size >= len(ids):
        return np.arange(len(ids))
    order = sorted(range(len(ids)), key=lambda row: (draw(ids[row], seed), ids[row]))
    return np.sort(np.array(order[:size], dtype=np.int64))


def check_size(size: int | None) -> None:
    """Refuses the size of a sample that is negative.

    Raises:
        InvalidInput: it is.
    """
    if size is not None and size < 0:
        raise InvalidInput(
            f"a sample needs a size of 0 or more, found {size}; set null to take everything"
        )


def split_of(document: str, fractions: Mapping[str, float], seed: int) -> str:
    """Returns the split that a document belongs to, by the hash of its name.

    Args:
        document: name of the document, whose passages all belong to one split.
        fractions: share of documents per split; they sum to 1.
        seed: seed of the split.

    Raises:
        InvalidInput: a fraction is negative, or they do not sum to 1.
    """
    total = sum(fractions.values())
    if abs(total - 1.0) > 1e-9 or min(fractions.values()) < 0:
        raise InvalidInput(
            f"split fractions must be 0 or more and sum to 1, found {dict(fractions)}, sum "
            f"{total:g}"
        )
    place, edge = draw(document, seed) / 2**64, 0.0
    for name, fraction in fractions.items():
        edge += fraction
        if place < edge:
            return name
    return list(fractions)[-1]  # the sum may be below 1 by a rounding error
