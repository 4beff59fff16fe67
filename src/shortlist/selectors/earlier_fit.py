"""What a fit of GOT-D leaves for the pool that grows out of its own, and how that is found again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file

from shortlist.errors import InvalidInput, Missing
from shortlist.ot import COSTS, Earlier, Visit

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.core import Features
    from shortlist.ot import Cost, Transport

FILE = "fitted.safetensors"
INSTEAD = "give another directory or set selector.grown_from=null"


def left_behind(found: Transport, pool: Features) -> dict[str, torch.Tensor]:
    """Returns the potentials of the pool's documents, who they are, and the sums of the last visit.

    Nothing where the documents are not known, or where masses or penalties leave no sums that add.
    """
    sums = found.evidence
    plain = found.penalties.balanced and not found.weighted and found.regime != "exact"
    if pool.documents is None or not plain:
        return {}
    return {
        "pool_ids": torch.from_numpy(pool.documents.id_words().view(np.int64)),
        "pool_g": found.g.cpu(),
        "sums": torch.stack([sums.marginal, sums.cost, sums.gain]).cpu(),
        "solved_masses": found.a.cpu(),
        "errors": torch.tensor([sums.pool_error], dtype=torch.float64),
        "cost_number": torch.tensor(COSTS.index(found.cost)),
    }


def digest_of(directory: Path) -> str:
    """Returns the SHA-256 of an earlier fit's file.

    Raises:
        Missing: there is none.
    """
    path = directory / FILE
    if not path.is_file():
        raise Missing(
            f"an earlier fit was expected in selector.grown_from={directory}, found no {FILE}; give "
            "the directory of a stage `fit`, <paths.cache>/fit/<key>, whose key is in its record"
        )
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def earlier_fit(directory: Path, target: Features, pool: Features, cost: Cost) -> Earlier:
    """Returns the earlier fit in `directory`, its documents found by id in the pool of now.

    Raises:
        InvalidInput: it was a fit of another method, target or cost, or of documents that are not
            in this pool.
        Missing: there is none.
    """
    digest_of(directory)
    state = load_file(directory / FILE)
    if "sums" not in state:
        raise InvalidInput(
            f"selector.grown_from={directory} is no fit of gotd at equal masses and without "
            f"penalties; {INSTEAD}"
        )
    then = torch.from_numpy(np.array(target.values))
    if state["targets"].shape != then.shape or not torch.equal(state["targets"], then):
        raise InvalidInput(f"selector.grown_from={directory} is of another target; {INSTEAD}")
    known = COSTS[int(state["cost_number"])]
    if known != cost:
        raise InvalidInput(
            f"selector.grown_from={directory} is of selector.cost={known}, not {cost}; {INSTEAD}"
        )
    if pool.documents is None:
        raise InvalidInput("selector.grown_from needs to know the documents of the pool")
    words, ids = pool.documents.id_words(), state["pool_ids"].numpy().view(np.uint64)
    order = np.argsort(words)
    places = order[np.minimum(np.searchsorted(words, ids, sorter=order), len(words) - 1)]
    gone = int((words[places] != ids).sum())
    if gone:
        raise InvalidInput(
            f"selector.grown_from={directory} needs all its {len(ids):,} documents in the pool, "
            f"{gone:,} are not; {INSTEAD}"
        )
    marginal, cost_sums, gain = state["sums"]
    sums = Visit(
        state["pool_g"],
        marginal,
        float(state["errors"][0]),
        cost_sums,
        gain,
        torch.zeros_like(marginal),
        1.0,
        0.0,
    )
    return Earlier(
        torch.from_numpy(places),
        state["f"],
        state["solved_masses"],
        float(state["epsilon"]),
        cost,
        True,
        sums,
    )
