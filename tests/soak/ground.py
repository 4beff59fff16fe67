"""Where whole cells are attacked: a process that has imported everything runs each in a fork."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soak.outcome import Outcome

E2E = str(Path(__file__).parents[1] / "e2e")


def apart(attack: Callable[[int, float, Path], Outcome], *given: Any) -> Outcome:
    """Returns what an attack returns in a new process, which may fork: it has no threads yet."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        return processes.submit(attack, *given).result()


@dataclass(frozen=True)
class Ground:
    """A toy task, pool and model under `home`, and what a run of this process's fork does with them.

    Attributes:
        home: folder of everything.
        settings: overrides of the cell, but for its paths.
    """

    home: Path
    settings: tuple[str, ...]

    @staticmethod
    def prepare(home: Path, *overrides: str) -> Ground:
        """Returns the ground after writing the inputs, with all heavy modules imported."""
        if E2E not in sys.path:
            sys.path.insert(0, E2E)
        import cells
        import pandas  # noqa: F401  (pyarrow would import it in every fork)
        import pyarrow.dataset  # noqa: F401
        import torch
        import toy
        import transformers.models.bert.modeling_bert  # noqa: F401

        from shortlist import config as schema
        from shortlist.pipeline import cell  # noqa: F401

        torch.set_num_threads(1)
        os.fsync = lambda descriptor: None  # what is killed are processes, not the power
        schema.register(cells.ROOT / "conf")
        data, model = toy.write_data(home / "data"), toy.write_bert(home / "bert")
        typed = (*cells.settings(home, data, model), *cells.GOTD, "runtime.threads=1", *overrides)
        ground = Ground(home, tuple(text for text in typed if not text.startswith("paths.")))
        ground = Ground(home, (*ground.settings, f"paths.data={data}"))
        ground.compose()  # imports what the configuration names, before a fork has to
        return ground

    def paths(self, name: str) -> tuple[str, ...]:
        """Returns the overrides that put cache, results and runs under `home/name`."""
        places = ("cache", "results", "runs")
        return tuple(f"paths.{place}={self.home / name / place}" for place in places)

    def compose(self, *overrides: str) -> Any:
        """Returns the configuration of the cell, its components built once."""
        import cells
        from hydra import compose, initialize_config_dir

        from shortlist.pipeline.compose import build_components

        with initialize_config_dir(str(cells.ROOT / "conf"), version_base="1.3"):
            config = compose(
                "config", [*self.settings, *self.paths("x"), *overrides], return_hydra_config=True
            )
        build_components(config)
        return config

    def start(self, work: Callable[[], int]) -> int:
        """Returns the process id of a fork that ends with the code that `work` returns."""
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            code = 99
            try:
                code = work()
            finally:
                os._exit(code)
        return process

    def cell(self, config: Any, directory: Path) -> Callable[[], int]:
        """Returns the work of running one cell: 0 done, 3 failed, 143 after SIGTERM."""

        def work() -> int:
            import cells

            from shortlist.pipeline.signals import Stopped, raised

            try:
                with raised():  # as `run.py` does from its first line on
                    record = cells.execute(config, directory)
            except Stopped as stopped:
                return 128 + stopped.number
            return 0 if record.status == "done" else 3

        return work

    def typed(self, answer: Path, *arguments: str) -> Callable[[], int]:
        """Returns the work of `python run.py SETTINGS ARGUMENTS`, its output as JSON in `answer`."""

        def work() -> int:
            import cells

            try:
                ended = cells.command(*self.settings, *arguments)
                told = {"code": ended.code, "out": ended.out, "err": ended.err}
            except BaseException as error:
                told = {"code": 1, "out": "", "err": f"Traceback: {error!r}"}
            answer.write_text(json.dumps(told))
            return 0

        return work


def wait(process: int) -> int:
    """Returns how a fork ended: its exit code, or minus the number of the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_after(process: int, seconds: float, number: int = signal.SIGKILL) -> int:
    """Returns how a fork ended that is sent a signal after some seconds, unless it is done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(process, number)
    return wait(process)


def digests(cache: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file of every finished artifact, manifests left out: they hold
    times.
    """
    return {
        str(path.relative_to(cache)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(cache.glob("*/[!.]*/**/*"))
        if path.is_file() and path.name != "manifest.json"
    }


def difference(found: dict[str, str], expected: dict[str, str]) -> str:
    """Returns the first file in which two stores differ, or an empty text."""
    names = sorted(found.keys() | expected.keys())
    return next((name for name in names if found.get(name) != expected.get(name)), "")


def leftovers(cache: Path) -> list[str]:
    """Returns what a finished run must not leave in a store: temporary directories."""
    return sorted(str(path.relative_to(cache)) for path in cache.glob("*/.*"))


def numbers(results: Path) -> list[Any]:
    """Returns what the records under `results` say, without times.

    Raises:
        InvalidInput: a record is not one.
    """
    from shortlist.store.records import read_records

    return [
        [
            record.key,
            record.status,
            [[metric.name, metric.value] for metric in record.metrics],
            record.selection.get("sha256"),
            dict(record.counts),
        ]
        for record in read_records(results)
    ]
