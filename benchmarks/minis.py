"""Runs the `_mini` of every experiment and says what it took, stage by stage.

    python benchmarks/minis.py --data DIR [--work .cache/minis] [--only gotd_table3_mini ...]

One after the other over one cache, two cells at a time. `minutes` is the wall clock of the command; what
it found in the cache had been computed by an earlier one, and took `found_minutes` then. `at_most` is the
sum: from an empty cache it would not take longer. What was measured already is not run again unless named
by --only.
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
from shortlist.store.cache import LEDGER

TITLE = "The experiments in small, on two cores"
NOTES = (
    "`python run.py experiment=NAME paths.data=DIR launcher=joblib`, one after the other over one cache. "
    "`minutes`: wall clock; `found_minutes`: what the stages that it found in the cache had taken when an "
    "earlier experiment computed them; `at_most`: the sum, a bound of the wall clock from an empty cache. "
    "`computed` and `found` count stages."
)
# Those whose stages others share stand before these.
MINIS = (
    "gotd_controls_epsilon", "gotd_controls_tokens", "gotd_controls_rate", "gotd_controls_mnli",
    "gotd_table12", "gotd_table4", "gotd_table3", "gotd_table2", "gotd_table1", "gotd_table6", "gotd_table7",
    "gotd_table16", "gotd_table16_controls", "gotd_table17", "gotd_table18", "gotd_table18_controls",
    "gotd_controls",
)  # fmt: skip


def ledger(cache: Path) -> dict[str, tuple[str, float]]:
    """Returns stage and seconds of every computation under a cache, by key; the last one counts."""
    path = cache / LEDGER
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    entries = map(json.loads, lines)
    return {entry["key"]: (entry["stage"], entry["seconds"]) for entry in entries}


def counted(stages: list[str]) -> str:
    """Returns how often each name stands there, most frequent first."""
    return ", ".join(f"{name} {times}" for name, times in Counter(stages).most_common())


def measured(name: str, data: Path, work: Path) -> dict[str, Any]:
    """Runs one experiment and returns its row.

    Raises:
        SystemExit: it left no record.
    """
    cache, runs = work / "cache", work / "runs" / name
    before = ledger(cache)
    begin = time.perf_counter()
    settings = [
        f"experiment={name}_mini", "launcher=joblib", "runtime.progress=false", f"paths.data={data}",
        f"paths.cache={cache}", f"paths.results={work / 'results'}", f"paths.runs={runs}",
    ]  # fmt: skip
    code = subprocess.run([sys.executable, "run.py", *settings], cwd=ROOT).returncode
    seconds = time.perf_counter() - begin
    newest = max(runs.iterdir(), key=lambda path: path.stat().st_mtime, default=None)
    paths = sorted(newest.glob("*/record.json")) if newest else []
    if not paths:
        raise SystemExit(f"{name}_mini left no record under {runs} (exit code {code})")
    records = [Record.from_json(path.read_text(encoding="utf-8")) for path in paths]
    after = ledger(cache)
    keys = {stage.key for record in records for stage in record.stages}
    new = [key for key in after if key not in before]
    old = [key for key in keys if key in before]
    spent = sum(before[key][1] for key in old)
    status = Counter(record.status for record in records)
    return {
        "experiment": f"{name}_mini",
        "cells": len(records),
        "done": status["done"],
        "skipped": status["skipped"],
        "failed": status["failed"],
        "minutes": seconds / 60,
        "found_minutes": spent / 60,
        "at_most": (seconds + spent) / 60,
        "computed": counted([after[key][0] for key in new]),
        "found": counted([before[key][0] for key in old]),
    }


def main() -> None:
    """Runs what has not been measured and writes results/benchmarks/minis.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
        write(given.out, "minis", TITLE, NOTES, kept)


if __name__ == "__main__":
    main()
