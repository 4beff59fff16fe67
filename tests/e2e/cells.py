"""How the tests run cells: in this process by the code that `python run.py` runs, or as that command."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import runpy
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HEAD = "{documents: 30, epochs: 1, learning_rate: 0.01, batch_size: 64, max_length: 32}"
SMALL = (
    "task=citation_intent",
    "pool=domains",
    "model=local",
    f"model.head={HEAD}",
    "warmup.max_length=32",
    "warmup.precision=32",
    "finetune.max_length=32",
    "finetune.precision=32",
    "finetune.epochs=1",
    "budget=10",
    "runtime.accelerator=cpu",
    "runtime.progress=false",
    "runtime.report=false",
)
GOTD = ("selector=gotd", "featurizer.max_length=32", "featurizer.precision=32")


def settings(home: Path, data: Path, model: Path) -> tuple[str, ...]:
    """Returns the overrides of a small cell whose files are all under `home`."""
    places = [f"paths.{name}={home / name}" for name in ("results", "cache", "runs")]
    return (*SMALL, f"model.path={model}", f"paths.data={data}", *places)


def search_path() -> str:
    """Returns the PYTHONPATH under which a process finds the modules beside this one too."""
    return os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def refusals(self) -> list[str]:
        """Lines that say what was refused."""
        lines = (self.out + self.err).splitlines()
        return [line for line in lines if line.startswith(("error:", "failed:"))]


@contextlib.contextmanager
def _as_it_was() -> Generator[None]:
    """Restores what Hydra changes in a process: logging, the environment, its own globals."""
    from hydra.core.global_hydra import GlobalHydra

    root, environment, typed = logging.getLogger(), dict(os.environ), sys.argv
    handlers, level = list(root.handlers), root.level
    os.environ.pop("HYDRA_FULL_ERROR", None)
    try:
        yield
    finally:
        sys.argv = typed
        for handler in [one for one in root.handlers if one not in handlers]:
            with contextlib.suppress(OSError):  # as the interpreter does when it ends: a full disk
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        os.environ.clear()
        os.environ.update(environment)
        GlobalHydra.instance().clear()


def command(*arguments: str) -> Ended:
    """Returns how `python run.py ARGUMENTS` ends, run in this process: the imports are paid once."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with _as_it_was(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = [str(ROOT / "run.py"), *arguments]
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            if isinstance(end.code, str):
                print(end.code, file=err)
    return Ended(code, out.getvalue(), err.getvalue())


def process(*arguments: str, at: Path, **environment: str) -> Ended:
    """Returns how `python run.py ARGUMENTS`, typed in the directory `at`, ends."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "run.py"), *arguments],
        cwd=at,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def execute(config: Any, directory: Path) -> Any:
    """Returns the record of the cell that a composed configuration describes."""
    from shortlist.pipeline.cell import execute

    job = config.hydra
    return execute(config, dict(job.runtime.choices), tuple(job.overrides.task), directory)
