"""The driver of `make soak`: what its exit code and its table say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from soak import __main__ as driver
from soak.outcome import Outcome


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome("x", 3, located=2, quarantined=1), 0),
        (Outcome("x", 3, lost=1), 1),
        (Outcome("x", 3, tracebacks=1), 1),
    ],
)
def test_what_is_lost_or_ends_in_a_traceback_fails_the_soak(
    outcome: Outcome, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(driver, "attacks", lambda: {"x": lambda seed, size, scratch: outcome})
    monkeypatch.setattr(sys, "argv", ["soak", "--scratch", str(tmp_path / "s")])
    assert driver.main() == code


def test_an_exception_of_an_attack_is_a_traceback_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(seed: int, size: float, scratch: Path) -> Outcome:
        raise ValueError("no")

    others = {"a": broken, "b": lambda seed, size, scratch: Outcome("b", 7)}
    monkeypatch.setattr(driver, "attacks", lambda: others)
    monkeypatch.setattr(sys, "argv", ["soak", "--scratch", str(tmp_path / "s")])
    assert driver.main() == 1
    printed = capsys.readouterr().out
    assert "ValueError: no" in printed
    assert printed.splitlines()[-1].split() == ["total", "8", "0", "0", "0", "1"]


def test_an_attack_is_found_by_the_name_of_its_module() -> None:
    assert "outcome" not in driver.attacks()
