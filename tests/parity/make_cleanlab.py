"""Writes cleanlab.json: the rows that cleanlab's confident learning finds on random probabilities.

Runs in an environment with cleanlab 2.9.0 and numpy:

    python tests/parity/make_cleanlab.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from cleanlab.count import compute_confident_joint

SEED = 20261130
SHAPES = ((40, 2), (120, 3), (200, 6))


def main() -> None:
    rng = np.random.default_rng(SEED)
    cases = []
    for rows, classes in SHAPES:
        truth = rng.integers(classes, size=rows)
        labels = np.where(rng.random(rows) < 0.2, rng.integers(classes, size=rows), truth)
        labels[:classes] = np.arange(classes)  # every class is labelled
        logits = rng.standard_normal((rows, classes))
        logits[np.arange(rows), truth] += 1.5
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        probabilities = probabilities.round(6)
        probabilities /= probabilities.sum(1, keepdims=True)
        _, found = compute_confident_joint(
            labels, probabilities, calibrate=False, return_indices_of_off_diagonals=True
        )
        cases.append(
            {
                "labels": labels.tolist(),
                "probabilities": probabilities.tolist(),
                "found": sorted(int(row) for row in found),
            }
        )
    made = {"cleanlab": version("cleanlab"), "seed": SEED, "cases": cases}
    Path(__file__).with_name("cleanlab.json").write_text(json.dumps(made) + "\n", "utf-8")


if __name__ == "__main__":
    main()
