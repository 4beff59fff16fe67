"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0

Report = Callable[[int], None]


@contextmanager
def bar(what: str, total: int | None, unit: str, *, show: bool = True) -> Generator[Report]:
    """Returns a context whose value is called with the number of units just done.

    Args:
        what: what is being done.
        total: number of units, or None where it is not known.
        unit: what is counted (`documents`, `steps`, `files`).
        show: False says nothing at all.
    """
    if not show:
        yield lambda done: None
        return
    if sys.stderr.isatty():
        with tqdm(
            total=total, desc=what, unit=f" {unit}", dynamic_ncols=True, leave=False
        ) as shown:
            yield lambda done: (shown.update(done), None)[1]
        return
    start = last = time.monotonic()
    count = 0

    def report(done: int) -> None:
        nonlocal last, count
        count += done
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = count / (now - start)
            of = f" of {total:,}" if total else ""
            left = f", {(total - count) / rate:,.0f} s left" if total else ""
            log.info("%s: %s%s %s, %.1f a second%s", what, f"{count:,}", of, unit, rate, left)

    yield report


@contextmanager
def forward(*, show: bool = True) -> Generator[Callable[[int, int, str], None]]:
    """Returns a context whose value takes (done so far, total, what): for readers that know no
    bars.
    """
    with ExitStack() as stack:
        current: list[Any] = [None, 0, None]  # what, done, report

        def report(done: int, total: int, what: str) -> None:
            if current[0] != what:
                stack.close()
                current[:] = [what, 0, stack.enter_context(bar(what, total, "items", show=show))]
            current[2](done - current[1])
            current[1] = done

        yield report


@contextmanager
def quiet(name: str) -> Generator[None]:
    """Holds back what the logger `name`, and those below it, have to say short of a warning."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
