"""Vectors computed elsewhere: of images, of sounds, of texts by a model that is not known here."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shortlist.core import ID_CHARACTERS, Corpus, document_id
from shortlist.data.files import check_file, open_table, values_of
from shortlist.data.finding import local
from shortlist.errors import ForeignFeatures, InvalidInput, Missing
from shortlist.featurizers.base import Featurizer
from shortlist.runtime import Runtime
from shortlist.store.formats import VALUES, allocate
from shortlist.vectors import row_slices, unusable_rows

Block = tuple[list[str | None], NDArray[np.float32]]

log = logging.getLogger(__name__)

_DOCUMENT_ID = re.compile(f"[0-9a-f]{{{ID_CHARACTERS}}}")
_NUMPY_ERRORS = (  # raised for invalid headers and impossible sizes
    *(OSError, EOFError, ValueError, SyntaxError, TokenError, TypeError),
    *(MemoryError, OverflowError),
)
kernels: Any = pc  # defined at run time, unknown to the type checker
BLOCK = 8192  # rows read at a time


class Precomputed(Featurizer):
    """Vectors of your own, looked up by document, never by position.

    A file is Parquet with a column `vector` and one of `id` (the document's id, 24 hexadecimal
    digits) or `text` (whatever the corpus has as the text, such as a file name), or NumPy `x.npy`
    with `x.ids.txt` beside it, one id or text a line. Where `id` holds other names than document
    ids, `text` is read if there is one, and a message says so. Vectors of other documents are
    counted and ignored; a document without a vector is an error, and so are two that differ.

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
        named = [paths] if isinstance(paths, str) else paths
        self.paths = [Path(local(path, "featurizer.paths")) for path in named]

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
        ids = list(dict.fromkeys(corpus.ids))  # a batch of a stream may hold a text twice
        row = {key: index for index, key in enumerate(ids)}
        known = np.zeros(len(ids), dtype=bool)
        values: NDArray[np.float32] | None = None
        ignored = repeated = 0
        for path, start, names, vectors in _read_all(self.paths):
            if values is None:
                values = allocate(directory / VALUES, (len(ids), vectors.shape[1]))
            if vectors.shape[1] != values.shape[1]:
                raise InvalidInput(
                    f"{path}: expected vectors of {values.shape[1]} numbers, "
                    f"found {vectors.shape[1]}; give files of one dimension"
                )
            at = np.array([_place(row, name) for name in names], dtype=np.int64)
            wanted = np.flatnonzero(at >= 0)
            ignored += len(at) - len(wanted)
            at, vectors = at[wanted], vectors[wanted]
            if len(bad := unusable_rows(vectors)):
                raise InvalidInput(
                    f"{path}: expected vectors of finite float32 numbers, shorter than 1e19, "
                    f"found another one in row {start + int(wanted[bad[0]])} (counted from 0) for "
                    f"{_short(names[wanted[bad[0]]])} ({ids[at[bad[0]]]}); repair it, or leave the "
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
                    f"{path}: expected one vector a document, found another one for "
                    f"{_short(names[wanted[other[0]]])} ({ids[at[other[0]]]}); keep one of them"
                )
        if values is None or not known.all():
            missing = int((~known).sum())
            raise ForeignFeatures(
                f"expected a vector of every document, found none for {missing:,} of "
                f"{len(ids):,}, the first {ids[int(np.argmin(known))]}; "
                f"{_looked_up(self.paths)}compute vectors for this corpus"
            )
        if len(ids) < len(corpus):
            values = values[[row[key] for key in corpus.ids]]
        return values, {"vectors_ignored": ignored, "vectors_repeated": repeated}


def _short(name: str | None) -> str:
    """Returns an id or the beginning of a text for a message."""
    return repr(name if name is None or len(name) <= 80 else f"{name[:79]}…")


def _place(row: Mapping[str, int], name: str | None) -> int:
    """Returns the row of the document with this id or text, or -1."""
    return -1 if name is None else row.get(name, row.get(document_id(name), -1))


def _looked_up(paths: Sequence[Path]) -> str:
    """Returns how the first file names its documents."""
    names = next((names for _, _, names, _ in _read_all(paths[:1]) if names), None)
    if names:
        return f"{paths[0]} names documents as {_short(names[0])}; "
    return f"{', '.join(map(str, paths))} holds none; "


def _names(path: Path) -> Path:
    return path.with_suffix(".ids.txt")


def _files(path: Path) -> list[Path]:
    """Returns the files that vectors in `path` are read from.

    Raises:
        Missing: one of them does not exist.
        InvalidInput: one of them is a folder or a device.
    """
    files = [path, _names(path)] if path.suffix == ".npy" else [path]
    for file in files:
        try:
            check_file(file)
        except Missing as error:
            raise Missing(
                f"a file of vectors was expected, found no {file}; set featurizer.paths=[FILE]"
            ) from error
    return files


def _read_all(
    paths: Sequence[Path],
) -> Iterator[tuple[Path, int, list[str | None], NDArray[np.float32]]]:
    """Yields the file, the number of its first row, and a block of ids or texts with vectors."""
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
    names = _names(path)
    try:
        with names.open(encoding="utf-8") as lines:
            count = sum(1 for _ in lines)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{names}: expected ids or texts in UTF-8: {error}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header that Python 2 wrote
            vectors: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except _NUMPY_ERRORS as error:
        found = str(error).partition("\n")[0] or type(error).__name__
        raise InvalidInput(f"{path}: expected an array of numbers: {found}") from error
    if not isinstance(vectors, np.ndarray):
        raise InvalidInput(f"{path}: expected one array of numbers, found an archive of several")
    if vectors.ndim != 2 or len(vectors) != count or vectors.dtype.kind not in "fiu":
        raise InvalidInput(
            f"{path}: expected a row of numbers for each line of {names}, found {count:,} "
            f"lines and an array of shape {vectors.shape}, {vectors.dtype}"
        )
    with names.open(encoding="utf-8") as lines:
        for rows in row_slices(len(vectors), BLOCK):
            with np.errstate(over="ignore"):  # what becomes infinite is refused by document
                block = np.array(vectors[rows], dtype=np.float32)
            yield [line.removesuffix("\n") for line in islice(lines, len(block))], block


def _read_parquet(path: Path) -> Iterator[Block]:
    table = open_table(path, ("id", "text", "vector"))
    keys = [name for name in ("id", "text") if name in table.columns]
    if not keys or "vector" not in table.columns:
        raise InvalidInput(
            f"columns `vector` and `id` or `text` were expected in {path}, found: "
            f"{sorted(table.columns)}"
        )
    start = 0
    for part in table.batches:
        named = {key: values_of(path, key, part[key]) for key in keys}
        if len(keys) == 2:  # decided by the first rows
            other = next((name for name in named["id"] if not _is_document_id(name)), None)
            keys = ["id"] if other is None else ["text"]
            if other is not None:
                _warn_looked_up_by_text(path, other)
        names = [None if name is None else str(name) for name in named[keys[0]]]
        yield names, _matrix(path, part["vector"], start)
        start += len(names)


@functools.cache  # pool and target are read one after the other, by every cell of a sweep
def _warn_looked_up_by_text(path: Path, other: object) -> None:
    log.warning(
        "%s: the column `id` holds %r, no document id (%d hexadecimal digits): vectors are looked up "
        "by `text`",
        *(path, other, ID_CHARACTERS),
    )


def _is_document_id(value: object) -> bool:
    return isinstance(value, str) and bool(_DOCUMENT_ID.fullmatch(value))


def _matrix(path: Path, column: Any, start: int) -> NDArray[np.float32]:
    """Returns a column of lists as a matrix, without making a Python object of each number.

    Raises:
        InvalidInput: a vector is no list of numbers, or has another length than the first; the rows
            of messages are counted from 0, and `start` is the first.
    """
    wrong = f"vectors of one length, all numbers, were expected in {path}"
    try:
        column.validate(full=True)
        lengths = kernels.list_value_length(column)
        odd = kernels.fill_null(kernels.not_equal(lengths, lengths[0]), fill_value=True)
        row = kernels.index(odd, value=True).as_py()
        if row >= 0 or not lengths[0].as_py():
            row = max(row, 0)
            raise InvalidInput(
                f"{wrong}, found lengths {lengths[0]} and, in row {start + row}, {lengths[row]}"
            )
        flat = column.flatten()
        if flat.null_count:
            row = kernels.index(flat.is_null(), value=True).as_py() // lengths[0].as_py()
            raise InvalidInput(f"{wrong}, found a null value in row {start + row}")
        numbers = flat.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
        return numbers.reshape(len(column), lengths[0].as_py())
    except pa.ArrowException as error:
        raise InvalidInput(f"{wrong}: {str(error).partition(chr(10))[0]}") from error
