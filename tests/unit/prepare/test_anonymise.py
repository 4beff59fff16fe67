"""Personal data: a labelled set, checksums against their definitions, placeholders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from personal_data import disagreements, labelled, measure

from shortlist.errors import InvalidInput
from shortlist.prepare.anonymise import by_patterns, find_personal_data, luhn
from shortlist.prepare.base import Text, prepare

GUIDE = Path(__file__).parents[3] / "docs/guides/data-preparation.md"
ALL = by_patterns()


def replaced(text: str) -> str:
    return ALL.apply(Text(text)).text


@pytest.mark.parametrize(
    ("file", "size", "empty"),
    [("personal_data.txt", 300, 150), ("personal_data_held_out.txt", 100, 30)],
)
def test_precision_and_recall_in_the_guide_are_those_of_the_labelled_sentences(
    file: str, size: int, empty: int
) -> None:
    sentences = labelled(file)
    assert len(sentences) >= size and sum(not one.spans for one in sentences) >= empty
    rows = [
        f"| `{kind}` | {q.labelled} | {q.found} | {q.right} | {q.precision:.3f} | {q.recall:.3f} |"
        for kind, q in sorted(measure(sentences).items())
    ]
    guide = GUIDE.read_text(encoding="utf-8")
    assert "\n".join(rows) in guide, "the table is now:\n" + "\n".join(rows)
    assert f"{len(disagreements(sentences))} of {len(sentences)} sentences" in guide


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "Mail a@b.example or c@d.example, not A@B.example.",
            "Mail [EMAIL_1] or [EMAIL_2], not [EMAIL_1].",
        ),
        ("[EMAIL_1] wrote to x@y.example", "[EMAIL_1] wrote to [EMAIL_2]"),
        ("https://u:pw123@h.example/x", "https://[CREDENTIALS_1]@h.example/x"),
        ("call +44 20 7946 0958 / +442079460958", "call [PHONE_1] / [PHONE_1]"),
        ("IBAN DE89 3704 0044 0532 0130 00 and 4111 1111 1111 1111", "IBAN [IBAN_1] and [CARD_1]"),
        ("nothing here", "nothing here"),
    ],
)
def test_equal_values_of_a_document_get_one_placeholder(text: str, wanted: str) -> None:
    assert replaced(text) == wanted


@given(st.integers(0, 10**15 - 1))
def test_exactly_one_digit_completes_a_number_by_luhn(number: int) -> None:
    assert sum(luhn(f"{number}{digit}") for digit in range(10)) == 1


@given(st.integers(10**9, 10**10 - 1))
def test_a_german_account_is_found_with_its_check_digits_alone(account: int) -> None:
    number = f"37040044{account:010d}"
    check = 98 - int(number + "131400") % 97
    ibans = {digits for digits in range(2, 99) if find_personal_data(f"to DE{digits:02d}{number}!")}
    assert check in ibans
    assert all((digits - check) % 97 == 0 for digits in ibans)


@given(
    st.lists(st.sampled_from(["a@b.example", " ", "+1 415 555 2671", "[EMAIL_1]", "x", "4", "."]))
)
def test_nothing_personal_is_left_and_no_placeholder_is_torn(parts: list[str]) -> None:
    prepared = prepare(["".join(parts)], {"anonymise": ALL})
    (text,) = prepared.texts
    assert find_personal_data(text) == []
    assert text.count("[EMAIL_1]") >= "".join(parts).count("[EMAIL_1]")
    assert re.sub(r"\[[A-Z]+_\d+\]", "", text).count("[") == 0


def test_only_the_chosen_kinds_are_replaced_and_others_are_refused() -> None:
    text = "a@b.example, 203.0.113.9"
    assert by_patterns(["ip"]).apply(Text(text)).text == "a@b.example, [IP_1]"
    with pytest.raises(InvalidInput, match="there is no kind 'emial'; did you mean `email`"):
        by_patterns(["emial"])
