"""Which documents should a pre-trained model read before it is fine-tuned?

    picks = shortlist.select(pool, target, budget=20_000, method="gotd")

Importing the package prepares the process and nothing else: the functions are imported when they are
first named, and the settings below only work when they are in the environment before torch starts
its threads, so they stand here, before any other import.
"""

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shortlist import transport as transport
    from shortlist.api import evaluate as evaluate
    from shortlist.api import rank as rank
    from shortlist.api import select as select
    from shortlist.errors import ShortlistError as ShortlistError
    from shortlist.overrides import methods as methods
    from shortlist.picks import Evaluation as Evaluation
    from shortlist.picks import Picks as Picks
    from shortlist.picks import Ranking as Ranking

# With a second job on the cores, OpenMP threads that spin at a barrier stall small operations about
# 35-fold (measured: logsumexp of 1,000 x 1,000 takes 40 ms instead of 1.1 ms). Sleeping threads do
# not.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# The tokenizer's own threads deadlock after a fork (data-loader workers) and fight torch's for the
# cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Where no home can be written to, matplotlib, which torchmetrics imports, tells of a temporary place for
# its font cache and of the fonts in it.
logging.getLogger("matplotlib").setLevel(logging.WARNING)
logging.getLogger("matplotlib").addFilter(
    lambda record: (
        not any(text in record.getMessage() for text in ("mkdir -p failed", "MPLCONFIGDIR"))
    )
)

__version__ = "0.1.0"

_LAZY = {
    **dict.fromkeys(("Evaluation", "Picks", "Ranking"), "shortlist.picks"),
    **dict.fromkeys(("evaluate", "rank", "select"), "shortlist.api"),
    "methods": "shortlist.overrides",
    "ShortlistError": "shortlist.errors",
}
__all__ = [
    "Evaluation",
    "Picks",
    "Ranking",
    "ShortlistError",
    "__version__",
    "evaluate",
    "methods",
    "rank",
    "select",
    "transport",
]


def __getattr__(name: str) -> Any:
    if name == "transport":
        return importlib.import_module("shortlist.transport")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'shortlist' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
