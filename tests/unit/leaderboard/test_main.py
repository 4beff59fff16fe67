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
