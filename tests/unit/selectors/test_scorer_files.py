"""BETR's ranks against a loop, its scorer on documents that nothing has encoded, and scorer files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from shortlist.core import Corpus, Features
from shortlist.data.semantic_copies import unit_rows
from shortlist.distil.distillation import distil
from shortlist.distil.files import open_scorer
from shortlist.distil.linear import Linear
from shortlist.errors import InvalidInput, Missing
from shortlist.featurizers.transformer import Static
from shortlist.models.pretrained import LocalModel
from shortlist.pipeline.compose import build_component
from shortlist.prepare.base import prepare
from shortlist.runtime import Runtime
from shortlist.selectors.scorer_files import Betr, Quality, sample_ranks

MACHINE = Runtime(accelerator="cpu", progress=False)
LINEAR = Linear(max_n=1, buckets=2**16, max_chars=1000, ridge=1.0)


def features(corpus: Corpus) -> Features:
    return Features(np.zeros((len(corpus), 0), np.float32), corpus.fingerprint, "key", corpus)


def test_ranks_of_a_sample_are_those_of_each_target_and_ties_of_the_best_go_by_the_mean() -> None:
    rng = np.random.default_rng(0)
    sample, targets = (unit_rows(rng.normal(size=(rows, 5))) for rows in (40, 150))
    ranks = np.array([rankdata(-(sample @ one)) - 1 for one in targets])
    np.testing.assert_allclose(sample_ranks(sample, targets, "mean"), -ranks.mean(0))
    best = sample_ranks(sample, targets, "best")
    wanted = sorted(range(40), key=lambda row: (ranks[:, row].min(), ranks[:, row].mean()))
    assert np.argsort(-best, kind="stable").tolist() == wanted
    np.testing.assert_array_equal(np.ceil(best), -ranks.min(0))


@pytest.mark.parametrize("aggregate", ["best", "mean"])
def test_documents_outside_of_the_sample_are_ranked_by_the_scorer(
    tiny_model: Path, aggregate: Any
) -> None:
    topics = [topic for topic in toy.TOPICS for _ in range(80)]
    texts = [text for topic in toy.TOPICS for text in toy.sentences(topic, 80)]
    corpus = Corpus.build(texts, topics).canonical()
    target = Corpus.build(toy.sentences("sailing", 30, seed=5))
    selector = Betr(150, aggregate, Static(LocalModel(str(tiny_model)), 32, True), LINEAR)
    selector.show_progress = False
    facts = selector.fit(features(target), features(corpus))
    assert (facts["sample"], facts["trained"] + facts["held_out"]) == (150, 150)
    scores = selector.score_all(features(corpus), MACHINE)
    outside = np.argsort(corpus.id_bits())[150:]
    sailing = np.array(corpus.domains) == "sailing"
    # By chance .5 with a standard deviation of .03; the words of an untrained model are not nearer
    # to those of their topic, so that common words blur the ranks.
    assert roc_auc_score(sailing[outside], scores[outside]) > 0.85


def test_a_scorer_file_scores_as_it_does_by_itself_and_its_bytes_are_its_identity(
    tmp_path: Path,
) -> None:
    corpus = Corpus.build(toy.sentences("stars", 60))
    path = tmp_path / "scorer.safetensors"
    lengths = np.array([len(text) for text in corpus.texts], dtype=float)
    distil(LINEAR, corpus, lengths, path)
    selector = Quality(str(path), "high", {})
    found = selector.score_all(features(corpus), MACHINE)
    np.testing.assert_array_equal(found, open_scorer(path).score(corpus.texts))
    before = selector.identity()
    distil(LINEAR, corpus, -lengths, path)
    assert selector.identity() != before
    with pytest.raises(Missing, match="no file"):
        Quality(str(tmp_path / "none"), "high", {}).identity()
    with pytest.raises(InvalidInput, match=r"selector\.scorer=FILE or selector\.rules"):
        Quality(None, "high", {})


def test_without_a_file_the_failed_rules_of_the_published_filters_count(composed: Any) -> None:
    prose = (
        "The harbour was quiet in the morning, and only two boats had left it before sunrise.\n"
        "A keeper of the old lighthouse wrote down the time, as he had done for thirty years.\n"
        "Nobody else on that coast remembers the great storm, which broke the northern pier.\n"
        "He says that it took the town five summers to build another one of better stone.\n"
        "Since then the fishermen have trusted his books more than any forecast on the radio.\n"
        "Their children learn to read the sky with him whenever school ends early enough."
    )
    texts = [prose, f"{prose[:90]} {prose[:90]}", "buy buy buy buy buy buy", "### {x} ### ...", ""]
    corpus = Corpus.build(texts)
    selector = build_component(composed("selector=quality"), "selector")
    scores = selector.score_all(features(corpus), MACHINE)
    expected = [
        -sum(len(prepare([text], {name: rule}).failed[0]) for name, rule in selector.rules.items())
        for text in texts
    ]
    assert scores[:4].tolist() == expected[:4] and scores[4] == -np.inf
    assert scores[0] == 0 > scores[1:4].max()
