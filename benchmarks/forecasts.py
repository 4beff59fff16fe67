"""Forecasts of `shortlist plan` beside what the stages took, on five sizes.

    python benchmarks/forecasts.py [--work .cache/forecasts]

Task and pool are the embedded ones, the model is MiniLM; sizes differ in the pool, the budget, the
training examples and the tokens of a text. Every cell is computed from an empty cache. The stages are
those that a forecast names; `ratio` is forecast over taken.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any

from report import write

from shortlist.forecasts import forecast_run
from shortlist.overrides import composed
from shortlist.pipeline.cell import execute

TITLE = "Forecasts beside what was taken"
NOTES = (
    "`shortlist plan` on this machine, whose rates are measured at the start of each forecast by passes "
    "and steps of MiniLM. `load`: processes that wait for a core, as the cell starts; a forecast made "
    "under another load than the cell is off by their ratio. Stages under a second are left out of a row."
)
STAGES = {
    "features": "features",
    "warmup": "warm-up",
    "finetune": "fine-tuning",
    "evaluate": "evaluation",
}
# Passages a package, budget, training examples a family, tokens.
SIZES = (
    (5, 50, 20, 32),
    (10, 100, 30, 48),
    (20, 200, 40, 64),
    (40, 300, 50, 64),
    (40, 400, 50, 96),
)


def typed(size: tuple[int, int, int, int], work: Path) -> list[str]:
    """Returns the overrides of one size."""
    per_package, budget, examples, tokens = size
    return [
        f"pool.per_package={per_package}", f"budget={budget}", f"task.per_family.train={examples}",
        f"warmup.max_length={tokens}", f"finetune.max_length={tokens}", f"featurizer.max_length={tokens}",
        "model.head.epochs=1", "model.head.documents=50", "advice=null", "runtime.report=false",
        "runtime.progress=false", "runtime.checkpoint_seconds=null", "finetune.epochs=1",
        f"paths.cache={work / 'cache'}", f"paths.results={work / 'results'}", f"paths.runs={work / 'runs'}",
    ]  # fmt: skip


def row(size: tuple[int, int, int, int], work: Path) -> dict[str, Any]:
    """Returns the forecast of one size, what was taken, and their ratios."""
    shutil.rmtree(work, ignore_errors=True)
    settings = typed(size, work)
    planned = forecast_run([*settings, "seed=0"], None)
    shutil.rmtree(work / "cache", ignore_errors=True)
    load = os.getloadavg()[0]
    with composed(settings) as config:
        choices = dict(config.hydra.runtime.choices)
        record = execute(config, choices, tuple(settings), work / "runs" / "0", work / "runs")
    if record.status != "done":
        raise SystemExit(record.reason)
    found: dict[str, Any] = dict(
        zip(("per_package", "budget", "examples", "tokens"), size, strict=True)
    )
    forecast = taken = 0.0
    for stage, name in STAGES.items():
        seconds = sum(one.seconds for one in record.stages if one.stage == stage)
        if seconds >= 1 and name in planned.stages:
            found[name] = planned.stages[name].seconds / seconds
            forecast, taken = forecast + planned.stages[name].seconds, taken + seconds
    return {**found, "forecast": forecast, "taken": taken, "ratio": forecast / taken, "load": load}


def main() -> None:
    """Writes results/benchmarks/forecasts.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache/forecasts"))
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    given = parser.parse_args()
    begin, rows = time.perf_counter(), list[dict[str, Any]]()
    for size in SIZES:
        rows.append(row(size, given.work.absolute()))
        print(rows[-1], f"{time.perf_counter() - begin:.0f} s", flush=True)
    write(given.out, "forecasts", TITLE, NOTES, rows)


if __name__ == "__main__":
    main()
