"""The built wheel in an environment of its own selects in a folder without a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import toy

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    done = subprocess.run([*pip, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("shortlist-*.whl")
    return built


def test_the_wheel_carries_the_configuration_and_every_file_of_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "src/shortlist", "conf"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    wanted = {
        f"shortlist/{name}" if name.startswith("conf/") else name.removeprefix("src/")
        for name in listed
        if (ROOT / name).exists()
    }
    assert wanted <= names and len([name for name in wanted if "/conf/" in name]) > 100
    assert not any(name.startswith(("tests", "results", "conf/")) for name in names)


def test_the_installed_command_selects_in_another_folder(wheel: Path, tmp_path: Path) -> None:
    home, work = tmp_path / "environment", tmp_path / "work"
    venv.create(home, with_pip=True)
    work.mkdir()
    python, script = home / "bin/python", home / "bin/shortlist"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True
    )
    # The dependencies are those of this environment; the package itself is the wheel's.
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name, topics in (("pool", ("sailing", "music")), ("target", ("sailing",))):
        rows = [{"body": text} for topic in topics for text in toy.sentences(topic, 20)]
        toy.write_jsonl(work / f"{name}.jsonl", rows)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script, *words], cwd=work, env=environment, capture_output=True, text=True, check=False
        )

    picked = typed("select", "pool.jsonl", "-t", "target.jsonl", "-n", "5", "-m", "random",
                   "-c", "body", "-o", "picks.jsonl", "--", "runtime.report=false")  # fmt: skip
    assert picked.returncode == 0, picked.stderr
    assert len((work / "picks.jsonl").read_text().splitlines()) == 5
    (record,) = work.glob("outputs/*/record.json")
    assert "commit" not in json.loads(record.read_text())["code"]  # of no checkout
    explained = typed("explain", "selector=gotd")
    assert "selector/gotd.yaml" in explained.stdout, explained.stderr
    shown = typed("run", "--", "selector=random", "--cfg", "job")
    assert shown.returncode == 0 and "selectors.controls.Random" in shown.stdout, shown.stderr
    where = subprocess.run(
        [python, "-c", "import shortlist, shortlist.config; print(shortlist.config.folder())"],
        cwd=work, env=environment, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert Path(where) == site / "shortlist/conf"
