"""Which code produced a number: commit, state of the tree, interpreter, libraries."""

import hashlib
import importlib.metadata
import platform
import subprocess
import tomllib
from functools import cache
from pathlib import Path

from shortlist import __version__

LIBRARIES = (
    "torch",
    "transformers",
    "pytorch-lightning",
    "hydra-core",
    "numpy",
    "scikit-learn",
    "POT",
)


@cache
def code() -> dict[str, str]:
    """Returns version, commit and lock file (of the package's own repository: not of the current
    directory, and not of a repository it is merely installed in), libraries.
    """
    found = {
        "shortlist": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "HEAD")
    root = _git(here, "rev-parse", "--show-toplevel")
    if commit and root and _is_ours(Path(root)):
        changed = _git(here, "status", "--porcelain", "--", "src", "conf", "run.py", at=Path(root))
        found["commit"] = commit + ("+changes" if changed else "")
        lock = Path(root) / "requirements.lock"
        if lock.is_file():
            found["lock"] = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "absent"
    return found


def commit(directory: Path) -> str:
    """Returns the commit of another program's checkout, `+changes` if its files differ, "" if
    there is no repository.
    """
    found = _git(directory, "rev-parse", "HEAD")
    return found + ("+changes" if found and _git(directory, "status", "--porcelain") else "")


def _is_ours(root: Path) -> bool:
    """Returns whether a repository is this project's: a .venv inside another one is not."""
    try:
        found = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or it is no TOML
        return False
    match found:
        case {"project": {"name": "shortlist"}}:
            return True
        case _:
            return False


def _git(here: Path, *arguments: str, at: Path | None = None) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=at or here,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
