"""Toy files for the tests of tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Sequence[dict[str, object]]], Path]:
    """Returns a function that writes rows as JSON Lines under the test's folder."""

    def write_rows(name: str, rows: Sequence[dict[str, object]]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write_rows
