"""Languages by a fastText model of the user's: fakes of the packages that read it."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shortlist.errors import InvalidInput, Missing
from shortlist.prepare.base import prepare
from shortlist.prepare.language import Language, _fasttext

GERMAN = "der wind am hafen ist stark und das boot liegt still an seinem platz"
ENGLISH = "the wind at the harbour is strong and the boat lies still in its place"


class OneText:
    """As fasttext-predict has it: one text, tuples."""

    def predict(self, line: Any, k: int) -> Any:
        if not isinstance(line, str):
            raise ValueError("not enough values to unpack (expected 2, got 1)")
        assert "\n" not in line
        return ((f"__label__{'de' if 'der' in line.split() else 'en'}",), (0.9,))


class Lists:
    """As fasttext-wheel has it under numpy 2: lists of texts alone."""

    def predict(self, line: Any, k: int) -> Any:
        if isinstance(line, str):
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        labels, probabilities = OneText().predict(line[0], k)
        return [list(labels)], [list(probabilities)]


class Unsure:
    """A model without an answer."""

    def predict(self, line: Any, k: int) -> Any:
        return ((), ())


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "lid.bin"
    path.write_bytes(b"a model")
    return str(path)


def installed(monkeypatch: pytest.MonkeyPatch, opened: Any) -> None:
    module = ModuleType("fasttext")

    def load_model(path: str) -> Any:
        if isinstance(opened, Exception):
            raise opened
        return opened

    monkeypatch.setattr(module, "load_model", load_model, raising=False)
    monkeypatch.setitem(sys.modules, "fasttext", module)
    _fasttext.cache_clear()


@pytest.mark.parametrize("opened", [OneText(), Lists()], ids=["fasttext-predict", "fasttext-wheel"])
def test_both_packages_identify_languages(
    opened: Any, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, opened)
    keep = Language(["de"], 0.5, 20, 2000, model)
    prepared = prepare([GERMAN, ENGLISH, f"{GERMAN[:30]}\n\ud800 {GERMAN}"], {"language": keep})
    assert prepared.failed == ((), ("language.other_language",), ())
    sure = Language(["de"], 0.95, 20, 2000, model)
    assert prepare([GERMAN], {"l": sure}).failed == (("l.uncertain_language",),)
    assert set(keep.identity()) == {"language.model"}


def test_a_model_without_an_answer_names_no_language(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, Unsure())
    assert Language(["de"], 0.5, 20, 2000, model).identify(GERMAN) == ("", 0.0)


def test_what_is_missing_or_no_model_is_one_line(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, ValueError("x has wrong file format!"))
    with pytest.raises(InvalidInput, match="expected a fastText model, found none: x has wrong"):
        Language(["de"], 0.5, 20, 2000, model).identify(GERMAN)
    with pytest.raises(Missing, match="expected a fastText model, found no file /nowhere"):
        Language(["de"], 0.5, 20, 2000, "/nowhere").identify(GERMAN)
    monkeypatch.setitem(sys.modules, "fasttext", None)
    _fasttext.cache_clear()
    with pytest.raises(Missing, match="needs the package fasttext-predict, which is not installed"):
        Language(["de"], 0.5, 20, 2000, model).identify(GERMAN)


def test_a_model_that_breaks_off_is_refused_and_its_labels_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, OneText())
    words = [(b"der", 0), (b"__label__de", 1), (b"__label__en", 1)]
    entries = b"".join(word + b"\0" + struct.pack("<qb", 5, kind) for word, kind in words)
    matrix = struct.pack("<qq", 3, 2) + b"\1" * 24
    whole = (
        struct.pack("<ii12id", 793712314, 12, *range(12), 0.0001)
        + struct.pack("<iiiqq", 3, 1, 2, 15, -1)
        + entries
        + (b"\0" + matrix) * 2
    )
    path = tmp_path / "lid.bin"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(
            InvalidInput, match=r"whole fastText model, found a file that breaks off"
        ):
            Language(["de"], 0.5, 20, 2000, str(path)).identify(GERMAN)
    path.write_bytes(whole)
    assert Language(["de"], 0.5, 20, 2000, str(path)).identify(GERMAN) == ("de", 0.9)
    with pytest.raises(InvalidInput, match=r"lid\.bin knows, found 'deu'; did you mean `de`"):
        Language(["deu"], 0.5, 20, 2000, str(path)).identify(GERMAN)
