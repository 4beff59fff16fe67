"""Runs the attacks and prints one table: `python -m tests.soak [--seed N] [--size X] [--only NAME]`.

An attack is a module of this folder with `attack(seed: int, size: float, scratch: Path) -> Outcome`.
Exit code 1 if anything was lost or ended in a traceback, an exception of an attack included.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

TESTS = Path(__file__).parents[1]
# As pytest imports them: `soak.NAME`, `toy`, `cells`.
sys.path[:0] = [str(TESTS), str(TESTS / "e2e"), str(TESTS.parent / "src")]

import soak  # noqa: E402
from soak.outcome import Outcome  # noqa: E402

Attack = Callable[[int, float, Path], Outcome]
COLUMNS = [field.name for field in fields(Outcome) if field.name not in ("name", "notes")]


def attacks() -> dict[str, Attack]:
    """Returns every attack of this folder by the name of its module."""
    names = sorted(module.name for module in pkgutil.iter_modules(soak.__path__))
    modules = [importlib.import_module(f"soak.{name}") for name in names if name != "__main__"]
    return {
        module.__name__.partition(".")[2]: module.attack
        for module in modules
        if hasattr(module, "attack")
    }


def carry_out(name: str, attack: Attack, seed: int, size: float, scratch: Path) -> Outcome:
    """Returns the outcome of an attack; an exception of its own is a traceback of the product."""
    scratch.mkdir()
    try:
        return attack(seed, size, scratch)
    except Exception as error:
        traceback.print_exc()
        return Outcome(name, 1, tracebacks=1, notes=(f"{type(error).__name__}: {error}",))


def line(name: object, counts: list[object], seconds: object) -> str:
    """Returns one row of the table."""
    return f"{name:<24}" + "".join(f"{count:>12}" for count in counts) + f"{seconds:>10}"


def main() -> int:
    """Returns the exit code."""
    known = attacks()
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    parser.add_argument("--size", type=float, default=1.0, help="1 is the whole soak, .05 a taste")
    parser.add_argument("--only", action="append", choices=sorted(known), metavar="NAME")
    parser.add_argument("--scratch", type=Path, help="folder of the files, kept; else temporary")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    outcomes: list[Outcome] = []
    print(line("attack", list(COLUMNS), "seconds"), flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as temporary:
        scratch = options.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        for name in options.only or sorted(known):
            start = time.perf_counter()
            found = carry_out(name, known[name], options.seed, options.size, scratch / name)
            seconds = f"{time.perf_counter() - start:.0f}"
            print(line(name, [getattr(found, column) for column in COLUMNS], seconds), flush=True)
            for note in found.notes:
                print(f"    {note}", flush=True)
            outcomes.append(found)
    totals = [sum(getattr(found, column) for found in outcomes) for column in COLUMNS]
    print(line("total", list(totals), ""))
    return 0 if all(found.held for found in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
