"""Where the shards of a pool are worked on: in this process, in others, on a cluster.

A backend is no part of any key. A function of one shard writes the artifact of that shard, so an
interrupted map goes on where it stopped, whatever the backend.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from shortlist.errors import InvalidInput, Missing, ShortlistError
from shortlist.settings import Count, Range

Shard = TypeVar("Shard")
Result = TypeVar("Result")

_ADDRESS = re.compile(r"(ray://)?\[?(?P<host>[^/\[\]]+)\]?:(?P<port>\d{1,5})")
_AGAIN = "finished shards are kept: repeat the command"


class Backend(ABC):
    """Calls a function for each of several shards.

    Function, shards and results must be picklable where other processes are used; they hold
    settings, paths and facts, no texts.
    """

    @abstractmethod
    def map(self, function: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yields the results in the order of the shards; called inside `opened()`."""

    def opened(self) -> AbstractContextManager[Any]:
        """Returns a context in which maps share the workers; one inside another is the same."""
        return nullcontext()


def map_shards(
    function: Callable[[Shard], Result], shards: Sequence[Shard], backend: Backend
) -> list[Result]:
    """Returns `function(shard)` of each shard, in the order of the shards.

    Args:
        function: writes the artifact of a shard into the store and returns facts; where the
            artifact exists it computes nothing.
        shards: the shards.
        backend: what calls it.

    Raises:
        ShortlistError: a shard cannot be worked on, or a worker ended; what is finished stays.
    """
    if not shards:
        return []
    with backend.opened():
        return list(backend.map(function, shards))


class Sync(Backend):
    """One shard after the other, in this process."""

    def map(self, function: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yields the results in the order of the shards."""
        return map(function, shards)


class Processes(Backend):
    """Processes of this machine, one thread each.

    Args:
        workers: number of processes.
    """

    def __init__(self, workers: Count) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yields the results in the order of the shards.

        Raises:
            ShortlistError: a process was killed.
        """
        assert self._pool is not None  # by `opened`
        try:
            yield from self._pool.map(function, shards)
        except BrokenProcessPool as error:
            raise ShortlistError(
                "backend=processes: expected workers that return, found one that was killed (out of "
                f"memory?); set backend.workers lower; {_AGAIN}"
            ) from error

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Returns a context of running processes."""
        if self._pool is not None:
            yield
            return
        context = multiprocessing.get_context("spawn")  # a fork of threads that hold locks may hang
        self._pool = ProcessPoolExecutor(self.workers, context, initializer=_one_thread)
        try:
            yield
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


class Submitit(Backend):
    """A job a shard, of Slurm or of this machine (pip install "shortlist[sweep]").

    Args:
        cluster: `slurm`, or `local` for processes of this machine.
        folder: where submitit keeps its logs; all machines must see it, and `paths.cache`.
        parallel: most jobs at a time.
        minutes: time limit of a job.
        cpus: processors of a job.
        memory_gb: memory of a job.
        partition: Slurm's partition, or None for its default.
    """

    extra = "sweep"

    def __init__(
        self,
        cluster: Literal["slurm", "local"],
        folder: str,
        parallel: Count,
        minutes: Count,
        cpus: Count,
        memory_gb: Count,
        partition: str | None,
    ) -> None:
        self.cluster, self.folder, self.parallel = cluster, folder, parallel
        self.options: dict[str, Any] = {
            "timeout_min": minutes,
            "cpus_per_task": cpus,
            "mem_gb": memory_gb,
            "slurm_array_parallelism": parallel,
        }
        if partition is not None:
            self.options["slurm_partition"] = partition

    def map(self, function: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yields the results in the order of the shards.

        Raises:
            Missing: submitit is not installed, or there is no Slurm.
            ShortlistError: a job failed.
        """
        try:
            from submitit import AutoExecutor
            from submitit.core.utils import FailedJobError, UncompletedJobError
        except ImportError as error:
            raise _missing("submitit", "sweep") from error
        try:
            executor = AutoExecutor(Path(self.folder).absolute(), cluster=self.cluster)
        except RuntimeError as error:  # there is no srun
            raise Missing(
                f"backend=submitit: expected Slurm's commands on this machine, found none ({error}); "
                "run it on a login node, or set backend.cluster=local or backend=processes"
            ) from error
        executor.update_parameters(**self.options)
        at_once = self.parallel if self.cluster == "local" else max(len(shards), 1)  # Slurm waits
        for start in range(0, len(shards), at_once):
            jobs = executor.map_array(function, shards[start : start + at_once])
            try:
                for job in jobs:
                    yield job.result()
            except (FailedJobError, UncompletedJobError) as error:
                raise ShortlistError(
                    f"backend=submitit: a job failed ({_last_line(error)}); logs: {self.folder}; "
                    f"{_AGAIN}"
                ) from error
            finally:
                for job in jobs:
                    if not job.done():
                        job.cancel()


class Ray(Backend):
    """A Ray task a shard, on this machine or on a running cluster (pip install "shortlist[ray]").

    Plain tasks, no actors. A task whose worker is killed is started again by Ray, three times.

    Args:
        address: `auto`, HOST:PORT or ray://HOST:PORT of a running cluster; None starts Ray on this
            machine for the map.
        workers: processors that Ray may use where it is started.
        cpus: processors of a task.
        object_store_mb: memory of Ray's object store where it is started; facts alone go through
            it. Ray takes 75 or more.

    Raises:
        InvalidInput: the address has another form, or a task asks for more processors than Ray is
            started with.
    """

    extra = "ray"

    def __init__(
        self,
        address: str | None,
        workers: Count,
        cpus: Count,
        object_store_mb: Annotated[int, Range(75)],
    ) -> None:
        if address not in (None, "auto") and _ADDRESS.fullmatch(address) is None:
            raise InvalidInput(
                f"backend.address must be null, auto, HOST:PORT or ray://HOST:PORT, found {address!r}"
            )
        if address is None and cpus > workers:  # Ray would wait for ever
            raise InvalidInput(
                f"backend.cpus={cpus} processors of a task are more than the backend.workers={workers} "
                "that Ray is started with; set backend.workers higher or backend.cpus lower"
            )
        self.address, self.workers, self.cpus = address, workers, cpus
        self.object_store = object_store_mb * 2**20

    def map(self, function: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yields the results in the order of the shards.

        Raises:
            Missing: Ray is not installed.
            ShortlistError: a task failed, or its worker was killed again and again.
        """
        ray, errors = _imported("ray"), _imported("ray.exceptions")

        def alone(shard: Shard) -> Result:
            _one_thread()
            return function(shard)

        task = ray.remote(num_cpus=self.cpus)(alone)
        waiting = [task.remote(shard) for shard in shards]
        try:
            for reference in waiting:
                yield ray.get(reference)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, ShortlistError):
                raise cause from None
            raise ShortlistError(
                f"backend=ray: a task failed ({_last_line(error)}); {_AGAIN}"
            ) from error
        except errors.RayError as error:
            raise ShortlistError(
                f"backend=ray: a worker was lost ({_last_line(error)}); {_AGAIN}"
            ) from error

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Returns a context in which Ray runs.

        Raises:
            Missing: Ray is not installed.
            ShortlistError: Ray cannot be started, or nothing answers at the address.
        """
        ray = _imported("ray")
        if ray.is_initialized():
            yield
            return
        quiet = {"logging_level": "error", "log_to_driver": False, "configure_logging": False}
        try:
            if self.address is not None:
                _reach(self.address)
                ray.init(address=self.address, **quiet)
            else:
                ray.init(
                    num_cpus=self.workers,
                    object_store_memory=self.object_store,
                    include_dashboard=False,
                    **quiet,
                )
        except (OSError, RuntimeError, ValueError) as error:
            wanted = "Ray to start here" if self.address is None else f"a cluster at {self.address}"
            raise ShortlistError(
                f"backend=ray: expected {wanted}, found none ({_last_line(error)}); check "
                "backend.address, or set backend=processes"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _reach(address: str) -> None:
    """Connects to the address once: Ray itself tries for minutes.

    Raises:
        OSError: nothing answers there.
    """
    if found := _ADDRESS.fullmatch(address):
        with socket.create_connection((found["host"], int(found["port"])), timeout=10):
            pass


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise _missing("ray", "ray") from error


def _missing(package: str, extra: str) -> Missing:
    return Missing(
        f"backend={package}: expected the package {package}, found none; pip install "
        f"'shortlist[{extra}]', or set backend=processes"
    )


def _last_line(error: BaseException) -> str:
    trace = re.split(r"\n-{10,}\n", str(error))  # submitit puts the trace between lines
    lines = trace[min(1, len(trace) - 1)].splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
