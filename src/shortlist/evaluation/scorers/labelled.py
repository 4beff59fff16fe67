"""Labelled texts that a scorer learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shortlist.data.files import file_digest
from shortlist.data.readers import Columns, read_files
from shortlist.errors import InvalidInput, Missing, near

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus


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


def labelled_digests(paths: Sequence[Path | None], kind: str) -> tuple[str, ...]:
    """Returns the digests of the files.

    Args:
        paths: the files; None for one that is not set.
        kind: the scorer as a message names it.

    Raises:
        InvalidInput: no file is named.
        Missing: a file does not exist.
    """
    advice = (
        "set labelled=FILE among the scorer's settings (columns `text` and `label`; "
        "featurizer.scorer.labelled=FILE for selector=least_toxic), or paths.data=DIR"
    )
    if not paths or None in paths:
        raise InvalidInput(
            f"a {kind} scorer learns from labelled texts, found no file of them; {advice}"
        )
    try:
        return tuple(file_digest(path) for path in paths if path is not None)
    except Missing as error:
        raise Missing(f"labelled texts: {error}; {advice}") from error
