"""The console script `shortlist`. It composes the configuration that `run.py` composes and calls
the same pipeline; nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Collection, Sequence

from shortlist.cli.commands import parser
from shortlist.cli.terminal import DONE, REFUSED
from shortlist.errors import ShortlistError
from shortlist.pipeline.signals import Stopped, raised

# What a message of the pipeline calls a setting, the option of a command that stands for it, and what the
# command line calls it.
_COLUMN = r"(set )?task\.text=COLUMN \(pool=files: set pool\.text=COLUMN\)"
SETTINGS = (
    (_COLUMN, "target_column",
     "name it with --text-column COLUMN (that of the target with --target-column)"),
    (_COLUMN, "text_column", "name it with --text-column COLUMN"),
    (r"\bpool\.text=", "text_column", "--text-column "),
    (r"\btask\.text=", "target_column", "--target-column "),
    (r"\bpool\.domain=", "domain_column", "--domain-column "),
    (r"\btask\.train=", "target", "--target "),
    (r"\bpool\.paths: ", "pool", "pool: "),
    (r"\bbudget=(\d[\d,]*)", "budget", r"--budget \1"),
    (r"\bselector=", "method", "--method "),
)  # fmt: skip
OPTIONS = frozenset(option for _, option, _ in SETTINGS)  # of `select` and `compare`
_SETTING = (
    r"(?<![\w.@])(?<!found )(?<!', )"  # not what was found, nor where
    r"((?:\w+@)?(?:runtime|paths|leaks|selector|featurizer|model|task|pool)\.[a-z_.]+=)"
)


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
        print(
            f"error: {as_typed_here(' '.join(str(error).split()), vars(options))}", file=sys.stderr
        )
        return REFUSED


def as_typed_here(message: str, options: Collection[str] = OPTIONS) -> str:
    """Returns a message with the settings named as a command names them.

    Args:
        message: the message.
        options: names of the command's options. One with `overrides` takes settings as they are;
            for others they stand after `--`.
    """
    for pattern, option, name in SETTINGS:
        if option in options:
            message = re.sub(pattern, name, message)
    return message if "overrides" in options else re.sub(_SETTING, r"-- \1", message)
