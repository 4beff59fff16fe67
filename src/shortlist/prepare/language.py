"""Language identification without a network."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from shortlist.data.files import file_digest
from shortlist.errors import InvalidInput, Missing, near
from shortlist.prepare.base import DocumentOperation, Text, Verdict

_MAGIC = 793712314  # the first number of a fastText model


@dataclass(frozen=True)
class Language(DocumentOperation):
    """Keeps documents in some languages, identified by py3langid or by a fastText model.

    py3langid (Barbaresi; a retrained langid.py, Lui and Baldwin 2012) brings its model of about 100
    languages with it. `model` names any fastText classifier whose labels are `__label__en` and the
    like (lid.176.bin, GlotLID); it needs fasttext-predict, fasttext-wheel or fasttext, one of them
    alone: they install one module over another.

    Attributes:
        languages: codes of the languages to keep (ISO 639-1 for py3langid).
        min_probability: least probability of the identified language; FineWeb took 0.65.
        min_chars: shorter texts are not judged and kept: a few words identify no language.
        max_chars: so many characters of a document are read.
        model: a fastText model (.bin, .ftz), or None for py3langid.
    """

    languages: Sequence[str]
    min_probability: float
    min_chars: int
    max_chars: int
    model: str | None

    def identity(self) -> dict[str, str]:
        """Returns the digest of the fastText model."""
        return {} if self.model is None else {"language.model": file_digest(self.model)}

    def apply(self, document: Text) -> Verdict:
        """Rules: `other_language`, `uncertain_language`."""
        text = document.value
        if len(text) < self.min_chars:
            return Verdict(text)
        language, probability = self.identify(text)
        if language not in self.languages:
            return Verdict(text, ("other_language",))
        failed = probability < self.min_probability
        return Verdict(text, ("uncertain_language",) if failed else ())

    def identify(self, text: str) -> tuple[str, float]:
        """Returns the most probable language of the text and its probability.

        Raises:
            InvalidInput: the model does not know one of `languages`, or is no whole fastText model.
            Missing: the model or the package that reads it is not there.
        """
        text = text[: self.max_chars]
        if 2 * sum(map(str.isupper, text)) > sum(map(str.isalpha, text)):
            text = text.lower()  # shouted text is rare where the models were trained
        if self.model is not None:
            identify, labels = _fasttext(self.model)
            self._check(labels or self.languages, self.model)
            return identify(text)
        identifier = _langid()
        self._check(identifier.labels, "py3langid")
        return identifier.classify(text)

    def _check(self, known: Collection[str], by: str) -> None:
        unknown = set(self.languages).difference(known)
        if unknown:
            name = min(unknown)
            raise InvalidInput(
                f"language: expected codes that {by} knows, found {name!r}; {near(name, known)}"
            )


@cache
def _langid() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _fasttext(path: str) -> Any:
    if not Path(path).is_file():
        raise Missing(f"language.model: expected a fastText model, found no file {path}")
    try:
        fasttext: Any = importlib.import_module("fasttext")
    except ImportError:
        raise Missing(
            f"language.model={path} needs the package fasttext-predict, which is not installed; "
            "install it, or set language.model=null for py3langid"
        ) from None
    known = _labels_of(path)
    try:
        model = fasttext.load_model(path)
    except ValueError as error:
        raise InvalidInput(f"{path}: expected a fastText model, found none: {error}") from error

    def identify(text: str) -> tuple[str, float]:
        line = " ".join(text.encode("utf-8", "replace").decode().split())
        try:
            labels, probabilities = model.predict(line, k=1)
        except ValueError:  # numpy 2 refuses the array that fasttext(-wheel) makes for one text
            (labels,), (probabilities,) = model.predict([line], k=1)
        if not labels:
            return "", 0.0
        return labels[0].removeprefix("__label__"), float(probabilities[0])

    return identify, known


def _labels_of(path: str) -> frozenset[str]:
    """Returns the labels of a fastText model; none for another file, which fastText refuses.

    The file is a head of 92 bytes, each word with its count and type, and two matrices. fastText
    reads one that ends within the words without end, and one that ends within a matrix as if it
    were whole. The ends of quantised matrices (.ftz) are not checked.

    Raises:
        InvalidInput: the file breaks off.
    """
    labels: set[str] = set()
    try:
        with Path(path).open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            if struct.unpack_from("<i", data) != (_MAGIC,):
                return frozenset()
            (words,), (pruned,) = (
                struct.unpack_from("<i", data, 64),
                struct.unpack_from("<q", data, 84),
            )
            place = 92
            for _ in range(words):
                end = data.find(b"\0", place)
                if end < 0:
                    raise IndexError
                if data[end + 9] == 1:
                    labels.add(data[place:end].decode("utf-8", "replace").removeprefix("__label__"))
                place = end + 10
            place += 8 * max(pruned, 0)
            for _ in range(0 if data[place] else 2):
                rows, columns = struct.unpack_from("<qq", data, place + 1)
                place += 17 + 4 * rows * columns
            whole = place <= len(data)
    except (struct.error, IndexError, ValueError):  # ValueError: the file is empty
        whole = False
    if not whole:
        raise InvalidInput(
            f"{path}: expected a whole fastText model, found a file that breaks off; copy or download "
            "it again"
        )
    return frozenset(labels)
