"""What a stage costs: wall-clock seconds and the host memory at its highest."""

import resource
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass
class Measured:
    """Seconds and peak memory of the block, filled in when the block ends."""

    seconds: float = 0.0
    peak_mib: float = 0.0


def _peak_mib() -> float:
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def measure() -> Generator[Measured]:
    """Returns a context that measures its block.

    Linux lets a process reset its high-water mark, so the peak is the block's own; elsewhere it is
    the highest the process ever had, an upper bound.
    """
    with suppress(OSError):
        _CLEAR_REFS.write_text("5")
    measured = Measured()
    start = time.perf_counter()
    try:
        yield measured
    finally:
        measured.seconds = time.perf_counter() - start
        measured.peak_mib = _peak_mib()
