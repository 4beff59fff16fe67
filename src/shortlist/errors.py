"""What goes wrong for a reason the user can act on.

Every message is one line and says what was expected, what was found, which input it was, and what
to do. `pipeline.execute` and `run.py` print that line alone; the traceback stays in the run directory.
"""

import difflib
from collections.abc import Iterable


class ShortlistError(Exception):
    """An input, a setting or a machine that the program cannot work with."""


class InvalidInput(ShortlistError):
    """A file, a row or a setting is not what it must be."""


class ForeignFeatures(ShortlistError):
    """Vectors, scores or ids belong to another corpus than the one they are joined with."""


class DoesNotFit(ShortlistError):
    """The work would not fit into the memory or the time there is."""


class Missing(ShortlistError):
    """A file, a model, a data set or a package is not on this machine."""


class BrokenArtifact(ShortlistError):
    """A stored artifact is not what its manifest says."""


def near(name: str, known: Iterable[str]) -> str:
    """Returns the clause that names the near and the known spellings of an unknown `name`."""
    choices = sorted(set(known))
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(f'`{match}`' for match in close)}?" if close else ""
    if len(choices) > 20:
        return hint or f"{len(choices)} are known, none of them near"
    return f"{hint} known: {', '.join(choices) or 'none'}".strip()
