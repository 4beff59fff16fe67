"""Full disks: told from whatever a library raises, refused before a map is written, one line each."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from shortlist.core import Corpus
from shortlist.errors import DoesNotFit, InvalidInput
from shortlist.store.atomic import make_directory, write_text
from shortlist.store.cache import Store
from shortlist.store.disk import reserve, room, room_for, says_full
from shortlist.store.formats import allocate, save_corpus


def mount(at: Path, options: str) -> Generator[Path]:
    at.mkdir()
    typed = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)]
    if subprocess.run(typed, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield at
    subprocess.run(["umount", "-l", str(at)], capture_output=True, check=True)


@pytest.fixture
def small(tmp_path: Path) -> Generator[Path]:
    """A disk of 64 KiB."""
    yield from mount(tmp_path / "small", "size=64k")


@pytest.fixture
def no_inodes(tmp_path: Path) -> Generator[Path]:
    """A disk with room and three inodes, one of which is its root."""
    yield from mount(tmp_path / "no_inodes", "size=1m,nr_inodes=3")


def test_a_directory_that_no_inode_is_left_for_is_refused_with_what_is_free(
    no_inodes: Path,
) -> None:
    for name in ("one", "two"):
        (no_inodes / name).touch()
    with pytest.raises(InvalidInput) as refused:
        make_directory(no_inodes / "records" / "toy", "paths.results")
    assert str(refused.value) == (
        f"expected a directory that can be written to, found {no_inodes}/records/toy (No space left "
        "on device, 1.00 MiB free, no inode free); set paths.results=DIR"
    )


MANY = 100_000
WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_text(path, "x" * MANY),
    "numpy": lambda path: np.save(path, np.zeros(MANY)),
    "safetensors": lambda path: save_file({"x": torch.zeros(MANY)}, path),
    "arrow": lambda path: save_corpus(path, Corpus.build(["x" * MANY])),
    "parquet": lambda path: pq.write_table(
        pa.table({"x": np.random.default_rng(0).random(MANY)}), path
    ),
    "map": lambda path: allocate(path, (MANY, 2)),
}


@pytest.mark.parametrize("library", WRITERS)
def test_a_full_disk_is_told_from_what_every_library_raises(small: Path, library: str) -> None:
    with pytest.raises(Exception) as failed:
        WRITERS[library](small / "file")
    assert says_full(failed.value)


@pytest.mark.parametrize("library", WRITERS)
def test_a_stage_on_a_full_disk_is_one_line_and_goes_on_where_there_is_room(
    small: Path, library: str
) -> None:
    def compute(directory: Path) -> None:
        WRITERS[library](directory / "file")

    with pytest.raises(
        DoesNotFit, match=rf"stage toy .* under {small} \(0\.0\d MiB free\).*set paths\.cache"
    ):
        Store(small).stage("toy", 1, {}, {}, compute)
    assert list(small.glob("toy/.*")) == []
    subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
    assert not Store(small).stage("toy", 1, {}, {}, compute).hit


def test_a_disk_without_inodes_is_said_to_be_that(no_inodes: Path) -> None:
    store = Store(no_inodes)
    with pytest.raises(DoesNotFit, match=r"\(1(\.00)? MiB free, no inode free\)"):
        store.stage("toy", 1, {}, {}, lambda directory: WRITERS["text"](directory / "a"))


def test_an_array_is_not_mapped_before_it_has_its_blocks(small: Path) -> None:
    sparse = np.lib.format.open_memmap(small / "a", "w+", np.float32, (MANY, 2))
    assert sparse.shape == (MANY, 2)  # the system allows it; writing it would be SIGBUS
    with pytest.raises(OSError) as failed:
        reserve(small / "a")
    assert failed.value.errno == errno.ENOSPC


def test_an_allocated_array_is_that_of_numpy(tmp_path: Path) -> None:
    values = allocate(tmp_path / "a.npy", (3, 2))
    values[:] = np.arange(6).reshape(3, 2)
    values.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.arange(6).reshape(3, 2))
    assert (tmp_path / "a.npy").stat().st_blocks > 0


def test_another_error_is_not_called_a_full_disk(tmp_path: Path) -> None:
    errors = (PermissionError(errno.EACCES, "no"), ValueError("device"), OSError("os error 2"))
    assert not any(map(says_full, errors))
    with pytest.raises(ValueError), room_for("this", tmp_path, "paths.runs"):
        raise ValueError


def test_a_cause_counts_and_what_is_a_line_already_stays_it(tmp_path: Path) -> None:
    def wrapped() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("could not serialise") from error

    line = pytest.raises(DoesNotFit, match=r"set paths\.runs=DIR")
    with line, room_for("the record", tmp_path, "paths.runs"):
        wrapped()
    with pytest.raises(InvalidInput), room_for("the record", tmp_path, "paths.runs"):
        raise InvalidInput("No space left on device")


def test_room_is_that_of_the_disk_of_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    assert room(tmp_path / "a" / "b") == room(tmp_path)
    assert room(tmp_path).endswith(" MiB free")
