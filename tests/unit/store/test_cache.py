"""Artifacts: computed once, whole or absent, shared by processes, never a failure among them."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist.errors import DoesNotFit, InvalidInput, Missing
from shortlist.store import cache
from shortlist.store.cache import Artifact, Store, executions


def write(text: str = "contents", **facts: Any) -> Callable[[Path], dict[str, Any]]:
    def compute(directory: Path) -> dict[str, Any]:
        (directory / "out.txt").write_text(text)
        (directory / "deep").mkdir()
        (directory / "deep" / "more.bin").write_bytes(b"\0" * 100)
        return facts

    return compute


def stage(store: Store, compute: Callable[[Path], Any] | None = None, **config: Any) -> Artifact:
    return store.stage("toy", 1, config, {"input": "x"}, compute or write())


def entries(root: Path) -> list[str]:
    """Names below the stage, locks left out."""
    return sorted(path.name for path in (root / "toy").iterdir() if path.suffix != ".lock")


def test_a_second_call_reads_what_the_first_computed(tmp_path: Path) -> None:
    first = stage(Store(tmp_path), write(found=3))
    second = stage(Store(tmp_path))
    assert (first.hit, second.hit) == (False, True)
    assert (second.facts, second.digest, second.path) == (first.facts, first.digest, first.path)
    assert executions(tmp_path) == [("toy", first.key)]


def test_another_setting_is_another_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert stage(store, a=1).path != stage(store, a=2).path


def test_a_digest_is_that_of_the_contents_and_not_of_the_key(tmp_path: Path) -> None:
    store = Store(tmp_path)
    same, other = stage(store, write("x"), a=2), stage(store, write("y"), a=3)
    assert stage(store, write("x"), a=1).digest == same.digest != other.digest


def test_the_manifest_describes_every_file(tmp_path: Path) -> None:
    made = stage(Store(tmp_path), a=1)
    manifest = json.loads((made.path / "manifest.json").read_text())
    assert sorted(manifest["files"]) == ["deep/more.bin", "out.txt"]
    assert manifest["files"]["deep/more.bin"]["bytes"] == 100
    assert (manifest["config"], manifest["inputs"]) == ({"a": 1}, {"input": "x"})


def test_the_manifest_is_not_there_while_the_stage_is_computed(tmp_path: Path) -> None:
    seen: list[str] = []

    def compute(directory: Path) -> None:
        write()(directory)
        seen.extend(path.name for path in tmp_path.rglob("manifest.json"))

    stage(Store(tmp_path), compute)
    assert seen == []


def test_the_directory_gets_its_name_after_the_manifest_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed: list[bool] = []
    rename = Path.rename
    monkeypatch.setattr(
        Path,
        "rename",
        lambda self, to: (renamed.append((self / "manifest.json").is_file()), rename(self, to))[1],
    )
    stage(Store(tmp_path))
    assert renamed == [True]


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), KeyboardInterrupt(), MemoryError()], ids=repr
)
def test_whatever_interrupts_a_stage_leaves_nothing_of_it(
    tmp_path: Path, error: BaseException
) -> None:
    def compute(directory: Path) -> None:
        write()(directory)
        raise error

    with pytest.raises(type(error)):
        stage(Store(tmp_path), compute)
    assert entries(tmp_path) == []
    assert executions(tmp_path) == []


def test_a_failure_is_tried_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute(directory: Path) -> None:
        calls.append(1)
        raise ValueError("again")

    for _ in range(2):
        with pytest.raises(ValueError, match="again"):
            stage(Store(tmp_path), compute)
    assert len(calls) == 2


def die_during_compute(root: Path) -> None:
    def compute(directory: Path) -> None:
        write()(directory)
        os.kill(os.getpid(), signal.SIGKILL)

    stage(Store(root), compute)


def die_before_the_rename(root: Path) -> None:
    Path.rename = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore
    stage(Store(root))


@pytest.mark.parametrize("die", [die_during_compute, die_before_the_rename])
def test_a_killed_process_leaves_nothing_that_is_read_and_no_rubbish_after_the_next(
    tmp_path: Path, die: Callable[[Path], None]
) -> None:
    process = multiprocessing.get_context("fork").Process(target=die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [name.startswith(".") for name in entries(tmp_path)] == [True]
    made = stage(Store(tmp_path))
    assert not made.hit
    assert entries(tmp_path) == [made.key]


def slow(root: Path, barrier: Any) -> None:
    def compute(directory: Path) -> None:
        write()(directory)
        with (root / "computed").open("a") as file:
            file.write("x")

    barrier.wait()
    assert stage(Store(root), compute).facts == {}


def test_processes_that_want_the_same_stage_compute_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [context.Process(target=slow, args=(tmp_path, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "computed").read_text() == "x"
    assert len(executions(tmp_path)) == 1


def damage_size(path: Path) -> None:
    (path / "out.txt").write_text("conten")


def damage_absence(path: Path) -> None:
    (path / "deep" / "more.bin").unlink()


def damage_manifest(path: Path) -> None:
    (path / "manifest.json").write_text('{"files": {"out')


@pytest.mark.parametrize("damage", [damage_size, damage_absence, damage_manifest])
def test_a_damaged_artifact_is_computed_again_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    first = stage(Store(tmp_path))
    damage(first.path)
    with caplog.at_level(logging.WARNING):
        second = stage(Store(tmp_path))
    assert (second.hit, second.digest) == (False, first.digest)
    assert "computing the stage again" in caplog.text
    assert str(first.path) in caplog.text


def test_a_whole_artifact_is_read_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage(Store(tmp_path))
    with caplog.at_level(logging.WARNING):
        stage(Store(tmp_path))
    assert caplog.text == ""


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after which this process is as good as another one."""
    return lambda: monkeypatch.setattr(cache, "_computed", set())


def test_refresh_computes_again_what_an_earlier_process_left(
    tmp_path: Path, later: Callable[[], None]
) -> None:
    stage(Store(tmp_path), write("old"))
    later()
    made = stage(Store(tmp_path, "refresh"), write("new"))
    assert (made.path / "out.txt").read_text() == "new"


def test_refresh_computes_a_stage_once_in_one_process_whatever_cell_asks(
    tmp_path: Path, later: Callable[[], None]
) -> None:
    stage(Store(tmp_path))
    later()
    assert not stage(Store(tmp_path, "refresh")).hit
    assert stage(Store(tmp_path, "refresh")).hit


def test_a_failing_refresh_keeps_what_was_there(tmp_path: Path, later: Callable[[], None]) -> None:
    stage(Store(tmp_path), write("old"))
    later()

    def compute(directory: Path) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        stage(Store(tmp_path, "refresh"), compute)
    assert stage(Store(tmp_path)).hit


def test_only_refuses_to_compute_and_names_stage_and_key(tmp_path: Path) -> None:
    with pytest.raises(
        Missing, match=r"stage toy is not in .* under key [0-9a-f]{16}; set runtime"
    ):
        stage(Store(tmp_path, "only"))


def test_only_reads_what_is_there(tmp_path: Path) -> None:
    stage(Store(tmp_path))
    assert stage(Store(tmp_path, "only")).hit


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_does_not_fit_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    def compute(directory: Path) -> None:
        write()(directory)
        raise OSError(number, os.strerror(number))

    with pytest.raises(DoesNotFit, match=r"stage toy needs more room than there is .*; set paths"):
        stage(Store(tmp_path), compute)
    assert entries(tmp_path) == []


def test_a_disk_that_is_full_when_the_files_are_forced_to_it_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "fsync", full)
    with pytest.raises(DoesNotFit):
        stage(Store(tmp_path))
    assert entries(tmp_path) == []


def test_another_error_of_the_machine_is_not_called_a_full_disk(tmp_path: Path) -> None:
    def compute(directory: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError):
        stage(Store(tmp_path), compute)


def test_a_root_below_a_file_is_refused_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"set paths\.cache=DIR"):
        Store(tmp_path / "file" / "cache")


def test_where_a_stage_ran_is_in_the_manifest_and_not_in_the_key(tmp_path: Path) -> None:
    one = stage(Store(tmp_path / "a", device="cpu, 1 thread"))
    other = stage(Store(tmp_path / "b", device="cpu, 2 threads"))
    assert (one.key, one.device) == (other.key, "cpu, 1 thread")
    assert other.device == "cpu, 2 threads"
