"""What the transport benchmark measures: against one product, against peers, and as a pool grows."""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transport_data import ROOT, Pair, clustered

from shortlist.numerics import transport
from shortlist.numerics.transport.precision import products, quick_products_exist

PEER = ROOT / "baselines/peers/transport/solve.py"
Rows = list[dict[str, Any]]
EPSILONS = (0.05, 0.01)


def seconds(work: Callable[[], object]) -> float:
    """Returns how long `work` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def product(pool: torch.Tensor, target: torch.Tensor, quick: bool = False) -> None:
    """Multiplies all pool rows with all targets, tile by tile, and keeps nothing.

    `quick` takes oneDNN's kernel, which the engine takes too where it is as exact as float32.
    """
    step = 1024
    out = torch.empty(step, len(target))
    with products(quick=quick):
        for start in range(0, len(pool), step):
            rows = pool[start : start + step]
            torch.mm(rows, target.T, out=out[: len(rows)])


def against_one_product(name: str, data: Pair, repeats: int) -> Rows:
    """Returns time over one product of either kind, true error, and overlap with a converged solve."""
    pool, target = data
    onednn = quick_products_exist(pool.device, pool.dtype)
    transport.solve(pool[:4096], target, epsilon=0.05)  # first calls probe and allocate
    rows: Rows = []
    for epsilon in EPSILONS:
        default: list[float] = []
        quicker: list[float] = []
        runs: list[transport.Transport] = []
        for _ in range(repeats):  # interleaved, so that a busy moment hits all
            default.append(seconds(lambda: product(pool, target)))
            if onednn:
                quicker.append(seconds(lambda: product(pool, target, quick=True)))
            runs.append(transport.solve(pool, target, epsilon=epsilon, tolerance=1e-2))
        best = transport.solve(pool, target, epsilon=epsilon, tolerance=1e-4, max_passes=30)
        found, ours = runs[-1], statistics.median(run.seconds for run in runs)
        row: dict[str, Any] = {
            "data": name,
            "candidates": len(pool),
            "targets": len(target),
            "epsilon": epsilon,
            "seconds": ours,
            "product_seconds": statistics.median(default),
            "ratio": ours / statistics.median(default),
        }
        if quicker:
            row["onednn_seconds"] = statistics.median(quicker)
            row["ratio_onednn"] = ours / row["onednn_seconds"]
        row |= {
            "target_error": found.target_error,
            "full_passes": found.full_passes,
            "passes": found.passes,
            "relative_gap": found.gap / found.dual,
            "overlap_5_percent": transport.overlap(found.score, best.score, 0.05),
            "dual_shortfall": 1 - found.dual / best.dual,
            "reference_error": best.target_error,
        }
        rows.append(told(row))
    return rows


def against_peers(
    name: str,
    data: Pair,
    python: str,
    limit: float,
    repeats: int,
    peers: Mapping[float, Sequence[str]],
) -> Rows:
    """Returns seconds, dual shortfall and overlap of every solver on the same arrays.

    `peers` says who is asked at which epsilon, relative to the mean cost. Whoever is not done
    after `limit` seconds gets a ratio all the same: the least that it can be.
    """
    pool, target = data
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        arrays, out = Path(folder) / "data.npz", Path(folder) / "f.npy"
        np.savez(arrays, pool=pool.numpy(), target=target.numpy())
        for relative, names in peers.items():
            best = transport.solve(pool, target, epsilon=relative, tolerance=1e-4, max_passes=30)

            def judged(
                solver: str,
                took: float | None,
                f: np.ndarray | None,
                note: str,
                relative: float = relative,
                best: transport.Transport = best,
            ) -> dict[str, Any]:
                row: dict[str, Any] = {
                    "data": name,
                    "candidates": len(pool),
                    "targets": len(target),
                    "solver": solver,
                    "epsilon": relative,
                    "seconds": took,
                    "note": note,
                }
                if f is not None and np.isfinite(f).all():
                    g = transport.c_transform(
                        pool, target, torch.from_numpy(f), epsilon=best.epsilon
                    )
                    row["dual_shortfall"] = 1 - (float(np.mean(f)) + float(g.mean())) / best.dual
                    row["overlap_5_percent"] = transport.overlap(-g, best.score, 0.05)
                return row

            ours = {"ours": {}, "ours streamed": {"regime": "streamed", "stored_bytes": 2**27}}
            if best.regime == "streamed":
                del ours["ours streamed"]
            mine = 0.0
            for solver, how in ours.items():
                runs = [
                    transport.solve(
                        pool, target, epsilon=best.epsilon, relative=False, tolerance=1e-2, **how
                    )
                    for _ in range(repeats)
                ]
                took = statistics.median(run.seconds for run in runs)
                mine = mine or took
                note = f"{runs[-1].regime}, target error {runs[-1].target_error:.1e}"
                row = judged(solver, took, runs[-1].f.numpy(), note)
                rows.append(told(row | {"times_ours": took / mine}))
            for peer in names:
                took, f, note = asked(python, peer, arrays, best.epsilon, out, limit)
                row = judged(peer, took, f, note)
                if took is not None:
                    row["times_ours"] = took / mine
                elif note.startswith("not done"):
                    row["times_ours"] = f"> {limit / mine:.3g}"
                rows.append(told(row))
    return rows


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


def anonymous_megabytes() -> float:
    """Returns this process's private memory; pages of a mapped file are not its own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def one_size(pool_file: str, rows: int, target_file: str, repeats: int) -> dict[str, Any]:
    """Returns time and peak private memory of a solve over a memory-mapped pool."""
    pool = np.load(pool_file, mmap_mode="r")[:rows]
    target = np.load(target_file)
    transport.solve(np.array(pool[:4096]), target, epsilon=0.05)  # start-up is not the solve's
    for start in range(0, rows, 2**16):  # page the file in: disks are not compared here
        float(pool[start : start + 2**16].sum(dtype=np.float32))
    base, peak, stop = anonymous_megabytes(), [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], anonymous_megabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    runs = [transport.solve(pool, target, epsilon=0.01, tolerance=1e-2) for _ in range(repeats)]
    stop.set()
    watcher.join()
    return {
        "candidates": rows,
        "targets": len(target),
        "repeats": repeats,
        "seconds": statistics.median(run.seconds for run in runs),
        "peak_megabytes": peak[0] - base,
        "target_error": runs[-1].target_error,
        "full_passes": runs[-1].full_passes,
    }


def growth(sizes: Sequence[int], targets: int, repeats: int) -> Rows:
    """Returns time and memory at growing N, each in its own process, over one float16 store."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        pool, target = clustered(max(sizes), targets)
        np.save(f"{folder}/pool.npy", pool.half().numpy())
        np.save(f"{folder}/target.npy", target.numpy())
        del pool
        for size in sizes:
            call = [f"{folder}/pool.npy", str(size), f"{folder}/target.npy", str(repeats)]
            done = subprocess.run(
                [sys.executable, __file__, *call], capture_output=True, text=True, check=True
            )
            row = json.loads(done.stdout.strip().splitlines()[-1])
            first = rows[0]["seconds"] if rows else row["seconds"]
            rows.append(told(row | {"times_first": row["seconds"] / first}))
    return rows


def told(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the row after showing it: a run of minutes should not be silent."""
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":  # one size of `growth`
    print(json.dumps(one_size(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
