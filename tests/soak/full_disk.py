"""Cache, results and runs on a disk of some size drawn from a seed, that fills up, or has no inode.

`python run.py` must end with one line that names the path, the room and the setting, and the same
command must go on to the same artifacts when there is more room. Needs root for the tmpfs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soak.ground import Ground, apart, difference, digests, leftovers, numbers, wait
from soak.outcome import Outcome

DISKS = 60
ROOMY = "size=256m,nr_inodes=100000"


def mount(at: Path, options: str) -> None:
    """Mounts a tmpfs, or changes the one that is there."""
    again = "remount," if os.path.ismount(at) else ""
    typed = ["mount", "-t", "tmpfs", "-o", f"{again}{options}", "tmpfs", str(at)]
    subprocess.run(typed, check=True, capture_output=True)


def run(ground: Ground, typed: Callable[[], int], answer: Path) -> tuple[int, dict[str, Any]]:
    """Returns how the fork ended, and what the command said."""
    answer.unlink(missing_ok=True)
    code = wait(ground.start(typed))
    said = answer.read_text() if answer.exists() else ""
    return code, json.loads(said) if said else {"code": code, "out": "", "err": ""}


def fill(seed: int, size: float, home: Path) -> Outcome:
    """Returns the counts; runs in a process of its own."""
    ground, random_ = Ground.prepare(home), random.Random(seed)
    answer = home / "answer.json"
    wait(ground.start(ground.typed(answer, *ground.paths("fresh"))))
    if json.loads(answer.read_text())["code"] != 0:
        return Outcome("full_disk", 1, lost=1, notes=(answer.read_text()[-300:],))
    expected, said = digests(home / "fresh/cache"), numbers(home / "fresh/results")
    needed = {
        name: sum(
            path.stat().st_size for path in (home / "fresh" / name).rglob("*") if path.is_file()
        )
        for name in ("cache", "results", "runs")
    }
    inodes = {name: len(list((home / "fresh" / name).rglob("*"))) for name in needed}
    tried = located = lost = tracebacks = 0
    notes: list[str] = []
    disk = home / "full"
    for number in range(max(3, round(DISKS * size))):
        name = ("cache", "results", "runs")[number % 3]
        shutil.rmtree(disk, ignore_errors=True)
        at = disk / name
        at.mkdir(parents=True)
        scarce = number % 4 == 3
        options = (
            f"size=256m,nr_inodes={random_.randint(2, inodes[name] + 1)}"
            if scarce
            else f"size={int(4096 * (needed[name] / 4096) ** random_.random()) + 4096},nr_inodes=100000"
        )
        mount(at, options)
        tried += 1
        place = f"seed {seed}: {name} on {options}"
        try:
            typed = ground.typed(answer, *ground.paths("full"))
            code, ended = run(ground, typed, answer)
            text = ended["out"] + ended["err"]
            refusals = [
                line for line in text.splitlines() if "error: " in line or "failed: " in line
            ]
            if code != 0 or "Traceback" in text:
                tracebacks += 1
                notes.append(f"{place}: ended by {code}: {text[-300:]!r}")
            elif ended["code"] == 0:
                pass  # it fitted after all
            elif any(f"paths.{name}" in line and "free" in line for line in refusals):
                located += 1
            else:
                tracebacks += 1
                notes.append(f"{place}: {refusals or text[-300:]}")
            mount(at, ROOMY)
            code, ended = run(ground, typed, answer)
            other = difference(digests(disk / "cache"), expected)
            same = code == ended["code"] == 0 and numbers(disk / "results") == said
            if other or not same or leftovers(disk / "cache"):
                lost += 1
                why = f"{code}, {ended['code']}: {other} {leftovers(disk / 'cache')} {ended['err'][-300:]}"
                notes.append(f"{place}: a later run did not end as an undisturbed one: {why}")
        finally:
            subprocess.run(["umount", "-l", str(at)], check=False, capture_output=True)
    return Outcome("full_disk", tried, located, 0, lost, tracebacks, tuple(notes))


def attack(seed: int, size: float, scratch: Path) -> Outcome:
    """Returns the counts of `60 size` disks; without root, or the right to mount, of none."""
    probe = scratch / "probe"
    probe.mkdir(parents=True)
    try:
        mount(probe, "size=1m")
        subprocess.run(["umount", str(probe)], check=True)
    except (OSError, subprocess.CalledProcessError):
        return Outcome("full_disk", 0, notes=("skipped: mounting a tmpfs needs root",))
    return apart(fill, seed, size, scratch)
