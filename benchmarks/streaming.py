"""Streams generated documents from file to top-k by DSIR and static GOT-D; see README.md beside this."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from real_text import ROOT
from report import write

TITLE = "Streamed selections, `shortlist select --stream`: file to top-k, one process each"
FILES, WORDS, LENGTH = 8, 50_000, 120  # 120 words are about 800 characters
METHODS = {
    "dsir": (),
    "gotd": ("featurizer=static", "selector.sensitivity=false"),
}


def generate(folder: Path, documents: int) -> None:
    """Writes documents of about 800 characters in `FILES` files: words of a Zipf law, ten topics."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(documents)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    lengths = np.random.default_rng(0).integers(3, 11, WORDS)
    words = np.array(
        ["".join(np.random.default_rng(n).choice(letters, k)) for n, k in enumerate(lengths)]
    )
    share = 1 / np.arange(1, WORDS + 1)
    ends = np.cumsum(share / share.sum())
    for number in range(FILES):
        with (folder / f"{number}.jsonl").open("w", encoding="utf-8") as file:
            left = documents // FILES + (number < documents % FILES)
            while left:
                rows = min(left, 4096)
                ranks = np.searchsorted(ends, rng.random((rows, LENGTH)))
                topics = rng.integers(0, 10, rows)
                chosen = words[(ranks + 97 * topics[:, None]) % WORDS]
                file.writelines(
                    f'{{"text": "{" ".join(row)}", "domain": "{topic}"}}\n'
                    for row, topic in zip(chosen, topics, strict=True)
                )
                left -= rows


def measure(typed: Sequence[str], log: Path) -> dict[str, Any]:
    """Returns seconds, processor seconds and peak memory of a command and of its processes."""
    load, begin = os.getloadavg()[0], time.perf_counter()
    with log.open("w") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "shortlist", "select", *typed], stdout=out, stderr=out
        )
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


def main() -> None:
    """Makes the documents, runs the commands and writes results/benchmarks/streaming.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache/bench/streaming")
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument(
        "--ways", nargs="+", default=["sync"], help="sync, processes, memory (without --stream)"
    )
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=20_000)
    given = parser.parse_args()
    kept = given.out / "streaming.json"
    rows = {
        row["what"]: row for row in (json.loads(kept.read_text())["rows"] if kept.exists() else [])
    }
    for documents in given.documents:
        work = given.work.absolute()
        pool, target = work / f"pool-{documents}", work / "target.jsonl"
        generate(pool, documents)
        with (pool / "0.jsonl").open() as file:
            chosen = [line for line, _ in zip(file, range(20_000), strict=False)]
        target.write_text(
            "".join(row for row in chosen if '"domain": "3"' in row)[: 1 << 20].rpartition("\n")[0]
        )
        size = sum(path.stat().st_size for path in pool.iterdir())
        try:
            for method in given.methods:
                for way in given.ways:
                    shutil.rmtree(work / "cache", ignore_errors=True)
                    streamed = (
                        [] if way == "memory" else ["--stream", "--sample", str(given.sample)]
                    )
                    found = measure(
                        [
                            str(pool / "*.jsonl"), "-t", str(target), "-n", str(given.budget), "-m",
                            method, "-q", "--json", "--domain-column", "domain", *streamed, "--",
                            *METHODS[method], *(["backend=processes"] if way == "processes" else []),
                            "runtime.report=false", "advice=null", "task.max_train=2000",
                            *(f"paths.{name}={work / name}" for name in ("cache", "runs", "results")),
                        ],
                        work / "log.txt",
                    )  # fmt: skip
                    what = f"{method}, {documents:,} documents, {way}"
                    rows[what] = {
                        "what": what,
                        **found,
                        "documents_per_cpu_second": documents / found["cpu_seconds"],
                        "MB_per_cpu_second": size / 2**20 / found["cpu_seconds"],
                        "pool_MB": size / 2**20,
                    }
                    print(rows[what], flush=True)
                    notes = (
                        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors. "
                        "Seconds of the whole command, imports included; the load average is the one "
                        "before it; processor seconds are those of all its processes. Documents are "
                        f"generated (120 words of a Zipf law), in {FILES} files of JSON Lines; budget "
                        f"{given.budget:,}, sample of gotd {given.sample:,}."
                    )
                    write(given.out, "streaming", TITLE, notes, list(rows.values()))
        finally:
            shutil.rmtree(pool)
            shutil.rmtree(work / "cache", ignore_errors=True)


if __name__ == "__main__":
    main()
