"""DSIR against its authors' package: a golden file of its weights, and the package itself.

SHORTLIST_DSIR names an interpreter that has `data-selection` (baselines/peers/dsir/requirements.txt).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from dsir_package import ADAPTER, GOLDEN, ODD, package_weights

from shortlist.core import Corpus, Features
from shortlist.featurizers.ngrams import NGrams
from shortlist.selectors.dsir import DSIR

PYTHON = os.environ.get("SHORTLIST_DSIR", "")
POOL = Corpus.build([*ODD, *(text for name in toy.TOPICS for text in toy.sentences(name, 80))])
TARGET = Corpus.build([*ODD[:3], *toy.sentences("sailing", 60, 9), *toy.sentences("music", 60, 9)])
KNOWN = json.loads(GOLDEN.read_text(encoding="utf-8"))


def package(test: Any) -> Any:
    missing = pytest.mark.skipif(not Path(PYTHON).is_file(), reason="SHORTLIST_DSIR names none")
    return pytest.mark.peer(missing(test))


def ours(machine: Any, target: Corpus, pool: Corpus, buckets: int, max_n: int) -> np.ndarray:
    featurizer = NGrams(buckets, max_n)
    near, far = (
        Features(featurizer.compute(one, Path(), machine)[0], one.fingerprint, "", one)
        for one in (target, pool)
    )
    selector = DSIR(0.0, 1e-8, 1.0, 0, False, None)
    selector.fit(near, far)
    return selector.score_all(far, machine)


@pytest.mark.parametrize("case", KNOWN["cases"], ids=lambda case: f"{case['ngrams']}-grams")
def test_log_weights_are_those_that_the_package_gave(machine: Any, case: dict[str, Any]) -> None:
    target, pool = (Corpus.build(KNOWN[name]) for name in ("target", "pool"))
    found = ours(machine, target, pool, case["num_buckets"], case["ngrams"])
    # Sums of some twenty float64 logarithms in another order; the class promises 1e-6.
    np.testing.assert_allclose(found, case["log_weights"], rtol=0, atol=1e-6)
    assert np.ptp(found) > 10


def test_the_golden_weights_are_of_the_versions_that_the_peer_pins() -> None:
    pinned = (ADAPTER.parent / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert KNOWN["versions"] == dict(line.split("==") for line in pinned if "==" in line)


@package
@pytest.mark.parametrize(("max_n", "buckets", "workers"), [(2, 10_000, 2), (1, 500, 1), (3, 97, 3)])
def test_log_weights_are_the_packages(
    machine: Any, tmp_path: Path, max_n: int, buckets: int, workers: int
) -> None:
    how = {"ngrams": max_n, "num_buckets": buckets, "num_proc": workers}
    expected = package_weights(
        PYTHON, TARGET.texts, POOL.texts, tmp_path, min_example_length=0, **how
    )
    found = ours(machine, TARGET, POOL, buckets, max_n)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.ptp(expected) > 10


@package
def test_documents_that_the_package_finds_too_short_are_not_ranked(tmp_path: Path) -> None:
    how = {"num_buckets": 500, "min_example_length": 8, "num_proc": 2}
    found = package_weights(PYTHON, TARGET.texts, POOL.texts, tmp_path, **how)
    words = np.array([len(text.split()) for text in POOL.texts])
    toys = slice(len(ODD), None)  # whose words are parted by spaces alone
    np.testing.assert_array_equal(np.isnan(found[toys]), words[toys] < 8)
