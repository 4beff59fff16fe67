"""Hash functions against their published values and each other's forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core import config

from shortlist.kernels import hashing
from shortlist.kernels.hashing import FNV_BASIS, GOLDEN, bucket, fnv1a, mix, splitmix64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", 0xCBF29CE484222325),
        (b"a", 0xAF63DC4C8601EC8C),
        (b"foobar", 0x85944171F73967E8),
    ],
)
def test_fnv1a_has_the_values_of_its_authors_test_suite(text: bytes, expected: int) -> None:
    value = FNV_BASIS
    for byte in text:
        value = np.uint64(fnv1a(value, byte))
    assert int(value) == expected


def test_splitmix64_has_the_values_of_the_published_generator_with_seed_1234567() -> None:
    # The generator's n-th output is the finaliser of seed + n * GOLDEN.
    states = np.uint64(1234567) + np.arange(1, 4, dtype=np.uint64) * GOLDEN
    assert splitmix64(states).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423,
    ]  # fmt: skip


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**31 - 1))
def test_the_compiled_form_is_that_of_arrays_and_buckets_are_in_range(
    value: int, buckets: int
) -> None:
    assert int(np.uint64(mix(np.uint64(value)))) == int(splitmix64(np.array([value], np.uint64))[0])
    assert 0 <= bucket(np.uint64(value), buckets) < buckets


@pytest.mark.parametrize("folder", ["/proc/none", "/proc/none/deeper"])
def test_where_nothing_can_be_written_code_is_compiled_in_the_process(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", folder)
    assert not hashing._cache_folder()
    monkeypatch.setattr(hashing, "_CACHED", False)
    assert hashing.compiled(splitmix64)(np.uint64(7)) == mix(np.uint64(7))


def test_a_folder_of_compiled_code_that_the_user_names_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "named"))
    assert hashing._cache_folder()
    assert str(tmp_path / "named") == config.CACHE_DIR
