"""Times DSIR, from texts to log-weights, against its authors' package; see README.md beside this."""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from dsir_peer import ask
from real_text import ROOT, corpus
from report import write
from scipy.stats import spearmanr

from shortlist.core import Corpus, Features
from shortlist.featurizers.ngrams import NGrams
from shortlist.runtime import Runtime
from shortlist.selectors.dsir import DSIR

TITLE = "DSIR, fit and score of real documents, against the authors' package"
NOTES = (
    "`data-selection` reads JSON lines with two workers and is timed inside its process, without "
    "imports: fit_importance_estimator and compute_importance_weights. Ours is timed from the corpus "
    "in memory to the scores, features of target and pool included; its one compilation is not "
    "(`compile_s`). Medians; `times` is the ratio of documents a second. All with smoothing 0 and "
    "floor 1e-8, which is the package's formula, and 10,000 buckets. `difference` is the largest absolute "
    "difference of a log-weight from the package's, `spearman` the rank correlation with them; there is "
    "one hash, theirs."
)
MACHINE = Runtime(accelerator="cpu", progress=False)


def ours(target: Corpus, pool: Corpus) -> np.ndarray:
    """Returns the (n,) log-weights of the pool."""
    featurizer = NGrams(10_000, 2)
    near, far = (
        Features(featurizer.compute(one, Path(), MACHINE)[0], one.fingerprint, "", one)
        for one in (target, pool)
    )
    selector = DSIR(0.0, 1e-8, 1.0, 0, False, None)
    selector.fit(near, far)
    return selector.score_all(far, MACHINE)


def timed(repeats: int, target: Corpus, pool: Corpus) -> tuple[np.ndarray, float]:
    """Returns the weights and the median of the seconds they took."""
    seconds = []
    weights = np.zeros(0)
    for _ in range(repeats):
        begin = time.perf_counter()
        weights = ours(target, pool)
        seconds.append(time.perf_counter() - begin)
    return weights, statistics.median(seconds)


def main() -> None:
    """Runs the comparison and writes results/benchmarks/dsir.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    parser.add_argument("--data", type=Path, help="folder with pools/; else installed packages")
    parser.add_argument("--peer", default=sys.executable, help="interpreter with data-selection")
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--domain", help="whose texts are the target; default: the largest")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    there = corpus(given.data, 500, 900)
    # By id, which is a hash: samples. The target is of one domain, as a task is; were it of all of
    # them, the weights would be noise, and so would their ranks.
    domains = np.array(there.domains)
    names, sizes = np.unique(domains, return_counts=True)
    subject = given.domain or names[np.argmax(sizes)]
    near = np.flatnonzero(domains == subject)[: given.targets]
    target, rest = there.take(near), np.setdiff1d(np.arange(len(there)), near)
    pool = there.take(rest[: given.documents])
    size = {
        "target": str(subject),
        "documents": len(pool),
        "characters": float(np.mean([len(t) for t in pool.texts])),
    }
    begin = time.perf_counter()
    ours(target, target)
    compiling = time.perf_counter() - begin
    rows: list[dict[str, Any]] = []
    answers = [
        ask(given.peer, target, pool, num_buckets=10_000, min_example_length=0, num_proc=2)
        for _ in range(given.repeats)
    ]
    theirs = answers[0].weights
    official = statistics.median(
        one.facts["fit_seconds"] + one.facts["score_seconds"] for one in answers
    )
    name = f"data-selection {answers[0].facts['version']}, 2 workers"
    rows.append({"what": name, **size, "seconds": official, "per_s": len(pool) / official})
    weights, seconds = timed(7, target, pool)
    agreement: Any = spearmanr(weights, theirs)
    rows.append(
        {
            "what": "ours",
            **size,
            "seconds": seconds,
            "per_s": len(pool) / seconds,
            "times": official / seconds,
            "difference": float(np.abs(weights - theirs).max()),
            "spearman": float(agreement.statistic),
            "compile_s": compiling,
        }
    )
    write(given.out, "dsir", TITLE, NOTES, rows)


if __name__ == "__main__":
    main()
