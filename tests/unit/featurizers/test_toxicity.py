"""One number a document from any scorer, and what becomes of documents it fails on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core import Corpus, Features
from shortlist.errors import InvalidInput, Missing
from shortlist.evaluation.scorers.base import Scorer
from shortlist.featurizers.toxicity import Toxicity
from shortlist.selectors.base import score_pool
from shortlist.selectors.model_scores import LeastToxic


class Lengths(Scorer):
    """A tenth a word; texts that begin with a question mark fail."""

    def __init__(self, ready: bool = True) -> None:
        self.ready = ready

    def check(self) -> None:
        if not self.ready:
            raise Missing("a key was expected, found none")

    def identity(self) -> dict[str, str]:
        return {"scorer": "lengths"}

    def score(self, texts: Sequence[str], report: Any) -> Any:
        report(len(texts))
        self.counts = {"truncated": 3}
        return np.array([np.nan if t.startswith("?") else len(t.split()) / 10 for t in texts])


CORPUS = Corpus.build(["one two three", "? four", "five", "six seven"])


def test_the_vector_is_the_score_and_a_failure_is_the_worst_and_counted(
    machine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        values, facts = Toxicity(Lengths()).compute(CORPUS, Path(), machine)
    np.testing.assert_allclose(values[:, 0], [0.3, 1.0, 0.1, 0.2], rtol=1e-6)
    assert facts == {"unscored": 1, "truncated": 3} and values.dtype == np.float32
    assert "Lengths failed on 1 of 4 documents" in caplog.text


def test_a_document_that_could_not_be_scored_is_chosen_last(machine: Any) -> None:
    values, _ = Toxicity(Lengths()).compute(CORPUS, Path(), machine)
    pool, selector = Features(values, "print", "key"), LeastToxic()
    selector.fit(pool, pool)
    assert np.argsort(-score_pool(selector, pool, machine)).tolist() == [2, 3, 0, 1]


def test_a_scorer_that_fails_on_everything_is_refused_and_so_is_one_that_is_not_ready(
    machine: Any,
) -> None:
    with pytest.raises(InvalidInput, match="not one of 2 documents could be scored by Lengths"):
        Toxicity(Lengths()).compute(Corpus.build(["? a", "?"]), Path(), machine)
    with pytest.raises(Missing):
        Toxicity(Lengths(ready=False)).compute(CORPUS, Path(), machine)


def test_the_identity_is_the_scorers(machine: Any) -> None:
    assert Toxicity(Lengths()).identity(machine) == {"scorer": "lengths"}
