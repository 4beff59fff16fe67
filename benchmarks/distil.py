"""Fidelity, speed and size of scorer files of GOT-D on MiniLM's vectors, on real documents.

The pool is a sample, by id, of the distinct documents of a data folder; the targets are training
texts of its tasks. Exact vectors are computed once and kept in `.cache/bench`.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from cascade import ROOT, RUNTIME, exact_vectors, first, fitted, target  # before torch: see there

import numpy as np  # isort: skip
import torch  # isort: skip

from shortlist.core import Corpus, Features
from shortlist.distil.base import Hints
from shortlist.distil.distillation import distil, fidelity, is_held_out, normal_scores
from shortlist.distil.files import open_scorer
from shortlist.distil.static import kernel
from shortlist.models.linear import unit
from shortlist.overrides import composed
from shortlist.pipeline.compose import build_component, build_components
from shortlist.store.atomic import write_text
from shortlist.store.provenance import commit, processor

COMMIT = commit(ROOT)  # before anything is written
KINDS = ("linear", "static", "fasttext")
TIMED = 4096  # documents by which a scorer is timed, an eighth of them by MiniLM


def documents(data: Path, wanted: int) -> Corpus:
    """Returns `wanted` distinct documents of all domains, the first by id."""
    found: dict[str, str] = {}
    for path in sorted((data / "pools").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                text = json.loads(line)["text"]
                if text.strip():
                    found.setdefault(text, path.name.split(".")[0])
    return first(Corpus.build(list(found), list(found.values())).canonical(), wanted)


def rate(score: Any, texts: list[str]) -> float:
    """Returns documents a second, the best of three passes."""
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        score(texts)
        seconds.append(time.perf_counter() - begin)
    return len(texts) / min(seconds)


def on_exact(vectors: Any, scores: Any, held: Any) -> Any:
    """Returns the fidelity of the same regression (1,500 landmarks) on the exact vectors: what a
    perfect student of the encoder would reach.
    """
    rows = unit(vectors - vectors[~held].mean(0), np.float32)
    train = np.flatnonzero(~held)
    wanted = normal_scores(scores[train])
    best = train[np.argsort(-wanted)[: len(train) // 10]]
    picked = np.concatenate([part[np.linspace(0, len(part) - 1, n).astype(int)]
                             for part, n in ((train, 1000), (best, 500))])  # fmt: skip
    marks = rows[picked]
    width = float(np.median(2 - 2 * (marks[:500] @ marks[:500].T)))
    gram, right = 0.1 * np.eye(len(marks)), np.zeros(len(marks))
    for start in range(0, len(train), 4096):
        block = kernel(rows[train[start : start + 4096]], marks, width).astype(np.float64)
        gram, right = gram + block.T @ block, right + block.T @ wanted[start : start + 4096]
    found = kernel(rows[held], marks, width) @ np.linalg.solve(gram, right)
    return fidelity(found, scores[held], len(train))


def main() -> None:
    """Measures each kind for each target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with pools/ and tasks/")
    parser.add_argument("--documents", type=int, default=53_248)
    parser.add_argument("--texts", type=int, default=500, help="of a target")
    parser.add_argument("--tasks", nargs="+", default=["chemprot", "imdb", "ag_news"])
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with composed(["featurizer=minilm"]) as config:
        encoder = build_component(config, "featurizer")
        selector = build_component(config, "selector")
    distillers = {}
    for kind in KINDS:
        with composed([f"distil={kind}"]) as config:
            distillers[kind] = build_components(config).distiller
    if importlib.util.find_spec("fasttext") is None:
        del distillers["fasttext"]
    pool = documents(given.data, given.documents)
    held = is_held_out(pool.id_bits(), 0.2)
    cache = ROOT / ".cache/bench/cascade"
    vectors = exact_vectors(encoder, pool, cache)
    timed = first(pool, TIMED)
    reader = encoder.reader(RUNTIME)
    minilm = rate(lambda texts: reader.rows(Corpus.build(texts), lambda done: None),
                  timed.texts[: TIMED // 8])  # fmt: skip
    rows: list[dict[str, Any]] = [{"kind": "MiniLM", "rate": minilm}]
    for task in given.tasks:
        texts = target(given.data, task, given.texts)
        wanted = Features(exact_vectors(encoder, texts, cache), texts.fingerprint, "")
        scores = fitted(selector, wanted, Features(vectors, pool.fingerprint, ""))(vectors)
        bound = on_exact(vectors, scores, held)
        rows.append({"target": task, "kind": "exact", **vars(bound)})
        print(rows[-1], flush=True)
        for kind, distiller in distillers.items():
            with tempfile.TemporaryDirectory() as folder:
                begin = time.perf_counter()
                done = distil(
                    distiller, pool, scores, Path(folder) / f"s{distiller.suffix}",
                    hints=Hints(vectors, texts.texts),
                )  # fmt: skip
                seconds = time.perf_counter() - begin
                speed = rate(open_scorer(done.path).score, timed.texts)
            rows.append({"target": task, "kind": kind, **done.facts, "rate": speed,
                         "faster": speed / minilm, "learned_in": seconds})  # fmt: skip
            print(rows[-1], flush=True)
            given.out.mkdir(parents=True, exist_ok=True)
            write_text(given.out / "distil.json", json.dumps(rows, indent=1) + "\n")
            write_text(given.out / "distil.md", markdown(rows, given))


def markdown(rows: list[dict[str, Any]], given: argparse.Namespace) -> str:
    """Returns the table."""
    lines = [
        "# Scorer files", "", "Written by `benchmarks/distil.py`; do not edit.", "",
        f"GOT-D on MiniLM's vectors, {given.documents:,} distinct real documents of 13 domains "
        f"(whole, by id), up to {given.texts:,} training texts of a task as the target. Fidelity on "
        "the fifth of the documents that is held out by a hash of the id. `exact` is the regression "
        "of `static` on MiniLM's own vectors: no scorer that reads other vectors is expected to pass "
        "it, but for the similarity to the target that `static` adds. One thread; MiniLM itself "
        f"reads {rows[0]['rate']:,.0f} documents a second.",
        "",
        f"`python benchmarks/distil.py --data DATA --documents {given.documents}`, {processor()}, "
        f"commit {COMMIT}, a machine shared with other work (load {os.getloadavg()[0]:.2f}): "
        "speeds hold under such a load, and MiniLM was timed once, before: ratios are rough.",
        "",
        "| target | scorer | learned from | held out | Spearman | recall of the top 1 % | MB | "
        "documents/s | times MiniLM | learned in |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for row in rows[1:]:
        found = f"| {row['target']} | {row['kind']} | {row['trained']:,} | {row['held_out']:,} | "
        found += f"{row['spearman']:.3f} | {row['top_recall']:.3f} | "
        if "rate" in row:
            found += f"{row['bytes'] / 1e6:.1f} | {row['rate']:,.0f} | {row['faster']:.0f} | "
            found += f"{row['learned_in']:,.0f} s |"
        else:
            found += " | | | |"
        lines.append(found)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
