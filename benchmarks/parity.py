"""Agreement of methods with their authors' code on the same vectors, through the peers' adapters.

Each `--NAME PYTHON CHECKOUT` names the interpreter of a peer's environment (requirements in
`baselines/peers/NAME`) and the folder of its code; `--ott PYTHON` needs none.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import shortlist  # noqa: F401  (before torch: threads that wait must not spin)

import numpy as np  # isort: skip
from report import write  # isort: skip
from scipy.stats import spearmanr  # isort: skip

from shortlist.core import Corpus, Features
from shortlist.overrides import composed
from shortlist.pipeline.compose import build_component

ROOT = Path(__file__).resolve().parent.parent


def clustered(documents: int, targets: int, unit: bool) -> tuple[Features, Features]:
    """Returns pool and target vectors of 20 clusters in 64 dimensions, the target's of six."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 64))

    def near(of: np.ndarray[Any, Any], name: str) -> Features:
        values = (centres[of] + 0.7 * rng.normal(size=(len(of), 64))).astype(np.float32)
        if unit:
            values /= np.linalg.norm(values, axis=1, keepdims=True)
        corpus = Corpus.build([f"{name} {row}" for row in range(len(of))], name)
        return Features(values, corpus.fingerprint, "", corpus)

    pool = near(rng.integers(0, 20, documents), "pool")
    return pool, near(rng.integers(0, 6, targets), "target")


def fitted(name: str, pool: Features, target: Features, **settings: Any) -> tuple[Any, Any]:
    """Returns the scores of a method after fitting, and its facts."""
    overrides = [
        f"selector={name}",
        *(f"selector.{key}={value}" for key, value in settings.items()),
    ]
    with composed(overrides) as config:
        selector = build_component(config, "selector")
    facts = selector.fit(target, pool)
    scores = getattr(selector, "pool_scores", None)
    if scores is None:
        import torch

        return selector.score(torch.from_numpy(np.asarray(pool.values))).numpy(), facts
    return scores.double().numpy(), facts


def peer(name: str, given: list[str], pool: Features, target: Features, **arguments: Any) -> Any:
    """Returns what the peer of this name scores, and its facts."""
    settings = {"python": given[0], **({"checkout": given[1]} if len(given) > 1 else {})}
    settings |= {f"arguments.{key}": value for key, value in arguments.items()}
    return fitted(f"peer_{name}", pool, target, **settings)


def best(scores: Any, count: int) -> set[int]:
    """Returns the rows of the largest scores."""
    return set(np.argsort(-scores, kind="stable")[:count].tolist())


def of_tsds(given: list[str], documents: int, targets: int) -> dict[str, Any]:
    """Compares the probabilities of a draw with the frequencies of 100,000 released draws."""
    pool, target = clustered(documents, targets, unit=True)
    mine, facts = fitted("tsds", pool, target, neighbours=documents // 10)
    counts, found = peer("tsds", given, pool, target, sample_size=100_000)
    theirs = np.maximum(counts, 0) / 100_000
    return {
        "method": "tsds",
        "agreement": f"total variation {0.5 * np.abs(mine - theirs).sum():.3f} over draws, correlation "
        f"{np.corrcoef(mine, theirs)[0, 1]:.4f}",
        "budget": f"{facts['reached']} reached, {found['distinct']} drawn",
    }


def of_tarot(given: list[str], documents: int, targets: int, released: bool) -> dict[str, Any]:
    """Compares picks of a fixed size and the recommended documents."""
    pool, target = clustered(documents, targets, unit=False)
    mine, facts = fitted("tarot", pool, target, released=str(released).lower())
    fixed, _ = peer(
        "tarot", given, pool, target, selection_method="fixed_size", selection_ratio=0.05
    )
    otm, found = peer("tarot", given, pool, target, selection_method="otm")
    size, own, their = documents // 20, facts["recommended_budget"], found["recommended_budget"]
    both = best(mine, own), best(otm, their)
    return {
        "method": f"tarot, released={str(released).lower()}",
        "agreement": f"{len(best(mine, size) & best(fixed, size)) / size:.2f} of {size} picks, "
        f"{len(both[0] & both[1]) / len(both[0] | both[1]):.2f} of the recommended (Jaccard)",
        "budget": f"{own} recommended, {their} by the peer",
    }


def of_ott(given: list[str], documents: int, targets: int) -> dict[str, Any]:
    """Compares the ranking of converged transport."""
    pool, target = clustered(documents, targets, unit=True)
    mine, _ = fitted("gotd", pool, target, relative_epsilon=0.01, sensitivity="false")
    theirs, found = peer("ott", given[:1], pool, target, relative_epsilon=0.01)
    size = documents // 20
    return {
        "method": "gotd",
        "agreement": f"Spearman {spearmanr(mine, theirs)[0]:.5f}, "
        f"{len(best(mine, size) & best(theirs, size)) / size:.2f} of {size} picks",
        "budget": f"peer converged: {found['converged']}, {found['iterations']} iterations",
    }


def main() -> None:
    """Compares the peers that are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("tsds", "tarot"):
        parser.add_argument(f"--{name}", nargs=2, metavar=("PYTHON", "CHECKOUT"))
    parser.add_argument("--ott", nargs=1, metavar="PYTHON")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    given = parser.parse_args()
    size = (given.documents, given.targets)
    rows: list[dict[str, Any]] = []
    if given.tsds:
        rows.append(of_tsds(given.tsds, *size))
    if given.tarot:
        rows += [of_tarot(given.tarot, *size, released=released) for released in (True, False)]
    if given.ott:
        rows.append(of_ott(given.ott, *size))
    notes = (
        f"{given.documents:,} documents and {given.targets} targets, clustered vectors of 64 "
        "dimensions. Peers run through `baselines/peers`; deviations: the methods' pages."
    )
    write(given.out, "parity", "Agreement with the authors' code", notes, rows)


if __name__ == "__main__":
    main()
