"""Writes ott_jax.json: converged float64 potentials of ott-jax on small fixed point clouds.

Runs in an environment with ott-jax 0.6.0 and jax 0.8.3 (baselines/peers/transport/requirements.txt):

    python tests/parity/make_ott_jax.py
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ott.geometry import costs, pointcloud  # noqa: E402
from ott.problems.linear import linear_problem  # noqa: E402
from ott.solvers.linear import sinkhorn  # noqa: E402

SEED = 20240117
COSTS = {
    "sqeuclidean": costs.SqEuclidean(),
    "euclidean": costs.Euclidean(),
    "cosine": costs.Cosine(ridge=0.0),
}
EPSILONS = (0.2, 0.02)  # relative to the mean cost
THRESHOLD = 1e-13  # L1 error of the pool marginal


def clouds() -> dict[str, np.ndarray]:
    """Returns 60 candidates and 15 targets in 8 dimensions with uneven masses, to 3 decimals."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(4, 8))
    pool = centres[rng.integers(4, size=60)] + 0.5 * rng.normal(size=(60, 8))
    target = centres[rng.integers(2, size=15)] + 0.5 * rng.normal(size=(15, 8))
    b, a = rng.integers(1, 6, size=60), rng.integers(1, 6, size=15)
    return {"pool": pool.round(3), "target": target.round(3), "b": b, "a": a}


def solved(data: dict[str, np.ndarray], cost: str, relative: float, uneven: bool) -> dict[str, Any]:
    """Returns one case: settings, potentials and dual value.

    ott-jax writes the plan as exp((f_i + g_j - C_ij) / epsilon), shortlist as that times a_i b_j,
    so that epsilon log a and epsilon log b are subtracted; f is then shifted to <a, f> = 0.
    """
    x, y = jnp.asarray(data["target"]), jnp.asarray(data["pool"])
    a = data["a"] / data["a"].sum() if uneven else np.full(len(x), 1 / len(x))
    b = data["b"] / data["b"].sum() if uneven else np.full(len(y), 1 / len(y))
    mean = float(a @ np.asarray(COSTS[cost].all_pairs(x, y)) @ b)
    epsilon = relative * mean
    geometry = pointcloud.PointCloud(x, y, cost_fn=COSTS[cost], epsilon=epsilon)
    problem = linear_problem.LinearProblem(geometry, a=jnp.asarray(a), b=jnp.asarray(b))
    found = sinkhorn.Sinkhorn(threshold=THRESHOLD, max_iterations=100_000, norm_error=1)(problem)
    f = np.asarray(found.f) - epsilon * np.log(a)
    g = np.asarray(found.g) - epsilon * np.log(b)
    shift = a @ f
    if not found.converged:
        raise SystemExit(f"ott-jax did not converge: {cost}, epsilon {relative}, uneven {uneven}")
    return {
        "cost": cost,
        "relative_epsilon": relative,
        "uneven_masses": uneven,
        "mean_cost": mean,
        "dual": float(found.reg_ot_cost),
        "f": [float(f"{value:.12g}") for value in f - shift],
        "g": [float(f"{value:.12g}") for value in g + shift],
    }


def main() -> None:
    """Writes the file beside this one."""
    data = clouds()
    cases = [
        solved(data, cost, epsilon, uneven)
        for cost in COSTS
        for epsilon in EPSILONS
        for uneven in (False, True)
    ]
    report = {
        "made_by": {name: version(name) for name in ("ott-jax", "jax", "numpy")},
        "seed": SEED,
        "threshold": THRESHOLD,
        **{name: values.tolist() for name, values in data.items()},
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in report.items()]
    rows = ",\n".join(json.dumps(case) for case in cases)
    text = "{\n" + ",\n".join(lines) + ',\n"cases": [\n' + rows + "\n]\n}\n"
    json.loads(text)
    Path(__file__).with_name("ott_jax.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
