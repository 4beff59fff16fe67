"""Labelled texts, and scorers that learn from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shortlist.data.files import file_digest
from shortlist.data.readers import Columns, read_files
from shortlist.errors import InvalidInput, Missing, near
from shortlist.evaluation.scorers.base import Scorer
from shortlist.needs import setting_need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.data.sources import Source
    from shortlist.needs import Need


@dataclass(frozen=True)
class LabelledColumns:
    """Where files hold texts and labels.

    Attributes:
        text: column of the text.
        label: column of the label.
        toxic: the label of toxic texts; every other label means nontoxic.
        source: column by which texts are filtered.
        sources: the values of `source` whose texts are learned from; () for all.
    """

    text: str
    label: str
    toxic: str
    source: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Labelled:
    """Labelled texts.

    Attributes:
        corpus: the n texts, sorted by id.
        toxic: (n,) 1 for toxic and 0 for other texts.
        counts: numbers of rows that were left out, by name.
    """

    corpus: Corpus
    toxic: NDArray[np.int64]
    counts: dict[str, int]


def read_labelled(paths: Sequence[Path], columns: LabelledColumns) -> Labelled:
    """Returns the labelled texts of files.

    Raises:
        InvalidInput: the files hold only one class, or no text of a source.
    """
    source = columns.source if columns.sources else None
    loaded = read_files(paths, Columns(columns.text, None, columns.label, source))
    corpus, names = loaded.corpus.canonical(), ", ".join(map(str, paths))
    if columns.sources:
        known = set(corpus.domains)
        for source in columns.sources:
            if source not in known:
                raise InvalidInput(
                    f"{names}: texts of the source {source!r} were expected in the column "
                    f"{columns.source!r}, found none; {near(source, known)}"
                )
        kept = [row for row, source in enumerate(corpus.domains) if source in columns.sources]
        corpus = corpus.take(kept)
    toxic = np.array([label == columns.toxic for label in corpus.labels or ()], dtype=np.int64)
    if not 0 < toxic.sum() < len(toxic):
        raise InvalidInput(
            f"{names}: texts labelled {columns.toxic!r} and others were expected, found "
            f"{toxic.sum():,} of {len(toxic):,}; set the scorer's toxic=LABEL"
        )
    counts = {
        "labelled_quarantined": loaded.counts["quarantined"],
        "labelled_copies": loaded.counts["exact_copies"],
    }
    return Labelled(corpus, toxic, counts)


class LabelledScorer(Scorer):
    """A scorer that learns from files of labelled texts.

    Attributes:
        kind: the scorer as messages name it.
        named: the files; None for one that is not set.
    """

    kind: ClassVar[str]

    def __init__(self, labelled: str | Sequence[str | None] | None) -> None:
        self.named = [None if file is None else Path(file) for file in _listed(labelled)]

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
        """Yields the files."""
        for path in _listed(node["labelled"]):
            yield setting_need(place, path, "set paths.data=DIR")

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are set."""
        return tuple(path for path in self.named if path is not None)

    def digests(self) -> tuple[str, ...]:
        """Returns the digests of the files.

        Raises:
            InvalidInput: no file is named.
            Missing: a file does not exist.
        """
        advice = (
            "set labelled=FILE among the scorer's settings (columns `text` and `label`; "
            "featurizer.scorer.labelled=FILE for selector=least_toxic), or paths.data=DIR"
        )
        if not self.named or None in self.named:
            raise InvalidInput(
                f"a {self.kind} scorer learns from labelled texts, found no file of them; {advice}"
            )
        try:
            return tuple(map(file_digest, self.paths))
        except Missing as error:
            raise Missing(f"labelled texts: {error}; {advice}") from error


def _listed(labelled: str | Sequence[str | None] | None) -> Sequence[str | None]:
    return [labelled] if labelled is None or isinstance(labelled, str) else labelled
