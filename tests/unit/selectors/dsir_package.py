"""Log importance weights by the DSIR authors' package, `data-selection`, and the golden file of them.

    PYTHONPATH=src:tests python tests/unit/selectors/dsir_package.py INTERPRETER

writes `dsir_package.json`. INTERPRETER is that of an environment made of
`baselines/peers/dsir/requirements.txt`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import toy

ROOT = Path(__file__).parents[3]
ADAPTER = ROOT / "baselines/peers/dsir/adapter.py"
GOLDEN = Path(__file__).with_suffix(".json")
# Whatever a text may hold: capitals and accents of every kind, emoji, other scripts, no word at all.
ODD = [
    "Ärger, café CRÈME… e\u0301te\u0301", "I ❤️ this 😀😀 #Zoo", "नमस्ते दुनिया 你好", "İstanbul ΣΑΣ",
    "x² + ½ = ⓐ", "a\x1cb\x85c\td", "___ a_b", "!?", "the the the the",
]  # fmt: skip
SETTINGS = ({"ngrams": 2, "num_buckets": 1000}, {"ngrams": 1, "num_buckets": 97})


def package_weights(
    python: str, target: list[str], pool: list[str], folder: Path, **arguments: Any
) -> np.ndarray:
    """Returns the (n,) log-weights of the pool; nan where the package does not rank a document."""
    (folder / "request.json").write_text(json.dumps({"checkout": None, "arguments": arguments}))
    for name, texts in (("target", target), ("pool", pool)):
        rows = [{"id": str(row), "text": text} for row, text in enumerate(texts)]
        toy.write_jsonl(folder / f"{name}.jsonl", rows)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, str(ADAPTER), str(folder)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, (folder / "scores.jsonl").read_text().splitlines())
    scores = {row["id"]: row["score"] for row in rows}
    in_order = [scores[str(row)] for row in range(len(pool))]
    return np.array([np.nan if score is None else score for score in in_order])


def main(python: str) -> None:
    """Writes the golden file."""
    target = [*ODD[:3], *toy.sentences("sailing", 12, 9)]
    pool = [*ODD, *(text for name in toy.TOPICS for text in toy.sentences(name, 8))]
    cases = []
    for settings in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            how = {**settings, "min_example_length": 0, "num_proc": 1}
            weights = package_weights(python, target, pool, Path(folder), **how)
        cases.append({**settings, "log_weights": weights.tolist()})
    pinned = (ADAPTER.parent / "requirements.txt").read_text(encoding="utf-8").splitlines()
    versions = dict(line.split("==") for line in pinned if "==" in line)
    golden = {"versions": versions, "target": target, "pool": pool, "cases": cases}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
