"""Files of corpora, features and selections: Arrow, NumPy and Parquet, memory-mapped when read."""
# pyarrow and scipy.sparse have no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_array

from shortlist.core import Budget, Corpus, Features, Selection
from shortlist.store.disk import reserve

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


VALUES = "values.npy"  # of dense features


def save_corpus(path: Path, corpus: Corpus) -> None:
    """Writes the corpus as an uncompressed Arrow file, so that it can be memory-mapped."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, corpus.table.schema) as writer:
        writer.write_table(corpus.table)


def load_corpus(path: Path) -> Corpus:
    """Returns the corpus in `path`, its columns memory-mapped."""
    return Corpus(pa.ipc.open_file(pa.memory_map(str(path))).read_all())


def allocate(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Returns a float32 array of `shape` that lies in the file `path`, whose room is reserved: an
    array written into a sparse file would end the process by SIGBUS when the disk is full.

    Raises:
        OSError: the disk is full.
    """
    values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    reserve(path)
    return values


def save_features(directory: Path, corpus: str, values: NDArray[Any] | csr_array) -> None:
    """Writes (n, d) values as NumPy files, and the fingerprint of their corpus.

    An existing `directory/values.npy` is not written again.
    """
    if not isinstance(values, np.ndarray):
        for part in ("data", "indices", "indptr"):
            np.save(directory / f"{part}.npy", getattr(values, part))
    elif not (directory / VALUES).exists():
        np.save(directory / VALUES, values)
    described = {"corpus": corpus, "shape": [int(size) for size in values.shape or ()]}
    (directory / "features.json").write_text(json.dumps(described, sort_keys=True) + "\n")


def load_features(directory: Path) -> Features:
    """Returns the features in `directory`, memory-mapped; its name is the key of their stage."""
    described = json.loads((directory / "features.json").read_text())
    if (directory / VALUES).exists():
        mode = "r" if 0 not in described["shape"] else None  # an empty file cannot be mapped
        values = np.load(directory / VALUES, mmap_mode=mode)
    else:
        parts = tuple(
            np.load(directory / f"{part}.npy", mmap_mode="r")
            for part in ("data", "indices", "indptr")
        )
        values = csr_array(parts, shape=tuple(described["shape"]))
    return Features(values, described["corpus"], directory.name)


def save_selection(path: Path, selection: Selection) -> None:
    """Writes the selection as Parquet, best first, with what it was chosen from in the file's
    metadata.
    """
    table = pa.table({"id": list(selection.ids), "score": selection.scores})
    described = {
        "corpus": selection.corpus,
        "budget": selection.budget.amount,
        "unit": selection.budget.unit,
        "why": selection.why,
    }
    pq.write_table(
        table.replace_schema_metadata({"shortlist": json.dumps(described, sort_keys=True)}), path
    )


def load_selection(path: Path) -> Selection:
    """Returns the selection in `path`."""
    table = pq.read_table(path)
    described = json.loads((table.schema.metadata or {})[b"shortlist"])
    return Selection(
        ids=tuple(table["id"].to_pylist()),
        scores=table["score"].to_numpy(),
        corpus=described["corpus"],
        budget=Budget(described["budget"], described["unit"]),
        why=described["why"],
    )
