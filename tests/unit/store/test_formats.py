"""What is written is what is read back, row for row."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from shortlist.core import Budget, Corpus, Selection
from shortlist.store.formats import (
    load_corpus,
    load_features,
    load_selection,
    save_corpus,
    save_features,
    save_selection,
)


def test_a_corpus_reads_back_equal(tmp_path: Path) -> None:
    corpus = Corpus.build(["a", "größer"], ["x", "y"], texts_b=["", "c"], labels=["p", "q"])
    save_corpus(tmp_path / "c.arrow", corpus)
    back = load_corpus(tmp_path / "c.arrow")
    assert back.table.equals(corpus.table)
    assert back.fingerprint == corpus.fingerprint


def test_a_corpus_without_documents_reads_back(tmp_path: Path) -> None:
    save_corpus(tmp_path / "c.arrow", Corpus.build([]))
    assert len(load_corpus(tmp_path / "c.arrow")) == 0


@pytest.mark.parametrize("shape", [(3, 2), (3, 0), (0, 2)])
def test_dense_features_read_back_equal_with_their_corpus(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    values = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    save_features(tmp_path, "print", values)
    back = load_features(tmp_path)
    assert (back.corpus, back.featurizer, back.shape) == ("print", tmp_path.name, shape)
    np.testing.assert_array_equal(back.values, values)


def test_sparse_features_read_back_equal(tmp_path: Path) -> None:
    values = csr_array(np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, 3]], dtype=np.float32))
    save_features(tmp_path, "print", values)
    back = load_features(tmp_path).values
    assert isinstance(back, csr_array)
    np.testing.assert_array_equal(back.toarray(), values.toarray())


def test_a_selection_reads_back_equal(tmp_path: Path) -> None:
    chosen = Selection(
        ("b", "a", "b"),
        np.array([2.0, 1.5, -np.inf]),
        "pool",
        Budget(9, "tokens"),
        "why",
    )
    save_selection(tmp_path / "s.parquet", chosen)
    back = load_selection(tmp_path / "s.parquet")
    assert (back.ids, back.corpus, back.budget, back.why, back.sha256) == (
        chosen.ids, chosen.corpus, chosen.budget, chosen.why, chosen.sha256,
    )  # fmt: skip
    np.testing.assert_array_equal(back.scores, chosen.scores)
