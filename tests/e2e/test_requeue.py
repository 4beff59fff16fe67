"""A job of submitit that is preempted, as Slurm does it, goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cells
import pytest

from shortlist.store.cache import executions
from shortlist.store.records import read_records

pytestmark = pytest.mark.whole


@pytest.mark.slow
def test_a_preempted_job_is_queued_again_and_computes_nothing_twice(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    typed = (
        "-m", *small, *cells.GOTD, "until=select", "hydra/launcher=submitit_local",
        f"hydra.launcher.submitit_folder={tmp_path / 'jobs'}",
    )  # fmt: skip
    command = [sys.executable, "-W", "ignore", str(cells.ROOT / "run.py"), *typed]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    job, end = 0, time.monotonic() + 100
    while not (job and (tmp_path / "cache" / "leaks").exists()) and time.monotonic() < end:
        time.sleep(0.05)
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = process.read_bytes()
            except OSError:
                continue
            if b"submitit.core._submit" in line and str(tmp_path).encode() in line:
                job = int(process.parent.name)
    assert job
    os.kill(job, signal.SIGUSR2)
    _, err = sweep.communicate(timeout=200)
    assert sweep.returncode == 0, err
    log = "".join(path.read_text() for path in (tmp_path / "jobs").glob("*.out"))
    assert "Requeued job" in log
    assert [record.status for record in read_records(tmp_path / "results")] == ["done"]
    assert max(Counter(executions(tmp_path / "cache")).values()) == 1
    assert list((tmp_path / "cache").glob("*/.*")) == []
