"""GOT-D's ranking by ott-jax: entropic transport from pool to target, run until it has converged.

    python adapter.py WORK          (WORK: see src/shortlist/selectors/peer.py)

Needs ott-jax. Squared Euclidean costs, uniform masses, float64; epsilon is a fraction of the mean
cost. The score is minus the candidate potential g. Costs of more than `dense_pairs` pairs are made
anew in batches.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import exchange


def main(work):
    """Solves, and writes minus the potentials."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import numpy as np
    import ott
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    _, settings = exchange.request(work)
    ids = exchange.documents(work, "pool")[0]
    pool = exchange.vectors(work, "pool").astype(np.float64)
    target = exchange.vectors(work, "target").astype(np.float64)
    mean_cost = (
        (pool**2).sum(1).mean() + (target**2).sum(1).mean() - 2 * pool.mean(0) @ target.mean(0)
    )
    batch = None if len(pool) * len(target) <= settings["dense_pairs"] else 2000
    geometry = pointcloud.PointCloud(
        jnp.asarray(target),
        jnp.asarray(pool),
        epsilon=float(settings["relative_epsilon"] * mean_cost),
        batch_size=batch,
    )
    solver = sinkhorn.Sinkhorn(
        threshold=settings["threshold"], max_iterations=settings["max_iterations"]
    )
    found = jax.jit(solver)(linear_problem.LinearProblem(geometry))
    exchange.answer(
        work,
        ids,
        (-np.asarray(found.g)).tolist(),
        version=ott.__version__,
        converged=bool(found.converged),
        marginal_error=float(np.asarray(found.errors)[np.asarray(found.errors) > 0][-1]),
        iterations=int(found.n_iters),
    )


if __name__ == "__main__":
    main(sys.argv[1])
