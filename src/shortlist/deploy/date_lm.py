"""A run in the format of DATE-LM's pre-training selection (Jiao et al. 2025, arXiv 2507.09424).

Their `methods/select_data.py` reads `metrics.npy`, a number for each candidate in the order of the
data set; their board takes scores as a `.pt` file beside a `metadata.json`. What their benchmark
measures after training Pythia-1B on the selection is null there, to be filled in.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.core import Record, document_id
from shortlist.data.finding import find
from shortlist.data.pools import Files
from shortlist.data.readers import DocumentStream
from shortlist.deploy.runs import reopened
from shortlist.errors import InvalidInput
from shortlist.pipeline.candidates import choose_from
from shortlist.pipeline.loading import load_data
from shortlist.pipeline.prefilter import prefilter
from shortlist.pipeline.selection import rank
from shortlist.pipeline.stage import Cell

TEMPERATURE, SEED = 0.5, 42  # theirs
CANDIDATES = 1_024_000
RESULTS = (
    "avg", "sciq", "arc_easy", "arc_challenge", "logiqa", "boolq", "hellaswag", "piqa",
    "winogrande", "openbookqa",
)  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        directory: where.
        candidates: number of candidates.
        selected: number of the selected ones.
        without_score: candidates without a score (leaks, texts that the pool left out), which have
            the smallest one.
    """

    directory: Path
    candidates: int
    selected: int
    without_score: int


def write_submission(
    run: Path,
    out: Path,
    *,
    board: str,
    kind: str,
    link: str,
    candidates: int = CANDIDATES,
    settings: Sequence[str] = (),
) -> Submission:
    """Returns what was written into the new folder `out`: `metrics.npy`, `scores.pt`,
    `selected.npy` (rows of the selection, sorted) and `metadata.json`.

    Args:
        run: a finished run with `pool=files`, whose budget is the size of the selection.
        out: a folder that does not exist.
        board: name of the board (`Pre-Training (10K)`).
        kind: type of the method there (`Similarity`).
        link: address of paper, code or contact.
        candidates: so many rows of the pool, the first, are the candidates; fewer where it has
            fewer.
        settings: further overrides, of the machine.

    Raises:
        Missing: the run is not there, or its scores are not in the store.
        InvalidInput: the pool is none of files or was prepared, a row cannot be read, `out` exists,
            or no candidate has a score.
    """
    if out.exists():
        raise InvalidInput(f"{out}: expected a new folder, found one; name another")
    with reopened(run, settings) as (name, record, cell):
        pool = cell.parts.pool
        if not isinstance(pool, Files) or cell.settings["pool"].get("prepare"):
            raise InvalidInput(
                f"run {name}: expected pool=files without pool.prepare, whose rows DATE-LM counts, "
                "found another pool; run experiment=date_lm"
            )
        known = _scores(cell)
    stream = DocumentStream(
        find(pool.paths, "pool.paths").files, pool.columns, reading=pool.reading
    )
    found = [known.get(document_id(document.text), -np.inf) for document in stream][:candidates]
    if stream.rejected:
        bad = stream.rejected[0]
        raise InvalidInput(
            f"{bad.path}:{bad.line}: expected a text in every row, since scores are by row, found: "
            f"{bad.reason}; repair the file and run again"
        )
    metrics = np.array(found)
    scored = np.isfinite(metrics)
    if not scored.any():
        raise InvalidInput(
            f"run {name}: expected scores of the first {candidates:,} rows, found none"
        )
    metrics[~scored] = metrics[scored].min()
    selected = gumbel_top_k(metrics, record.axes.budget, TEMPERATURE, SEED)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        np.save(folder / "metrics.npy", metrics)
        np.save(folder / "selected.npy", selected)
        torch.save(torch.from_numpy(metrics), folder / "scores.pt")
        text = json.dumps(metadata(record, out.name, board, kind, link), indent=2) + "\n"
        (folder / "metadata.json").write_text(text, encoding="utf-8")
        folder.chmod(0o755)
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Submission(out, len(metrics), len(selected), int((~scored).sum()))


def gumbel_top_k(
    metrics: NDArray[np.float64], size: int, temperature: float, seed: int
) -> NDArray[np.int64]:
    """Returns the (size,) rows, sorted, of the largest z / temperature + Gumbel noise, z the
    standardised (n,) metrics; equal metrics are drawn uniformly.

    Raises:
        InvalidInput: there are fewer than `size`.
    """
    if size > len(metrics):
        raise InvalidInput(
            f"expected {size:,} candidates or more, found {len(metrics):,}; set a smaller budget"
        )
    deviation = metrics.std()
    standard = (metrics - metrics.mean()) / (deviation if deviation > 0 else 1.0)
    noise = np.random.default_rng(seed).gumbel(size=len(metrics))
    return np.sort(np.argsort(standard / temperature + noise, kind="stable")[len(metrics) - size :])


def metadata(record: Record, name: str, board: str, kind: str, link: str) -> dict[str, Any]:
    """Returns the fields of the board's form; results of the trained model are None."""
    return {
        "Metadata Path": f"submissions/{name}/metadata.json",
        "Leaderboard": board,
        "Date of Submission": record.started,
        "Method": record.axes.selector,
        "Attribution Method Type": kind,
        "Model": "Pythia-1b",
        "Model Size": "1B",
        "Paper/Code/Contact Link": link,
        **dict.fromkeys(RESULTS),
    }


def _scores(cell: Cell) -> dict[str, float]:
    """Returns the scores of a run's candidates by id."""
    data = load_data(cell)
    candidates = choose_from(cell, data, prefilter(cell, data))
    ranking = rank(cell, data, candidates, cell.parts.selector, cell.settings["selector"])
    values = ranking.combined.total.values.tolist()
    return dict(zip(candidates.corpus.ids, values, strict=True))
