"""Names by an outside package: what the process boundary lets through, with fakes of the package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shortlist.errors import InvalidInput, Missing
from shortlist.prepare.anonymise import KINDS, Anonymise, by_patterns
from shortlist.prepare.base import Text, prepare
from shortlist.prepare.names import ADAPTERS

Made = Callable[..., Anonymise]
EXCHANGE = f"import sys; sys.path.insert(0, {str(ADAPTERS)!r})\nfrom exchange import serve\n"
# Finds capitalised words after `Dr`.
DOCTORS = (
    EXCHANGE + "import re\nserve(lambda t: [m.span(1) for m in re.finditer(r'Dr (\\w+)', t)])\n"
)
LOOP = "import json, sys\nfor line in sys.stdin:\n    row = json.loads(line); n = row['id']\n    "


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A function from the code of an adapter to the operation that runs it."""

    def make(code: str, timeout: float = 20.0) -> Anonymise:
        script = tmp_path / "adapter.py"
        script.write_text(code)
        return Anonymise(KINDS, str(script), sys.executable, timeout)

    return make


def test_names_become_placeholders_beside_the_other_kinds(made: Made) -> None:
    texts = [
        "Dr Berg wrote to Dr Lund and Dr Berg: a@b.example",
        "no name",
        "\ud800 Dr Åse",
        "Dr [PERSON_1] and Dr Ek",
        "x" * 300_000 + " Dr Holm",
        "",
    ]
    prepared = prepare(texts, {"anonymise": made(DOCTORS)})
    assert prepared.texts[:4] == (
        "Dr [PERSON_1] wrote to Dr [PERSON_2] and Dr [PERSON_1]: [EMAIL_1]",
        "no name",
        "\ud800 Dr [PERSON_1]",
        "Dr [PERSON_1] and Dr [PERSON_2]",
    )
    assert prepared.texts[4].endswith("x Dr [PERSON_1]") and prepared.texts[5] == ""


def test_of_overlapping_places_the_patterns_and_the_longest_stand(made: Made) -> None:
    code = (
        LOOP
        + "print(json.dumps({'id': n, 'spans': [[0, 3], [0, 8], [5, 8], [10, 14]]}), flush=True)"
    )
    operation = made(code)
    assert operation.apply(Text("Ann Berg, a@b.example")).text == "[PERSON_1], [EMAIL_1]"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('no JSON', flush=True); input(); input()", "found b'no JSON' at text 1|before the text"),
        (LOOP + "print('[' * 9999, flush=True)", "expected .*spans.*found b'"),
        (LOOP + "print(json.dumps({'id': n + 1, 'spans': []}), flush=True)",
         "expected the answer to text 1, found that to 2"),
        (LOOP + "print(json.dumps({'id': n, 'spans': [[0, 999]]}), flush=True)",
         r"a text of 8 characters, found \[0, 999\]"),
        (LOOP + "print(json.dumps({'id': n, 'spans': [[2, 1]]}), flush=True)", r"found \[2, 1\]"),
        (LOOP + "print(json.dumps({'id': n, 'spans': [[True, 3]]}), flush=True)", "found .True, 3"),
        (LOOP + "print(json.dumps({'id': n, 'spans': 5}), flush=True)", "expected .*spans"),
        (LOOP + "print('{' + 'x' * 200000, flush=True)", "an answer of more than 65,792 bytes"),
        (LOOP + "sys.exit('the model is not there')",
         "ended with code 1 at text 1; it said: the model is not there"),
        ("raise SystemExit(3)", "the adapter ended with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "the adapter ended with code -9"),
    ],
)  # fmt: skip
def test_what_is_no_answer_ends_in_one_line(code: str, message: str, made: Made) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        made(code).apply(Text("Ann Berg"))
    assert "\n" not in str(error.value) and str(error.value).startswith("anonymise.names=")


@pytest.mark.parametrize("text", ["Ann Berg", "x" * 300_000])
def test_an_adapter_that_does_not_answer_is_ended(text: str, made: Made) -> None:
    with pytest.raises(InvalidInput, match=r"no answer within 0.3 s \(anonymise.timeout\)"):
        made("import time; time.sleep(60)", 0.3).apply(Text(text))


def test_an_answer_too_many_is_found_at_the_next_text(made: Made) -> None:
    code = LOOP + "print((json.dumps({'id': n, 'spans': []}) + chr(10)) * 2, end='', flush=True)"
    operation = made(code)
    assert operation.apply(Text("first")).text == "first"
    with pytest.raises(InvalidInput, match="an answer before the text was read at text 2"):
        operation.apply(Text("second"))


def test_what_cannot_run_is_refused_before_anything_is_computed(made: Made) -> None:
    with pytest.raises(Missing, match=r"expected an adapter, found none .*did you mean `presidio`"):
        Anonymise(KINDS, "presidoi", sys.executable, 1.0)
    with pytest.raises(InvalidInput, match=r"found no interpreter; set anonymise.python=PATH"):
        Anonymise(KINDS, "gliner", None, 1.0)
    first, other = made(DOCTORS), made(DOCTORS + "# other")
    assert list(first.identity()) == ["names.adapter"] and made(DOCTORS).identity() != {}
    assert by_patterns().identity() == {}
    assert made(DOCTORS).identity() != made(DOCTORS + "# other").identity()
    del first, other
