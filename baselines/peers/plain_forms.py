"""The adapters of `bm25s` and `submodlib` against the formulas in plain Python, on small inputs.

    python plain_forms.py          (in an environment that has both packages)

Our methods are compared with the same formulas in tests/unit/selectors (test_lexical.py,
test_coverage.py).
"""

import json
import runpy
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def scores(name, arguments, texts, vectors=None):
    """Returns the scores and facts that an adapter leaves for {"pool": ..., "target": ...}."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        request = {"checkout": None, "arguments": arguments}
        (work / "request.json").write_text(json.dumps(request))
        for key, rows in texts.items():
            lines = [json.dumps({"id": str(row), "text": text}) for row, text in enumerate(rows)]
            (work / f"{key}.jsonl").write_text("\n".join(lines) + "\n")
            if vectors is not None:
                np.save(work / f"{key}.npy", vectors[key])
        runpy.run_path(str(HERE / name / "adapter.py"))["main"](folder)
        lines = (work / "scores.jsonl").read_text().splitlines()
        return [json.loads(line)["score"] for line in lines]


def bm25(texts, k1, b):
    """Returns the mean Okapi BM25 of each text of the pool over the target's."""
    bags = [Counter(text.split()) for text in texts["pool"]]
    mean = sum(bag.total() for bag in bags) / len(bags)
    holding = Counter(term for bag in bags for term in bag)

    def score(query, bag):
        norm = k1 * (1 - b + b * bag.total() / mean)
        return sum(
            count
            * np.log(1 + (len(bags) - holding[term] + 0.5) / (holding[term] + 0.5))
            * (bag[term] * (k1 + 1) / (bag[term] + norm))
            for term, count in query.items()
        )

    queries = [Counter(text.split()) for text in texts["target"]]
    return [np.mean([score(query, bag) for query in queries]) for bag in bags]


def naive_greedy(worth, rows, limit):
    """Returns the rows that each add the most to `worth`, one after the other."""
    taken = []
    for _ in range(limit):
        rest = [row for row in range(rows) if row not in taken]
        taken.append(max(rest, key=lambda row: worth([*taken, row])))
    return taken


def main():
    """Compares 200 documents and 20 targets."""
    rng = np.random.default_rng(0)
    words = np.array([a + b for a in "bdfgklmn" for b in ("all", "ate", "ear", "ing", "ook")])
    size = {"pool": 200, "target": 20}
    texts = {
        name: [" ".join(rng.choice(words, rng.integers(5, 60))) for _ in range(count)]
        for name, count in size.items()
    }
    theirs = 2.5 * np.array(scores("bm25s", {"k1": 1.5, "b": 0.75}, texts))  # without k1 + 1
    print(
        f"bm25: largest relative difference {np.abs(theirs / bm25(texts, 1.5, 0.75) - 1).max():.1e}"
    )
    vectors = {name: rng.normal(size=(n, 8)).astype(np.float32) for name, n in size.items()}
    unit = {k: rows / np.linalg.norm(rows, axis=1, keepdims=True) for k, rows in vectors.items()}
    cosines = np.maximum(unit["pool"] @ unit["target"].T, 0).astype(float)
    forms = {
        "facility_location": lambda s: cosines[s].max(0).sum() + cosines[s].max(1).sum(),
        "concave_over_modular": lambda s: (
            np.sqrt(cosines[s].sum(0)).sum() + np.sqrt(cosines[s].sum(1)).sum()
        ),
        "graph_cut": lambda s: cosines[s].sum(),
    }
    for name, worth in forms.items():
        settings = {"function": name, "relevance": 1.0, "limit": 15}
        places = scores("submodlib", settings, texts, vectors)
        order = sorted(
            (row for row, score in enumerate(places) if score is not None),
            key=lambda row: -places[row],
        )
        print(f"{name}: same order of 15: {order == naive_greedy(worth, 200, 15)}")


if __name__ == "__main__":
    main()
