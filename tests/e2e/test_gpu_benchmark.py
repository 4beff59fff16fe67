"""`benchmarks/gpu.py`: on a machine with a GPU all of it, on others its course on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "gpu.py"), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


@pytest.mark.whole
def test_its_course_runs_on_a_cpu_where_every_part_equals_itself() -> None:
    done = ended("--device", "cpu", "--size", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all within tolerance" in done.stdout
    for part in ("solve", "featurize", "train", "generate", "solve, large", "MiniLM, bf16"):
        assert f"'part': '{part}'" in done.stdout


@pytest.mark.gpu
def test_a_gpu_gives_the_numbers_of_the_cpu(tmp_path: Path) -> None:
    assert torch.cuda.is_available(), "pytest -m gpu needs a machine with a GPU"
    done = ended("--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
