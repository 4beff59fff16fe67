"""The laws of a featurizer, for every YAML in conf/featurizer that computes from texts with a tiny model."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from omegaconf import OmegaConf

from shortlist.core import Corpus
from shortlist.pipeline.compose import build_component
from shortlist.runtime import Runtime
from shortlist.store.formats import load_features, save_features

# `minilm` and `distilbert` are `transformer` and `adapted` with real models; `precomputed` reads a
# person's own file.
NAMES = sorted(
    {path.stem for path in (Path(__file__).parents[2] / "conf/featurizer").glob("*.yaml")}
    - {"minilm", "distilbert", "precomputed"}
)
# float32 sums in another order, through two layers; see tests/unit/featurizers.
ROUNDING = 1e-5
MACHINE = Runtime(accelerator="cpu", progress=False)


@pytest.fixture(params=NAMES, scope="module")
def featurizer(
    request: pytest.FixtureRequest,
    composed: Any,
    tiny_model: Path,
    pool: Corpus,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Learned once, as the stage before it does."""
    folder = tmp_path_factory.mktemp("learned")
    config = deepcopy(
        composed(f"featurizer={request.param}", "model=local", f"model.path={tiny_model}")
    )
    rows = [{"text": "comet", "label": "toxic"}, {"text": "violin", "label": "nontoxic"}]
    labelled = toy.write_jsonl(folder / "labelled.jsonl", rows)
    node = config.featurizer.get("inner", config.featurizer)
    if "scorer" in node:
        node.scorer.labelled = str(labelled)
    for setting, value in {"max_length": 32, "precision": "32", "warmup.documents": 8}.items():
        if OmegaConf.select(node, setting) is not None:
            OmegaConf.update(node, setting, value)
    made = build_component(config, "featurizer")
    if made.requirements().learns_from is not None:
        made.learn(pool, folder, MACHINE)
        made = made.with_learned(folder, "learned")
    return made


@pytest.fixture(scope="module")
def whole(featurizer: Any, pool: Corpus, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The vectors of the pool."""
    return vectors(featurizer, pool, tmp_path_factory.mktemp("vectors") / "whole")


def vectors(featurizer: Any, corpus: Corpus, at: Path, tokens: int = 8192) -> np.ndarray:
    at.mkdir()
    machine = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    save_features(at, corpus.fingerprint, featurizer.compute(corpus, at, machine)[0])
    values: Any = load_features(at).of(corpus).values
    return values.toarray() if hasattr(values, "toarray") else np.array(values)


def test_every_document_has_a_finite_vector(whole: np.ndarray, pool: Corpus) -> None:
    assert len(whole) == len(pool)
    assert np.isfinite(whole).all()


def test_a_documents_vector_is_the_same_whatever_corpus_it_is_in(
    featurizer: Any, whole: np.ndarray, pool: Corpus, tmp_path: Path
) -> None:
    rows = np.arange(len(pool))[::-3]
    part = vectors(featurizer, pool.take(rows), tmp_path / "part", tokens=100)
    np.testing.assert_allclose(part, whole[rows], atol=ROUNDING)


def test_computing_twice_gives_the_same_bits(
    featurizer: Any, whole: np.ndarray, pool: Corpus, tmp_path: Path
) -> None:
    np.testing.assert_array_equal(whole, vectors(featurizer, pool, tmp_path / "again"))


def test_the_identity_is_plain_text_and_repeats(featurizer: Any, machine: Any) -> None:
    found = featurizer.identity(machine)
    assert found == featurizer.identity(machine)
    assert all(isinstance(value, str) for value in found.values())
