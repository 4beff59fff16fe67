"""Corrections: which of them can join a task, and that nothing else moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.data.corrections import Correction
from shortlist.data.feedback import (
    FATES,
    Feedback,
    feedback_lines,
    fingerprint,
    read_feedback,
    screen,
)
from shortlist.data.splits import TaskData
from shortlist.prepare.anonymise import by_patterns
from shortlist.prepare.base import Text

TEST = "the harbour is full of boats and every sail is down before the storm"
TEXTS = [*toy.sentences("baking", 3, 5), *toy.sentences("music", 3, 5)]


def task(**changed: Any) -> TaskData:
    train = toy.labelled(["sailing", "baking"], 4, 1)
    validation, test = (
        toy.labelled(["sailing", "baking"], 2, 2),
        Corpus.build([TEST], labels=["sailing"]),
    )
    data = TaskData(train, validation, test, train.unlabelled(), ("baking", "sailing"), {})
    return replace(data, **changed)


def test_each_fate_has_its_example_and_is_listed_with_what_it_contradicts() -> None:
    data = task()
    known, label = data.train.texts[0], data.train.labels[0]
    other = "baking" if label == "sailing" else "sailing"
    rows = [
        Correction("flour in a bowl of dough", "baking"),
        Correction("flour  in a bowl\nof dough", "baking"),
        Correction("yeast", "knitting"),
        Correction(TEST, "baking"),
        Correction(TEST.replace("before", "in"), "sailing"),  # a near copy
        Correction(data.validation.texts[0], "sailing"),
        Correction(known, label),
        Correction(
            data.train.texts[1], "baking" if data.train.labels[1] == "sailing" else "sailing"
        ),
        Correction("is it a boat or a cake", "sailing"),
        Correction("is it a boat or a cake", "baking"),
    ]
    done = screen(rows, data)
    assert [one.text for one in done.kept] == ["flour in a bowl of dough"]
    assert done.counts == {
        "unknown_label": 1, "repeats_test": 2, "repeats_validation": 1, "conflicting": 3,
        "already_in_train": 1, "copies": 1,
    }  # fmt: skip
    assert set(done.counts) == set(FATES)
    listed = {one["text"]: one for one in done.left_out}
    assert listed["is it a boat or a cake"]["against"] == ["baking", "sailing"]
    assert listed[TEST.replace("before", "in")]["against"] == TEST
    assert other not in [one.label for one in done.kept if one.text == known]


def test_a_text_that_a_log_has_masked_is_the_known_text() -> None:
    mask = by_patterns()
    tested, trained = (
        "write to joe@example.org",
        "call +49 170 1234567 or write to (ann@example.org)",
    )
    data = task(
        test=Corpus.build([tested], labels=["sailing"]),
        train=Corpus.build([trained], labels=["baking"]),
    )
    masked = [mask.apply(Text(text)).text for text in (tested, trained)]
    assert "[EMAIL_1]" in masked[0] and "[PHONE_1]" in masked[1]
    others = ["[EMAIL_1]", "a cake for [EMAIL_1]"]
    rows = [Correction(text, "baking") for text in (*masked, *others)]
    done = screen(rows, data)
    assert {one["text"]: one["fate"] for one in done.left_out} == dict(
        zip(masked, ("repeats_test", "already_in_train"), strict=True)
    )
    (other,) = screen([Correction(masked[1], "sailing")], data).left_out
    assert other["fate"] == "conflicting"


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(TEXTS), st.sampled_from(["baking", "sailing", "music"])),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_every_correction_has_one_fate_and_their_order_decides_nothing(rows: Any, rng: Any) -> None:
    made = [Correction(text, label) for text, label in rows]
    done = screen(made, task())
    assert len(done.kept) + sum(done.counts.values()) == len(made)
    assert len(done.left_out) == sum(done.counts.values())
    shuffled = list(made)
    rng.shuffle(shuffled)
    again = screen(shuffled, task())
    assert again.counts == done.counts and set(again.kept) == set(done.kept)
    labels: dict[str, set[str]] = {}
    for one in made:
        if one.label != "music":
            labels.setdefault(one.text, set()).add(one.label)
    assert all(len(labels[one.text]) == 1 for one in done.kept)


def test_what_is_written_is_read_back_and_its_order_does_not_move_the_fingerprint(
    tmp_path: Path,
) -> None:
    rows = (
        Correction("a cake", "baking", error=0.25, predicted="sailing", round=2, annotator="ann"),
        Correction("a boat\nand a\u2028sail", "sailing", text_b="mast"),
    )
    path = tmp_path / "feedback.jsonl"
    path.write_text(feedback_lines(rows), encoding="utf-8")
    assert read_feedback(path) == rows
    assert fingerprint(rows) == fingerprint(rows[::-1]) != fingerprint(rows[:1])


@pytest.mark.parametrize("weight", [0.0, 4.0])
def test_only_train_and_target_change_and_masses_are_one_plus_the_weighted_error(
    tmp_path: Path, weight: float
) -> None:
    data, path = task(), tmp_path / "feedback.jsonl"
    rows = [
        Correction("flour in a bowl of dough", "baking", predicted="sailing", error=0.75),
        Correction("a mast of oak", "sailing", predicted="sailing", error=0.1),
        Correction("the knot of a rope", "sailing"),
        Correction(TEST, "sailing"),
    ]
    path.write_text(feedback_lines(rows), encoding="utf-8")
    joined, facts = Feedback(path, weight).join("toy", data)
    assert joined.test == data.test and joined.validation == data.validation
    assert set(joined.train.texts) - set(data.train.texts) == {one.text for one in rows[:3]}
    assert set(joined.target.texts) == set(joined.train.texts)
    assert facts["joined"] == 3 and facts["wrong"] == 1 and facts["left_out"] == {"repeats_test": 1}
    assert facts["mean_error"] == pytest.approx(0.425)
    if weight == 0:
        assert joined.target.masses is None
        return
    masses = dict(zip(joined.target.texts, joined.target.masses, strict=True))
    assert [masses[one.text] for one in rows[:3]] == pytest.approx([4, 1.4, 1])
    assert all(masses[text] == 1 for text in data.train.texts)


def test_masses_of_the_task_stay_and_corrections_count_in_their_mean(tmp_path: Path) -> None:
    train = toy.labelled(["sailing", "baking"], 2, 1)
    weighed = Corpus.build(train.texts, labels=train.labels, masses=[1, 2, 3, 6])
    data = task(train=weighed, target=weighed.unlabelled())
    path = tmp_path / "feedback.jsonl"
    path.write_text(feedback_lines([Correction("a mast", "sailing", error=0.5)]), encoding="utf-8")
    joined, _ = Feedback(path, 2.0).join("toy", data)
    masses = dict(zip(joined.target.texts, joined.target.masses, strict=True))
    assert masses.pop("a mast") == 3 * (1 + 2 * 0.5)
    assert sorted(masses.values()) == [1, 2, 3, 6]
