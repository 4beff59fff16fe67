"""Exports of annotation tools and chats, with entries that are no rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.data.collections import argilla, chats, label_studio
from shortlist.errors import InvalidInput, Missing


def write(path: Path, value: object, lines: bool = False) -> Path:
    text = "".join(json.dumps(one) + "\n" for one in value) if lines else json.dumps(value)  # type: ignore[attr-defined]
    path.write_text(text, encoding="utf-8")
    return path


def result(*choices: str, name: str = "topic") -> dict[str, object]:
    return {"result": [{"from_name": name, "type": "choices", "value": {"choices": list(choices)}}]}


def test_label_studio_gives_the_most_frequent_choice_and_says_what_it_left_out(
    tmp_path: Path,
) -> None:
    export = [
        {
            "id": 1,
            "data": {"text": "good"},
            "annotations": [result("pos"), result("pos"), result("neg")],
        },
        {"id": 2, "data": {"text": "open"}, "annotations": []},
        {"id": 3, "data": {"text": "away"}, "annotations": [{"was_cancelled": True, "result": []}]},
        {"id": 4, "data": {"body": "other key"}, "annotations": [result("pos")]},
        {"id": 5, "data": {"text": "older"}, "completions": [result("neg")]},
        "no entry",
    ]
    found = label_studio(write(tmp_path / "export.json", export))
    assert list(found.rows) == [{"text": "good", "label": "pos"}, {"text": "older", "label": "neg"}]
    assert dict(found.counts) == {
        "disagreeing": 1, "read": 6, "rejected": 2, "rows": 2, "skipped": 1, "without_label": 1,
    }  # fmt: skip
    assert found.rejected[0].line == 4 and "found the keys: body" in found.rejected[0].reason


def test_label_studio_takes_the_named_control(tmp_path: Path) -> None:
    entry = {"data": {"text": "t"}, "annotations": [result("a"), result("b", name="tone")]}
    path = write(tmp_path / "export.json", [entry])
    assert label_studio(path, control="tone").rows[0]["label"] == "b"
    with pytest.raises(InvalidInput, match=r"to tone, topic; name one with --question"):
        label_studio(path)
    with pytest.raises(InvalidInput, match=r"question 'tome', found none; did you mean `tone`"):
        label_studio(path, control="tome")


def test_several_labels_of_one_annotator_are_no_disagreement(tmp_path: Path) -> None:
    export = [
        {"data": {"text": "both"}, "annotations": [result("a", "b")]},
        {"data": {"text": "twice"}, "annotations": [result("a", "a"), result("b"), result("b")]},
    ]
    found = label_studio(write(tmp_path / "export.json", export))
    assert list(found.rows) == [{"text": "twice", "label": "b"}]
    assert found.rejected[0].reason == "expected one label of each annotator, found a, b"
    several = [{"fields": {"text": "t"}, "responses": {"topic": [{"value": ["a", "b"]}]}}]
    ranked = [{"fields": {"text": "t"}, "responses": {"topic": [{"value": [{"rank": 1}]}]}}]
    for records in (several, ranked):
        assert argilla(write(tmp_path / "records.json", records)).counts["rejected"] == 1


def test_characters_that_are_no_utf8_are_rejected(tmp_path: Path) -> None:
    export = [
        {"data": {"text": "bad \ud800"}, "annotations": [result("a")]},
        {"data": {"text": "good"}, "annotations": [result("a\ud800")]},
    ]
    found = label_studio(write(tmp_path / "export.json", export))
    assert [row.reason for row in found.rejected] == [
        "data.text holds bytes that are no UTF-8 at character 4",
        "label holds bytes that are no UTF-8 at character 1",
    ]
    said = [{"messages": [{"role": "user", "content": "\udc00"}]}]
    assert chats(write(tmp_path / "chats.json", said)).counts["rejected"] == 1


def test_argilla_is_read_in_its_forms(tmp_path: Path) -> None:
    records = [
        {"fields": {"text": "one"}, "responses": {"topic": [{"value": "a"}, {"value": "a"}]}},
        {
            "fields": {"text": "two"},
            "responses": [
                {"status": "submitted", "values": {"topic": {"value": "b"}}},
                {"status": "draft", "values": {"topic": {"value": "a"}}},
            ],
        },
        {"text": "three", "annotation": "c", "status": "Validated"},
        {"text": "four", "annotation": None, "status": "Discarded"},
        {"fields": {"text": ""}, "responses": {}},
    ]  # fmt: skip
    found = argilla(write(tmp_path / "records.jsonl", records, lines=True))
    assert [(row["text"], row["label"]) for row in found.rows] == [
        ("one", "a"),
        ("two", "b"),
        ("three", "c"),
    ]
    assert found.counts["skipped"] == 1 and found.counts["rejected"] == 1
    assert found.rejected[0].reason == "fields.text: expected a text, found an empty one"
    with pytest.raises(InvalidInput, match=r"the question 'other', found none; known: topic"):
        argilla(tmp_path / "records.jsonl", question="other")


def test_chats_become_texts_of_the_wanted_roles(tmp_path: Path) -> None:
    path = write(
        tmp_path / "chats.jsonl",
        [
            {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
                          {"role": "assistant", "content": [{"text": "Hello"}, {"type": "image"}]}]},
            {"messages": [{"role": "system", "content": "alone"}]},
            {"messages": "none"},
            {"conversation": [{"role": "user", "content": "Line\u2028break"}]},
        ],
        lines=True,
    )  # fmt: skip
    found = chats(path)
    assert [row["text"] for row in found.rows] == ["Hi\nHello", "Line\u2028break"]
    assert found.counts["messages_of_other_roles"] == 1
    assert found.rows[0]["turns"] == 2 and [row.line for row in found.rejected] == [2, 3]
    assert chats(path, roles=["system"]).counts["rows"] == 2


def test_broken_lines_are_rejected_and_broken_lists_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "x"}]}\n{"mess\n')
    assert [row.line for row in chats(tmp_path / "a.jsonl").rejected] == [2]
    (tmp_path / "b.json").write_text('[{"data": ')
    with pytest.raises(InvalidInput, match=r"b\.json: expected a JSON list, found"):
        label_studio(tmp_path / "b.json")
    (tmp_path / "c.json").write_text("  ")
    with pytest.raises(InvalidInput, match="found an empty file"):
        label_studio(tmp_path / "c.json")
    with pytest.raises(Missing, match=r"d\.json: expected an export, found no file"):
        label_studio(tmp_path / "d.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["data", "fields", "annotations", "responses", "messages", "text", "result", "value",
                         "values", "role", "content", "choices", "annotation", "status"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(JSON, min_size=1, max_size=4))
def test_any_json_is_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, entries: list[object]
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.json", entries)
    for read in (label_studio, argilla, chats):
        try:
            counts = read(path).counts
        except InvalidInput as error:
            assert "expected answers to one question, found answers to" in str(error)
            continue
        fates = ("rows", "rejected", "without_label", "skipped")
        assert counts["read"] == len(entries) == sum(counts.get(fate, 0) for fate in fates)
