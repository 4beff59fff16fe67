"""A run becomes DATE-LM's files: scores by row of the pool, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
import torch
import toy

from shortlist.deploy.date_lm import gumbel_top_k, write_submission
from shortlist.errors import InvalidInput, Missing
from shortlist.store.formats import load_corpus

pytestmark = pytest.mark.whole
FORM = {"board": "Pre-Training (10K)", "kind": "Similarity", "link": ""}


def test_scores_are_by_row_of_the_pool_and_the_selection_is_theirs(
    run: Callable[..., Any], small: tuple[str, ...], tmp_path: Path
) -> None:
    machine = [text for text in small if text.startswith("paths.")]
    texts = [text for topic in toy.TOPICS for text in toy.sentences(topic, 6, seed=9)]
    rows = [*texts, texts[3]]  # a row that repeats an earlier one
    pool = toy.write_jsonl(tmp_path / "pool.jsonl", [{"text": text} for text in rows])
    asked = ("pool=files", f"pool.paths=[{pool}]", "until=select", "budget=4", *cells.GOTD)
    record, directory = run(*asked)
    assert record.status == "done", record.reason
    done = write_submission(directory, tmp_path / "out", settings=machine, **FORM)
    metrics = np.load(tmp_path / "out/metrics.npy")
    (scores,) = (s.key for s in record.stages if s.stage == "scores" and s.role == "selection")
    (pool_key,) = (s.key for s in record.stages if s.stage == "pool")
    cache = tmp_path / "cache"
    corpus = load_corpus(cache / "pool" / pool_key / "corpus.arrow")
    known = dict(zip(corpus.texts, np.load(cache / "scores" / scores / "scores.npy"), strict=True))
    np.testing.assert_array_equal(metrics, [known[text] for text in rows])
    assert (done.candidates, done.selected, done.without_score) == (31, 4, 0)
    chosen = np.load(tmp_path / "out/selected.npy")
    assert np.array_equal(chosen, gumbel_top_k(metrics, 4, 0.5, 42))
    loaded = torch.load(tmp_path / "out/scores.pt", weights_only=True)
    assert torch.equal(loaded, torch.from_numpy(metrics))
    assert json.loads((tmp_path / "out/metadata.json").read_text())["Method"] == "gotd"
    with pytest.raises(InvalidInput, match="expected a new folder"):
        write_submission(directory, tmp_path / "out", settings=machine, **FORM)
    with pytest.raises(Missing):
        write_submission(tmp_path, tmp_path / "no", settings=machine, **FORM)
    pool.write_text(pool.read_text() + "no row\n")
    with pytest.raises((InvalidInput, Missing)):  # the pool is no longer what was scored
        write_submission(directory, tmp_path / "no", settings=machine, **FORM)
    assert not (tmp_path / "no").exists()


def test_a_pool_that_is_none_of_files_is_refused(
    run: Callable[..., Any], small: tuple[str, ...], tmp_path: Path
) -> None:
    machine = [text for text in small if text.startswith("paths.")]
    _, directory = run("until=select", "budget=4", "selector=random")
    with pytest.raises(InvalidInput, match="expected pool=files"):
        write_submission(directory, tmp_path / "out", settings=machine, **FORM)
