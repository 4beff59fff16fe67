"""The console script `shortlist`. It composes the configuration that `run.py` composes and calls
the same pipeline; nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence

from shortlist.cli.commands import parser
from shortlist.cli.terminal import DONE, REFUSED
from shortlist.errors import ShortlistError
from shortlist.pipeline.signals import Stopped, raised

# What a message of the pipeline calls a setting, and what this command line calls it.
SETTINGS = {
    r"(set )?task\.text=COLUMN \(pool=files: set pool\.text=COLUMN\)": "name it with "
    "--text-column COLUMN (that of the target with --target-column)",
    r"\bpool\.text=": "--text-column ",
    r"\btask\.text=": "--target-column ",
    r"\bpool\.domain=": "--domain-column ",
    r"\btask\.train=": "--target ",
    r"\bpool\.paths: ": "pool: ",
    r"\bbudget=(\d[\d,]*)": r"--budget \1",
    r"\bselector=": "--method ",
    r"(?<![\w.@])((?:\w+@)?(?:runtime|paths|leaks|selector|featurizer|model|task|pool)\.[a-z_.]+=)": (
        r"-- \1"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; see `EXIT_CODES`."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    cut = typed.index("--") if "--" in typed else len(typed)
    options = parser().parse_args(typed[:cut])
    options.hydra = typed[cut + 1 :]
    options.typed = typed
    try:
        with raised():
            return options.command(options) or DONE
    except Stopped as stopped:
        how = f"stopped by {signal.Signals(stopped.number).name}"
        print(f"error: {how}; the same command continues where it stopped", file=sys.stderr)
        return 128 + stopped.number
    except BrokenPipeError:  # the reader of the output has closed it
        sys.stderr.close()
        return DONE
    except ShortlistError as error:
        print(f"error: {as_typed_here(' '.join(str(error).split()))}", file=sys.stderr)
        return REFUSED


def as_typed_here(message: str) -> str:
    """Returns a message with the settings named as this command line names them."""
    for pattern, name in SETTINGS.items():
        message = re.sub(pattern, name, message)
    return message
