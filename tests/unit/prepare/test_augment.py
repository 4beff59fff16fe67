"""Augmentation: copies keep labels and sides, and depend on the row alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.prepare.augment import EDITS, Augmentation

HOW = Augmentation(2, ["swap", "delete", "typo"], 0.1, ["not", "never"], 0)
TEXTS = [
    f"The {word} was not as large as the others were" for word in ("harbour", "garden", "river")
]
LABELS = ["a", "b", "a"]


def corpus(texts: list[str], labels: list[str]) -> Corpus:
    return Corpus.build(texts, "own", labels=labels).canonical()


def test_copies_have_the_labels_of_their_rows_and_are_counted() -> None:
    grown, counts = HOW.apply(corpus(TEXTS, LABELS))
    made = len(grown) - 3
    assert (
        made
        == counts["copies"]
        == sum(n for key, n in counts.items() if key.startswith("made_"))
        > 2
    )
    skipped = sum(counts.get(key, 0) for key in ("unchanged", "label_words_lost", "repeated"))
    assert made + skipped == 6
    for text, label in zip(grown.texts, grown.labels or (), strict=True):
        origin = max(TEXTS, key=lambda one: len(set(one.split()) & set(text.split())))
        assert label == LABELS[TEXTS.index(origin)]
        assert text.split().count("not") == 1


def test_a_copy_depends_on_its_row_and_not_on_the_others() -> None:
    whole, _ = HOW.apply(corpus(TEXTS, LABELS))
    parts = [
        HOW.apply(corpus([text], [label]))[0] for text, label in zip(TEXTS, LABELS, strict=True)
    ]
    assert Counter(whole.texts) == Counter(text for one in parts for text in one.texts)
    assert HOW.apply(corpus(TEXTS[::-1], LABELS[::-1]))[0].fingerprint == whole.fingerprint
    other = Augmentation(2, ["swap", "delete", "typo"], 0.1, ["not", "never"], 1)
    assert other.apply(corpus(TEXTS, LABELS))[0].fingerprint != whole.fingerprint


def test_no_copy_repeats_a_row_of_train_or_of_another_split() -> None:
    deleting = Augmentation(5, ["delete"], 0.2, [], 0)
    elsewhere = ["one two", "two three", "one three"]
    grown, counts = deleting.apply(corpus(["one two three"], ["a"]), elsewhere)
    assert grown.texts == ["one two three"] and counts == {"copies": 0, "repeated": 5}


@given(st.text(), st.sampled_from(sorted(EDITS)))
def test_any_text_is_augmented_or_counted(text: str, kind: str) -> None:
    how = Augmentation(1, [kind], 0.3, ["not"], 3)
    grown, counts = how.apply(Corpus.build([text, "b c d e"], labels=["x", "y"]).canonical())
    assert len(grown) == 2 + counts["copies"]


@pytest.mark.parametrize(
    ("kinds", "rate", "message"),
    [
        (["swop"], 0.1, "there is no change 'swop'; did you mean `swap`"),
        ([], 0.1, "one kind or more"),
        (["swap"], 1.0, "a rate between 0 and 1"),
    ],
)
def test_wrong_settings_are_refused(kinds: list[str], rate: float, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Augmentation(1, kinds, rate, [], 0)


def test_crossover_joins_halves_of_two_rows_of_one_label() -> None:
    rows = {
        "a1 a2 a3 a4": "a",
        "a5 a6 a7 a8 a9": "a",
        "b1 b2 b3 b4": "b",
        "b5 b6": "b",
        "c1 c2": "c",
    }
    how = Augmentation(3, ["crossover"], 0.1, [], 0)
    grown, counts = how.apply(corpus(list(rows), list(rows.values())))
    own = zip(grown.texts, grown.labels or (), strict=True)
    made = {text: label for text, label in own if text not in rows}
    assert made == {
        "a1 a2 a7 a8 a9": "a", "a5 a6 a7 a3 a4": "a", "b1 b2 b6": "b", "b5 b3 b4": "b",
    }  # fmt: skip
    assert counts == {"copies": 4, "made_crossover": 4, "no_partner": 3, "repeated": 8}
    again, _ = how.apply(corpus(list(rows)[::-1], list(rows.values())[::-1]))
    assert again.fingerprint == grown.fingerprint


def test_crossover_keeps_negations_and_refuses_pairs() -> None:
    how = Augmentation(1, ["crossover"], 0.1, ["not"], 0)
    _, counts = how.apply(corpus(["it is not good", "it was very good"], ["a", "a"]))
    assert counts == {"copies": 0, "label_words_lost": 2}
    pairs = Corpus.build(["a b", "c d"], texts_b=["e", "f"], labels=["x", "x"])
    with pytest.raises(InvalidInput, match="the label of a pair belongs to both of its texts"):
        how.apply(pairs)
