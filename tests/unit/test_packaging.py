"""What an install brings is what the defaults need."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def test_the_extra_pydocs_names_every_package_that_the_embedded_task_reads() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    families = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/task/pydocs.yaml").families)
    read = {canonical(package) for packages in families.values() for package in packages}
    assert read == {canonical(package) for package in extras["pydocs"]}
    assert "pydocs" in extras["all"][0]


def test_every_dependency_is_locked_to_one_version() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(line.count("==") == 1 for line in lines)
    locked = {canonical(line.split("==")[0]) for line in lines}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {canonical(re.split("[<>=]", name)[0]) for name in wanted} <= locked


def test_threads_sleep_at_barriers_before_torch_is_imported() -> None:
    import subprocess
    import sys

    code = "import shortlist, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(ROOT / "src")}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert told.stdout.split() == ["passive", "False"]
