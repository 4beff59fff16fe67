"""Likely label errors against those of cleanlab's confident joint (see make_cleanlab.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.prepare.checks import confident_learning

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("cleanlab.json").read_text("utf-8"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: str(len(case["labels"])))
def test_the_off_diagonal_rows_are_those_of_cleanlab(case: dict[str, Any]) -> None:
    labels = np.array(case["labels"])
    counted = confident_learning(np.array(case["probabilities"]), labels)
    found = np.flatnonzero((counted >= 0) & (counted != labels))
    assert found.tolist() == case["found"] and len(found) > 1
