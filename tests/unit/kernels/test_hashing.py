"""Hash functions against their published values and each other's forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
