"""Vectors that somebody else computed: of images, of sounds, of texts by a model not known here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from shortlist.core import document_id
from shortlist.errors import ForeignFeatures, InvalidInput, Missing
from shortlist.featurizers.base import Featurizer, allocate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime


class Precomputed(Featurizer):
    """Rows looked up by document, never by position.

    A file is Parquet with a column `vector` and one of `id` (the document's id) or `text` (whatever
    stands in the corpus as the text: a file name will do), or NumPy `x.npy` with `x.ids.txt` beside
    it, one id or text a line. Vectors nobody asks for are ignored; a document without one is an error.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Stores the files."""
        self.paths = [Path(path) for path in paths]

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns a digest over the bytes of the files.

        Raises:
            Missing: a file is not there.
        """
        state = hashlib.sha256()
        for path in self.paths:
            for file in (path, *([_names(path)] if path.suffix == ".npy" else [])):
                if not file.is_file():
                    raise Missing(
                        f"a file of vectors was expected, found no {file}; set featurizer.paths=[FILE]"
                    )
                with file.open("rb") as opened:
                    state.update(hashlib.file_digest(opened, "sha256").digest())
        return {"vectors": state.hexdigest()}

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Returns (n, d) float32 vectors in the order of the corpus.

        Raises:
            ForeignFeatures: a document of the corpus has no vector.
            InvalidInput: a file is not of the form above, or dimensions differ.
        """
        row = {key: index for index, key in enumerate(corpus.ids)}
        found = np.zeros(len(corpus), dtype=bool)
        values: NDArray[np.float32] | None = None
        ignored = 0
        for path in self.paths:
            for names, vectors in _read(path):
                if values is None:
                    values = allocate(directory, len(corpus), vectors.shape[1])
                if vectors.shape[1] != values.shape[1]:
                    raise InvalidInput(
                        f"vectors of {values.shape[1]} numbers were expected in {path}, "
                        f"found {vectors.shape[1]}; give files of one dimension"
                    )
                at = np.array([row.get(name, row.get(document_id(name), -1)) for name in names])
                values[at[at >= 0]] = vectors[at >= 0]
                found[at[at >= 0]] = True
                ignored += int((at < 0).sum())
        if values is None or not found.all():
            missing = int((~found).sum())
            first = corpus.ids[int(np.flatnonzero(~found)[0])]
            raise ForeignFeatures(
                f"a vector of every document was expected, found none for {missing:,} of "
                f"{len(corpus):,}, the first {first}; compute vectors for this corpus"
            )
        return values, {"vectors_ignored": ignored}


def _names(path: Path) -> Path:
    return path.with_suffix(".ids.txt")


def _read(path: Path) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    if path.suffix == ".npy":
        names = _names(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        if vectors.ndim != 2 or len(vectors) != len(names):
            raise InvalidInput(
                f"one line of {_names(path)} per row of {path} was expected, found {len(names):,} "
                f"lines and an array of shape {vectors.shape}"
            )
        yield names, np.asarray(vectors)
    elif path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        columns = set(file.schema_arrow.names)
        key = next((name for name in ("id", "text") if name in columns), None)
        if key is None or "vector" not in columns:
            raise InvalidInput(
                f"columns `vector` and `id` or `text` were expected in {path}, found: {sorted(columns)}"
            )
        for part in file.iter_batches(columns=[key, "vector"]):
            try:
                vectors = np.array(part["vector"].to_pylist(), dtype=np.float32)
            except (TypeError, ValueError) as error:
                raise InvalidInput(
                    f"vectors of one length, all numbers, were expected in {path}: {error}"
                ) from error
            yield [str(name) for name in part[key].to_pylist()], vectors
    else:
        raise InvalidInput(f"vectors in .parquet or .npy were expected, found {path}")
