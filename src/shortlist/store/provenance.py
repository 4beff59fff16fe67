"""The code behind a number: commit, state of the working tree, interpreter and libraries."""

import hashlib
import importlib.metadata
import platform
import subprocess
import tomllib
from functools import cache
from pathlib import Path

from shortlist import __version__

LIBRARIES = (
    "torch", "transformers", "pytorch-lightning", "hydra-core", "numpy", "scikit-learn", "POT",
)  # fmt: skip


@cache
def code() -> dict[str, str]:
    """Returns versions of the package, the interpreter and the libraries; commit and hash of the
    lock file if the package is imported from its own repository.
    """
    versions = {
        "shortlist": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    package = Path(__file__).parent
    hash_, root = _git(package, "rev-parse", "HEAD"), _git(package, "rev-parse", "--show-toplevel")
    if hash_ and root and _is_own_repository(Path(root)):
        changed = _git(Path(root), "status", "--porcelain", "--", "src", "conf", "run.py")
        versions["commit"] = hash_ + ("+changes" if changed else "")
        lock = Path(root) / "requirements.lock"
        if lock.is_file():
            versions["lock"] = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = "absent"
    return versions


def commit(directory: Path) -> str:
    """Returns the commit checked out in a directory, with `+changes` if files differ from it; empty
    if it is not in a repository.
    """
    hash_ = _git(directory, "rev-parse", "HEAD")
    return hash_ + ("+changes" if hash_ and _git(directory, "status", "--porcelain") else "")


def processor() -> str:
    """Returns the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _is_own_repository(root: Path) -> bool:
    """Returns whether a repository is this project's, and not one that contains its .venv."""
    try:
        described = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    match described:
        case {"project": {"name": "shortlist"}}:
            return True
        case _:
            return False


def _git(directory: Path, *arguments: str) -> str:
    """Returns the output of a git command; empty if it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
