"""How long the leaderboard of many records takes, and how large its page is.

    python benchmarks/leaderboard.py [--records 10000] [--items 500] [--out DIR]

Records are made up: 20 tasks, 5 seeds, 5 budgets, as many methods as it takes; each holds what a
real one holds, scores of its test items included. With --out the leaderboard stays there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from shortlist.core import Axes, Metric, Record, Role, StageCost, pack_item_scores
from shortlist.leaderboard import publish
from shortlist.leaderboard.build import build
from shortlist.leaderboard.page import page
from shortlist.store.records import read_records, write_record

TASKS, SEEDS, BUDGETS = 20, 5, (500, 1000, 2000, 5000, 10000)
STAGES: tuple[tuple[str, Role], ...] = (
    *((name, "preparation") for name in ("pool", "task", "leaks", "head")),
    *((name, "selection") for name in ("features", "features", "fit", "scores", "selection")),
    *((name, "training") for name in ("warmup", "finetune")),
    *((name, "evaluation") for name in ("held_out", "held_out", "evaluate")),
)


def records(wanted: int, items: int) -> list[Record]:
    """Returns made-up records."""
    generator = np.random.default_rng(0)
    methods = max(2, wanted // (TASKS * SEEDS * len(BUDGETS)))
    made = list[Record]()
    for task in range(TASKS):
        hardness = generator.random(items)
        for method in range(methods):
            for budget in BUDGETS:
                for seed in range(SEEDS):
                    right = hardness + generator.normal(0, 0.1, items) < 0.6 + method / 50
                    made.append(_record(task, method, budget, seed, right, generator))
    return made


def _record(
    task: int,
    method: int,
    budget: int,
    seed: int,
    right: np.ndarray,
    generator: np.random.Generator,
) -> Record:
    name = "random" if method == 0 else f"method_{method}"
    value, n = float(right.mean()), len(right)
    losses = generator.normal(3, 0.2, 300)
    domains = {f"domain_{i}": budget // 10 for i in range(10)}
    return Record(
        key=f"{task:02x}{method:02x}{budget:04x}{seed:02x}".rjust(16, "0"),
        status="done",
        axes=Axes(
            f"task_{task:02}", "domains", name, "transformer", "minilm", budget, "documents", seed
        ),
        metrics=(
            Metric("macro_f1", "fraction", True, value, n, 0.01, "test", "a" * 24, primary=True),
            Metric("accuracy", "fraction", True, value, n, 0.01, "test", "b" * 24),
            Metric("mlm_loss_before", "nats", False, 3.5, 300, 0.05, "test", "c" * 24),
            Metric(
                "mlm_loss_after", "nats", False, float(losses.mean()), 300, 0.05, "test", "c" * 24
            ),
            Metric(
                "mlm_loss_drop",
                "nats_gained",
                True,
                3.5 - float(losses.mean()),
                300,
                0.03,
                "test",
                "c" * 24,
            ),
        ),
        stages=tuple(
            StageCost(s, "0" * 16, float(generator.random() * 60), 900.0, "cpu, 2 threads", role)
            for s, role in STAGES
        ),
        selection={
            "size": budget,
            "unique": budget,
            "domains": domains,
            "sha256": "0" * 64,
            "fit": {"marginal_error": 3e-3, "gap": 7e-3, "primal": 1.7, "converged": True},
        },
        inputs={f"read.pool.{i}": "0" * 24 for i in range(10)},
        counts={f"count_{i}": i for i in range(25)},
        config={"seed": seed, "selector": {"_target_": name}, "finetune": {"epochs": 3}},
        overrides=(f"task=task_{task:02}", f"selector={name}", f"budget={budget}", f"seed={seed}"),
        item_scores={
            "macro_f1": pack_item_scores(right.astype(float)),
            "accuracy": pack_item_scores(right.astype(float)),
            "mlm_loss_after": pack_item_scores(losses),
        },
    )


@contextmanager
def step(name: str) -> Iterator[None]:
    """Prints the seconds of its block: on the wall, and on the processor for busy machines."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{name:12}{wall:6.2f} s ({processor:.2f} s of one core)", flush=True)


def main() -> None:
    """Prints seconds by step and the size of the page."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="leaderboard-"))
    if not (folder / "records").is_dir():
        for record in records(options.records, options.items):
            write_record(folder, record)
    with step("read"):
        found = read_records(folder)
    with step("build"):
        tables = build(found)
    with step("page"):
        text = page(tables, found)
    with step("everything"):  # read, build, Markdown, CSV, LaTeX, HTML
        publish(folder)
    print(f"{len(found):,} records, {len(tables)} tables, a page of {len(text) / 1e6:.1f} MB")
    print(folder)


if __name__ == "__main__":
    main()
