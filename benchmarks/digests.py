"""What comparing the SHA-256 of artifacts costs: seconds in it, of a sweep over cached stages.

    python benchmarks/digests.py [--home DIR] [OVERRIDE...]

Runs a sweep to fill a cache under DIR (default: the sweep of `make demo`), then the same sweep in a
new process, and prints the seconds that this one took, those in the comparison, and the bytes that it
hashed. Both are measured in one run, so that a busy machine hardly moves their ratio.
"""

from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DEMO = ["selector=gotd,dsir,random", "budget=200,500"]


def measured(arguments: list[str]) -> None:
    """Runs the sweep in this process and prints what the comparison of digests took."""
    start = time.perf_counter()
    from shortlist.store import manifest

    seconds, compare = 0.0, manifest._compare

    def timed(*given: Any) -> None:
        nonlocal seconds
        before = time.perf_counter()
        compare(*given)
        seconds += time.perf_counter() - before

    manifest._compare = timed
    sys.argv = [str(ROOT / "run.py"), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        total = time.perf_counter() - start
        hashed = sum(size for _, _, size, _ in manifest._digests)
        print(
            f"sweep {total:.2f} s; digests {seconds:.3f} s for {hashed / 2**20:,.0f} MiB: "
            f"{seconds / total:.2%} of the sweep"
        )


def main() -> None:
    """Fills the cache, then measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options, overrides = parser.parse_known_args()
    if options.measure:
        return measured(overrides)
    with tempfile.TemporaryDirectory() as temporary:
        home = options.home or Path(temporary)
        places = [f"paths.{name}={home / name}" for name in ("cache", "results", "runs")]
        sweep = ["-m", *(overrides or DEMO), *places]
        for command in (["run.py", *sweep], [__file__, "--measure", *sweep]):
            subprocess.run([sys.executable, *command], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
