"""Our DSIR against its authors' package, in that package's own environment.

SHORTLIST_DSIR names an interpreter that has `data-selection` (baselines/peers/dsir/requirements.txt).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.core import Corpus, Features
from shortlist.featurizers.ngrams import NGrams
from shortlist.selectors.dsir import DSIR

PYTHON = os.environ.get("SHORTLIST_DSIR", "")
ADAPTER = Path(__file__).parents[3] / "baselines/peers/dsir/adapter.py"
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not Path(PYTHON).is_file(), reason="SHORTLIST_DSIR names no interpreter"),
]
# Whatever a text may hold: capitals and accents of every kind, emoji, other scripts, no word at all.
ODD = [
    "Ärger, café CRÈME… e\u0301te\u0301", "I ❤️ this 😀😀 #Zoo", "नमस्ते दुनिया 你好", "İstanbul ΣΑΣ",
    "x² + ½ = ⓐ", "a\x1cb\x85c\td", "___ a_b", "!?", "the the the the",
]  # fmt: skip
POOL = Corpus.build([*ODD, *(text for name in toy.TOPICS for text in toy.sentences(name, 80))])
TARGET = Corpus.build([*ODD[:3], *toy.sentences("sailing", 60, 9), *toy.sentences("music", 60, 9)])


def theirs(folder: Path, **arguments: Any) -> np.ndarray:
    """The package's log-weights; nan where it does not rank a document."""
    (folder / "request.json").write_text(json.dumps({"checkout": None, "arguments": arguments}))
    for name, corpus in (("target", TARGET), ("pool", POOL)):
        rows = [
            {"id": key, "text": text} for key, text in zip(corpus.ids, corpus.texts, strict=True)
        ]
        toy.write_jsonl(folder / f"{name}.jsonl", rows)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [PYTHON, str(ADAPTER), str(folder)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, (folder / "scores.jsonl").read_text().splitlines())
    found = {row["id"]: row["score"] for row in rows}
    return np.array([np.nan if found[key] is None else found[key] for key in POOL.ids])


def ours(machine: Any, buckets: int, max_n: int) -> np.ndarray:
    featurizer = NGrams(buckets, max_n)
    near, far = (
        Features(featurizer.compute(one, Path(), machine)[0], one.fingerprint, "", one)
        for one in (TARGET, POOL)
    )
    selector = DSIR(0.0, 1e-8, 1.0, 0, False, None)
    selector.fit(near, far)
    return selector.score_all(far, machine)


@pytest.mark.parametrize(("max_n", "buckets", "workers"), [(2, 10_000, 2), (1, 500, 1), (3, 97, 3)])
def test_log_weights_are_the_packages(
    machine: Any, tmp_path: Path, max_n: int, buckets: int, workers: int
) -> None:
    expected = theirs(
        tmp_path, ngrams=max_n, num_buckets=buckets, min_example_length=0, num_proc=workers
    )
    found = ours(machine, buckets, max_n)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.ptp(expected) > 10


def test_documents_that_the_package_finds_too_short_are_not_ranked(tmp_path: Path) -> None:
    found = theirs(tmp_path, num_buckets=500, min_example_length=8, num_proc=2)
    words = np.array([len(text.split()) for text in POOL.texts])
    toys = slice(len(ODD), None)  # whose words are parted by spaces alone
    np.testing.assert_array_equal(np.isnan(found[toys]), words[toys] < 8)
