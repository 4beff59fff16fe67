"""A place of its own for every test's cells."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import pytest
import toy


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task and a pool, as source=local reads it."""
    return toy.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def small(tmp_path: Path, data: Path, tiny_model: Path) -> tuple[str, ...]:
    """Overrides of a small cell whose files are all under the test's folder."""
    return cells.settings(tmp_path, data, tiny_model)


@pytest.fixture
def run(tmp_path: Path, small: tuple[str, ...], composed: Any) -> Callable[..., Any]:
    """A function from overrides to (record, run directory) of a small cell."""
    number = itertools.count()

    def execute(*overrides: str) -> tuple[Any, Path]:
        directory = tmp_path / "runs" / str(next(number))
        return cells.execute(composed(*small, *overrides), directory), directory

    return execute
