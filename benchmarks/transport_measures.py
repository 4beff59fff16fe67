"""What the transport benchmark measures of the engine alone: one product, size, targets."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transport_data import Pair, clustered
from transport_reference import reference

from shortlist import ot as transport
from shortlist.vectors import fast_products_exist, float32_products

Rows = list[dict[str, Any]]
# What keeps torch, oneDNN and MKL to AVX2 (MKL heeds it on Intel chips alone).
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
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
    with float32_products(fast=quick):
        for start in range(0, len(pool), step):
            rows = pool[start : start + step]
            torch.mm(rows, target.T, out=out[: len(rows)])


def against_one_product(name: str, data: Pair, repeats: int) -> Rows:
    """Returns time over one product of either kind, true error, and overlap with a converged solve."""
    pool, target = data
    onednn = fast_products_exist(pool.device, pool.dtype)
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
        best = reference(data, epsilon)
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
            "pool_error": found.pool_error,
            "overlap_5_percent": best.overlap(found.score),
            "dual_shortfall": 1 - found.dual / best.dual,
            "reference_error": best.error,
            "reference_sweeps": best.sweeps,
            "reference_seconds": best.seconds,
        }
        rows.append(told(row))
    return rows


def by_instructions(candidates: int, targets: int, repeats: int) -> Rows:
    """Returns ratios in processor seconds of one thread, with all instructions and with AVX2 alone.

    Each in a process of its own. Elapsed time says little where other processes work.
    """
    rows: Rows = []
    for name, environment in (("all", {}), ("AVX2", AVX2)):
        for epsilon in EPSILONS:
            call = ["processor", str(candidates), str(targets), str(epsilon), str(repeats)]
            done = subprocess.run(
                [sys.executable, __file__, *call],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
            )
            row = json.loads(done.stdout.strip().splitlines()[-1])
            rows.append(told({"instructions": name, **row}))
    return rows


def in_processor_seconds(
    candidates: int, targets: int, epsilon: float, repeats: int
) -> dict[str, Any]:
    """Returns the median processor seconds of product and solve in this process, and their ratio."""
    torch.set_num_threads(1)
    pool, target = clustered(candidates, targets)
    transport.solve(pool[:4096], target, epsilon=0.05)
    spent: dict[str, list[float]] = {"product": [], "solve": []}
    for _ in range(repeats):
        for name, work in (
            ("product", lambda: product(pool, target)),
            ("solve", lambda: transport.solve(pool, target, epsilon=epsilon, tolerance=1e-2)),
        ):
            begin = time.process_time()
            work()
            spent[name].append(time.process_time() - begin)
    ours, one = statistics.median(spent["solve"]), statistics.median(spent["product"])
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "candidates": candidates,
        "targets": targets,
        "epsilon": epsilon,
        "repeats": repeats,
        "solve_processor_seconds": ours,
        "product_processor_seconds": one,
        "ratio": ours / one,
        "least": min(spent["solve"]) / min(spent["product"]),
    }


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


def many(candidates: int, targets: int) -> Rows:
    """Returns one solve with as many targets as the engine is meant for."""
    pool, target = clustered(candidates, targets)
    plan = transport.forecast(candidates, targets, pool.shape[1], epsilon=0.01)
    found = transport.solve(pool, target, epsilon=0.01, tolerance=1e-2)
    row = {
        "candidates": candidates,
        "targets": targets,
        "epsilon": 0.01,
        "seconds": found.seconds,
        "forecast_seconds": plan.seconds,
        "forecast_megabytes": plan.bytes / 2**20,
        "passes": found.passes,
        "target_error": found.target_error,
        "converged": found.converged,
    }
    return [told(row)]


def told(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the row after showing it: a run of minutes should not be silent."""
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__" and sys.argv[1] == "processor":
    candidates, targets, epsilon, repeats = sys.argv[2:]
    print(
        json.dumps(
            in_processor_seconds(int(candidates), int(targets), float(epsilon), int(repeats))
        )
    )
elif __name__ == "__main__":  # one size of `growth`
    print(json.dumps(one_size(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
