"""SHA-256 (FIPS 180-4) of many short messages, thirty-two side by side in a compiled loop.

`hashlib` does one message a call, of which a call is the most: some 300,000 a second. The rounds here
stand in loops over lanes, which the compiler turns into vector instructions; a message longer than
one block goes through the same rounds alone.
"""
# numba carries no type stubs: what its decorator returns is unknown to the checker.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numpy as np

from shortlist.numerics.words import compiled

LARGEST = 1 << 29  # modulus: eight words of 32 bits times a remainder each stay below 2^64
_LANES = 32
_ONE_BLOCK = 55  # bytes that fit a block of 64 beside the closing bit and the length
_WORD = np.uint64(32)


def _roots(degree: int, numbers: int) -> list[int]:
    """Returns the first 32 bits behind the point of the roots of the first primes (section 4.2.2)."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, int(n**0.5) + 1))]
    found = []
    for prime in primes[:numbers]:
        low, high = 0, 1 << 40
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if middle**degree <= prime << 32 * degree else (low, middle)
        found.append(low & 0xFFFFFFFF)
    return found


_CONSTANTS = np.array(_roots(3, 64), dtype=np.uint32)
_INITIAL = np.array(_roots(2, 8), dtype=np.uint32)


@compiled
def remainders(letters: Any, firsts: Any, lasts: Any, modulus: Any, out: Any) -> None:
    """Writes SHA-256 of each message, as one number of 256 bits, modulo `modulus`, into `out`.

    Args:
        letters: bytes, in which the messages lie.
        firsts: (n,) where each begins.
        lasts: (n,) where each ends.
        modulus: 1 to `LARGEST`.
        out: n integers or more.
    """
    size = np.uint64(modulus)
    powers = np.empty(8, dtype=np.uint64)  # 2^(32 k) modulo `modulus`, largest first
    power = np.uint64(1) % size
    for place in range(7, -1, -1):
        powers[place] = power
        power = (power << _WORD) % size
    state, alone = np.empty(8 * _LANES, np.uint32), np.empty(8 * _LANES, np.uint32)
    block, blocks = np.zeros(64 * _LANES, np.uint32), np.zeros(64 * _LANES, np.uint32)
    filled = np.full(_LANES, 14)  # words of a lane that may not be zero
    waiting = np.empty(_LANES, dtype=np.int64)
    lanes = 0
    for message in range(len(firsts)):
        first, last = firsts[message], lasts[message]
        if last - first > _ONE_BLOCK:
            _through(letters, first, last, alone, blocks)
            out[message] = _remainder(alone, 0, powers, size)
            continue
        filled[lanes] = _close(letters, first, last, block, lanes, filled[lanes])
        _measure(block, lanes, last - first)
        waiting[lanes] = message
        lanes += 1
        if lanes == _LANES:
            _together(state, block, waiting[:lanes], powers, size, out)
            lanes = 0
    _together(state, block, waiting[:lanes], powers, size, out)


@compiled
def _together(state: Any, block: Any, waiting: Any, powers: Any, modulus: Any, out: Any) -> None:
    """Takes the messages of one block that wait in the lanes, and writes their remainders."""
    if len(waiting):
        _begin(state)
        _compress(state, block)
        for lane in range(len(waiting)):
            out[waiting[lane]] = _remainder(state, lane, powers, modulus)


@compiled
def _through(letters: Any, first: Any, last: Any, state: Any, block: Any) -> None:
    """Puts a message of any length through lane 0, block after block."""
    _begin(state)
    at = first
    while at + 64 <= last:
        _copy(letters, at, 16, block, 0)
        _compress(state, block)
        at += 64
    _close(letters, at, last, block, 0, 16)
    if last - at > _ONE_BLOCK:  # the closing bit fits, the length does not
        _compress(state, block)
        for word in range(14):
            block[word * _LANES] = 0
    _measure(block, 0, last - first)
    _compress(state, block)


@compiled
def _close(letters: Any, at: Any, last: Any, block: Any, lane: Any, filled: Any) -> Any:
    """Writes the rest of a message, of fewer than 64 bytes, the closing bit and zeros as far as
    `filled` words; returns how many words are not zero.
    """
    whole = (last - at) >> 2
    _copy(letters, at, whole, block, lane)
    value = np.uint32(0)
    for place in range(at + 4 * whole, last):
        value = np.uint32(value << np.uint32(8)) | np.uint32(letters[place])
    value = np.uint32(value << np.uint32(8)) | np.uint32(0x80)
    behind = 3 - (last - at - 4 * whole)
    block[whole * _LANES + lane] = np.uint32(value << np.uint32(8 * behind))
    for word in range(whole + 1, filled):
        block[word * _LANES + lane] = 0
    return whole + 1


@compiled
def _copy(letters: Any, at: Any, words: Any, block: Any, lane: Any) -> None:
    """Writes bytes as words of four, the first byte highest."""
    for word in range(words):
        byte = at + 4 * word
        high = (np.uint32(letters[byte]) << np.uint32(8)) | np.uint32(letters[byte + 1])
        low = (np.uint32(letters[byte + 2]) << np.uint32(8)) | np.uint32(letters[byte + 3])
        block[word * _LANES + lane] = np.uint32((high << np.uint32(16)) | low)


@compiled
def _measure(block: Any, lane: Any, length: Any) -> None:
    """Writes the message's length in bits into the last two words of a block."""
    block[14 * _LANES + lane] = np.uint32((length * 8) >> 32)
    block[15 * _LANES + lane] = np.uint32((length * 8) & 0xFFFFFFFF)


@compiled
def _begin(state: Any) -> None:
    for word in range(8):
        for lane in range(_LANES):
            state[word * _LANES + lane] = _INITIAL[word]


@compiled
def _compress(state: Any, block: Any) -> None:
    """Takes one block of every lane into its state (section 6.2.2).

    Sums are cut to 32 bits when they are stored: numba adds in 64, the compiler narrows them.
    """
    for step in range(16, 64):
        for lane in range(_LANES):
            x = block[(step - 15) * _LANES + lane]
            y = block[(step - 2) * _LANES + lane]
            low = _turn(x, 7) ^ _turn(x, 18) ^ (x >> np.uint32(3))
            high = _turn(y, 17) ^ _turn(y, 19) ^ (y >> np.uint32(10))
            before = block[(step - 16) * _LANES + lane] + block[(step - 7) * _LANES + lane]
            block[step * _LANES + lane] = np.uint32(before + low + high)
    then = state.copy()
    for step in range(64):
        constant = _CONSTANTS[step]
        for lane in range(_LANES):
            a, b = state[lane], state[_LANES + lane]
            c, d = state[2 * _LANES + lane], state[3 * _LANES + lane]
            e, f = state[4 * _LANES + lane], state[5 * _LANES + lane]
            g, h = state[6 * _LANES + lane], state[7 * _LANES + lane]
            chosen = (e & f) ^ (~e & g)
            major = (a & b) ^ (a & c) ^ (b & c)
            first = h + (_turn(e, 6) ^ _turn(e, 11) ^ _turn(e, 25)) + chosen + constant
            first = np.uint32(first + block[step * _LANES + lane])
            second = np.uint32((_turn(a, 2) ^ _turn(a, 13) ^ _turn(a, 22)) + major)
            state[7 * _LANES + lane], state[6 * _LANES + lane] = g, f
            state[5 * _LANES + lane], state[4 * _LANES + lane] = e, np.uint32(d + first)
            state[3 * _LANES + lane], state[2 * _LANES + lane] = c, b
            state[_LANES + lane], state[lane] = a, np.uint32(first + second)
    for place in range(len(state)):
        state[place] = np.uint32(state[place] + then[place])


@compiled
def _turn(word: Any, bits: Any) -> Any:
    """Returns a word of 32 bits turned to the right; of more bits the upper ones mean nothing."""
    return (word >> np.uint32(bits)) | (word << np.uint32(32 - bits))


@compiled
def _remainder(state: Any, lane: Any, powers: Any, modulus: Any) -> Any:
    total = np.uint64(0)
    for word in range(8):
        total += np.uint64(state[word * _LANES + lane]) * powers[word]
    return np.int64(total % modulus)
