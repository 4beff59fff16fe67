"""Opening of scorer files of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shortlist.distil.arrays import read_arrays
from shortlist.distil.fasttext import FasttextScorer
from shortlist.distil.linear import LinearScorer
from shortlist.distil.static import StaticScorer
from shortlist.errors import InvalidInput, near

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.distil.base import Scorer

KINDS = {"linear": LinearScorer, "static": StaticScorer}


def open_scorer(path: Path, label: str = "high") -> Scorer:
    """Returns the scorer that a file holds.

    Args:
        path: a file of `distil`, or a fastText classifier (`.bin`, `.ftz`) of anyone's.
        label: of a fastText classifier, the class whose probability is the score, without
            `__label__`.

    Raises:
        Missing: there is no such file, or the package that reads it is not installed.
        InvalidInput: it is no scorer file.
    """
    if path.suffix in (".bin", ".ftz"):
        return FasttextScorer.opened(path, label)
    description, arrays = read_arrays(path)
    kind = KINDS.get(description.kind)
    if kind is None:
        raise InvalidInput(
            f"{path}: expected a scorer of a known kind, found {description.kind!r}; "
            f"{near(description.kind, KINDS)}"
        )
    try:
        return kind.of(description, arrays)
    except KeyError as error:
        raise InvalidInput(
            f"{path}: it lacks the array {error} of a scorer of kind {description.kind}; make it again"
        ) from error
