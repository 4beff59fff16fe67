"""Laws of the backends: the same results in the order of the shards, and what is finished stays."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shortlist.backends import Backend, Processes, Ray, Submitit, Sync, map_shards
from shortlist.errors import InvalidInput, Missing, ShortlistError
from shortlist.store.cache import Store, executions


@dataclass(frozen=True)
class Squared:
    """A stage a shard: the square of its number; a shard may refuse, end its process once, or wait."""

    root: Path
    refused: int = -1
    fatal: int = -1
    seconds: float = 0.0

    def __call__(self, shard: int) -> int:
        def compute(directory: Path) -> dict[str, int]:
            if shard == self.refused:
                raise InvalidInput(f"shard {shard} is refused")
            if shard == self.fatal and not (self.root / "killed").exists():
                time.sleep(0.5)  # the others finish
                (self.root / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.seconds)
            return {"square": shard**2}

        store = Store(self.root / "store")
        return store.stage("square", 1, {}, {"shard": str(shard)}, compute).facts["square"]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets jobs of submitit import this module, as they import the package."""
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), known]))


SHARDS = (3, 1, 2, 5, 4)


def made(name: str, folder: Path) -> Backend:
    if name == "ray":
        return Ray(None, workers=2, cpus=1, object_store_mb=100)
    if name == "submitit":
        return Submitit("local", str(folder / "logs"), 2, 2, 1, 1, None)
    return Sync() if name == "sync" else Processes(2)


WITH_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is an extra")
# A local job writes its result shortly before its process ends.
ENDING = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
OTHERS = [
    pytest.param("processes", marks=pytest.mark.slow),
    pytest.param("submitit", marks=[pytest.mark.slow, ENDING]),
    pytest.param("ray", marks=[pytest.mark.slow, WITH_RAY]),
]


@pytest.mark.parametrize("name", ["sync", *OTHERS])
def test_results_come_in_the_order_of_the_shards_and_finished_shards_are_not_computed_again(
    name: str, tmp_path: Path, socket_enabled: None
) -> None:
    function = Squared(tmp_path)
    function(2)
    backend = made(name, tmp_path)
    for _ in range(1 if name == "submitit" else 2):
        assert map_shards(function, SHARDS, backend) == [9, 1, 4, 25, 16]
    assert len(executions(tmp_path / "store")) == len(SHARDS)
    assert map_shards(function, (), backend) == []


@pytest.mark.parametrize("name", ["sync", *OTHERS])
def test_the_reason_of_a_refused_shard_reaches_the_caller(
    name: str, tmp_path: Path, socket_enabled: None
) -> None:
    with pytest.raises(ShortlistError, match="shard 5 is refused"):
        map_shards(Squared(tmp_path, refused=5), SHARDS, made(name, tmp_path))


def test_a_machine_without_slurm_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    slurm = Submitit("slurm", str(tmp_path / "logs"), 2, 2, 1, 1, None)
    with pytest.raises(Missing, match=r"Slurm's commands .* backend\.cluster=local"):
        map_shards(Squared(tmp_path), SHARDS, slurm)


@pytest.mark.slow
def test_a_killed_process_costs_its_shard_alone(tmp_path: Path) -> None:
    function = Squared(tmp_path, fatal=5)
    with pytest.raises(ShortlistError, match=r"killed .* finished shards are kept"):
        map_shards(function, SHARDS, Processes(2))
    done = len(executions(tmp_path / "store"))
    assert done >= 3
    assert map_shards(function, SHARDS, Processes(2)) == [9, 1, 4, 25, 16]
    assert len(executions(tmp_path / "store")) == len(SHARDS)


@pytest.mark.slow
@WITH_RAY
def test_ray_starts_the_shard_of_a_killed_worker_again(
    tmp_path: Path, socket_enabled: None
) -> None:
    assert map_shards(Squared(tmp_path, fatal=5), SHARDS, made("ray", tmp_path)) == [
        9, 1, 4, 25, 16,
    ]  # fmt: skip
    assert (tmp_path / "killed").exists()


@pytest.mark.slow
@WITH_RAY
def test_a_ray_run_that_is_killed_goes_on_where_it_stopped(
    tmp_path: Path, socket_enabled: None
) -> None:
    code = (
        "from test_backends import *\n"
        f"map_shards(Squared(Path({str(tmp_path)!r}), seconds=1), range(20), made('ray', Path()))"
    )
    store = tmp_path / "store"
    with subprocess.Popen([sys.executable, "-c", code]) as killed:
        while len(executions(store)) < 4 and killed.poll() is None:
            time.sleep(0.05)
        killed.kill()
    time.sleep(2)  # a worker may end the shard that it was at
    before = executions(store)
    assert 4 <= len(before) < 20
    squares = map_shards(Squared(tmp_path), range(20), made("ray", tmp_path))
    assert squares == [shard**2 for shard in range(20)]
    assert len(executions(store)) == len(set(executions(store))) == 20


@pytest.mark.parametrize("name", ["sync", "processes", "submitit", "ray"])
def test_a_backend_is_the_class_of_its_name_and_no_part_of_any_key(
    composed: Callable[..., Any], name: str
) -> None:
    from shortlist.pipeline.compose import build_component
    from shortlist.pipeline.identity import cell_key

    config = composed(f"backend={name}")
    assert type(build_component(config, "backend")).__name__.lower() == name
    assert cell_key(config, {}) == cell_key(composed(), {})


def test_a_cluster_that_is_no_kind_of_submitit_is_refused(composed: Callable[..., Any]) -> None:
    from shortlist.pipeline.compose import build_component

    config = composed("backend=submitit", "backend.cluster=slrum")
    with pytest.raises(InvalidInput, match=r"backend\.cluster .*slurm.*local.*'slrum'"):
        build_component(config, "backend")


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("address=nowhere", r"backend\.address must be null, auto, .* found 'nowhere'"),
        ("cpus=3", r"backend\.cpus=3 .* more than the backend\.workers=2"),
        ("object_store_mb=74", r"backend\.object_store_mb must be an integer of at least 75"),
    ],
)
def test_what_ray_would_wait_for_or_refuse_with_a_trace_is_refused_by_name(
    composed: Callable[..., Any], typed: str, reason: str
) -> None:
    from shortlist.pipeline.compose import build_component

    with pytest.raises(InvalidInput, match=reason):
        build_component(composed("backend=ray", f"backend.{typed}"), "backend")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_at_which_nothing_answers_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, socket_enabled: None, scheme: str
) -> None:
    started: list[Any] = []
    ray = SimpleNamespace(is_initialized=lambda: False, init=lambda **asked: started.append(asked))
    monkeypatch.setitem(sys.modules, "ray", ray)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ShortlistError, match=f"a cluster at {address}, found none .*refused"):
        map_shards(Squared(tmp_path), SHARDS, Ray(address, 2, 1, 100))
    assert not started


def test_the_reason_for_which_ray_does_not_start_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**asked: Any) -> None:
        raise RuntimeError("no room for the object store")

    monkeypatch.setitem(
        sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init)
    )
    with pytest.raises(ShortlistError, match=r"Ray to start here.*no room for the object store"):
        map_shards(Squared(tmp_path), SHARDS, Ray(None, 2, 1, 100))
