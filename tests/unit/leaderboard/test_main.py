"""The command: files that regenerate, one line for what is missing."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shortlist.core import Record
from shortlist.leaderboard import publish
from shortlist.leaderboard.__main__ import main
from shortlist.store.records import write_record

Maker = Callable[..., Record]


@pytest.fixture
def results(tmp_path: Path, record: Maker) -> Path:
    for task in ("chemprot", "pydocs"):
        write_record(tmp_path, record(task=task))
    return tmp_path


def test_publishing_again_writes_the_same_bytes_and_nothing_else(results: Path) -> None:
    first = {path: path.read_bytes() for path in publish(results)}
    assert {path: path.read_bytes() for path in publish(results)} == first
    assert {path.name for path in results.iterdir()} == {
        "records",
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.tex",
        "leaderboard.html",
    }


def test_the_command_prints_the_tables_and_the_paths(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--results", str(results)]) == 0
    shown = capsys.readouterr().out
    assert "chemprot · pool files" in shown
    assert "pydocs · pool files" in shown
    assert str(results / "leaderboard.html") in shown.replace("\n", "")


def test_a_table_can_be_picked(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pydocs", "--results", str(results)]) == 0
    assert "chemprot" not in capsys.readouterr().out


def test_an_unknown_table_gets_one_line_with_near_matches(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(results)  # no published tables here
    assert main(["chemprt", "--results", str(results)]) == 2
    assert capsys.readouterr().err == (
        "no table `chemprt`; did you mean `chemprot`? known: chemprot, pydocs\n"
    )


def test_no_records_get_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_broken_record_gets_one_line_that_names_it_and_the_table_has_the_others(
    results: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    broken = results / "records" / "pydocs" / "gotd" / "broken.json"
    broken.write_text("{")
    assert main(["--results", str(results)]) == 0
    assert "pydocs · pool files" in capsys.readouterr().out
    (message,) = caplog.messages
    assert str(broken) in message and "\n" not in message
    assert main(["check", "--results", str(results)]) == 2
    assert str(broken) in capsys.readouterr().err


def test_the_leaderboard_imports_nothing_heavy() -> None:
    script = (
        "import sys, shortlist.leaderboard.__main__\n"
        "print(sorted({'torch', 'transformers', 'pytorch_lightning', 'hydra', 'matplotlib', "
        "'great_tables', 'pandas', 'pyarrow.parquet'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_no_page_holds_a_control_character_of_a_record(
    tmp_path: Path, record: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "\x1b[31m red \x00 \x9b \u202e"
    failed = {"status": "failed", "reason": bad, "seed": 1}
    for one in (
        record(warnings=(bad,), overrides=(bad,), selection={"size": 1, "domains": {bad: 1}}),
        record(**failed),
    ):
        write_record(tmp_path, one)
    assert main(["--results", str(tmp_path), "--published", str(tmp_path)]) == 0
    texts = [path.read_text(encoding="utf-8") for path in tmp_path.glob("leaderboard.*")]
    assert len(texts) == 4 and any("u001b" in text for text in texts)
    for text in (*texts, capsys.readouterr().out):
        assert not {"\x1b", "\x00", "\x9b", "\u202e"} & set(text)
