"""Processes of outside packages, which run in environments of their own."""

from __future__ import annotations

import os

# The variables of this process's environment that such a process gets; it gets no others.
PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_OFFLINE")


def environment() -> dict[str, str]:
    """Returns the variables of such a process: those of `PASSED_ON`, and one seed of hashes."""
    passed_on = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    return {**passed_on, "PYTHONHASHSEED": "0"}


def last_line(output: bytes) -> str:
    """Returns the last line of an output that is not blank, stripped; empty where there is none."""
    lines = output.decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in lines[::-1] if line.strip()), "")
