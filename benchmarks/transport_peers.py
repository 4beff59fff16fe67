"""The engine against other libraries, on the same arrays and judged by the same dual value."""

import json
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transport_data import ROOT, Pair
from transport_measures import Rows, told
from transport_reference import Reference, reference

from shortlist import ot as transport

PEER = ROOT / "baselines/peers/transport/solve.py"
CHEAP = (
    25.0  # seconds of a first run, start and compilation not counted, up to which it is repeated
)


def against_peers(
    name: str,
    data: Pair,
    python: str,
    limit: float,
    repeats: int,
    peers: Mapping[float, Sequence[str]],
    cheap: float = CHEAP,
) -> Rows:
    """Returns median seconds, dual shortfall and overlap of every solver on the same arrays.

    `peers` says who is asked at which epsilon, relative to the mean cost. Rounds are interleaved:
    in each the engine runs, then every peer, those that take longer than `cheap` in the first round
    only. Whoever is not done after `limit` seconds gets a ratio all the same: the least it can be.
    """
    pool, target = data
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        arrays, out = Path(folder) / "data.npz", Path(folder) / "f.npy"
        np.savez(arrays, pool=pool.numpy(), target=target.numpy())
        for relative, names in peers.items():
            best = reference(data, relative)
            ours = {"ours": {}, "ours streamed": {"regime": "streamed", "stored_bytes": 2**27}}
            if len(pool) > 50_000:  # streamed by itself
                del ours["ours streamed"]
            how = {"epsilon": best.epsilon, "relative": False, "tolerance": 1e-2}
            mine: dict[str, list[transport.Transport]] = {solver: [] for solver in ours}
            times: dict[str, list[float]] = {peer: [] for peer in names}
            answers: dict[str, tuple[np.ndarray | None, str]] = {}
            for turn in range(repeats):
                for solver, settings in ours.items():
                    mine[solver].append(transport.solve(pool, target, **how, **settings))
                for peer in names:
                    if turn and (not times[peer] or times[peer][0] > cheap):
                        continue
                    took, f, note = asked(python, peer, arrays, best.epsilon, out, limit)
                    answers.setdefault(peer, (f, note))
                    times[peer] += [] if took is None else [took]
            base = statistics.median(run.seconds for run in mine["ours"])
            for solver, runs in mine.items():
                note = f"{runs[-1].regime}, target error {runs[-1].target_error:.1e}"
                took = [run.seconds for run in runs]
                found = (runs[-1].f.numpy(), note)
                rows.append(told(judged(name, data, solver, relative, took, found, best, base)))
            for peer in names:
                row = judged(name, data, peer, relative, times[peer], answers[peer], best, base)
                if answers[peer][1].startswith("not done"):
                    row["times_ours"] = f"> {limit / base:.3g}"
                rows.append(told(row))
    return rows


def judged(
    name: str,
    data: Pair,
    solver: str,
    relative: float,
    took: list[float],
    answer: tuple[np.ndarray | None, str],
    best: Reference,
    base: float,
) -> dict[str, Any]:
    """Returns one solver's row."""
    (pool, target), (f, note) = data, answer
    row: dict[str, Any] = {
        "data": name,
        "candidates": len(pool),
        "targets": len(target),
        "solver": solver,
        "epsilon": relative,
        "seconds": statistics.median(took) if took else None,
        "runs": len(took),
        "note": note,
        "dual_shortfall": None,
        "overlap_5_percent": None,
        "times_ours": statistics.median(took) / base if took else None,
    }
    if f is not None and np.isfinite(f).all():
        g = transport.CTransform(target, torch.from_numpy(f), epsilon=best.epsilon)(pool)
        row["dual_shortfall"] = 1 - (float(np.mean(f)) + float(g.mean())) / best.dual
        row["overlap_5_percent"] = best.overlap(-g)
    return row


def asked(
    python: str, peer: str, arrays: Path, epsilon: float, out: Path, limit: float
) -> tuple[float | None, np.ndarray | None, str]:
    """Returns (seconds, target potential, note) of a peer; None where there is none."""
    try:
        done = subprocess.run(
            [python, str(PEER), peer, str(arrays), repr(epsilon), str(out)],
            timeout=limit,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, None, f"not done after {limit:.0f} s"
    if done.returncode:
        return None, None, "failed: " + (done.stderr.strip() or "?").splitlines()[-1][:160]
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    potential = None if peer == "exact" else np.load(out).astype(np.float64)
    return answer["seconds"], potential, answer["note"]
