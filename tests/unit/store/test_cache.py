"""Artifacts: computed once, whole or absent, shared by processes, never a failure among them."""

from __future__ import annotations

import errno
import functools
import json
import logging
import multiprocessing
import os
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from filelock import FileLock

from shortlist.errors import BrokenArtifact, DoesNotFit, InvalidInput, Missing
from shortlist.store import cache, manifest
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


class Signal(BaseException):
    """What a handler of a signal raises, in whatever function runs."""


# A directory that was being listed is closed late.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_in_any_function_leaves_nothing_unfinished(tmp_path: Path) -> None:
    def interrupted(root: Path, number: int) -> bool:
        """Returns whether the `number`-th beginning or end of a function raised."""
        store, calls = Store(root), 0

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal calls
            own = frame.f_code.co_filename == cache.__file__
            if not own and frame.f_code.co_name not in ("mkdir", "rename", "unlink", "rmtree"):
                return None
            frame.f_trace_lines = False
            if event in ("call", "return"):
                calls += 1
                if calls == number:
                    sys.settrace(None)
                    raise Signal
            return trace

        sys.settrace(trace)
        try:
            stage(store)
        except Signal:
            return True
        finally:
            sys.settrace(None)
        return False

    number, raised = 1, True
    while raised:
        root = tmp_path / str(number)
        raised = interrupted(root, number)
        names = entries(root) if (root / "toy").is_dir() else []
        assert [name for name in names if name.startswith(".")] == [], f"signal {number}"
        number += 1
    assert number > 40


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

    monkeypatch.setattr(manifest, "fsync", full)
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


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after which this process has neither computed nor hashed anything."""

    def forget() -> None:
        monkeypatch.setattr(cache, "_computed", set())
        monkeypatch.setattr(manifest, "_digests", {})

    return forget


def flip(path: Path, at: int = 0) -> None:
    """Changes one bit of a file, whose size and time stay what they are."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    status = path.stat()
    path.write_bytes(raw)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_one_flipped_bit_is_found_by_another_process_and_computed_again(
    tmp_path: Path, another: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    first = stage(Store(tmp_path))
    flip(first.path / "deep" / "more.bin", 50)
    another()
    with caplog.at_level(logging.WARNING):
        second = stage(Store(tmp_path))
        third = stage(Store(tmp_path))
    assert (second.hit, third.hit, second.digest) == (False, True, first.digest)
    assert (first.path / "deep" / "more.bin").read_bytes() == b"\0" * 100
    assert [record.message for record in caplog.records] == [
        f"{first.path}: deep/more.bin has another SHA-256 than its manifest says; "
        "computing the stage again"
    ]


@pytest.mark.parametrize("parallel", [0, 2**30])
def test_a_file_is_hashed_once_in_a_process_as_long_as_it_is_the_same(
    tmp_path: Path,
    another: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    parallel: int,
) -> None:
    made = stage(Store(tmp_path))
    another()
    hashed: list[str] = []
    digest = manifest.hashlib.file_digest
    monkeypatch.setattr(
        manifest.hashlib,
        "file_digest",
        lambda file, how: (hashed.append(file.name), digest(file, how))[1],
    )
    monkeypatch.setattr(manifest, "_PARALLEL", parallel)
    assert all(stage(Store(tmp_path)).hit for _ in range(3))
    assert sorted(hashed) == [str(made.path / "deep" / "more.bin"), str(made.path / "out.txt")]
    os.utime(made.path / "out.txt", ns=(0, 0))
    assert stage(Store(tmp_path)).hit
    assert len(hashed) == 3


@pytest.mark.parametrize(
    "text",
    [
        b"", b"null", b"{}", b"[]", b"3", b'{"files": {}}', b"\xff\xfe{", b"[" * 100_000,
        b'{"files": {"out.txt": {}}}', b'"manifest"', b"\0" * 300,
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_counts_as_absent(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    first = stage(Store(tmp_path), found=1)
    (first.path / "manifest.json").write_bytes(text)
    second = stage(Store(tmp_path), found=1)
    assert (second.hit, second.digest) == (False, first.digest)
    assert len(caplog.records) == 1 and "computing the stage again" in caplog.text


# What a manifest from before 0.2.0, which has no digest of itself, can show; and what it cannot.
SHOWN: list[dict[str, Any]] = [
    {"files": {}}, {"files": None}, {"digest": "0"}, {"files": {"out.txt": {"bytes": 8}}},
    {"stage": "other"}, {"key": "0"}, {"device": None}, {"more": 1},
]  # fmt: skip
HIDDEN: list[dict[str, Any]] = [{"facts": {"found": 4}}, {"seconds": 1e9}]


@pytest.mark.parametrize(
    ("change", "sealed"),
    [*((change, True) for change in [*SHOWN, *HIDDEN]), *((change, False) for change in SHOWN)],
    ids=str,
)
def test_a_manifest_with_one_changed_field_counts_as_absent(
    tmp_path: Path, change: dict[str, Any], sealed: bool
) -> None:
    first = stage(Store(tmp_path), write(found=3), a=1)
    path = first.path / "manifest.json"
    fields = json.loads(path.read_text())
    if not sealed:
        del fields["sha256"]
    path.write_text(json.dumps({**fields, **change}))
    second = stage(Store(tmp_path), write(found=3), a=1)
    assert (second.hit, second.facts) == (False, {"found": 3})


def test_a_manifest_from_before_the_digest_of_manifests_is_read(tmp_path: Path) -> None:
    path = stage(Store(tmp_path)).path / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["sha256"]
    path.write_text(json.dumps(fields))
    assert stage(Store(tmp_path)).hit


def test_a_file_that_the_manifest_does_not_know_is_damage_but_not_a_hidden_one(
    tmp_path: Path,
) -> None:
    path = stage(Store(tmp_path)).path
    (path / ".nfs0001").write_text("")
    assert stage(Store(tmp_path)).hit
    (path / "values.npy").write_text("")
    assert not stage(Store(tmp_path)).hit


def put_a_file(path: Path) -> None:
    for file in path.rglob("*.*"):
        file.unlink()
    (path / "deep").rmdir()
    path.rmdir()
    path.write_text("a file")


def put_a_loop(path: Path) -> None:
    (path / "out.txt").unlink()
    (path / "out.txt").symlink_to("out.txt")


def remove_the_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


@pytest.mark.parametrize("change", [put_a_file, put_a_loop, remove_the_manifest])
def test_whatever_lies_in_the_place_of_an_artifact_is_replaced(
    tmp_path: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    first = stage(Store(tmp_path))
    change(first.path)
    second = stage(Store(tmp_path))
    assert (second.hit, second.digest) == (False, first.digest)
    assert entries(tmp_path) == [first.key] and len(caplog.records) == 1


def test_only_says_what_is_damaged(tmp_path: Path, another: Callable[[], None]) -> None:
    made = stage(Store(tmp_path))
    flip(made.path / "out.txt")
    another()
    with pytest.raises(
        BrokenArtifact, match=r"out\.txt has another SHA-256 .*; set runtime\.cache"
    ):
        stage(Store(tmp_path, "only"))


def test_facts_with_numbers_as_names_are_read_as_they_were_written(tmp_path: Path) -> None:
    numbers: dict[Any, Any] = {10: 1, 2: float("inf")}
    store = Store(tmp_path)
    store.stage("toy", 1, {}, {}, lambda directory: numbers)
    assert store.stage("toy", 1, {}, {}, lambda directory: numbers).facts == {
        "10": 1, "2": float("inf"),
    }  # fmt: skip


def test_no_lock_is_left(tmp_path: Path) -> None:
    stage(Store(tmp_path))
    stage(Store(tmp_path))
    with pytest.raises(ValueError):
        stage(Store(tmp_path), lambda directory: int("x"), b=1)
    assert list(tmp_path.rglob("*.lock")) == []


def test_what_is_finished_is_read_while_another_process_holds_its_lock(tmp_path: Path) -> None:
    made = stage(Store(tmp_path))
    with FileLock(made.path.with_name(f"{made.key}.lock")):
        assert stage(Store(tmp_path)).hit


def hold(root: Path, ready: Any, end: Any) -> None:
    def compute(directory: Path) -> None:
        write()(directory)
        ready.set()
        end.wait(10)

    stage(Store(root), compute)


def test_who_waits_for_a_lock_says_for_what_and_for_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("fork")
    ready, end = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready, end))
    holder.start()
    assert ready.wait(10)
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(cache, "PATIENCE", 0.05)
    monkeypatch.setattr(cache.log, "warning", lambda *said: (end.set(), told.append(said)))
    made = stage(Store(tmp_path))
    holder.join()
    assert (made.hit, holder.exitcode) == (True, 0)
    text, *values = told[0]
    assert text % tuple(values) == (
        f"stage toy {made.key}: waiting for process {holder.pid} on {platform.node()}, "
        "which computes it"
    )
    assert list(tmp_path.rglob("*.lock")) == []


def test_a_lock_that_is_a_directory_is_one_line(tmp_path: Path) -> None:
    key = stage(Store(tmp_path / "other")).key
    lock = tmp_path / "cache" / "toy" / f"{key}.lock"
    lock.mkdir(parents=True)
    with pytest.raises(BrokenArtifact, match=r"needs the lock .* \(Is a directory\); remove it"):
        stage(Store(tmp_path / "cache"))


def test_a_stage_whose_folder_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("")
    with pytest.raises(BrokenArtifact, match="is no directory; remove it"):
        stage(Store(tmp_path))


def test_only_needs_no_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(Store(tmp_path))
    before = sorted(tmp_path.rglob("*"))

    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError(arguments)

    for name in ("mkdir", "touch", "write_text", "rename", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(cache, "FileLock", refuse)
    assert stage(Store(tmp_path, "only")).hit
    assert sorted(tmp_path.rglob("*")) == before


def test_only_wants_a_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"runtime\.cache=only reads artifacts, found no"):
        Store(tmp_path / "none", "only")


def test_a_line_that_a_crash_cut_off_is_left_out_of_the_executions(tmp_path: Path) -> None:
    made = stage(Store(tmp_path))
    with (tmp_path / "executions.jsonl").open("a") as file:
        file.write('{"stage": "to')
    assert executions(tmp_path) == [("toy", made.key)]


def weights(directory: Path) -> dict[str, Any]:
    (directory / "model.safetensors").write_bytes(b"w" * 100)
    (directory / "config.json").write_text("{}")
    return {}


def test_damaged_weights_are_found_where_they_are_opened_and_other_files_at_once(
    tmp_path: Path, another: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)

    def model(*, opened: bool) -> Artifact:
        return store.stage("model", 1, {}, {}, weights, weights=opened)

    first = model(opened=False)
    flip(first.path / "model.safetensors")
    another()
    assert model(opened=False).hit and not caplog.records
    assert not model(opened=True).hit and "model.safetensors has another SHA-256" in caplog.text
    assert (first.path / "model.safetensors").read_bytes() == b"w" * 100
    for damage in (
        lambda: flip(first.path / "config.json"),
        lambda: (first.path / "model.safetensors").write_bytes(b"w" * 99),
        lambda: (first.path / "model.safetensors").unlink(),
    ):
        damage()
        another()
        assert not model(opened=False).hit


def test_a_stage_computed_inside_another_is_not_charged_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, clock = Store(tmp_path), [0.0]
    monkeypatch.setattr(cache.time, "perf_counter", lambda: clock[0])

    def takes(seconds: float, *parts: Callable[[], Artifact]) -> Callable[[Path], None]:
        def compute(directory: Path) -> None:
            clock[0] += seconds
            assert all(part() for part in parts)

        return compute

    def made(name: str, seconds: float, *parts: Callable[[], Artifact]) -> Artifact:
        return store.stage(name, 1, {}, {}, takes(seconds, *parts))

    inner = functools.partial(made, "inner", 1)
    outer = made("outer", 10, functools.partial(made, "middle", 3, inner), inner)
    assert [outer.seconds, made("middle", 0).seconds, inner().seconds] == [10, 3, 1]
