"""SHA-256 (FIPS 180-4) of many short messages, 32 side by side in compiled loops.

`hashlib` hashes one message a call, some 300,000 a second, and the call costs more than the hash.
The rounds here are loops over 32 lanes, which the compiler vectorizes; a message longer than one
block goes through the same rounds alone. The names of the variables are those of the standard.
"""
# numba carries no type stubs: the checker does not know what its decorator returns.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numpy as np

from shortlist.kernels.hashing import compiled

MAX_MODULUS = 1 << 29  # eight products of 32 bits and a remainder sum to less than 2^64
_LANES = 32
_ONE_BLOCK = 55  # bytes that fit a block of 64 beside the padding bit and the length
READ_AHEAD = 4  # bytes that may be read behind the last message
_WORD = np.uint64(32)
_1, _2, _3 = np.uint64(1), np.uint64(2), np.uint64(3)


def _roots(degree: int, numbers: int) -> list[int]:
    """Returns the first 32 fractional bits of the roots of the first primes (section 4.2.2)."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, int(n**0.5) + 1))]
    fractions = []
    for prime in primes[:numbers]:
        low, high = 0, 1 << 40
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if middle**degree <= prime << 32 * degree else (low, middle)
        fractions.append(low & 0xFFFFFFFF)
    return fractions


_CONSTANTS = np.array(_roots(3, 64), dtype=np.uint32)
_INITIAL = np.array(_roots(2, 8), dtype=np.uint32)


@compiled
def sha256_modulo(data: Any, firsts: Any, lasts: Any, wanted: Any, modulus: Any, out: Any) -> None:
    """Writes the SHA-256 of messages, as numbers of 256 bits, modulo `modulus`, into `out`.

    Args:
        data: bytes that hold the messages, and `READ_AHEAD` more behind the last, of any value.
        firsts: (n,) where each begins.
        lasts: (n,) where each ends.
        wanted: the messages to hash, by number; the other entries of `out` stay as they are.
        modulus: 1 to `MAX_MODULUS`.
        out: (n,) integers.
    """
    size = np.uint64(modulus)
    powers = np.empty(8, dtype=np.uint64)  # 2^(32 k) modulo `modulus`, largest first
    power = np.uint64(1) % size
    for place in range(7, -1, -1):
        powers[place] = power
        power = (power << _WORD) % size
    state, alone = np.empty(8 * _LANES, np.uint32), np.empty(8 * _LANES, np.uint32)
    block, blocks = np.zeros(64 * _LANES, np.uint32), np.zeros(64 * _LANES, np.uint32)
    waiting = np.empty(_LANES, dtype=np.int64)
    lanes = 0
    for message in wanted:
        first, last = firsts[message], lasts[message]
        if last - first > _ONE_BLOCK:
            _hash_long(data, first, last, alone, blocks)
            out[message] = _remainder(alone, 0, powers, size)
            continue
        if lanes == 0:
            block[: 16 * _LANES] = 0
        _write_rest(data, first, last, block, lanes)
        _write_length(block, lanes, last - first)
        waiting[lanes] = message
        lanes += 1
        if lanes == _LANES:
            _hash_lanes(state, block, waiting[:lanes], powers, size, out)
            lanes = 0
    _hash_lanes(state, block, waiting[:lanes], powers, size, out)


@compiled
def _hash_lanes(state: Any, block: Any, waiting: Any, powers: Any, modulus: Any, out: Any) -> None:
    """Hashes the waiting messages of one block each and writes their remainders."""
    if len(waiting):
        _initialise(state)
        _compress(state, block)
        for lane in range(len(waiting)):
            out[waiting[lane]] = _remainder(state, lane, powers, modulus)


@compiled
def _hash_long(data: Any, first: Any, last: Any, state: Any, block: Any) -> None:
    """Hashes one message of any length in lane 0, block after block."""
    _initialise(state)
    at = first
    while at + 64 <= last:
        for word in range(16):
            block[word * _LANES] = _load(data, at + 4 * word)
        _compress(state, block)
        at += 64
    block[: 16 * _LANES] = 0
    _write_rest(data, at, last, block, 0)
    if last - at > _ONE_BLOCK:  # the padding bit fits, the length does not
        _compress(state, block)
        block[: 16 * _LANES] = 0
    _write_length(block, 0, last - first)
    _compress(state, block)


@compiled
def _write_rest(data: Any, at: Any, last: Any, block: Any, lane: Any) -> None:
    """Writes the last bytes of a message (under 64) and the padding bit into a lane of zeros."""
    whole = (last - at) >> 2
    for word in range(whole):
        block[np.uint64(word * _LANES + lane)] = _load(data, at + 4 * word)
    bits = np.uint64(8 * (last - at - 4 * whole))  # of the last word that are the message's
    others = np.uint32(np.uint64(0xFFFFFFFF) >> bits)
    padding = np.uint32(np.uint64(0x80000000) >> bits)
    value = (_load(data, at + 4 * whole) & ~others) | padding
    block[np.uint64(whole * _LANES + lane)] = value


@compiled
def _load(data: Any, at: Any) -> Any:
    """Returns four bytes as a word, the first byte highest."""
    at = np.uint64(at)  # numba checks signed indices for negative values, which splits the loads
    first, second = np.uint32(data[at]), np.uint32(data[at + _1])
    third, fourth = np.uint32(data[at + _2]), np.uint32(data[at + _3])
    return np.uint32(
        np.uint32(first << np.uint32(24))
        | np.uint32(second << np.uint32(16))
        | np.uint32(third << np.uint32(8))
        | fourth
    )


@compiled
def _write_length(block: Any, lane: Any, length: Any) -> None:
    """Writes the message's length in bits into the last two words of a block."""
    block[14 * _LANES + lane] = np.uint32((length * 8) >> 32)
    block[15 * _LANES + lane] = np.uint32((length * 8) & 0xFFFFFFFF)


@compiled
def _initialise(state: Any) -> None:
    for word in range(8):
        for lane in range(_LANES):
            state[word * _LANES + lane] = _INITIAL[word]


@compiled
def _compress(state: Any, block: Any) -> None:
    """Updates the state of every lane by one block (section 6.2.2)."""
    for step in range(16, 64):
        for lane in range(_LANES):
            block[step * _LANES + lane] = _schedule(
                block[(step - 16) * _LANES + lane],
                block[(step - 15) * _LANES + lane],
                block[(step - 7) * _LANES + lane],
                block[(step - 2) * _LANES + lane],
            )
    before = state.copy()
    for step in range(0, 64, 8):
        _eight_rounds(state, block[step * _LANES :], _CONSTANTS[step : step + 8])
    for place in range(len(state)):
        state[place] = _add(state[place], before[place])


@compiled
def _eight_rounds(state: Any, words: Any, constants: Any) -> None:
    """Applies eight rounds in every lane.

    A round renames each variable to the next; after eight rounds all have their names back, so none
    is stored in between.
    """
    k0, k1, k2, k3 = constants[0], constants[1], constants[2], constants[3]
    k4, k5, k6, k7 = constants[4], constants[5], constants[6], constants[7]
    for lane in range(_LANES):
        a, b = state[lane], state[_LANES + lane]
        c, d = state[2 * _LANES + lane], state[3 * _LANES + lane]
        e, f = state[4 * _LANES + lane], state[5 * _LANES + lane]
        g, h = state[6 * _LANES + lane], state[7 * _LANES + lane]
        d, h = _round(a, b, c, d, e, f, g, h, _add(k0, words[lane]))
        c, g = _round(h, a, b, c, d, e, f, g, _add(k1, words[_LANES + lane]))
        b, f = _round(g, h, a, b, c, d, e, f, _add(k2, words[2 * _LANES + lane]))
        a, e = _round(f, g, h, a, b, c, d, e, _add(k3, words[3 * _LANES + lane]))
        h, d = _round(e, f, g, h, a, b, c, d, _add(k4, words[4 * _LANES + lane]))
        g, c = _round(d, e, f, g, h, a, b, c, _add(k5, words[5 * _LANES + lane]))
        f, b = _round(c, d, e, f, g, h, a, b, _add(k6, words[6 * _LANES + lane]))
        e, a = _round(b, c, d, e, f, g, h, a, _add(k7, words[7 * _LANES + lane]))
        state[lane], state[_LANES + lane] = a, b
        state[2 * _LANES + lane], state[3 * _LANES + lane] = c, d
        state[4 * _LANES + lane], state[5 * _LANES + lane] = e, f
        state[6 * _LANES + lane], state[7 * _LANES + lane] = g, h


@compiled
def _round(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, added: Any) -> Any:
    """Returns the new values of d and h."""
    sigma = _rotate(e, 6) ^ _rotate(e, 11) ^ _rotate(e, 25)
    first = _add(_add(h, sigma), _add((e & f) ^ (~e & g), added))
    second = _add(_rotate(a, 2) ^ _rotate(a, 13) ^ _rotate(a, 22), (a & b) ^ (a & c) ^ (b & c))
    return _add(d, first), _add(first, second)


@compiled
def _schedule(sixteenth: Any, fifteenth: Any, seventh: Any, second: Any) -> Any:
    """Returns a word of the message schedule from the words that many steps before it."""
    low = _rotate(fifteenth, 7) ^ _rotate(fifteenth, 18) ^ np.uint32(fifteenth >> np.uint32(3))
    high = _rotate(second, 17) ^ _rotate(second, 19) ^ np.uint32(second >> np.uint32(10))
    return _add(_add(sixteenth, low), _add(seventh, high))


@compiled
def _add(one: Any, other: Any) -> Any:
    """Returns the sum modulo 2^32; numba adds in 64 bits, which halves the lanes of a vector."""
    return np.uint32(one + other)


@compiled
def _rotate(word: Any, bits: Any) -> Any:
    """Returns a word rotated to the right."""
    return np.uint32(np.uint32(word >> np.uint32(bits)) | np.uint32(word << np.uint32(32 - bits)))


@compiled
def _remainder(state: Any, lane: Any, powers: Any, modulus: Any) -> Any:
    total = np.uint64(0)
    for word in range(8):
        total += np.uint64(state[word * _LANES + lane]) * powers[word]
    return np.int64(total % modulus)
