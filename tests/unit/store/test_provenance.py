"""Which repository a number is said to come from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from shortlist.store import provenance

OURS = '[project]\nname = "shortlist"\n'


def code_installed_in(
    root: Path, described: str | None, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Returns what is said of a package somewhere below a repository with one commit."""
    package = root / ".venv" / "shortlist" / "store"
    package.mkdir(parents=True)
    if described is not None:
        (root / "pyproject.toml").write_text(described)
    (root / "requirements.lock").write_text("torch==2.13.0\n")
    as_anyone = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    for arguments in (("init", "-q"), (*as_anyone, "commit", "-q", "--allow-empty", "-m", "one")):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    return provenance.code.__wrapped__()


@pytest.mark.parametrize(
    "described",
    [None, '[project]\nname = "thesis"\n', "[tool.ruff]\n", "project = 3\n", "no TOML", "\x00"],
)
def test_the_commit_of_a_repository_it_is_only_installed_in_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, described: str | None
) -> None:
    found = code_installed_in(tmp_path, described, monkeypatch)
    assert not {"commit", "lock"} & set(found)
    assert found["shortlist"]


def test_its_own_repository_gives_commit_and_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = code_installed_in(tmp_path, OURS, monkeypatch)
    assert len(found["commit"].removesuffix("+changes")) == 40
    assert len(found["lock"]) == 16
