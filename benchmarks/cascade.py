"""Overlap of GOT-D's selection under the cascade with that by all exact vectors, on real targets.

The pool is real text cut anew, the targets are training texts of tasks of a data folder. Exact
vectors of everything are computed once and kept in `.cache/bench`; the cascade then runs on them.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import shortlist  # noqa: F401  (before torch: threads that wait must not spin)

import numpy as np  # isort: skip
import torch  # isort: skip
from own_files import documents  # isort: skip

from shortlist.core import Corpus, Features
from shortlist.featurizers import cascade as algorithm
from shortlist.overrides import composed
from shortlist.pipeline.cascade import cheap_vectors
from shortlist.pipeline.compose import build_component
from shortlist.runtime import Runtime
from shortlist.selectors.base import Selector

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = Runtime(progress=False)
FACTORS = (1, 2, 3, 4, 6, 8)


def target(data: Path, task: str, texts: int) -> Corpus:
    """Returns the first `texts` distinct training texts of a task by id."""
    with gzip.open(data / "tasks" / task / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        found = {json.loads(line)["text"] for line in file}
    return first(Corpus.build(sorted(found)).canonical(), texts)


def first(corpus: Corpus, rows: int) -> Corpus:
    """Returns the first rows."""
    return corpus.take(np.arange(min(rows, len(corpus))))


def exact_vectors(featurizer: Any, corpus: Corpus, cache: Path) -> np.ndarray[Any, Any]:
    """Returns the encoder's vectors, from the cache where they are there."""
    path = cache / f"{corpus.fingerprint}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            values, _ = featurizer.compute(corpus, Path(folder), RUNTIME)
            np.save(path, np.array(values))
    return np.load(path)


def fitted(
    selector: Selector, aimed: Features, pool: Features
) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Returns the scoring function of a method fitted to these vectors."""
    own = copy.deepcopy(selector)
    own.show_progress = False
    own.fit(aimed, pool)

    def score(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            return own.score(torch.from_numpy(values)).double().numpy()

    return score


def measure(
    selector: Selector, pool: Features, aimed: Features, cheap: tuple[Any, Any],
    budget: int, **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    """Returns how many documents were encoded, the overlap, and the overlap that was expected."""
    exact = np.asarray(pool.values)
    stretched = Features(algorithm.extended(np.asarray(aimed.values)), aimed.corpus, "")
    found = algorithm.cascade(
        *cheap,
        np.asarray(aimed.values),
        np.ones(len(exact), dtype=bool),
        lambda rows: exact[rows],
        lambda values: fitted(selector, stretched, Features(values, pool.corpus, "")),
        budget=budget,
        **settings,
    )
    full = fitted(selector, aimed, pool)(exact)
    part = fitted(selector, stretched, Features(found.values, pool.corpus, ""))(found.values)
    best, picks = (set(np.argsort(-one, kind="stable")[:budget].tolist()) for one in (full, part))
    return {
        "budget": budget,
        **settings,
        "encoded": int(found.encoded.sum()),
        "overlap": len(best & picks) / budget,
        "expected": found.expected_overlap,
        "rounds": found.rounds,
    }


def main() -> None:
    """Measures every target at every factor, and at the default settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with pools/ and tasks/")
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--characters", type=int, default=800)
    parser.add_argument("--texts", type=int, default=500, help="of a target")
    parser.add_argument("--budgets", type=int, nargs="+", default=[500, 1000])
    parser.add_argument(
        "--tasks", nargs="+",
        default=["ag_news", "chemprot", "citation_intent", "hyperpartisan", "imdb"],
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    given = parser.parse_args()
    with composed(["cascade=on", "featurizer=minilm"]) as config:
        featurizer = build_component(config, "featurizer")
        selector = build_component(config, "selector")
        defaults = dict(config.cascade)
    corpus = Corpus.build(documents(given.data, given.documents, given.characters)).canonical()
    cache = ROOT / ".cache/bench/cascade"
    pool = Features(exact_vectors(featurizer, corpus, cache), corpus.fingerprint, "")
    rows: list[dict[str, Any]] = []
    for task in given.tasks:
        aimed = target(given.data, task, given.texts)
        vectors = Features(exact_vectors(featurizer, aimed, cache), aimed.fingerprint, "")
        cheap = cheap_vectors(featurizer, corpus, aimed)
        for budget in given.budgets:
            fixed = [defaults | {"factor": factor, "overlap": 1.0} for factor in FACTORS]
            for settings in (*fixed, defaults):
                row = measure(selector, pool, vectors, cheap, budget, **settings)
                rows.append({"target": task, "default": settings is defaults, **row})
                print(rows[-1], flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "cascade.json").write_text(json.dumps(rows, indent=1) + "\n")
    (given.out / "cascade.md").write_text(markdown(rows, given.documents, given.texts, defaults))


def markdown(
    rows: list[dict[str, Any]], documents: int, texts: int, defaults: dict[str, Any]
) -> str:
    """Returns the tables of overlaps."""
    lines = [
        "# The cascade", "", "Written by `benchmarks/cascade.py`; do not edit.", "",
        f"GOT-D on {documents:,} documents of 800 characters for {texts:,} texts of five tasks: share "
        "of the selection by all exact vectors (`cascade=off`) that `cascade=on` selects as well.",
        f"A sample of {defaults['sample']:,} documents is encoded in addition to the factor times "
        "the budget.", "",
    ]  # fmt: skip
    for budget in sorted({row["budget"] for row in rows}):
        own = [row for row in rows if row["budget"] == budget]
        tasks = list(dict.fromkeys(row["target"] for row in own))
        lines += [
            f"## {budget:,} documents selected", "",
            f"| encoded for their rank | {' | '.join(tasks)} | mean |",
            f"|---|{'---:|' * (len(tasks) + 1)}",
        ]  # fmt: skip
        for factor in FACTORS:
            found = [r["overlap"] for r in own if r["factor"] == factor and not r["default"]]
            cells = " | ".join(f"{one:.3f}" for one in [*found, float(np.mean(found))])
            lines.append(f"| {factor:g} x budget | {cells} |")
        usual = [row for row in own if row["default"]]
        for name, label in (
            ("overlap", f"until {defaults['overlap']:g} is expected (default)"),
            ("expected", "expected then"),
        ):
            values = [row[name] for row in usual]
            cells = " | ".join(f"{one:.3f}" for one in [*values, float(np.mean(values))])
            lines.append(f"| {label} | {cells} |")
        counts = [row["encoded"] for row in usual]
        cells = " | ".join(f"{one:,}" for one in [*counts, round(float(np.mean(counts)))])
        lines += [f"| documents encoded then, with the sample | {cells} |", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
