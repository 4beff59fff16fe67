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


@pytest.fixture(params=NAMES)
def featurizer(
    request: pytest.FixtureRequest,
    composed: Any,
    tiny_model: Path,
    pool: Corpus,
    tmp_path: Path,
    machine: Runtime,
) -> Any:
    config = deepcopy(
        composed(f"featurizer={request.param}", "model=local", f"model.path={tiny_model}")
    )
    rows = [{"text": "comet", "label": "toxic"}, {"text": "violin", "label": "nontoxic"}]
    labelled = toy.write_jsonl(tmp_path / "labelled.jsonl", rows)
    node = config.featurizer.get("inner", config.featurizer)
    if "scorer" in node:
        node.scorer.labelled = str(labelled)
    for setting, value in {"max_length": 32, "precision": "32", "warmup.documents": 8}.items():
        if OmegaConf.select(node, setting) is not None:
            OmegaConf.update(node, setting, value)
    made = build_component(config, "featurizer")
    if made.requirements().learns_from is not None:  # once, as the stage before it does
        made.learn(pool, tmp_path, machine)
        made = made.with_learned(tmp_path, "learned")
    return made


def vectors(featurizer: Any, corpus: Corpus, at: Path, tokens: int = 8192) -> np.ndarray:
    at.mkdir()
    machine = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    save_features(at, corpus.fingerprint, featurizer.compute(corpus, at, machine)[0])
    values: Any = load_features(at).of(corpus).values
    return values.toarray() if hasattr(values, "toarray") else np.array(values)


def test_every_document_has_a_finite_vector(featurizer: Any, pool: Corpus, tmp_path: Path) -> None:
    found = vectors(featurizer, pool, tmp_path / "a")
    assert len(found) == len(pool)
    assert np.isfinite(found).all()


def test_a_documents_vector_is_the_same_whatever_corpus_it_is_in(
    featurizer: Any, pool: Corpus, tmp_path: Path
) -> None:
    rows = np.arange(len(pool))[::-3]
    whole = vectors(featurizer, pool, tmp_path / "a")
    part = vectors(featurizer, pool.take(rows), tmp_path / "b", tokens=100)
    np.testing.assert_allclose(part, whole[rows], atol=ROUNDING)


def test_computing_twice_gives_the_same_bits(featurizer: Any, pool: Corpus, tmp_path: Path) -> None:
    first, second = (vectors(featurizer, pool, tmp_path / name) for name in "ab")
    np.testing.assert_array_equal(first, second)


def test_the_identity_is_plain_text_and_repeats(featurizer: Any, machine: Any) -> None:
    found = featurizer.identity(machine)
    assert found == featurizer.identity(machine)
    assert all(isinstance(value, str) for value in found.values())
