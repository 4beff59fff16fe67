"""`make audit`: known advisories against the lock file, and what it does not know."""

from __future__ import annotations

import datetime
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("audit", ROOT / "security" / "audit.py")
assert SPEC is not None and SPEC.loader is not None
audit: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)
KNOWN = json.loads(audit.SNAPSHOT.read_text(encoding="utf-8"))
DAY = datetime.date(2026, 11, 30)


def findings(packages: dict[str, str]) -> list[str]:
    return [line for line in audit.report(packages, KNOWN, DAY) if line.startswith("AFFECTED")]


def test_the_lock_file_has_no_known_advisory(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main([]) == 0
    out = capsys.readouterr().out
    assert "NOT checked:\n- whatever was published after 2024-10-10" in out
    assert "unknown, not safe" in out


@pytest.mark.parametrize(
    ("package", "bad", "good"),
    [("aiohttp", "3.9.1", "3.14.5"), ("jinja2", "2.11.2", "3.1.6"), ("requests", "2.30.0", "2.32.0")],
)  # fmt: skip
def test_a_version_with_an_advisory_is_found(package: str, bad: str, good: str) -> None:
    assert findings({package: bad}) and f"{package} {bad}: " in findings({package: bad})[0]
    assert not findings({package: good})


@pytest.mark.parametrize(
    ("version", "affected"),
    [("0.9", False), ("1.0", True), ("1.4.9", True), ("1.5", False), ("2.0", True), ("2.1", True),
     ("2.1.1", False), ("7", True)],
)  # fmt: skip
def test_a_range_opens_at_introduced_and_ends_at_fixed_or_after_the_last(
    version: str, affected: bool
) -> None:
    events = [
        {"introduced": "2.0"},
        {"last_affected": "2.1"},
        {"introduced": "1.0"},
        {"fixed": "1.5"},
    ]
    advisory = {"id": "A", "aliases": [], "ranges": [events], "versions": ["7"]}
    assert audit.affects(advisory, version) is affected


def test_a_line_of_the_lock_that_pins_nothing_is_refused() -> None:
    assert audit.locked("A_b==1.0  # why\n\nc==2\n") == {"a-b": "1.0", "c": "2"}
    with pytest.raises(ValueError, match="line 1: expected NAME==VERSION"):
        audit.locked("torch>=2\n")
