"""Augmentation: copies keep labels and sides, and depend on the row alone."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models.masked_words import Expected, MaskedWords
from shortlist.models.pretrained import LocalModel
from shortlist.prepare.augment import EDITS, Augmentation, Substitution
from shortlist.runtime import Runtime

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


class Fixed:
    """Words that stand in for a masked LM: the same for every place, the first most probable."""

    mask = "<m>"

    def __init__(self, *words: str, most: int = 99) -> None:
        self.words, self.most = list(words), most

    def expected(self, texts: Sequence[str], k: int) -> list[list[Expected]]:
        words = self.words[:k]
        chances = np.linspace(2, 1, len(words)) / sum(np.linspace(2, 1, len(words)))
        return [[(words, chances)] * min(self.most, text.count(self.mask)) for text in texts]


def substituting(**settings: Any) -> Substitution:
    usual: dict[str, Any] = {
        "copies": 2, "rate": 0.3, "candidates": 3, "max_length": 64, "agreement": False,
        "protected": ["not"], "seed": 0, "model": LocalModel("none"),
    }  # fmt: skip
    return Substitution(**{**usual, **settings})


def test_substituted_words_keep_place_case_and_signs_and_the_protected_words() -> None:
    words: Any = Fixed("boat", "not", "cellar", "lamp", "stone")
    rows = corpus(["The HARBOUR, was 'not' (large).", "42 7 !"], ["a", "b"])
    grown, counts = substituting().apply(rows, (), words)
    assert counts["no_place"] == 2 and counts["made_substitution"] == counts["copies"] == 2
    for text in set(grown.texts) - set(rows.texts):
        pairs = list(
            zip(["The", "HARBOUR,", "was", "'not'", "(large)."], text.split(), strict=True)
        )
        changed = [(old, new) for old, new in pairs if old != new]
        assert 1 <= len(changed) <= 2 and ("'not'", "'not'") in pairs
        for old, new in changed:
            inner = new.strip("(),.")
            assert inner.lower() in ("boat", "cellar", "lamp")  # of the three candidates
            assert old.replace(old.strip("(),."), inner) == new
            assert inner.isupper() == (old == "HARBOUR,")


def test_places_that_the_model_did_not_read_stay_and_are_counted() -> None:
    words: Any = Fixed("boat", "lamp", "stone", most=1)
    rows = corpus(["one harbour two gardens three rivers"], ["a"])
    grown, counts = substituting(rate=0.9, copies=1).apply(rows, (), words)
    assert counts["beyond_max_length"] == 4 and counts["copies"] == 1
    (text,) = set(grown.texts) - set(rows.texts)
    assert sum(a != b for a, b in zip(text.split(), rows.texts[0].split(), strict=True)) == 1


def test_a_copy_that_the_classifier_takes_for_another_class_is_not_made() -> None:
    texts = [f"the film is {word} number {n}" for n in range(12) for word in ("good", "bad")]
    rows = corpus(texts, ["good" if "good" in text else "bad" for text in texts])
    words: Any = Fixed("good", "bad", "thing")
    free, _ = substituting(rate=0.6).apply(rows, (), words)
    kept, counts = substituting(rate=0.6, agreement=True).apply(rows, (), words)
    assert counts["label_changed"] > 0 and "label_unchecked" not in counts
    assert len(kept) + counts["label_changed"] == len(free)
    assert all(label in text for text, label in zip(kept.texts, kept.labels or (), strict=True)
               if ("good" in text) != ("bad" in text))  # fmt: skip
    numbers = Corpus.build(["a harbour", "a garden"], labels=[0.5, 1.5]).canonical()
    _, unchecked = substituting(agreement=True).apply(numbers, (), words)
    assert unchecked["label_unchecked"] == unchecked["copies"] > 0


@functools.cache
def opened(model: Path, length: int) -> MaskedWords:
    return MaskedWords(model, length, Runtime(accelerator="cpu", progress=False))


def test_expected_words_are_the_most_probable_whole_words_of_the_model(tiny_model: Path) -> None:
    from transformers import BertForMaskedLM

    words = opened(tiny_model, 16)
    texts = ["the boat of [MASK] and [MASK]", "no place", "a " * 20 + "[MASK]"]
    first, none, beyond = words.expected(texts, 5)
    assert (len(first), none, beyond) == (2, [], [])
    model = BertForMaskedLM.from_pretrained(tiny_model).eval()
    ids = words.tokenizer(texts[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0]
    whole = torch.tensor(list(words.words))
    at = (ids[0] == words.tokenizer.mask_token_id).nonzero()[:, 0].tolist()
    for place, (names, chances) in zip(at, first, strict=True):
        best = logits[place, whole].softmax(0).topk(5)
        assert names == words.tokenizer.convert_ids_to_tokens(whole[best.indices].tolist())
        assert np.allclose(chances, best.values.numpy(), atol=1e-5)
        assert all(len(name) > 1 and name.isalpha() for name in names)


def test_substitution_by_a_model_depends_on_the_row_alone(tiny_model: Path) -> None:
    words, how = opened(tiny_model, 64), substituting()
    whole, _ = how.apply(corpus(TEXTS, LABELS), (), words)
    parts = [
        how.apply(corpus([text], [label]), (), words)[0]
        for text, label in zip(TEXTS, LABELS, strict=True)
    ]
    assert Counter(whole.texts) == Counter(text for one in parts for text in one.texts)
    assert len(whole) > 3
    assert how.apply(corpus(TEXTS[::-1], LABELS), (), words)[0].texts == whole.texts


def test_models_without_a_mask_or_with_few_positions_are_refused(
    tiny_gpt2: Path, tiny_model: Path
) -> None:
    with pytest.raises(
        InvalidInput, match="expected an architecture of AutoModelForMaskedLM, found another"
    ):
        opened(tiny_gpt2, 16)
    with pytest.raises(InvalidInput, match=r"task\.augment\.max_length=4096 exceeds"):
        opened(tiny_model, 4096)
