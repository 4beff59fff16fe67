"""The things that travel: a document is its content, and what is computed from a corpus knows which."""

import hashlib
import json
import math
import struct
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core import (
    UNITS,
    Axes,
    Budget,
    Corpus,
    Features,
    Metric,
    Record,
    Role,
    Selection,
    StageCost,
    document_id,
)
from shortlist.errors import ForeignFeatures, InvalidInput

TEXTS = st.lists(st.text(max_size=8), max_size=12)


def features(corpus: Corpus, rows: int | None = None) -> Features:
    n = len(corpus) if rows is None else rows
    return Features(np.zeros((n, 2), dtype=np.float32), corpus.fingerprint, "key")


def selection(corpus: Corpus, **changed: Any) -> Selection:
    ids = tuple(corpus.ids)
    ones = np.ones(len(ids))
    settings = {"ids": ids, "scores": ones, "corpus": corpus.fingerprint}
    return Selection(**{**settings, "budget": Budget(1), "why": "", **changed})


def test_an_id_is_the_same_for_the_same_text_in_any_corpus() -> None:
    assert Corpus.build(["a", "b"]).ids[1] == Corpus.build(["b", "c"]).ids[0] == document_id("b")


def test_an_id_has_a_value_that_never_changes() -> None:
    # Written down once: whoever changes the hash changes every record's fingerprints.
    assert document_id("a text") == "c35109d9c7657e63e9ff40e3"


@given(st.text(st.characters()))
def test_an_id_is_the_hash_of_a_json_list_of_the_text(text: str) -> None:
    raw = json.dumps([text], ensure_ascii=False, separators=(",", ":"))
    hashed = hashlib.blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=12)
    assert document_id(text) == hashed.hexdigest()


def test_the_same_text_under_another_label_is_another_document() -> None:
    one, other = Corpus.build(["a", "a"], labels=["x", "y"]).ids
    assert one != other


def test_a_pair_is_not_the_document_of_its_texts_in_the_other_order() -> None:
    assert document_id("a", "b") != document_id("b", "a")


def test_a_pair_is_not_the_document_of_its_texts_joined() -> None:
    assert document_id("a", "b") != document_id("ab")


@given(TEXTS)
def test_every_row_has_an_id_of_its_own_however_often_a_text_repeats(texts: list[str]) -> None:
    assert len(set(Corpus.build(texts + texts).ids)) == 2 * len(texts)


@given(TEXTS, st.randoms(use_true_random=False))
def test_the_canonical_order_does_not_know_the_order_of_the_rows(
    texts: list[str], rng: Any
) -> None:
    shuffled = list(texts)
    rng.shuffle(shuffled)
    one, other = Corpus.build(texts).canonical(), Corpus.build(shuffled).canonical()
    assert one.fingerprint == other.fingerprint
    assert one.texts == other.texts


def test_a_fingerprint_changes_with_the_order() -> None:
    assert Corpus.build(["a", "b"]).fingerprint != Corpus.build(["b", "a"]).fingerprint


def test_a_fingerprint_changes_with_a_domain() -> None:
    assert Corpus.build(["a"], "news").fingerprint != Corpus.build(["a"], "books").fingerprint


def test_a_fingerprint_tells_where_ids_end_and_domains_begin() -> None:
    one, other = Corpus.build(["a", "b"], ["c", "d"]), Corpus.build(["a"], ["c"])
    assert one.take([0]).fingerprint == other.fingerprint != one.fingerprint


def test_columns_of_two_lengths_are_refused_with_both_numbers() -> None:
    with pytest.raises(InvalidInput, match="text has 2 rows, label has 1"):
        Corpus.build(["a", "b"], labels=["x"])


def test_a_table_without_domains_is_no_corpus() -> None:
    table = Corpus.build(["a"]).table.drop_columns(["domain"])
    with pytest.raises(InvalidInput, match=r"missing: \['domain'\]"):
        Corpus(table)


def test_unlabelled_keeps_one_document_of_each_text() -> None:
    corpus = Corpus.build(["a", "a", "b"], labels=["x", "y", "x"]).unlabelled()
    assert sorted(corpus.texts) == ["a", "b"]
    assert corpus.labels is None


def test_unlabelled_joins_the_texts_of_a_pair() -> None:
    assert Corpus.build(["a"], texts_b=["b"]).unlabelled().texts == ["a\nb"]


def test_unlabelled_forgets_the_order_of_the_rows() -> None:
    one, other = Corpus.build(list("abcd")), Corpus.build(list("dbca"))
    assert one.unlabelled().fingerprint == other.unlabelled().fingerprint


def test_id_words_are_the_first_sixteen_digits_of_the_ids() -> None:
    corpus = Corpus.build(["a", "b"])
    assert [f"{word:016x}" for word in corpus.id_bits().tolist()] == [i[:16] for i in corpus.ids]


def test_features_of_their_own_corpus_pass() -> None:
    corpus = Corpus.build(["a", "b"])
    assert features(corpus).of(corpus).dimension == 2


def test_foreign_features_are_refused_under_both_fingerprints() -> None:
    mine, other = Corpus.build(["a", "b"]), Corpus.build(["b", "a"])
    with pytest.raises(ForeignFeatures) as refused:
        features(other).of(mine)
    assert mine.fingerprint[:12] in str(refused.value)
    assert other.fingerprint[:12] in str(refused.value)


def test_features_with_a_row_too_few_are_refused_although_the_fingerprint_is_right() -> None:
    corpus = Corpus.build(["a", "b"])
    with pytest.raises(ForeignFeatures, match=r"1 rows.*2 documents"):
        features(corpus, rows=1).of(corpus)


def test_a_selection_returns_its_documents_best_first() -> None:
    corpus = Corpus.build(["a", "b", "c"])
    chosen = selection(corpus, ids=(corpus.ids[2], corpus.ids[0]), scores=np.ones(2))
    assert chosen.of(corpus).texts == ["c", "a"]


def test_a_selection_may_repeat_a_document() -> None:
    corpus = Corpus.build(["a"])
    chosen = selection(corpus, ids=corpus.ids * 2, scores=np.ones(2))
    assert chosen.of(corpus).texts == ["a", "a"]


def test_a_selection_from_another_pool_is_refused_under_both_fingerprints() -> None:
    mine, other = Corpus.build(["a", "b"]), Corpus.build(["b", "a"])
    with pytest.raises(ForeignFeatures) as refused:
        selection(other).of(mine)
    assert mine.fingerprint[:12] in str(refused.value)
    assert other.fingerprint[:12] in str(refused.value)


def test_a_selection_with_a_score_too_few_is_refused() -> None:
    with pytest.raises(InvalidInput, match="2 ids, 1 scores"):
        selection(Corpus.build(["a", "b"]), scores=np.ones(1))


def test_the_hash_of_a_selection_changes_with_the_order_of_its_ids() -> None:
    corpus = Corpus.build(["a", "b"])
    assert selection(corpus).sha256 != selection(corpus, ids=tuple(corpus.ids[::-1])).sha256


def test_the_hash_of_a_selection_is_the_one_that_earlier_records_hold() -> None:
    chosen = selection(Corpus.build(["a", "b"]))
    hashed = "\n".join(chosen.ids).encode() + struct.pack("<2d", 1.0, 1.0)
    assert chosen.sha256 == hashlib.sha256(hashed).hexdigest()


def test_the_hash_of_a_selection_does_not_know_the_scores() -> None:
    corpus = Corpus.build(["a", "b"])
    assert selection(corpus).sha256 == selection(corpus, scores=np.zeros(2)).sha256


@pytest.mark.parametrize("amount", [0, -1])
def test_a_budget_below_one_is_refused_with_the_number(amount: int) -> None:
    with pytest.raises(InvalidInput, match=f"found {amount}; set budget=N"):
        Budget(amount)


def test_a_metric_refuses_percent() -> None:
    with pytest.raises(InvalidInput, match=r"fraction and must lie in \[0, 1\], found: 83.5"):
        Metric("accuracy", "fraction", True, 83.5, 10)


def test_a_metric_refuses_what_is_not_a_number() -> None:
    with pytest.raises(InvalidInput, match="nan"):
        Metric("accuracy", "fraction", True, math.nan, 10)


def test_a_metric_refuses_an_unknown_unit_and_names_the_known() -> None:
    with pytest.raises(InvalidInput, match=r"'percent', expected one of: fraction"):
        Metric("accuracy", "percent", True, 0.8, 10)


WORD = st.text(max_size=8)
LONG = st.integers(1 - 2**63, 2**63 - 1)  # a longer integer is refused: test_record.py
METRICS = st.sampled_from(sorted(UNITS)).flatmap(
    lambda unit: st.builds(
        Metric,
        name=WORD,
        unit=st.just(unit),
        higher_is_better=st.booleans(),
        value=st.floats(*UNITS[unit], allow_nan=False, allow_infinity=False)
        if UNITS[unit][1] < math.inf
        else st.floats(min_value=max(UNITS[unit][0], -1e300), max_value=1e300),
        n=st.integers(0, 2**63 - 1),
        stderr=st.none() | st.floats(0, 1e300),
        split=WORD,
        protocol=WORD,
        primary=st.booleans(),
    )
)
RECORDS = st.builds(
    Record,
    key=WORD,
    status=st.sampled_from(["done", "skipped", "failed"]),
    axes=st.builds(Axes, WORD, WORD, WORD, WORD, WORD, LONG, WORD, LONG),
    until=WORD,
    reason=WORD,
    metrics=st.lists(METRICS, max_size=3).map(tuple),
    stages=st.lists(
        st.builds(
            StageCost,
            WORD,
            WORD,
            st.floats(0, 1e9),
            st.floats(0, 1e9),
            WORD,
            st.sampled_from(get_args(Role)),
        ),
        max_size=3,
    ).map(tuple),
    selection=st.dictionaries(WORD, LONG | WORD, max_size=3),
    inputs=st.dictionaries(WORD, WORD, max_size=3),
    counts=st.dictionaries(WORD, LONG, max_size=3),
    warnings=st.lists(WORD, max_size=2).map(tuple),
    code=st.dictionaries(WORD, WORD, max_size=2),
    config=st.dictionaries(WORD, st.none() | st.lists(LONG, max_size=2), max_size=2),
    overrides=st.lists(WORD, max_size=2).map(tuple),
    started=WORD,
    item_scores=st.dictionaries(WORD, WORD, max_size=2),
)


@given(RECORDS)
def test_a_record_survives_json_with_every_digit(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record


@given(RECORDS)
def test_the_json_of_a_record_does_not_know_the_order_of_its_dictionaries(record: Record) -> None:
    turned = {**record.__dict__, "inputs": dict(reversed(list(record.inputs.items())))}
    assert Record(**turned).to_json() == record.to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 3}', '{"schema": 2}', "1"])
def test_what_is_no_record_is_refused_as_input(text: str) -> None:
    with pytest.raises(InvalidInput):
        Record.from_json(text)


def test_a_record_with_a_percentage_in_it_is_refused() -> None:
    axes = Axes("t", "p", "s", "f", "m", 1, "documents", 0)
    good = Record("k", "done", axes, metrics=(Metric("accuracy", "fraction", True, 0.8, 10),))
    raw = json.loads(good.to_json())
    raw["metrics"][0]["value"] = 80.0
    with pytest.raises(InvalidInput, match="must lie in"):
        Record.from_json(json.dumps(raw))
