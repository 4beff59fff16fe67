"""Two sweeps on one store at the same time, in another order each: nothing is computed twice."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soak.ground import Ground, apart, difference, digests, leftovers, numbers, wait
from soak.outcome import Outcome

PAIRS = 12
BUDGETS = (5, 10, 15)


def one_after_the_other(
    ground: Ground, cells: list[tuple[str, Any]], runs: Path
) -> Callable[[], int]:
    """Returns the work of running cells in this order: the number of cells that failed."""

    def work() -> int:
        return sum(ground.cell(config, runs / name)() != 0 for name, config in cells)

    return work


def race(seed: int, size: float, home: Path) -> Outcome:
    """Returns the counts; runs in a process of its own."""
    from shortlist.store.cache import executions

    ground, random_ = Ground.prepare(home), random.Random(seed)
    fresh, raced = (
        [(str(b), ground.compose(*ground.paths(name), f"budget={b}")) for b in BUDGETS]
        for name in ("fresh", "raced")
    )
    if wait(ground.start(one_after_the_other(ground, fresh, home / "fresh/runs"))) != 0:
        return Outcome("two_sweeps", 1, lost=1, notes=("the undisturbed sweep failed",))
    expected, said = digests(home / "fresh/cache"), numbers(home / "fresh/results")
    tried = lost = tracebacks = 0
    notes: list[str] = []
    for number in range(max(1, round(PAIRS * size))):
        sweeps = [random_.sample(raced, len(raced)) for _ in range(2)]
        started = [
            ground.start(one_after_the_other(ground, sweep, home / "raced/runs" / str(at)))
            for at, sweep in enumerate(sweeps)
        ]
        codes = [wait(process) for process in started]
        tried += 2 * len(raced)
        place = f"seed {seed}, pair {number}"
        if any(codes):
            tracebacks += 1
            notes.append(f"{place}: cells failed or were killed: {codes}")
        cache = home / "raced/cache"
        twice = [entry for entry, count in Counter(executions(cache)).items() if count > 1]
        other = difference(digests(cache), expected) or leftovers(cache) or twice
        other = other or [str(path) for path in cache.rglob("*.lock")]
        if other or numbers(home / "raced/results") != said:
            lost += 1
            notes.append(f"{place}: {other or 'numbers of the records'}")
        shutil.rmtree(home / "raced")
    return Outcome("two_sweeps", tried, 0, 0, lost, tracebacks, tuple(notes))


def attack(seed: int, size: float, scratch: Path) -> Outcome:
    """Returns the counts of `12 size` pairs of sweeps, three cells each."""
    return apart(race, seed, size, scratch)
