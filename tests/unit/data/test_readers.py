"""Laws of the readers: nothing is lost without a word, whatever the file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.data.readers import RejectedRow, read, render
from shortlist.errors import InvalidInput

Write = Callable[..., Path]


good_text = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
good_lines = good_text.map(lambda text: json.dumps({"text": text}).encode())
bad_lines = st.sampled_from(
    [
        b"{broken",
        b"[1, 2]",
        b'"a string"',
        b"{}",
        b'{"text": null}',
        b'{"text": 3}',
        b'{"text": "  "}',
        b'{"text": "\\ud800"}',
        b'{"text": "\xff\xfe"}',
        b"\x00\x01",
        b'{"text": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), good_lines, bad_lines), min_size=1, max_size=30))
def test_every_row_is_kept_or_quarantined_or_a_copy_and_bad_lines_are_named(
    rows: list[tuple[bool, bytes, bytes]],
) -> None:
    lines = [good if is_good else bad for is_good, good, bad in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b"\n".join(lines))
        if not any(is_good for is_good, _, _ in rows):
            with pytest.raises(InvalidInput, match=r"rows\.jsonl"):
                read(path)
            return
        loaded = read(path)
    counts = loaded.counts
    assert counts["rows_read"] == len(lines)
    assert counts["rows_read"] == counts["kept"] + counts["quarantined"] + counts["exact_copies"]
    assert [bad.line for bad in loaded.quarantined] == [
        number for number, (is_good, _, _) in enumerate(rows, start=1) if not is_good
    ]
    wanted = [json.loads(good)["text"] for is_good, good, _ in rows if is_good]
    assert loaded.corpus.texts == list(dict.fromkeys(wanted))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.touch()
    with pytest.raises(InvalidInput, match="found none"):
        read(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_an_absent_text_column_names_the_columns_found(write: Write, suffix: str) -> None:
    path = write(f"rows{suffix}", [{"body": "a", "author": "b"}])
    with pytest.raises(InvalidInput, match="'text', found the columns: 'body', 'author'"):
        read(path)


def test_an_absent_label_column_is_refused_even_if_texts_are_good(write: Write) -> None:
    with pytest.raises(InvalidInput, match="'label'"):
        read(write("rows.jsonl", [{"text": "a"}]), label="label")


@pytest.mark.parametrize(
    ("row", "instruction"),
    [
        (
            {"body": "a", "y": 1, "b": "b"},
            "set task.text=COLUMN (pool=files: set pool.text=COLUMN)",
        ),
        ({"text": "a", "b": "b", "label": 1}, "set task.text_b=COLUMN"),
        ({"text": "a", "text_b": "b", "y": 1}, "set task.label=COLUMN"),
    ],
)
def test_an_absent_column_names_the_setting_that_names_it(
    write: Write, row: dict[str, object], instruction: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(write("rows.jsonl", [row]), text_b="text_b", label="label")
    assert str(caught.value).partition("; ")[2] == instruction


def test_errors_are_one_line(write: Write) -> None:
    path = write("rows.jsonl", [{"body": "a\nb"}])
    with pytest.raises(InvalidInput) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_copies_are_kept_where_a_test_set_is_published_with_them(write: Write) -> None:
    path = write("rows.jsonl", [{"text": "a", "label": "x"}] * 2)
    assert read(path, label="label").counts["exact_copies"] == 1
    kept = read(path, label="label", keep_copies=True)
    assert len(set(kept.corpus.ids)) == 2


def test_the_same_text_under_two_labels_is_no_copy(write: Write) -> None:
    path = write("rows.jsonl", [{"text": "a", "label": "x"}, {"text": "a", "label": "y"}])
    assert read(path, label="label").counts["kept"] == 2


def test_integer_labels_become_the_names_of_the_classes(write: Write) -> None:
    path = write("rows.jsonl", [{"text": str(n), "label": n} for n in (0, 1, -1, 2)])
    loaded = read(path, label="label", names=["no", "yes"])
    assert loaded.corpus.labels == ["no", "yes"]
    assert [row.line for row in loaded.quarantined] == [3, 4]


@pytest.mark.parametrize(("value", "number"), [(3, 3.0), ("2.5", 2.5), (0.0, 0.0)])
def test_numeric_labels_are_numbers(write: Write, value: object, number: float) -> None:
    path = write("rows.jsonl", [{"text": "a", "label": value}])
    assert read(path, label="label", numeric=True).corpus.labels == [number]


@pytest.mark.parametrize("value", ["high", True, "nan", [1]])
def test_a_numeric_label_that_is_no_finite_number_is_bad(write: Write, value: object) -> None:
    path = write("rows.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": value}])
    assert read(path, label="label", numeric=True).counts["quarantined"] == 1


def test_quarantined_rows_render_as_file_line_reason() -> None:
    assert render([RejectedRow("a/b.jsonl", 7, "broken")]) == "a/b.jsonl:7: broken\n"
