"""Scorer files: laws of every distiller, ridge against scikit-learn's, refusals."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from shortlist.core import Corpus
from shortlist.distil import distillation
from shortlist.distil.base import Distiller, Hints
from shortlist.distil.distillation import distil, fidelity, is_held_out, normal_scores
from shortlist.distil.fasttext import Fasttext
from shortlist.distil.files import open_scorer
from shortlist.distil.linear import Linear, ngrams, ridge_weights, weighted
from shortlist.distil.static import Static, student, target_similarity
from shortlist.errors import InvalidInput, Missing
from shortlist.models.linear import unit
from shortlist.models.pretrained import LocalModel
from shortlist.pipeline.compose import build_components
from shortlist.selectors.base import option_name

FASTTEXT = pytest.param(
    "fasttext",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("fasttext") is None, reason="fasttext-wheel is not installed"
    ),
)
KINDS = ["linear", "static", FASTTEXT]


@pytest.fixture(scope="module")
def documents() -> Corpus:
    """Three hundred sentences of five topics."""
    texts = [text for topic in toy.TOPICS for text in toy.sentences(topic, 60, seed=7)]
    return Corpus.build(texts).canonical()


@pytest.fixture(scope="module")
def scores(documents: Corpus) -> np.ndarray[Any, Any]:
    """The mean of numbers that the words have."""
    generator = np.random.default_rng(0)
    worth = {word: generator.normal() for words in toy.TOPICS.values() for word in words.split()}
    return np.array([
        np.mean([worth.get(word, 0.0) for word in text.split()]) for text in documents.texts
    ])  # fmt: skip


@pytest.fixture
def distiller(tiny_model: Path, request: pytest.FixtureRequest) -> Distiller:
    return {
        "linear": Linear(max_n=2, buckets=4096, max_chars=500, ridge=0.1),
        "static": Static(
            LocalModel(str(tiny_model)), max_length=32, landmarks=100, ridge=0.01, students=0
        ),
        "fasttext": Fasttext(0.2, 1, 1, 8, 1, 30, 0.5, 500),
    }[request.param]


@pytest.mark.parametrize("distiller", KINDS, indirect=True)
def test_a_scorer_ranks_unseen_documents_as_the_method_does(
    distiller: Distiller, documents: Corpus, scores: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"scorer{distiller.suffix}"
    done = distil(distiller, documents, scores, path, made={"method": "words"})
    assert done.fidelity.spearman > 0.5 and done.fidelity.held_out > 20
    assert done.bytes == path.stat().st_size and done.left_out == 0
    scorer = open_scorer(path)
    held = np.flatnonzero(is_held_out(documents.id_bits(), 0.2))
    texts = documents.texts
    found = scorer.score([texts[row] for row in held])
    assert fidelity(found, scores[held], done.fidelity.trained) == done.fidelity
    alone = np.concatenate([scorer.score([texts[row]]) for row in held[:5]])
    np.testing.assert_allclose(alone, found[:5], rtol=1e-5, atol=1e-6)  # float32 products
    assert len(scorer.score([])) == 0 and np.isfinite(scorer.score(["", "\ud83d \n 🙂"])).all()


@pytest.mark.parametrize("distiller", ["linear", "static"], indirect=True)
def test_order_of_rows_held_out_scores_and_monotone_changes_move_no_weight(
    distiller: Distiller, documents: Corpus, scores: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    distil(distiller, documents, scores, first)
    changed = np.exp(scores)
    held = np.flatnonzero(is_held_out(documents.id_bits(), 0.2))
    changed[held] = changed[held][::-1]
    distil(distiller, documents, changed, second)
    before, after = load_file(first), load_file(second)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    order = np.random.default_rng(0).permutation(len(scores))
    distil(distiller, documents.take(order), scores[order], second)
    texts = documents.texts[:20]
    if isinstance(distiller, Linear):  # landmarks are taken from the rows in their order
        np.testing.assert_allclose(
            open_scorer(first).score(texts), open_scorer(second).score(texts), atol=1e-3
        )


def test_documents_without_a_score_take_no_part_and_are_counted(
    documents: Corpus, scores: Any, tmp_path: Path
) -> None:
    own = Linear(max_n=1, buckets=4096, max_chars=500, ridge=0.1)
    marked = np.where(np.arange(len(scores)) % 4 == 0, -np.inf, scores)
    kept = np.flatnonzero(marked > -np.inf)
    path, alone = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert distil(own, documents, marked, path).left_out == len(scores) - len(kept)
    distil(own, documents.take(kept), scores[kept], alone)
    assert np.array_equal(load_file(path)["weights"], load_file(alone)["weights"])


def test_weights_are_those_of_scikit_learn(documents: Corpus, scores: Any) -> None:
    counts = ngrams(documents.texts, {"max_n": 2, "buckets": 512, "max_chars": 500})
    rows = weighted(counts, np.ones(512, np.float32))
    np.testing.assert_allclose(np.asarray((rows * rows).sum(axis=1)), 1, rtol=1e-5)
    wanted = normal_scores(scores)
    known = Ridge(alpha=0.5, fit_intercept=False, solver="cholesky").fit(rows.toarray(), wanted)
    np.testing.assert_allclose(ridge_weights(rows, wanted, 0.5), known.coef_, atol=1e-3)


def test_fidelity_is_the_rank_correlation_and_the_share_of_the_best() -> None:
    generator = np.random.default_rng(0)
    scores = np.round(generator.normal(size=1000), 1)  # with ties
    found = scores + generator.normal(size=1000)
    measured = fidelity(found, scores, 5)
    assert measured.spearman == pytest.approx(spearmanr(found, scores)[0])
    assert fidelity(scores, scores, 5).top_recall == 1 and fidelity(scores, scores, 5).trained == 5
    assert fidelity(-scores, scores, 5).top_recall == 0
    assert fidelity(np.zeros(1000), scores, 5).spearman == 0


def test_documents_are_held_out_by_their_id_alone_and_in_the_share() -> None:
    bits = np.arange(20_000, dtype=np.uint64)  # ids that begin alike
    held = is_held_out(bits, 0.2)
    assert abs(held.mean() - 0.2) < 0.01  # 3.5 standard errors
    assert np.array_equal(is_held_out(bits[::-1], 0.2), held[::-1])


def test_percentiles_are_shares_of_held_out_documents(
    documents: Corpus, scores: Any, tmp_path: Path
) -> None:
    path = tmp_path / "s.safetensors"
    distil(Linear(2, 4096, 500, 0.1), documents, scores, path)
    scorer = open_scorer(path)
    held = [text for text, aside in zip(
        documents.texts, is_held_out(documents.id_bits(), 0.2), strict=True) if aside]  # fmt: skip
    found = scorer.score(held)
    shares = scorer.description.percentiles(found)
    assert shares is not None
    below = (found[:, None] > found).mean(1) * len(found) / (len(found) - 1)
    np.testing.assert_allclose(shares, below, atol=2e-3)  # 1,001 quantiles
    assert scorer.description.percentiles(np.array([-1e9, 1e9])) == pytest.approx([0, 1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda scores: scores[:-1], "expected 300 scores that are numbers"),
        (lambda scores: np.where(np.arange(300) == 3, np.nan, scores), "with 1 NaN"),
        (lambda scores: np.full(300, -np.inf), "found 0 and 0; take a larger pool"),
        (np.zeros_like, "expected different scores, found one"),
    ],
)
def test_scores_that_cannot_be_learned_are_refused(
    documents: Corpus, scores: Any, tmp_path: Path, change: Any, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        distil(Linear(2, 4096, 500, 0.1), documents, change(scores), tmp_path / "s.safetensors")
    assert not any(tmp_path.iterdir())


def test_a_file_above_the_limit_is_refused_and_removed(
    documents: Corpus, scores: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "MOST_BYTES", 10**6)
    with pytest.raises(InvalidInput, match="at most 1 MB, found 2 MB; set fewer buckets"):
        distil(Linear(1, 250_000, 500, 0.1), documents, scores, tmp_path / "s.safetensors")
    assert not any(tmp_path.iterdir())


def test_files_that_are_no_scorers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    with pytest.raises(Missing, match="found no file"):
        open_scorer(path)
    for content in (b"", b"no scorer", b"\x08\0\0\0\0\0\0\0{}      "):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match="expected a scorer file"):
            open_scorer(path)
    header: dict[str, Any] = {
        "format": 2, "kind": "linear", "settings": {}, "made": {}, "quantiles": [], "fidelity": None,
    }  # fmt: skip
    save_file({"weights": np.zeros(1)}, path, {"shortlist": json.dumps(header)})
    with pytest.raises(InvalidInput, match="format 1, found format 2; install"):
        open_scorer(path)
    save_file(
        {"weights": np.zeros(1)},
        path,
        {"shortlist": json.dumps(header | {"format": 1, "kind": "liner"})},
    )
    with pytest.raises(InvalidInput, match="did you mean `linear`"):
        open_scorer(path)
    save_file({"weights": np.zeros(1)}, path, {"shortlist": json.dumps(header | {"format": 1})})
    with pytest.raises(InvalidInput, match="lacks the array"):
        open_scorer(path)


@pytest.mark.parametrize("name", ["linear", "static", "fasttext"])
def test_a_distiller_is_the_class_of_its_option(composed: Any, name: str) -> None:
    built = build_components(composed(f"distil={name}")).distiller
    assert option_name(type(built).__name__) == name
    assert build_components(composed()).distiller is None


def test_a_student_s_vectors_are_the_ridge_regression_of_the_method_s() -> None:
    generator = np.random.default_rng(0)
    bags = csr_array(unit(generator.poisson(0.3, (60, 20)).astype(np.float32), np.float32))
    table = generator.normal(size=(20, 3)).astype(np.float32)
    vectors = generator.normal(size=(60, 4))
    vectors[:, 3] = 0  # a column that no method varies
    found = student(bags, table, vectors)
    shared = bags @ table
    scale = 1.5 / np.linalg.norm(shared, axis=1).mean()
    columns = np.hstack([bags.toarray(), scale * shared])
    wanted = unit(vectors, np.float64)
    known = Ridge(alpha=0.3, fit_intercept=False, solver="cholesky")
    solved = known.fit(columns, wanted - wanted.mean(0)).coef_.T
    expected = solved[:20] + scale * table @ solved[20:]
    np.testing.assert_allclose(found, expected, atol=2e-3)  # 25 steps in float32
    assert not found[:, 3].any()


def test_similarity_to_the_target_is_a_soft_maximum_of_cosines() -> None:
    values = unit(np.random.default_rng(0).normal(size=(5, 3)), np.float32)
    cosines = values @ values[:2].T
    found = target_similarity(values, values[:2])
    assert (np.diff(found, axis=1) <= 1e-6).all()  # colder is nearer to the maximum
    assert (found <= cosines.max(1)[:, None] + 1e-6).all()
    assert (found >= cosines.mean(1)[:, None] - 1e-6).all()
    assert target_similarity(values, values[:0]).shape == (5, 0)


def test_vectors_of_the_method_and_its_target_help_the_static_scorer(
    documents: Corpus, tiny_model: Path, tmp_path: Path
) -> None:
    # The method: cosine of hidden word vectors to those of three texts.
    words = sorted({word for text in documents.texts for word in text.split()})
    hidden = dict(zip(words, np.random.default_rng(3).normal(size=(len(words), 8)), strict=True))
    vectors = unit(np.array([sum(hidden[w] for w in text.split()) for text in documents.texts]))
    target = documents.texts[:3]
    scores = (vectors @ vectors[:3].T).max(1)
    own = Static(LocalModel(str(tiny_model)), 32, 100, 0.01, students=300)
    path = tmp_path / "s.safetensors"
    without = distil(own, documents, scores, path).fidelity.spearman
    helped = distil(own, documents, scores, path, hints=Hints(vectors, target)).fidelity.spearman
    assert helped > max(without, 0.7)
