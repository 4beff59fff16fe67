"""kill -9 in the middle of any stage, then the same command: the same artifacts to the last byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cells
import pytest

pytestmark = pytest.mark.whole

HERE = Path(__file__).parent


def test_a_cell_killed_once_in_every_stage_ends_with_the_artifacts_of_an_undisturbed_one(
    tmp_path: Path, tiny_model: Path, data: Path
) -> None:
    overrides = [*cells.settings(tmp_path, data, tiny_model), *cells.GOTD, "runtime.threads=1"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "forkserver.py"), str(tmp_path), *overrides],
        env={**os.environ, "PYTHONPATH": cells.search_path(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    killed = found["killed"]
    assert [signal.Signals(how).name for _, _, how, _ in killed] == ["SIGKILL"] * len(killed)
    assert [stage for stage, _, _, whole in killed if whole] == []
    assert {f"{stage}/{key}" for stage, key, _, _ in killed} == set(found["undisturbed"])
    assert found["ends"] == [0, 0]
    assert found["disturbed"] == found["undisturbed"]
    assert found["leftovers"] == []
