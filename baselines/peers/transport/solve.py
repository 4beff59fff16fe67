"""Solves one stored problem with one peer's solver and prints its time: runs in the peers' own venv.

    python solve.py "ott dense" data.npz EPSILON f.npy

Every peer gets squared Euclidean costs, uniform masses and one absolute epsilon, and writes its
target potential, so that all are judged by the same dual value. Compilation is not counted.
"""

import json
import sys
import time

import numpy as np


def ott(pool, target, epsilon, batch_size, momentum, threshold):
    """Returns (seconds, f, note) of ott-jax; `batch_size` makes it compute costs on the fly."""
    import jax
    import jax.numpy as jnp
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import acceleration, sinkhorn

    solver = jax.jit(
        sinkhorn.Sinkhorn(
            momentum=acceleration.Momentum(value=momentum),
            threshold=threshold,
            inner_iterations=1,
            max_iterations=2000,
        )
    )

    # Compiled once for these shapes; a start that stops at once would compile something else.
    compiled = solver.lower(
        linear_problem.LinearProblem(
            pointcloud.PointCloud(
                jnp.asarray(target), jnp.asarray(pool), epsilon=epsilon, batch_size=batch_size
            )
        )
    ).compile()
    problem = linear_problem.LinearProblem(
        pointcloud.PointCloud(
            jnp.asarray(target), jnp.asarray(pool), epsilon=epsilon, batch_size=batch_size
        )
    )
    begin = time.perf_counter()
    found = compiled(problem)
    found.f.block_until_ready()
    took = time.perf_counter() - begin
    note = f"momentum {momentum}, threshold {threshold}, {int(found.n_iters)} iterations"
    return took, np.asarray(found.f, dtype=np.float64), note


def pot_kernel(pool, target, epsilon):
    """Returns (seconds, f, note) of POT's kernel form."""
    import ot

    n, m = len(pool), len(target)
    begin = time.perf_counter()
    cost = ot.dist(pool.astype(np.float64), target.astype(np.float64))
    _, log = ot.sinkhorn(
        np.full(n, 1 / n),
        np.full(m, 1 / m),
        cost,
        epsilon,
        method="sinkhorn",
        stopThr=1e-5,
        numItermax=2000,
        log=True,
        warn=False,
    )
    took = time.perf_counter() - begin
    f = epsilon * (np.log(log["v"]) + np.log(m))
    return took, f, f"kernel form, float64, stopThr 1e-5, {log['niter']} iterations"


def pot_lazy(pool, target, epsilon):
    """Returns (seconds, f, note) of POT's lazy solver."""
    import ot

    begin = time.perf_counter()
    found = ot.solve_sample(
        pool,
        target,
        reg=epsilon,
        metric="sqeuclidean",
        lazy=True,
        tol=1e-3,
        batch_size=1000,
        max_iter=2000,
    )
    took = time.perf_counter() - begin
    # POT's lazy potentials come divided by epsilon.
    return took, epsilon * np.asarray(found.potentials[1], dtype=np.float64), "lazy, tol 1e-3"


def geomloss(pool, target, epsilon, backend):
    """Returns (seconds, f, note) of geomloss."""
    import torch
    from geomloss import SamplesLoss

    loss = SamplesLoss(
        "sinkhorn",
        p=2,
        blur=float(np.sqrt(epsilon / 2)),
        scaling=0.9,
        debias=False,
        potentials=True,
        backend=backend,
    )
    x, y = torch.from_numpy(pool), torch.from_numpy(target)
    begin = time.perf_counter()
    _, f = loss(x, y)
    took = time.perf_counter() - begin
    # geomloss minimises |x - y|^2 / 2, so potentials count half.
    return took, 2 * f.double().numpy().ravel(), f"{backend}, scaling 0.9 (no tolerance to set)"


def exact(pool, target, epsilon):
    """Returns (seconds, no potential, note) of POT's network simplex."""
    import ot

    n, m = len(pool), len(target)
    begin = time.perf_counter()
    cost = ot.dist(pool.astype(np.float64), target.astype(np.float64))
    ot.emd(np.full(n, 1 / n), np.full(m, 1 / m), cost, numItermax=10**7)
    return time.perf_counter() - begin, np.zeros(m), "exact network simplex"


SOLVERS = {
    "ott dense": lambda *data: ott(*data, None, 1.0, 1e-2),
    "ott released": lambda *data: ott(*data, 2000, 1.3, 1e-1),
    "ott online": lambda *data: ott(*data, 2000, 1.3, 1e-2),
    "pot kernel": pot_kernel,
    "pot lazy": pot_lazy,
    "geomloss": lambda *data: geomloss(*data, "tensorized"),
    "geomloss online": lambda *data: geomloss(*data, "online"),
    "geomloss multiscale": lambda *data: geomloss(*data, "multiscale"),
    "exact": exact,
}


if __name__ == "__main__":
    arrays = np.load(sys.argv[2])
    seconds, potential, note = SOLVERS[sys.argv[1]](
        arrays["pool"], arrays["target"], float(sys.argv[3])
    )
    np.save(sys.argv[4], potential)
    print(json.dumps({"seconds": seconds, "note": note}))
