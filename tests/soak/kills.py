"""Cells that are killed at moments drawn from a seed, and run again until they are done.

A third of the moments are file operations (the n-th `open`, `rename`, `mkdir`, ... of the run: the
same moment for the same seed), a third are times, and a third are times at which SIGTERM arrives.
Whenever a cell gets to its end, artifacts and numbers must be those of an undisturbed run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from soak.ground import Ground, apart, difference, digests, kill_after, leftovers, numbers, wait
from soak.outcome import Outcome

KILLS = 200
OPERATIONS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod")


def at_operation(number: int, home: Path, work: Callable[[], int]) -> Callable[[], int]:
    """Returns the work, killed before the `number`-th operation on a file below `home`."""
    seen, below = 0, str(home)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in OPERATIONS and str(arguments[0]).startswith(below):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched() -> int:
        sys.addaudithook(watch)
        code = work()
        if number == 0:
            (home / "operations").write_text(str(seen))
        return code

    return watched


def kill(seed: int, size: float, home: Path) -> Outcome:
    """Returns the counts; runs in a process of its own."""
    ground, random_ = Ground.prepare(home), random.Random(seed)
    fresh = ground.compose(*ground.paths("fresh"))
    start = time.monotonic()
    counted = at_operation(0, home, ground.cell(fresh, home / "fresh/runs/0"))
    if wait(ground.start(counted)) != 0:
        return Outcome("kills", 1, lost=1, notes=("the undisturbed cell failed",))
    seconds, operations = time.monotonic() - start, int((home / "operations").read_text())
    expected, said = digests(home / "fresh/cache"), numbers(home / "fresh/results")
    disturbed = ground.compose(*ground.paths("killed"))
    wanted = max(3, round(KILLS * size))
    tried = ends = runs = located = lost = tracebacks = 0
    notes: list[str] = []

    def wrong(what: str) -> None:
        notes.append(f"seed {seed}, run {runs}: {what}")

    while tried < wanted or ends == 0:
        runs += 1
        if runs > 5 * wanted + 50:
            wrong("the runs get to no end")
            lost += 1
            break
        run = ground.cell(disturbed, home / "killed/runs" / str(runs))
        kind = ("operation", "time", "SIGTERM")[runs % 3]
        share, earlier = random_.random(), set(left(home))
        if tried >= wanted:
            code = wait(ground.start(run))
        elif kind == "operation":
            code = wait(ground.start(at_operation(1 + int(share * operations), home, run)))
        else:
            number = signal.SIGTERM if kind == "SIGTERM" else signal.SIGKILL
            code = kill_after(ground.start(run), 0.1 + share * seconds, number)
        if code in (-signal.SIGKILL, 143):
            tried += 1
        if code == 143:
            located += 1
            new = [one for one in left(home) if one not in earlier and ".unfinished" not in one]
            if new:
                lost += 1
                wrong(f"SIGTERM left {new[0]}")
        if code == -signal.SIGTERM:
            tracebacks += 1
            wrong("SIGTERM ended the process itself")
        if code > 0 and code != 143:
            tracebacks += 1
            record = home / "killed/runs" / str(runs) / "record.json"
            reason = json.loads(record.read_text())["reason"] if record.is_file() else "no record"
            wrong(f"the cell failed with {code}: {reason}")
        if code != 0:
            continue
        ends += 1
        try:
            same = numbers(home / "killed/results") == said
        except Exception as error:  # whatever damage makes of a record counts as lost
            same = False
            wrong(f"records: {error}")
        other = difference(digests(home / "killed/cache"), expected)
        if other or not same or left(home):
            lost += 1
            wrong(f"differs: {other or left(home) or 'numbers of the record'}")
        shutil.rmtree(home / "killed")
    notes.append(f"{ends} of {runs} runs got to their end; {operations} file operations a cell")
    return Outcome("kills", tried, located, 0, lost, tracebacks, tuple(notes))


def left(home: Path) -> list[str]:
    """Returns the temporary directories in the disturbed store."""
    return leftovers(home / "killed/cache")


def attack(seed: int, size: float, scratch: Path) -> Outcome:
    """Returns the counts of `200 size` kills."""
    return apart(kill, seed, size, scratch)
