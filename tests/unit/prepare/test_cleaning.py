"""Repair and normalisation against texts whose clean form is known."""

from __future__ import annotations

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.prepare.base import DocumentOperation, Text, Verdict, prepare
from shortlist.prepare.cleaning import (
    BoilerplateLines,
    RepairText,
    StripHtml,
    StripMarkdown,
    Whitespace,
)

REPAIR = RepairText(normalization="NFC", uncurl_quotes=True, unescape_html=True)


def cleaned(operation: object, text: str) -> str:
    return operation.apply(Text(text)).text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("schÃ¶n â€” dÃ©jÃ vu", "schön — déjà vu"),
        ("fish &amp; chips &lt;b&gt;", "fish & chips <b>"),
        ("\u201cquoted\u201d and \u2018single\u2019", "\"quoted\" and 'single'"),
        ("e\u0301te\u0301", "été"),
        ("a lone \ud83d surrogate", "a lone \ufffd surrogate"),
        ("a pair \ud83d\ude00 of them", "a pair \U0001f600 of them"),
        ("colours \x1b[31mred\x1b[0m", "colours red"),
    ],
)
def test_encoding_errors_are_repaired(text: str, clean: str) -> None:
    assert cleaned(REPAIR, text) == clean


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_that_is_not_read_is_what_ftfy_returns(text: str) -> None:
    assert cleaned(REPAIR, text) == ftfy.fix_text(text, unescape_html=True)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<p>one</p><p>two</p>", "\none\n\ntwo\n"),
        ('see <a href="http://e.org?a=1&b=2">this</a><br/>now', "see this\nnow"),
        ("<script>var a = '<b>';</script>kept<STYLE>p {}</STYLE> too", "kept too"),
        ("a < b and c > d", "a < b and c > d"),
        ("List<int> and <unk> and <3", "List<int> and <unk> and <3"),
        ("<!-- note -->text<!DOCTYPE html>", "text"),
        ("an open <script> without an end", "an open  without an end"),
    ],
)
def test_html_goes_and_what_only_looks_like_it_stays(text: str, clean: str) -> None:
    assert cleaned(StripHtml(), text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("# Title\ntext", "Title\ntext"),
        ("> quoted\n> > twice", "quoted\ntwice"),
        ("a [link](http://e.org/a_(b)) and ![image](i.png \"t\")", "a link and image"),
        ("**bold**, *italic*, ***both***, ~~gone~~, __strong__", "bold, italic, both, gone, strong"),
        ("snake_case_name, 2 * 3 * 4, a*b*c, __init__x", "snake_case_name, 2 * 3 * 4, a*b*c, __init__x"),
        ("---\n```python\ncode()\n```\nend", "code()\nend"),
        ("#hashtag and C# stay", "#hashtag and C# stay"),
    ],
)  # fmt: skip
def test_marks_of_markdown_go_and_their_words_stay(text: str, clean: str) -> None:
    assert cleaned(StripMarkdown(), text) == clean


def test_white_space_is_plain_and_joiners_of_emoji_stay() -> None:
    family = "\U0001f469\u200d\U0001f467"
    text = f"\ufeffa\u00a0\u2003b \r\n\r\n\n\n c\u200b\x00d\u2028{family} "
    assert cleaned(Whitespace(), text) == f"a b\n\ncd\n{family}"


def test_lines_that_repeat_over_documents_go_and_are_counted() -> None:
    texts = [f"Text number {n} is here.\nAll rights reserved by us.\nok" for n in range(5)]
    texts += ["All rights reserved by us.", "Another text."]
    prepared = prepare(texts, {"lines": BoilerplateLines(documents=5, min_chars=10)})
    assert prepared.texts[:5] == tuple(f"Text number {n} is here.\nok" for n in range(5))
    assert prepared.failed[5] == ("lines.only_boilerplate",) and prepared.failed[6] == ()
    assert prepared.counts == {
        "rows_read": 7, "kept": 6, "dropped": 1, "edited.lines": 5, "dropped.lines": 1,
        "failed.lines.only_boilerplate": 1,
    }  # fmt: skip
    untouched = prepare(texts[:4], {"lines": BoilerplateLines(documents=5, min_chars=10)})
    assert untouched.texts == tuple(texts[:4])


class Doubling(DocumentOperation):
    """Doubles texts that begin with an a."""

    def apply(self, document: Text) -> Verdict:
        text = document.value
        return Verdict(text * 2 if text.startswith("a") else text)


def test_a_text_that_never_settles_is_dropped_as_unstable() -> None:
    prepared = prepare(["a", "fine"], {"doubling": Doubling()})
    assert prepared.failed == (("unstable",), ()) and prepared.counts["dropped.unstable"] == 1


def test_verdicts_are_texts_with_no_failed_rule_by_default() -> None:
    assert Whitespace().apply(Text("a")) == Verdict("a", ())
