"""How varied generated texts are, so that a model that falls silent or repeats itself is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Unit = TypeVar("Unit", int, str)


def ngrams(units: Sequence[Unit], size: int) -> list[tuple[Unit, ...]]:
    """Returns all n-grams of a text, in order, repeats included; none if it is shorter than one."""
    return list(zip(*(units[start:] for start in range(size)), strict=False))


def distinct(continuations: Sequence[Sequence[Sequence[Unit]]], size: int) -> NDArray[np.float64]:
    """Returns (m,) different n-grams over all n-grams among the continuations of each prompt.

    Distinct-n of Li et al. 2016, section 5.2, by prompt as Liu et al. 2021 (DExperts), section 3.1,
    but over the number of n-grams in place of that of words, so that 1 is reached. A prompt without
    an n-gram has 0: to say nothing is not varied.

    Args:
        continuations: m prompts, of each its continuations as words or tokens.
        size: n of the n-grams.
    """
    found = np.zeros(len(continuations))
    for row, texts in enumerate(continuations):
        all_of_them = [gram for text in texts for gram in ngrams(text, size)]
        if all_of_them:
            found[row] = len(set(all_of_them)) / len(all_of_them)
    return found


def repetition(continuations: Sequence[Sequence[Sequence[Unit]]], size: int) -> NDArray[np.float64]:
    """Returns (m,) share of n-grams that stood earlier in the same continuation, by prompt: the mean
    over its continuations.

    Seq-rep-n of Welleck et al. 2020, section 6: 1 - different n-grams / n-grams. A continuation
    without an n-gram repeats nothing and has 0.

    Args:
        continuations: as for `distinct`; none may be without continuations.
        size: n of the n-grams.
    """
    shares = [[_repeated(text, size) for text in texts] for texts in continuations]
    return np.array([sum(row) / len(row) for row in shares])


def _repeated(text: Sequence[Unit], size: int) -> float:
    grams = ngrams(text, size)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
