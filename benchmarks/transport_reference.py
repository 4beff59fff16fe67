"""An answer to compare with that shares no code with the engine: plain Sinkhorn in float64.

    python benchmarks/transport_reference.py DATA.npz EPSILON OUT.npz

Log-domain Sinkhorn over the whole pool, costs of all pairs in float64, over-relaxed, until the L1
error of the target marginal is within 1e-4. It takes minutes at N = 200,000 and 3.2 GB, so that
potentials and the top 5 % are kept on disk and computed once for each data set and epsilon.
"""

import hashlib
import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transport_data import ROOT, Pair

WANTED = 1e-4
RELAX = 1.5  # Thibault et al. 2021; plain sweeps (1.0) where the error rises
MOST = 3000
ROWS = 1024  # of a tile


@dataclass(frozen=True)
class Reference:
    """What plain Sinkhorn came to.

    Attributes:
        epsilon: Absolute.
        f: Target potential, (M,).
        top: Rows of the top 5 % of the pool.
        dual: Dual value.
        error: L1 error of the target marginal.
        sweeps: How many there were.
        seconds: How long they took.
    """

    epsilon: float
    f: np.ndarray
    top: np.ndarray
    dual: float
    error: float
    sweeps: int
    seconds: float

    def overlap(self, score: torch.Tensor) -> float:
        """Returns the share of `top` that is also top by `score` (larger is better)."""
        return float(np.isin(score.topk(len(self.top)).indices.numpy(), self.top).mean())


def reference(data: Pair, epsilon: float, cache: Path = ROOT / ".cache/bench") -> Reference:
    """Returns the answer at `epsilon` (of the mean cost), from `cache` or computed there now."""
    pool, target = data
    state = hashlib.sha256(f"{tuple(pool.shape)} {tuple(target.shape)} {epsilon} {WANTED}".encode())
    for array in (pool, target):
        state.update(array.numpy().tobytes())
    kept = cache / f"reference-{state.hexdigest()[:16]}.npz"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        arrays = kept.with_suffix(".data.npz")
        np.savez(arrays, pool=pool.numpy(), target=target.numpy())
        # In a process of its own: the memory goes back.
        subprocess.run([sys.executable, __file__, arrays, str(epsilon), kept], check=True)
        arrays.unlink()
    found = np.load(kept)
    return Reference(
        float(found["epsilon"]),
        found["f"],
        found["top"],
        float(found["dual"]),
        float(found["error"]),
        int(found["sweeps"]),
        float(found["seconds"]),
    )


def sinkhorn(pool: torch.Tensor, target: torch.Tensor, relative: float) -> dict[str, object]:
    """Returns epsilon, f, top 5 %, dual value, error, sweeps and seconds."""
    begin, n, m = time.perf_counter(), len(pool), len(target)
    y = target.double()
    cost = torch.empty(n, m, dtype=torch.float64)
    for start in range(0, n, ROWS):
        x = pool[start : start + ROWS].double()
        square = (x * x).sum(1, keepdim=True) + (y * y).sum(1)
        torch.sub(square, x @ y.T, alpha=2, out=cost[start : start + ROWS])
    epsilon = relative * float(cost.mean())
    f, g = torch.zeros(m, dtype=torch.float64), torch.empty(n, dtype=torch.float64)
    error, relax, sweeps = math.inf, RELAX, 0
    while sweeps < MOST:
        marginal = torch.zeros(m, dtype=torch.float64)
        for start in range(0, n, ROWS):
            logits = (f - cost[start : start + ROWS]) / epsilon
            total = torch.logsumexp(logits, 1, keepdim=True)
            g[start : start + ROWS] = -epsilon * (total[:, 0] - math.log(m))
            marginal += (logits - total).exp_().sum(0)
        marginal /= n
        before, error = error, float((marginal - 1 / m).abs().sum())
        if error <= WANTED:
            break
        relax = 1.0 if error > before else relax
        f = f - relax * epsilon * (marginal * m).log()  # log of a_i / p_i, the half step for f
        sweeps += 1
        if sweeps % 10 == 0:
            print(f"reference {relative:g}: sweep {sweeps}, error {error:.1e}", flush=True)
    return {
        "epsilon": epsilon,
        "f": f.numpy(),
        "top": (-g).topk(round(0.05 * n)).indices.numpy(),
        "dual": float(f.mean() + g.mean()),
        "error": error,
        "sweeps": sweeps,
        "seconds": time.perf_counter() - begin,
    }


if __name__ == "__main__":
    arrays = np.load(sys.argv[1])
    answer: dict[str, Any] = sinkhorn(
        torch.from_numpy(arrays["pool"]), torch.from_numpy(arrays["target"]), float(sys.argv[2])
    )
    temporary = Path(sys.argv[3]).with_suffix(".part.npz")
    np.savez(temporary, allow_pickle=False, **answer)
    temporary.rename(sys.argv[3])
