"""Vectors computed elsewhere: of images, of sounds, of texts by a model that is not known here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shortlist.core import Corpus, document_id
from shortlist.errors import ForeignFeatures, InvalidInput, Missing
from shortlist.featurizers.base import Featurizer
from shortlist.runtime import Runtime
from shortlist.store.formats import VALUES, allocate
from shortlist.vectors import row_slices, unusable_rows

Block = tuple[list[str], NDArray[np.float32]]

kernels: Any = pc  # made at run time: a checker does not see them
BLOCK = 8192  # rows read at a time


class Precomputed(Featurizer):
    """Vectors of your own, looked up by document, never by position.

    A file is Parquet with a column `vector` and one of `id` (the document's id) or `text` (whatever
    the corpus has as the text, such as a file name), or NumPy `x.npy` with `x.ids.txt` beside it,
    one id or text a line. Vectors of other documents are counted and ignored; a document without a
    vector is an error, and so are two that differ.

    Formula:
        v(x) = the row of the files whose id or text is that of x

    Paper:
        None.

    Deviations:
        None.

    Cost:
        One reading of the files, 8,192 rows at a time.
    """

    version = 3

    def __init__(self, paths: Sequence[str]) -> None:
        """Stores the settings.

        Args:
            paths: the files.
        """
        self.paths = [Path(path) for path in paths]

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns a digest over the bytes of the files.

        Raises:
            Missing: a file does not exist.
        """
        state = hashlib.sha256()
        for path in self.paths:
            for file in _files(path):
                with file.open("rb") as opened:
                    state.update(hashlib.file_digest(opened, "sha256").digest())
        return {"vectors": state.hexdigest()}

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Returns (n, d) float32 vectors in the order of the corpus.

        Raises:
            ForeignFeatures: a document of the corpus has no vector.
            InvalidInput: a file does not have the form above, dimensions differ, a vector is not
                finite, or a document has two that are not the same.
            Missing: a file does not exist.
        """
        row = {key: index for index, key in enumerate(corpus.ids)}
        known = np.zeros(len(corpus), dtype=bool)
        values: NDArray[np.float32] | None = None
        ignored = repeated = 0
        for path, start, names, vectors in _read_all(self.paths):
            if values is None:
                values = allocate(directory / VALUES, (len(corpus), vectors.shape[1]))
            if vectors.shape[1] != values.shape[1]:
                raise InvalidInput(
                    f"vectors of {values.shape[1]} numbers were expected in {path}, "
                    f"found {vectors.shape[1]}; give files of one dimension"
                )
            at = np.array([row.get(name, row.get(document_id(name), -1)) for name in names])
            wanted = np.flatnonzero(at >= 0)
            ignored += len(at) - len(wanted)
            at, vectors = at[wanted], vectors[wanted]
            if len(bad := unusable_rows(vectors)):
                raise InvalidInput(
                    f"vectors of finite float32 numbers, shorter than 1e19, were expected in {path}, "
                    f"found another one in row {start + int(wanted[bad[0]])} (counted from 0) for "
                    f"{names[wanted[bad[0]]]!r} ({corpus.ids[at[bad[0]]]}); repair it, or leave the "
                    "document out of the pool"
                )
            _, first = np.unique(at, return_index=True)
            fresh = first[~known[at[first]]]
            values[at[fresh]] = vectors[fresh]
            known[at[fresh]] = True
            repeated += len(at) - len(fresh)
            other = np.flatnonzero((values[at] != vectors).any(1))
            if len(other):
                raise InvalidInput(
                    f"one vector a document was expected, found another one in {path} for "
                    f"{names[wanted[other[0]]]!r} ({corpus.ids[at[other[0]]]}); keep one of them"
                )
        if values is None or not known.all():
            missing = int((~known).sum())
            raise ForeignFeatures(
                f"a vector of every document was expected, found none for {missing:,} of "
                f"{len(corpus):,}, the first {corpus.ids[int(np.argmin(known))]}; compute vectors for "
                "this corpus"
            )
        return values, {"vectors_ignored": ignored, "vectors_repeated": repeated}


def _names(path: Path) -> Path:
    return path.with_suffix(".ids.txt")


def _files(path: Path) -> list[Path]:
    """Returns the files that vectors in `path` are read from.

    Raises:
        Missing: one of them does not exist.
    """
    files = [path, _names(path)] if path.suffix == ".npy" else [path]
    for file in files:
        if not file.is_file():
            raise Missing(
                f"a file of vectors was expected, found no {file}; set featurizer.paths=[FILE]"
            )
    return files


def _read_all(paths: Sequence[Path]) -> Iterator[tuple[Path, int, list[str], NDArray[np.float32]]]:
    """Yields the file, the number of the first row in it, and a block of ids or texts with vectors."""
    for path in paths:
        start = 0
        for names, vectors in _read(path):
            yield path, start, names, vectors
            start += len(names)


def _read(path: Path) -> Iterator[Block]:
    """Yields ids or texts with their vectors, block by block."""
    _files(path)
    if path.suffix == ".npy":
        yield from _read_numpy(path)
    elif path.suffix == ".parquet":
        yield from _read_parquet(path)
    else:
        raise InvalidInput(f"vectors in .parquet or .npy were expected, found {path}")


def _read_numpy(path: Path) -> Iterator[Block]:
    with _names(path).open(encoding="utf-8") as lines:
        count = sum(1 for _ in lines)
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InvalidInput(f"an array of numbers was expected in {path}: {error}") from error
    if vectors.ndim != 2 or len(vectors) != count or vectors.dtype.kind not in "fiu":
        raise InvalidInput(
            f"one line of {_names(path)} per row of numbers in {path} was expected, found {count:,} "
            f"lines and an array of shape {vectors.shape}, {vectors.dtype}"
        )
    with _names(path).open(encoding="utf-8") as lines:
        for rows in row_slices(len(vectors), BLOCK):
            block = np.array(vectors[rows], dtype=np.float32)
            yield [line.removesuffix("\n") for line in islice(lines, len(block))], block


def _read_parquet(path: Path) -> Iterator[Block]:
    with pq.ParquetFile(path) as file:
        columns = set(file.schema_arrow.names)
        key = next((name for name in ("id", "text") if name in columns), None)
        if key is None or "vector" not in columns:
            raise InvalidInput(
                f"columns `vector` and `id` or `text` were expected in {path}, found: {sorted(columns)}"
            )
        for part in file.iter_batches(batch_size=BLOCK, columns=[key, "vector"]):
            yield [str(name) for name in part[key].to_pylist()], _matrix(path, part["vector"])


def _matrix(path: Path, column: Any) -> NDArray[np.float32]:
    """Returns a column of lists as a matrix, without making a Python object of each number."""
    wrong = f"vectors of one length, all numbers, were expected in {path}"
    try:
        lengths = kernels.unique(kernels.list_value_length(column)).to_pylist()
        flat = column.flatten()
        if len(lengths) != 1 or not lengths[0] or flat.null_count:
            raise InvalidInput(f"{wrong}, found lengths {lengths[:5]} and {flat.null_count} empty")
        return flat.cast(pa.float32(), safe=False).to_numpy().reshape(len(column), lengths[0])
    except pa.ArrowException as error:
        raise InvalidInput(f"{wrong}: {error}") from error
