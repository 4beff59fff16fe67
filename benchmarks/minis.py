"""Runs every experiment at size=mini and reports the time of each stage.

    python benchmarks/minis.py --data DIR [--work .cache/minis] [--only gotd_table3 ...]

The experiments run one after the other over one cache, two cells at a time. `minutes` is the wall
clock of the command; `found_minutes` is what the stages that it found in the cache had taken when they
were computed; `at_most` is their sum, about the most that the command takes from an empty cache. What
was measured before is not run again unless --only names it; a run that fails gives no row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from real_text import ROOT
from report import write

from shortlist.core import Record
from shortlist.store.provenance import processor

TITLE = "The experiments in small, on two cores"
NOTES = (
    "`python run.py experiment=NAME size=mini paths.data=DIR launcher=joblib`, one after the other over "
    "one cache. `minutes`: wall clock; `found_minutes`: what the stages found in the cache had taken "
    "when they were computed, with those of all earlier reports, which no record names; `at_most`: the "
    "sum, about the most that the command takes from an empty cache. `computed` and `found` count stages."
)
# Experiments whose stages others reuse come first.
MINIS = (
    "gotd_controls_epsilon", "gotd_controls_tokens", "gotd_controls_rate", "gotd_controls_mnli",
    "gotd_table12", "gotd_table4", "gotd_table3", "gotd_table2", "detox", "gotd_table1", "gotd_table6",
    "gotd_table7", "gotd_controls_detox", "gotd_table16", "gotd_table16_controls", "gotd_table17",
    "gotd_table18", "gotd_table18_controls", "gotd_controls",
)  # fmt: skip
FIELDS = (
    "experiment", "cells", "done", "skipped", "minutes", "found_minutes", "at_most", "computed", "found",
    "processor",
)  # fmt: skip
REPORTED = {"clusters", "reasons", "map"}  # stages of a report, which stand in no record


def ledger(cache: Path) -> list[dict[str, Any]]:
    """Returns the manifests of all artifacts of a cache, oldest first."""
    paths = sorted(cache.glob("*/*/manifest.json"), key=lambda path: path.stat().st_mtime)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def counted(entries: list[dict[str, Any]]) -> str:
    """Returns how often each stage stands there, most frequent first."""
    names = Counter(entry["stage"] for entry in entries)
    return ", ".join(f"{name} {times}" for name, times in names.most_common())


def measured(name: str, data: Path, work: Path) -> dict[str, Any]:
    """Runs one experiment and returns its row.

    Raises:
        SystemExit: it failed, or left no record.
    """
    cache, runs = work / "cache", work / "runs" / name
    runs.mkdir(parents=True, exist_ok=True)
    before, earlier = ledger(cache), set(runs.iterdir())
    begin = time.perf_counter()
    settings = [
        f"experiment={name}", "size=mini", "launcher=joblib", "runtime.progress=false", f"paths.data={data}",
        f"paths.cache={cache}", f"paths.results={work / 'results'}", f"paths.runs={runs}",
    ]  # fmt: skip
    code = subprocess.run([sys.executable, "run.py", *settings], cwd=ROOT).returncode
    seconds = time.perf_counter() - begin
    paths = [path for run in set(runs.iterdir()) - earlier for path in run.glob("*/record.json")]
    if code or not paths:
        raise SystemExit(
            f"{name}_mini: exit code 0 and records under {runs} were expected, found exit code {code} "
            f"and {len(paths)} records; what was computed is kept, the same command goes on"
        )
    records = [Record.from_json(path.read_text(encoding="utf-8")) for path in paths]
    computed = ledger(cache)[len(before) :]
    new = {entry["key"] for entry in computed}
    named = {stage.key for record in records for stage in record.stages} - new
    found = {
        entry["key"]: entry
        for entry in before
        if entry["key"] in named or (entry["stage"] in REPORTED and entry["key"] not in new)
    }
    spent = sum(entry["seconds"] for entry in found.values())
    status = Counter(record.status for record in records)
    return {
        "experiment": f"{name}_mini",
        "cells": len(records),
        "done": status["done"],
        "skipped": status["skipped"],
        "minutes": round(seconds / 60, 1),
        "found_minutes": round(spent / 60, 1),
        "at_most": round((seconds + spent) / 60, 1),
        "computed": counted(computed),
        "found": counted(list(found.values())),
        "processor": processor(),
    }


def main() -> None:
    """Runs what has not been measured and writes results/benchmarks/minis.{json,md}."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with pools/ and tasks/")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache/minis")
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    parser.add_argument("--only", nargs="+", choices=MINIS, help="again, whatever was measured")
    given = parser.parse_args()
    path = given.out / "minis.json"
    earlier = json.loads(path.read_text())["rows"] if path.is_file() else []
    rows = {row["experiment"]: row for row in earlier}
    for name in given.only or [name for name in MINIS if f"{name}_mini" not in rows]:
        row = measured(name, given.data.resolve(), given.work.resolve())
        rows[row["experiment"]] = row
        kept = [rows[f"{one}_mini"] for one in MINIS if f"{one}_mini" in rows]
        ordered = [{field: one[field] for field in FIELDS} for one in kept]
        write(given.out, "minis", TITLE, NOTES, ordered)


if __name__ == "__main__":
    main()
