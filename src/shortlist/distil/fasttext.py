"""fastText classifiers of a method's best documents against the others."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.special import ndtri

from shortlist.distil.base import NO_HINTS, Description, Distiller, Hints, Scorer
from shortlist.errors import InvalidInput, Missing, near
from shortlist.settings import Count, Positive
from shortlist.store.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PREFIX, _HIGH, _LOW = "__label__", "high", "low"


@dataclass(frozen=True)
class FasttextScorer(Scorer):
    """The probability of one class of a fastText classifier.

    Attributes:
        model: the open classifier.
        label: the class.
    """

    model: Any
    label: str

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns the (n,) probabilities; a class that is not answered has probability 0."""
        cut, wanted = self.description.settings.get("max_chars"), f"{_PREFIX}{self.label}"
        scores = np.zeros(len(texts))
        for row, text in enumerate(texts):
            # Not `model.predict`: of fasttext-wheel 0.9.2 it fails under numpy 2 for one text, and
            # gives all classes of a text in a list the largest probability.
            for probability, label in self.model.f.predict(
                f"{_line(text, cut)}\n", -1, 0.0, "strict"
            ):
                if label == wanted:
                    scores[row] = probability
        return scores

    def write(self, path: Path) -> None:
        """Writes the classifier in fastText's own format, which holds no description."""
        with replacing(path) as temporary:
            self.model.save_model(str(temporary))

    @classmethod
    def opened(cls, path: Path, label: str) -> Self:
        """Returns the scorer of a `.bin` or `.ftz` file.

        Raises:
            Missing: there is no such file, or no package that reads it.
            InvalidInput: it is no classifier, or has no such class.
        """
        if not path.is_file():
            raise Missing(f"--scorer: expected a scorer file, found no file {path}")
        try:
            model = _package(f"{path}").load_model(str(path))
        except ValueError as error:
            raise InvalidInput(f"{path}: expected a fastText model, found none: {error}") from error
        known = [str(one).removeprefix(_PREFIX) for one in model.get_labels()]
        if label not in known:
            raise InvalidInput(
                f"{path}: expected a class {label!r}, {near(label, known)}; name one with --label"
            )
        return cls(Description("fasttext", {"label": label}), model, label)


@dataclass(frozen=True)
class Fasttext(Distiller):
    """A fastText classifier of the method's best documents against the others.

    Formula:
        score(x) = P(high | x), by fastText's softmax over the mean vector of the words and hashed
        n-grams of x; `high` are the documents of the best `share` by the method

    Attributes:
        share: share of the documents that are called `high`.
        max_n: n-grams of 1 to `max_n` words.
        buckets: number of buckets of n-grams of more than one word.
        dimensions: width of the vectors; the file takes 4 bytes for each of theirs.
        min_count: words of fewer occurrences are left out.
        epochs: passes over the documents.
        rate: learning rate of the first step.
        max_chars: so many characters of a document are read.
    """

    suffix = ".bin"

    share: Positive
    max_n: Count
    buckets: Count
    dimensions: Count
    min_count: Count
    epochs: Count
    rate: Positive
    max_chars: Count

    def learn(
        self, texts: Sequence[str], wanted: NDArray[np.float64], hints: Hints = NO_HINTS
    ) -> FasttextScorer:
        """Returns the scorer; one thread, so that equal texts give equal classifiers.

        Raises:
            Missing: no package that trains classifiers is installed.
        """
        fasttext = _package("distil=fasttext")
        high = wanted > ndtri(1 - self.share)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
            for text, is_high in zip(texts, high.tolist(), strict=True):
                label = _HIGH if is_high else _LOW
                file.write(f"{_PREFIX}{label} {_line(text, self.max_chars)}\n")
            file.flush()
            try:
                model = fasttext.train_supervised(
                    file.name, wordNgrams=self.max_n, bucket=self.buckets, dim=self.dimensions,
                    minCount=self.min_count, epoch=self.epochs, lr=self.rate, thread=1, verbose=0,
                )  # fmt: skip
            except AttributeError:
                raise Missing(
                    "distil=fasttext needs the package fasttext-wheel, found fasttext-predict, "
                    "which trains nothing; install fasttext-wheel in its place"
                ) from None
        settings = {"label": _HIGH, "max_chars": self.max_chars}
        return FasttextScorer(Description("fasttext", settings), model, _HIGH)


def _package(what: str) -> Any:
    try:
        return importlib.import_module("fasttext")
    except ImportError:
        raise Missing(
            f"{what} needs the package fasttext-wheel, which is not installed; install it, or set "
            "distil=linear"
        ) from None


def _line(text: str, max_chars: int | None) -> str:
    """Returns the text as one line, as fastText reads it."""
    return " ".join(text[:max_chars].encode("utf-8", "replace").decode().split())
