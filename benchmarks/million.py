"""Runs every target-free and lexical selector on 1,000,000 documents; see README.md beside this."""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from real_text import ROOT, corpus, recut, write_jsonl
from report import write

TITLE = "Selectors on 1,000,000 documents, two cores: `run.py until=select`, one process each"
NOTES = (
    "Seconds of the whole command, imports, compilation and the reading of the stored pool included; "
    "peak is the process's resident memory at its highest, memory-mapped files included. `pool` reads "
    "the files, makes ids and drops copies; the others find it in the store and compute everything "
    "else. The controls stand in for DSIR's picks. Pieces of 200 to 700 characters, budget 10,000."
)
DSIR = (
    "{_target_: shortlist.selectors.dsir.DSIR, smoothing: 1.0, floor: 0.0, temperature: 1.0, "
    "minimum_length: 0, separate: false, proportions: null}"
)
LIKE = (
    "featurizer=ngrams", "~selector.members.like.selector", f"+selector.members.like.selector={DSIR}",
)  # fmt: skip


def commands(domain: str, labelled: str) -> dict[str, tuple[str, ...]]:
    """Returns what is typed beside the selector, by selector."""
    return {
        "random": (),
        "all_domains": (),
        "dapt": (f"selector.domains=[{domain}]",),
        "tapt": (),
        "dsir": (),
        "classifier": (),
        "bm25": (),
        "moore_lewis": (),
        "least_toxic": (f"featurizer.labelled={labelled}",),
        "random_length": LIKE,
        "random_tokens": LIKE,
        "random_domain": LIKE,
    }


def measure(arguments: list[str], log: Path) -> dict[str, Any]:
    """Returns seconds, peak memory and exit code of a command."""
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execv(arguments[0], arguments)
    _, status, used = os.wait4(child, 0)
    return {
        "seconds": time.perf_counter() - begin,
        "peak_MB": used.ru_maxrss / 1024,
        "code": os.waitstatus_to_exitcode(status),
    }


def main() -> None:
    """Makes the documents, runs the selectors and writes results/benchmarks/million.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    parser.add_argument("--data", type=Path, help="folder with pools/; else installed packages")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache/bench/million")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", help="these selectors")
    given = parser.parse_args()
    work = given.work.absolute()
    there = corpus(given.data)
    target = work / "target.jsonl"
    if not target.exists():
        pieces = recut(there.take(range(5000, len(there))), given.documents, 200, 700)
        write_jsonl(work / "pool", pieces, shards=4)
        texts = list(dict.fromkeys(there.texts[:5000]))[:2000]
        target.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        rows = [
            {"text": text, "label": "toxic" if len(text) % 2 else "not"}
            for text in there.texts[2000:5000]
        ]
        (work / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelled = work / "labelled.jsonl"
    if given.data is not None and (given.data / "toxicity/labelled/train.jsonl.gz").exists():
        labelled = given.data / "toxicity/labelled/train.jsonl.gz"
    chosen = commands(sorted(set(there.domains))[0], str(labelled))
    del there
    typed = [
        sys.executable, str(ROOT / "run.py"), "pool=files", f"pool.paths=[{work}/pool/*.jsonl]",
        "pool.domain=domain", "task=own", f"task.train={target}", "task.holdout=0",
        "until=select", "budget=10000", "runtime.progress=false",
        *(f"paths.{name}={work / name}" for name in ("cache", "runs", "results")),
    ]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for name, extra in {"pool": (), **chosen}.items():
        if given.only and name not in (*given.only, "pool"):
            continue
        stages = ("features", "fit", "scores", "selection", "tokens", "candidates")
        for stage in (*stages, *(("pool", "task", "leaks") if name == "pool" else ())):
            shutil.rmtree(work / "cache" / stage, ignore_errors=True)
        selector = "random" if name == "pool" else name
        found = measure([*typed, f"selector={selector}", *extra], work / f"{name}.log")
        rows.append({"what": name, **found})
        print(rows[-1], flush=True)
        write(given.out, "million", TITLE, NOTES, rows)


if __name__ == "__main__":
    main()
