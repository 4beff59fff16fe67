"""Progress of long work: a bar on a terminal and in a notebook, else a line every 15 seconds."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from html import escape

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0
SECONDS_IN_NOTEBOOK = 0.5  # before a bar appears, and between its changes

Report = Callable[[int], None]


@contextmanager
def bar(what: str, total: int | None, unit: str, *, show: bool = True) -> Generator[Report]:
    """Returns a context whose value is called with the number of units just done.

    Args:
        what: what is being done.
        total: number of units, or None where it is not known.
        unit: what is counted (`documents`, `steps`, `files`).
        show: False reports nothing.
    """
    if not show:
        yield lambda done: None
    elif sys.stderr.isatty():
        from rich import progress as rich
        from rich.console import Console

        count = "{task.completed:,}" if total is None else "{task.completed:,} of {task.total:,}"
        columns = (
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.TextColumn(f"{count} {unit}"),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(),
        )
        with rich.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
            task = shown.add_task(what, total=total)
            yield lambda done: shown.advance(task, done)
    elif _in_notebook():
        with _notebook_bar(what, total, unit) as report:
            yield report
    else:
        yield _log_lines(what, total, unit)


def _in_notebook() -> bool:
    """Returns whether this is the kernel of a notebook; IPython on a terminal has no kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@contextmanager
def _notebook_bar(what: str, total: int | None, unit: str) -> Generator[Report]:
    """Returns a context with a bar below the cell, of which nothing stays; needs no widgets."""
    from IPython.display import display

    handle, count, last = None, 0, time.monotonic()

    def report(done: int) -> None:
        nonlocal handle, count, last
        count += done
        now = time.monotonic()
        if now - last < SECONDS_IN_NOTEBOOK:
            return
        last = now
        of = f" of {total:,}" if total else ""
        size = f" value={count} max={total}" if total else ""
        text = f"{what}: {count:,}{of} {unit}"
        shown = {
            "text/plain": text,
            "text/html": f"<progress{size}></progress> {escape(text)}",
        }
        if handle is None:
            handle = display(shown, raw=True, display_id=True)
        else:
            handle.update(shown, raw=True)

    try:
        yield report
    finally:
        if handle is not None:
            handle.update({"text/plain": "", "text/html": ""}, raw=True)


def _log_lines(what: str, total: int | None, unit: str) -> Report:
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
            left = f", {(total - count) / rate:,.0f} s left" if total and rate else ""
            log.info("%s: %s%s %s, %.1f a second%s", what, f"{count:,}", of, unit, rate, left)

    return report


@contextmanager
def forward(*, show: bool = True) -> Generator[Callable[[int, int, str], None]]:
    """Returns a context whose value takes (done so far, total, what); another `what` is a new bar."""
    with ExitStack() as stack:
        current, counted, advance = "", 0, _ignore

        def report(done: int, total: int, what: str) -> None:
            nonlocal current, counted, advance
            if what != current:
                stack.close()
                advance = stack.enter_context(bar(what, total, "items", show=show))
                current, counted = what, 0
            advance(done - counted)
            counted = done

        yield report


def _ignore(done: int) -> None:
    del done


@contextmanager
def quiet(name: str, level: int = logging.WARNING) -> Generator[None]:
    """Returns a context in which the logger `name`, and those below it, drop records below `level`."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
