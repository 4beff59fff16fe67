"""kill -9 in the middle of any stage, then the same command: the same artifacts to the last byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cells
import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.xdist_group("kill")  # one worker pays for the processes


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, data: Path) -> dict[str, Any]:
    """What `forkserver.py` found: see there."""
    home = tmp_path_factory.mktemp("kill")
    overrides = [*cells.settings(home, data, tiny_model), *cells.GOTD, "runtime.threads=1"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "forkserver.py"), str(home), *overrides],
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


STAGES = 14  # of which features and held_out are two each


def test_a_process_was_killed_in_every_stage(found: dict[str, Any]) -> None:
    assert [signal.Signals(how).name for _, _, how, _ in found["killed"]] == ["SIGKILL"] * STAGES
    assert len({(stage, key) for stage, key, _, _ in found["killed"]}) == STAGES


def test_a_killed_stage_leaves_no_artifact(found: dict[str, Any]) -> None:
    assert [stage for stage, _, _, whole in found["killed"] if whole] == []


def test_the_cell_ends_well_after_all_these_kills(found: dict[str, Any]) -> None:
    assert found["ends"] == [0, 0]


def test_every_artifact_is_that_of_an_undisturbed_run(found: dict[str, Any]) -> None:
    assert len(found["undisturbed"]) == STAGES
    assert found["disturbed"] == found["undisturbed"]


def test_what_the_killed_processes_had_begun_is_swept_away(found: dict[str, Any]) -> None:
    assert found["leftovers"] == []
