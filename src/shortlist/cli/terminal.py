"""The terminal: what is printed where, how paths are shown, and the codes a command ends with."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from shortlist.data.readers import RejectedRow

DONE, REFUSED = 0, 1
LISTED = 5  # rows that cannot be read, on the terminal
EXIT_CODES = """exit codes:
  0    done
  1    an input, a setting or the machine does not allow it: one line says which, and what to do
  2    the command is not understood
  130  stopped by ctrl-C, 143 by SIGTERM; the same command continues where it stopped
  Any other failure is a fault of the program and shows a traceback (exit code 1)."""


def console(stream: Any) -> Any:
    """Returns a console that writes to `stream`; 120 columns wide where it is no terminal."""
    from rich.console import Console

    return Console(
        file=stream, width=None if stream.isatty() else 120, highlight=False, soft_wrap=True
    )


def shown(path: Path) -> str:
    """Returns a path as it is short to read: relative where it lies below the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def counted(counts: Mapping[str, int]) -> str:
    """Returns counts by name in one line."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def print_rejected(rows: Sequence[RejectedRow]) -> None:
    """Prints the first rows that could not be read, each with the reason."""
    for row in rows[:LISTED]:
        reason = row.reason.encode("utf-8", "backslashreplace").decode()
        print(f"rejected: {row.path}, entry {row.line}: {reason}")


def columns() -> int:
    """Returns the width of the terminal; 100 where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100


def log_to_terminal(options: argparse.Namespace) -> None:
    """Shows warnings and progress on standard error, with --verbose every stage."""

    def wanted(entry: logging.LogRecord) -> bool:
        if options.quiet:
            return entry.levelno >= logging.ERROR
        return entry.levelno >= logging.WARNING or entry.name == "shortlist.progress"

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    if not options.verbose:
        handler.addFilter(wanted)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
