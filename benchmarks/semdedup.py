"""Time and memory of selector=semdedup on a pool of vectors in a file.

`python benchmarks/semdedup.py [ROWS [COLUMNS]]` writes float16 vectors on disk (groups of copies
around random directions), fits the selector to the memory map, and prints one JSON line.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from shortlist.core import Corpus, Features
from shortlist.selectors.semdedup import Semdedup

_BLOCK = 50_000


def write_vectors(path: Path, rows: int, columns: int) -> None:
    """Writes (rows, columns) float16; one document in four is a copy of another,
    of cosine about .98, and the others lie around 2,000 directions.
    """
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(2000, columns)).astype(np.float32)
    values = np.lib.format.open_memmap(path, "w+", np.float16, (rows, columns))
    for start in range(0, rows, _BLOCK):
        size = min(_BLOCK, rows - start)
        block = topics[rng.integers(2000, size=size)] + rng.normal(size=(size, columns))
        copies = rng.random(size) < 0.25
        first = rng.integers(size, size=size)
        block[copies] = block[first[copies]] + 0.25 * rng.normal(size=(copies.sum(), columns))
        values[start : start + size] = block
    values.flush()


def main() -> None:
    """Prints the measurement."""
    rows, columns = (int(given) for given in [*sys.argv[1:], "1000000", "384"][:2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "values.npy"
        # In a process of its own, whose memory is not counted.
        writer = multiprocessing.get_context("spawn").Process(
            target=write_vectors, args=(path, rows, columns)
        )
        writer.start()
        writer.join()
        values = np.load(path, mmap_mode="r")
        ids = pa.array(f"{row:024x}" for row in range(rows))
        empty = pa.repeat(pa.scalar(""), rows)
        table = pa.table({"id": ids, "text": empty, "domain": empty})
        pool = Features(values, "pool", "key", Corpus(table))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        begin = time.perf_counter()
        facts = Semdedup(0.95, 1000, "far").fit(pool, pool)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    found = {"rows": rows, "columns": columns, "seconds": seconds, **facts}
    print(json.dumps(found | {"peak_gb": peak, "peak_gb_before": before}))


if __name__ == "__main__":
    main()
