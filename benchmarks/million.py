"""Runs every target-free and lexical selector on 1,000,000 documents; see README.md beside this."""

import argparse
import json
import multiprocessing as mp
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
        "least_toxic": (f"featurizer.scorer.labelled={labelled}",),
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


def prepare(data: Path | None, work: Path, documents: int) -> None:
    """Writes pool, target and labelled texts under `work`."""
    there = corpus(data)
    pieces = recut(there.take(range(5000, len(there))), documents, 200, 700)
    write_jsonl(work / "pool", pieces, shards=4)
    # Labels by a rule about words, so that there is something to learn.
    rows = [
        {"text": text, "label": "toxic" if " not " in text else "other"} for text in there.texts
    ]
    for name, chosen in (("labelled", rows[:5000]), ("target", rows[:2000])):
        lines = [json.dumps(row) + "\n" for row in chosen]
        (work / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Makes the documents, runs the selectors and writes results/benchmarks/million.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    parser.add_argument("--data", type=Path, help="folder with pools/; else installed packages")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache/bench/million")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", help="these selectors")
    given = parser.parse_args()
    work = given.work.absolute()
    if not (work / "target.jsonl").exists():
        # In a process of its own: a child begins with its parent's peak of memory.
        made = mp.get_context("spawn").Process(
            target=prepare, args=(given.data, work, given.documents)
        )
        made.start()
        made.join()
    with (work / "pool/part-0.jsonl").open(encoding="utf-8") as file:
        chosen = commands(json.loads(next(file))["domain"], str(work / "labelled.jsonl"))
    target = work / "target.jsonl"
    typed = [
        sys.executable, str(ROOT / "run.py"), "pool=files", f"pool.paths=[{work}/pool/*.jsonl]",
        "pool.domain=domain", "task=own", f"task.train={target}", "task.holdout=0",
        "until=select", f"budget={given.budget}", "runtime.progress=false",
        *(f"paths.{name}={work / name}" for name in ("cache", "runs", "results")),
    ]  # fmt: skip
    # What is measured again takes the place of what was there.
    kept = given.out / "million.json"
    earlier = json.loads(kept.read_text())["rows"] if kept.exists() else []
    found = {row["what"]: row for row in earlier}
    for name, extra in {"pool": (), **chosen}.items():
        if given.only and name not in (*given.only, "pool"):
            continue
        stages = ("features", "fit", "scores", "selection", "tokens", "candidates")
        for stage in (*stages, *(("pool", "task", "leaks") if name == "pool" else ())):
            shutil.rmtree(work / "cache" / stage, ignore_errors=True)
        selector = "random" if name == "pool" else name
        row = measure([*typed, f"selector={selector}", *extra], work / f"{name}.log")
        found[name] = {"what": name, **row}
        print(found[name], flush=True)
        order = [key for key in ("pool", *chosen) if key in found]
        write(given.out, "million", TITLE, NOTES, [found[key] for key in order])


if __name__ == "__main__":
    main()
