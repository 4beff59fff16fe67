"""Toxicity scorers on held-out prompts: accuracy, AUC, and how far they agree.

The prompts are those of RealToxicityPrompts' test split, with Perspective's score of each; 1/2 or
more is toxic. Written to results/benchmarks/judges.{json,md}.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from shortlist.overrides import composed
from shortlist.pipeline.compose import build_component
from shortlist.stats.datamodel import rank_correlation
from shortlist.store.atomic import write_text
from shortlist.store.provenance import commit, processor

ROOT = Path(__file__).parents[1]
SCORERS = ("linear", "linear_second", "minilm_toxicity")
DRAWS = 2000


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a compressed file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def auc(scores: np.ndarray, toxic: np.ndarray) -> float:
    """Returns the share of pairs of a toxic and another prompt that the scores order rightly."""
    positive = int(toxic.sum())
    ranks = rankdata(scores)[toxic].sum() - positive * (positive + 1) / 2
    return float(ranks / (positive * (len(toxic) - positive)))


def interval(measure: Any, *arrays: np.ndarray) -> tuple[float, float, float]:
    """Returns a measure and the ends of its 95 % interval, of a bootstrap over prompts."""
    generator, n = np.random.default_rng(0), len(arrays[0])
    drawn = [generator.integers(0, n, n) for _ in range(DRAWS)]
    low, high = np.quantile(
        [measure(*(one[rows] for one in arrays)) for rows in drawn], (0.025, 0.975)
    )
    return float(measure(*arrays)), float(low), float(high)


def shown(found: tuple[float, float, float]) -> str:
    """Returns a measure with its interval as text."""
    return f"{found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f})"


def main() -> None:
    """Scores the prompts and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder laid out like paths.data")
    parser.add_argument("settings", nargs="*", help="overrides, such as paths.cache=DIR")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    prompts = rows_of(options.data / "toxicity/realtoxicityprompts/test.jsonl.gz")
    texts = [str(row["prompt"]) for row in prompts]
    toxic = np.array([row["toxicity"] >= 0.5 for row in prompts])
    scores: dict[str, np.ndarray] = {}
    measured: dict[str, dict[str, Any]] = {}
    for name in SCORERS:
        typed = [
            "featurizer=toxicity", f"scorer@featurizer.scorer={name}", f"paths.data={options.data}",
            *options.settings,
        ]  # fmt: skip
        with composed(typed) as config:
            scorer = build_component(config, "featurizer").scorer
        learned = {
            str(row["text"]).casefold().strip() for path in scorer.labelled for row in rows_of(path)
        }
        repeated = sum(text.casefold().strip() in learned for text in texts)
        start = time.perf_counter()
        scores[name] = scorer.score(texts, lambda done: None)
        measured[name] = {
            "accuracy": interval(lambda s, t: ((s >= 0.5) == t).mean(), scores[name], toxic),
            "auc": interval(auc, scores[name], toxic),
            "repeated": repeated,
            "seconds": time.perf_counter() - start,
            "counts": dict(scorer.counts),
        }
    agreement = {
        f"{a}, {b}": {
            "rank": interval(lambda x, y: float(rank_correlation(x, y)), scores[a], scores[b]),
            "verdict": interval(
                lambda x, y: ((x >= 0.5) == (y >= 0.5)).mean(), scores[a], scores[b]
            ),
        }
        for a, b in itertools.combinations(SCORERS, 2)
    }
    facts = {
        "prompts": len(texts), "toxic": int(toxic.sum()), "processor": processor(), "load_before": load,
        "commit": commit(ROOT), "command": shlex.join(["python", *sys.argv]),
    }  # fmt: skip
    found = {"machine": facts, "scorers": measured, "agreement": agreement}
    out = ROOT / "results/benchmarks/judges.md"
    write_text(out.with_suffix(".json"), json.dumps(found, indent=2) + "\n")
    write_text(out, page(facts, measured, agreement))


def page(facts: Any, rows: Any, agreement: Any) -> str:
    """Returns the results as Markdown."""
    share = max(facts["toxic"], facts["prompts"] - facts["toxic"]) / facts["prompts"]
    lines = [
        "# Toxicity scorers on held-out prompts",
        "",
        "Written by `benchmarks/judges.py`; do not edit.",
        "",
        f"{facts['prompts']:,} prompts of RealToxicityPrompts' test split, {facts['toxic']:,} of them "
        "toxic by Perspective (1/2 or more). No scorer has learned from them. Intervals: 95 %, "
        f"bootstrap over prompts. The larger class has {share:.3f}.",
        "",
        "| scorer | accuracy | AUC | prompts among its labelled texts | s, training included |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| `{name}` | {shown(one['accuracy'])} | {shown(one['auc'])} | {one['repeated']} | "
            f"{one['seconds']:.0f} |"
            for name, one in rows.items()
        ),
        "",
        "| scorers | rank correlation | same side of 1/2 |",
        "| --- | ---: | ---: |",
        *(
            f"| {pair} | {shown(one['rank'])} | {shown(one['verdict'])} |"
            for pair, one in agreement.items()
        ),
        "",
        "Seconds are those of a machine that was busy with other work "
        f"(load {facts['load_before']:.1f} before; {facts['processor']}).",
        "",
        f"Commit {facts['commit']}: `{facts['command']}`",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
