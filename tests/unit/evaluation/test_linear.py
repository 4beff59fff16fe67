"""The linear scorer: what it learns, from which texts, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from shortlist.errors import InvalidInput, Missing
from shortlist.evaluation.scorers.linear import LinearScorer

TEXTS = [*toy.sentences("stars", 9, 7), *toy.sentences("baking", 9, 7)]


def silent(done: int) -> None:
    pass


def scorer(labelled: Any, **changed: Any) -> LinearScorer:
    settings: dict[str, Any] = {
        "text": "text", "label": "label", "toxic": "toxic", "source": "source", "sources": None,
        "unit": "words", "min_n": 1, "max_n": 2, "buckets": 2**16, "inverse_penalty": 10.0,
        "max_iterations": 100, "tolerance": 1e-6,
    }  # fmt: skip
    return LinearScorer(labelled, **{**settings, **changed})


ROWS = [
    {"text": text, "label": label, "source": source}
    for topic, label, source in (
        ("stars", "toxic", "forum"), ("music", "nontoxic", "forum"), ("baking", "nontoxic", "web"),
        ("sailing", "toxic", "web"),
    )
    for text in toy.sentences(topic, 30)
]  # fmt: skip


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    return str(toy.write_jsonl(tmp_path / "labelled.jsonl", ROWS))


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_texts_like_the_toxic_ones_are_more_toxic(labelled: str, unit: str) -> None:
    min_n = {"words": 1, "characters": 3}[unit]
    found = scorer(labelled, unit=unit, min_n=min_n, max_n=4).score(TEXTS, silent)
    assert found.shape == (18,) and found.dtype == np.float64
    assert found[:9].min() > 0.5 > found[9:].max()


def test_the_scores_are_the_probabilities_of_scikit_learns_regression_on_whole_words(
    labelled: str,
) -> None:
    words = CountVectorizer(token_pattern=r"\w+|[^\w\s]+")
    unique = {row["text"]: row["label"] == "toxic" for row in ROWS}
    counts = normalize(words.fit_transform(list(unique)))
    model = LogisticRegression(C=10, class_weight="balanced", tol=1e-9, max_iter=1000)
    model.fit(counts, list(unique.values()))
    # A word that no labelled text has lengthens the vector here; there it is left out.
    known = [" ".join(word for word in text.split() if word in words.vocabulary_) for text in TEXTS]
    expected = model.predict_proba(normalize(words.transform(known)))[:, 1]
    found = scorer(labelled, max_n=1, tolerance=1e-9).score(known, silent)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_text_has_the_same_score_whatever_others_are_scored_with_it(labelled: str) -> None:
    asked = scorer(labelled)
    together = asked.score(TEXTS * 300, silent)  # more than one chunk
    alone = [float(asked.score([text], silent)[0]) for text in TEXTS]
    np.testing.assert_array_equal(together, np.tile(alone, 300))


def test_progress_ends_at_the_number_of_texts_and_no_text_is_no_failure(labelled: str) -> None:
    done: list[int] = []
    found = scorer(labelled).score([*TEXTS, "", "Ωξ"], done.append)
    assert sum(done) == len(TEXTS) + 2 and np.isfinite(found).all()
    assert found[-1] == found[-2]  # what has no known word has what the bias alone gives
    assert scorer(labelled).score([], silent).shape == (0,)


def test_only_the_sources_that_are_named_teach(labelled: str, tmp_path: Path) -> None:
    forum = [row for row in ROWS if row["source"] == "forum"]
    alone = str(toy.write_jsonl(tmp_path / "forum.jsonl", forum))
    expected = scorer(alone).score(TEXTS, silent)
    found = scorer(labelled, sources=["forum"]).score(TEXTS, silent)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(scorer(labelled).score(TEXTS, silent) - expected).max() > 0.01


def test_two_files_teach_like_one(labelled: str, tmp_path: Path) -> None:
    halves = [str(toy.write_jsonl(tmp_path / f"{i}.jsonl", ROWS[i::2])) for i in (0, 1)]
    np.testing.assert_array_equal(
        scorer(halves).score(TEXTS, silent), scorer(labelled).score(TEXTS, silent)
    )


def test_the_identity_is_bytes_and_settings_but_no_path(labelled: str, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes(Path(labelled).read_bytes())
    before = scorer(labelled).identity()
    assert scorer(str(moved)).identity() == before
    assert scorer(labelled, max_n=1).identity() != before
    with moved.open("a") as file:
        file.write('{"text": "one more", "label": "toxic"}\n')
    assert scorer(str(moved)).identity() != before
    assert not any(str(tmp_path) in value for value in before.values())


def test_texts_that_change_under_a_name_are_learned_anew(labelled: str) -> None:
    asked = scorer(labelled)
    before = asked.score(TEXTS, silent)
    other = {"toxic": "nontoxic", "nontoxic": "toxic"}
    toy.write_jsonl(Path(labelled), [{**row, "label": other[row["label"]]} for row in ROWS])
    np.testing.assert_allclose(asked.score(TEXTS, silent), 1 - before, atol=1e-5)


def test_rows_set_aside_are_counted(tmp_path: Path) -> None:
    rows = [*ROWS, ROWS[0], {"text": " ", "label": "toxic"}, {"text": "without a label"}]
    asked = scorer(str(toy.write_jsonl(tmp_path / "labelled.jsonl", rows)))
    asked.score(TEXTS, silent)
    copies = len(ROWS) + 1 - len({(row["text"], row["label"]) for row in ROWS})
    assert asked.counts == {"labelled_quarantined": 2, "labelled_copies": copies}


def test_a_fit_that_was_cut_short_is_counted(labelled: str) -> None:
    asked = scorer(labelled, max_iterations=2, tolerance=1e-12)
    asked.score(TEXTS, silent)
    assert asked.counts["scorer_not_converged"] == 1


@pytest.mark.parametrize("none", [None, [], [None, None]])
def test_no_labelled_texts_are_refused_by_the_settings_name(none: Any) -> None:
    with pytest.raises(InvalidInput, match=r"set labelled=FILE .*featurizer\.scorer\.labelled"):
        scorer(none).check()


def test_what_cannot_be_learned_from_is_refused(labelled: str) -> None:
    with pytest.raises(Missing, match=r"labelle\.jsonl: expected a file.*set labelled=FILE"):
        scorer(labelled.replace("labelled.jsonl", "labelle.jsonl")).check()
    with pytest.raises(InvalidInput, match="texts labelled 'rude' and others were expected"):
        scorer(labelled, toxic="rude").score(TEXTS, silent)
    with pytest.raises(InvalidInput, match=r"source 'forums' were expected.*`forum`"):
        scorer(labelled, sources=["forums"]).score(TEXTS, silent)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"unit": "letters"}, "unit must be words or characters, found 'letters'"),
        ({"min_n": 2}, "min_n must be 1"),
        ({"unit": "characters"}, "needs 2 <= min_n <= max_n, found 1 and 2"),
        ({"max_n": 0}, "needs 1 <= min_n <= max_n"),
        ({"buckets": 0}, "buckets"),
        ({"inverse_penalty": 0}, "inverse_penalty above 0"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        scorer("labelled.jsonl", **changed)
