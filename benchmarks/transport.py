"""Times the transport engine against one product and against its peers; writes transport.{json,md}.

    python benchmarks/transport.py --out results/benchmarks \
        --vectors name=pool.npy,target.npy --peers /path/to/peers/bin/python

Without `--vectors` only synthetic data is used; without `--peers` only what this interpreter can
import (POT). Every number is a median over the repeats of one run, and ratios are of medians.
Set OMP_WAIT_POLICY=passive before starting on a machine that does other work.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shortlist.numerics import transport

PEERS = Path(__file__).with_name("transport_peers.py")
Pair = tuple[torch.Tensor, torch.Tensor]


def clustered(candidates: int, targets: int, dimensions: int = 384, *, seed: int = 0) -> Pair:
    """Returns unit vectors in 60 clusters of 8 sub-clusters; the target lives in 8 clusters.

    Variances fall as 1 / k over the dimensions, as those of text vectors do: isotropic noise would
    make all costs alike, and every solver done in a few iterations.
    """
    g = torch.Generator().manual_seed(seed)
    spread = torch.arange(1, dimensions + 1) ** -0.5
    coarse = torch.randn(60, dimensions, generator=g) * spread
    fine = 0.6 * torch.randn(480, dimensions, generator=g) * spread

    def draw(count: int, clusters: int) -> torch.Tensor:
        rows = torch.empty(count, dimensions)
        for start in range(0, count, 50000):
            n = min(50000, count - start)
            which = torch.randint(clusters, (n,), generator=g)
            sub = which * 8 + torch.randint(8, (n,), generator=g)
            noise = 0.6 * torch.randn(n, dimensions, generator=g) * spread
            rows[start : start + n] = torch.nn.functional.normalize(
                coarse[which] + fine[sub] + noise
            )
        return rows

    return draw(candidates, 60), draw(targets, 8)


def seconds(work: Callable[[], object]) -> float:
    """Returns how long `work` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def product(pool: torch.Tensor, target: torch.Tensor, step: int = 1024) -> None:
    """Multiplies all pool rows with all targets, tile by tile, and keeps nothing."""
    out = torch.empty(step, len(target))
    for start in range(0, len(pool), step):
        rows = pool[start : start + step]
        torch.mm(rows, target.T, out=out[: len(rows)])


def against_one_product(name: str, data: Pair, repeats: int) -> list[dict[str, Any]]:
    """Returns time over one product, true marginal error, and overlap with a converged solve."""
    pool, target = data
    product(pool[:4096], target)
    rows: list[dict[str, Any]] = []
    for epsilon in (0.05, 0.01):
        products, ours, found = [], [], None
        for _ in range(repeats):  # interleaved, so that a busy moment hits both
            products.append(seconds(lambda: product(pool, target)))
            found = transport.solve(pool, target, epsilon=epsilon, tolerance=1e-2)
            ours.append(found.seconds)
        assert found is not None
        best = transport.solve(pool, target, epsilon=epsilon, tolerance=1e-4, max_passes=30)
        rows.append(
            {
                "data": name,
                "candidates": len(pool),
                "targets": len(target),
                "epsilon": epsilon,
                "product_seconds": statistics.median(products),
                "seconds": statistics.median(ours),
                "ratio": statistics.median(ours) / statistics.median(products),
                "target_error": found.target_error,
                "pool_error": found.pool_error,
                "full_passes": found.full_passes,
                "passes": found.passes,
                "relative_gap": found.gap / found.dual,
                "overlap_5_percent": transport.overlap(found.score, best.score, 0.05),
                "reference_error": best.target_error,
                "dual_shortfall": 1 - found.dual / best.dual,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def dual_at(f: np.ndarray, data: Pair, epsilon: float) -> tuple[float, torch.Tensor]:
    """Returns the dual value of a target potential with its c-transform, and that transform."""
    g = transport.c_transform(data[0], data[1], torch.from_numpy(f), epsilon=epsilon)
    return float(np.mean(f) + float(g.mean())), g


def against_peers(
    data_name: str,
    data: Pair,
    python: str,
    limit: float,
    repeats: int,
    only: list[str],
) -> list[dict[str, Any]]:
    """Returns seconds, dual shortfall and overlap of every solver on the same arrays."""
    pool, target = data
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        arrays, out = Path(folder) / "data.npz", Path(folder) / "f.npy"
        np.savez(arrays, pool=pool.numpy(), target=target.numpy())
        for relative in (0.05, 0.01):
            best = transport.solve(pool, target, epsilon=relative, tolerance=1e-5)
            epsilon = best.epsilon
            times = [
                transport.solve(pool, target, epsilon=epsilon, relative=False, tolerance=1e-2)
                for _ in range(repeats)
            ]
            streamed = [
                transport.solve(
                    pool,
                    target,
                    epsilon=epsilon,
                    relative=False,
                    tolerance=1e-2,
                    regime="streamed",
                    stored_bytes=2**27,
                )
                for _ in range(repeats)
            ]

            def add(
                name: str,
                took: float | None,
                f: np.ndarray | None,
                note: str,
                best: transport.Transport = best,
                relative: float = relative,
            ) -> None:
                row: dict[str, Any] = {
                    "data": data_name,
                    "solver": name,
                    "epsilon": relative,
                    "seconds": took,
                    "note": note,
                }
                if f is not None and np.isfinite(f).all():
                    dual, g = dual_at(f, data, best.epsilon)
                    row["dual_shortfall"] = 1 - dual / best.dual
                    row["overlap_5_percent"] = transport.overlap(-g, best.g.neg(), 0.05)
                rows.append(row)
                print(json.dumps(row), flush=True)

            for name, runs in (("ours (dense)", times), ("ours (streamed)", streamed)):
                add(
                    name,
                    statistics.median(r.seconds for r in runs),
                    runs[-1].f.numpy(),
                    f"target error {runs[-1].target_error:.1e}",
                )
            if relative == 0.05:
                begin = time.perf_counter()
                released = transport.released_sinkhorn(
                    pool, target, epsilon=epsilon, momentum=1.3, threshold=0.1, max_iterations=2000
                )
                add(
                    "ours (released settings)",
                    time.perf_counter() - begin,
                    released.f.numpy(),
                    f"{released.full_passes} passes",
                )
            peers = [
                "ott dense",
                "ott released",
                "ott online",
                "pot kernel",
                "pot lazy",
                "geomloss",
                "geomloss online",
                "exact",
            ]
            if relative == 0.01:
                peers = ["ott dense", "ott released", "ott online", "pot kernel"]
            for peer in [name for name in peers if not only or name in only]:
                try:
                    done = subprocess.run(
                        [python, str(PEERS), peer, str(arrays), str(epsilon), str(out)],
                        timeout=limit,
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                except subprocess.TimeoutExpired:
                    add(peer, None, None, f"not done after {limit:.0f} s")
                    continue
                if done.returncode:
                    add(peer, None, None, "failed: " + done.stderr.strip().splitlines()[-1][:160])
                    continue
                told = json.loads(done.stdout.strip().splitlines()[-1])
                potential = None if peer == "exact" else np.load(out).astype(np.float64)
                add(peer, told["seconds"], potential, told["note"])
    for row in rows:
        mine = next(
            r["seconds"]
            for r in rows
            if r["solver"] == "ours (dense)" and r["epsilon"] == row["epsilon"]
        )
        row["times_ours"] = (row["seconds"] or limit) / mine
    return rows


def anonymous_megabytes() -> float:
    """Returns this process's private memory; pages of a mapped file are not its own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def one_size(pool_file: str, rows: int, target_file: str) -> dict[str, Any]:
    """Returns time and peak private memory of one solve over a memory-mapped pool."""
    pool = np.load(pool_file, mmap_mode="r")[:rows]
    target = np.load(target_file)
    transport.solve(
        np.array(pool[:4096]), target, epsilon=0.05
    )  # start-up costs are not the solve's
    float(pool[:, :1].astype(np.float32).sum())  # page the file in: disks are not compared here
    base, peak, stop = anonymous_megabytes(), [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], anonymous_megabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    runs = [transport.solve(pool, target, epsilon=0.01, tolerance=1e-2) for _ in range(3)]
    stop.set()
    watcher.join()
    return {
        "candidates": rows,
        "seconds": statistics.median(r.seconds for r in runs),
        "peak_megabytes": peak[0] - base,
        "target_error": runs[-1].target_error,
        "full_passes": runs[-1].full_passes,
    }


def growth(sizes: list[int], targets: int) -> list[dict[str, Any]]:
    """Returns time and memory at growing N, each in its own process, over one float16 store."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        pool, target = clustered(max(sizes), targets)
        np.save(f"{folder}/pool.npy", pool.half().numpy())
        np.save(f"{folder}/target.npy", target.numpy())
        del pool
        for size in sizes:
            done = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--one",
                    f"{folder}/pool.npy",
                    str(size),
                    f"{folder}/target.npy",
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Returns rows as a Markdown table."""

    def cell(value: object) -> str:
        return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)

    first = ["data", "solver", "candidates", "targets", "epsilon", "seconds", "product_seconds"]
    first += ["ratio", "times_ours", "target_error", "overlap_5_percent", "dual_shortfall"]
    found = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in first if name in found]
    names += [name for name in found if name not in first]
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def loaded(entry: str) -> tuple[str, Pair]:
    """Returns name and vectors of `NAME=POOL.npy,TARGET.npy`."""
    name, _, files = entry.partition("=")
    pool, target = (torch.from_numpy(np.load(file)).float() for file in files.split(","))
    return name, (pool, target)


def main() -> None:
    """Runs the parts asked for and writes what they gave beside what was there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument(
        "--vectors", action="append", default=[], metavar="NAME=POOL.npy,TARGET.npy"
    )
    parser.add_argument(
        "--peers", default=sys.executable, help="interpreter with ott, POT, geomloss"
    )
    parser.add_argument("--candidates", type=int, default=200_000)
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--peer-candidates", type=int, default=20_000)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that a peer may take")
    parser.add_argument("--solvers", nargs="+", default=[], help="only these peers")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["product", "growth", "peers"])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_size(given.one[0], int(given.one[1]), given.one[2])))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "transport.json"
    report: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    report["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if "product" in given.parts:
        rows = against_one_product(
            "clustered", clustered(given.candidates, given.targets), given.repeats
        )
        for entry in given.vectors:
            rows += against_one_product(*loaded(entry), given.repeats)
        report["product"] = rows
    if "growth" in given.parts:
        report["growth"] = growth([given.candidates, 5 * given.candidates], given.targets)
    if "peers" in given.parts:
        data = {"clustered": clustered(given.peer_candidates, given.targets)}
        for entry in given.vectors:
            name, (pool, target) = loaded(entry)
            data[name] = (pool[: given.peer_candidates].clone(), target)
        report["peers"] = [
            row
            for name, pair in data.items()
            for row in against_peers(
                name, pair, given.peers, given.limit, given.repeats, given.solvers
            )
        ]
    kept.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    text = ["# Transport engine", "", "Written by `benchmarks/transport.py`; do not edit.", ""]
    titles = {
        "product": "One solve against one chunked float32 product over the same arrays",
        "growth": "Time and private memory over a memory-mapped float16 pool, epsilon 1 %",
        "peers": "Peers on the same arrays (compile time not counted, `times_ours` against dense)",
    }
    for part, title in titles.items():
        if part in report:
            text += [f"## {title}", "", table(report[part]), ""]
    text += [f"Machine: {json.dumps(report['machine'], sort_keys=True)}", ""]
    (given.out / "transport.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
