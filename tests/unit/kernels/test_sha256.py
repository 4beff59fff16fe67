"""The lanes against hashlib: SHA-256 of the same bytes, modulo the same number."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.kernels.sha256 import MAX_MODULUS, READ_AHEAD, sha256_modulo


def ours(messages: list[bytes], modulus: int) -> list[int]:
    # Noise before and behind every message: what lies beside it must not count.
    noise = b"\xff" + b"\xfe".join([*messages, b"\xfd" * (READ_AHEAD - 1)])
    data = np.frombuffer(noise, dtype=np.uint8)
    lasts = np.cumsum([0, *(len(message) + 1 for message in messages)])[1:]
    firsts = lasts - np.array([len(message) for message in messages], dtype=np.int64)
    out = np.full(len(messages), -1, dtype=np.int32)
    wanted = np.arange(len(messages))
    sha256_modulo(data, firsts.astype(np.int64), lasts.astype(np.int64), wanted, modulus, out)
    return out.tolist()


def theirs(messages: list[bytes], modulus: int) -> list[int]:
    return [int(hashlib.sha256(message).hexdigest(), 16) % modulus for message in messages]


@pytest.mark.parametrize("modulus", [1, 2, 97, 10_000, 2**18, MAX_MODULUS - 1, MAX_MODULUS])
def test_every_length_around_the_ends_of_blocks_is_hashlibs(modulus: int) -> None:
    noise = np.random.default_rng(0)
    messages = [noise.bytes(length) for length in range(300)]
    assert ours(messages, modulus) == theirs(messages, modulus)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=150), min_size=1, max_size=40), st.integers(1, MAX_MODULUS))
def test_long_and_short_messages_in_any_order_are_hashlibs(
    messages: list[bytes], modulus: int
) -> None:
    assert ours(messages, modulus) == theirs(messages, modulus)


def test_messages_that_are_not_wanted_keep_their_places() -> None:
    messages = [b"%03d" % number for number in range(100)]
    data = np.frombuffer(b"".join(messages) + bytes(READ_AHEAD), dtype=np.uint8)
    lasts, out = np.arange(3, 303, 3), np.full(100, -1, dtype=np.int32)
    wanted = np.arange(1, 100, 2)
    sha256_modulo(data, lasts - 3, lasts, wanted, 10_000, out)
    assert (out[::2] == -1).all()
    assert out[wanted].tolist() == theirs([messages[number] for number in wanted], 10_000)


def test_the_digest_of_nothing_and_a_million_letters_are_those_of_the_standard() -> None:
    # FIPS 180-4's examples: "abc", and a million times the letter a.
    assert ours([b"abc"], 2**16) == [0x15AD]
    assert ours([b"a" * 1_000_000], 2**16) == [0x2CD0]
    assert ours([b""], 2**16) == [0xB855]
