"""Streams generated documents from file to top-k by DSIR and static GOT-D; see README.md beside this."""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from real_text import ROOT
from report import write

from shortlist.store.provenance import commit

TITLE = "Streamed selections, `shortlist select --stream`: file to top-k, one process each"
COMMIT = commit(ROOT)
FILES, WORDS, LENGTH, DRAWN = 8, 50_000, 120, 100_000  # 120 words are about 800 characters
COLUMNS = (
    "what", "seconds", "cpu_seconds", "peak_MB", "load_before", "documents_per_cpu_second",
    "MB_per_cpu_second", "pool_MB", "commit",
)  # fmt: skip
METHODS = {
    "dsir": (),
    "gotd": ("featurizer=static", "selector.sensitivity=false"),
}


def generate(folder: Path, documents: int) -> int:
    """Writes distinct documents of about 800 characters in `FILES` files; returns the bytes that they
    unpack to. Words follow a Zipf law, with ten topics; of more than `DRAWN` documents the later
    ones are the first with another word before them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = min(documents, DRAWN)
    if documents % drawn:
        raise SystemExit(
            f"expected a multiple of {DRAWN:,} documents, or fewer, found {documents:,}"
        )
    rng = np.random.default_rng(drawn)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    lengths = np.random.default_rng(0).integers(3, 11, WORDS)
    words = np.array(
        ["".join(np.random.default_rng(n).choice(letters, k)) for n, k in enumerate(lengths)]
    )
    share = 1 / np.arange(1, WORDS + 1)
    ends = np.cumsum(share / share.sum())
    size = 0
    for number in range(FILES):
        rows = drawn // FILES + (number < drawn % FILES)
        ranks = np.searchsorted(ends, rng.random((rows, LENGTH)))
        topics = rng.integers(0, 10, rows)
        chosen = words[(ranks + 97 * topics[:, None]) % WORDS]
        block = "".join(
            f'{{"text": "{" ".join(row)}", "domain": "{topic}"}}\n'
            for row, topic in zip(chosen.tolist(), topics, strict=True)
        ).encode()
        with pa.CompressedOutputStream(str(folder / f"{number}.jsonl.zst"), "zstd") as file:
            for copy in range(documents // drawn):
                word = f'{{"text": "{f"{copy} " if copy else ""}'
                size += file.write(block.replace(b'{"text": "', word.encode()))
    return size


def sample(folder: Path) -> None:
    """Draws 1,000 documents of the domain `repeated` while its file is read."""
    from shortlist.data.pools import Domains
    from shortlist.data.readers import silent
    from shortlist.data.sources import LocalSource

    loaded = Domains(["repeated"], 1000, seed=0).load(LocalSource(str(folder)), silent)
    print(dict(loaded.counts))


def repeated(folder: Path, documents: int) -> int:
    """Writes the domain `repeated`: a gzip member of 100,000 documents, again and again; returns the
    bytes that it unpacks to.
    """
    generate(folder / "whole", 100_000)
    raw = b"".join(rows_of(path).read() for path in sorted((folder / "whole").iterdir()))
    shutil.rmtree(folder / "whole")
    member, times = gzip.compress(raw, compresslevel=1), documents // 100_000
    (folder / "pools").mkdir()
    with (folder / "pools/repeated.jsonl.gz").open("wb") as file:
        file.writelines([member] * times)
    return len(raw) * times


def rows_of(path: Path) -> Any:
    """Returns a generated file as a stream of unpacked bytes."""
    return pa.CompressedInputStream(str(path), "zstd")


def measure(command: Sequence[str], log: Path) -> dict[str, Any]:
    """Returns seconds, processor seconds and peak memory of a command and of its processes."""
    load, begin = os.getloadavg()[0], time.perf_counter()
    with log.open("w") as out:
        child = subprocess.Popen([sys.executable, *command], stdout=out, stderr=out)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(log.read_text())
    return {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_MB": used.ru_maxrss / 1024,  # of the largest process
        "load_before": load,
    }


class Board:
    """The rows of results/benchmarks/streaming.{json,md}; one that is taken again is replaced."""

    def __init__(self, out: Path, notes: str) -> None:
        self.out, self.notes = out, notes
        kept = out / "streaming.json"
        rows = json.loads(kept.read_text())["rows"] if kept.exists() else []
        # The names of a JSON file are sorted.
        self.rows = {row["what"]: {name: row[name] for name in COLUMNS} for row in rows}

    def add(self, what: str, found: dict[str, Any], documents: int, size: int) -> None:
        """Adds a measurement of so many documents and bytes, and writes all."""
        self.rows[what] = {
            "what": what,
            **found,
            "documents_per_cpu_second": documents / found["cpu_seconds"],
            "MB_per_cpu_second": size / 2**20 / found["cpu_seconds"],
            "pool_MB": size / 2**20,
            "commit": COMMIT,
        }
        write(self.out, "streaming", TITLE, self.notes, list(self.rows.values()))


def main() -> None:
    """Makes the documents, runs the commands and writes results/benchmarks/streaming.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache/bench/streaming")
    parser.add_argument("--documents", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument(
        "--ways", nargs="+", default=["sync"], choices=("sync", "processes", "memory"),
        help="a backend of --stream, or memory: without --stream",
    )  # fmt: skip
    parser.add_argument(
        "--one-thread", action="store_true", help="let no process use a second core"
    )
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=20_000)
    parser.add_argument("--repeated", type=int, help="also sample a domain of so many rows")
    parser.add_argument("--sample-of", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.sample_of:
        sample(given.sample_of)
        return
    if given.one_thread:
        os.environ["OMP_NUM_THREADS"] = "1"
    threads = ", one thread" if given.one_thread else ""
    board = Board(
        given.out,
        f"{os.cpu_count()} processors. Seconds of the whole command, imports included; the load is "
        "the average of the minute before it; processor seconds are those of all its processes. "
        f"Documents are generated (120 words of a Zipf law, {DRAWN:,} of them, which come again with "
        f"another first word), in {FILES} files of JSON Lines, packed by zstd; megabytes are those of "
        f"the rows; budget {given.budget:,}, sample of gotd {given.sample:,}. `memory` is `select` "
        "without `--stream`. `sample`: 1,000 documents of a domain by `pool.per_domain`, of gzip "
        "members that repeat.",
    )
    work = given.work.absolute()
    for documents in given.documents:
        pool = work / f"pool-{documents}"
        try:
            size = generate(pool, documents)
            for method, way in itertools.product(given.methods, given.ways):
                shutil.rmtree(work / "cache", ignore_errors=True)
                found = measure(command(given, pool, method, way), work / "log.txt")
                what = f"{method}, {documents:,} documents, {way}{threads}"
                board.add(what, found, documents, size)
        finally:
            shutil.rmtree(pool)
            shutil.rmtree(work / "cache", ignore_errors=True)
    if given.repeated:
        folder = work / "repeated"
        try:
            size = repeated(folder, given.repeated)
            found = measure([__file__, "--sample-of", str(folder)], work / "log.txt")
            board.add(f"sample, {given.repeated:,} rows", found, given.repeated, size)
        finally:
            shutil.rmtree(folder)


def command(given: argparse.Namespace, pool: Path, method: str, way: str) -> list[str]:
    """Returns the arguments of Python that select from a pool, for a target of its topic 3."""
    work, target = pool.parent, pool.parent / "target.jsonl"
    with io.BufferedReader(rows_of(pool / "0.jsonl.zst")) as file:
        head = itertools.islice(file, 12_000)
        target.write_bytes(b"".join(row for row in head if b'"domain": "3"' in row))
    streamed = ["--stream", "--sample", str(given.sample)]
    return [
        "-m", "shortlist", "select", str(pool / "*.jsonl.zst"), "-t", str(target), "-m", method, "-q",
        "-n", str(given.budget), "--json", "--domain-column", "domain",
        *([] if way == "memory" else streamed), "--", *METHODS[method],
        *([] if way == "memory" else [f"backend={way}"]), "runtime.report=false", "advice=null",
        *(f"paths.{name}={work / name}" for name in ("cache", "runs", "results")),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
