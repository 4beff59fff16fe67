"""Runs commands one after the other in one process, so that imports and compiled loops are paid once.

python -m rehearsal.worker        reads JSON lines [PROGRAM, ARGUMENT...], prints a JSON line each
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
import cells


def ended(program: str, *arguments: str) -> cells.Ended:
    """Returns how `python run.py` or `shortlist` ends."""
    if program == "run.py":
        return cells.command(*arguments)
    from shortlist.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except Exception:  # a defect ends its own test, not those after it
            traceback.print_exc()
            code = 70
    return cells.Ended(code, out.getvalue(), err.getvalue())


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(asdict(ended(*json.loads(line)))), flush=True)
