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

from shortlist.kernels.words import compiled

LARGEST = 1 << 29  # modulus: eight words of 32 bits times a remainder each stay below 2^64
_LANES = 32
_ONE_BLOCK = 55  # bytes that fit a block of 64 beside the closing bit and the length
BEHIND = 4  # bytes that may be read behind the last message
_WORD = np.uint64(32)
_1, _2, _3 = np.uint64(1), np.uint64(2), np.uint64(3)


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
def remainders(letters: Any, firsts: Any, lasts: Any, wanted: Any, modulus: Any, out: Any) -> None:
    """Writes SHA-256 of messages, each as one number of 256 bits, modulo `modulus`, into `out`.

    Args:
        letters: bytes, in which the messages lie; behind the last of them there are `BEHIND` more,
            which are read and mean nothing.
        firsts: (n,) where each begins.
        lasts: (n,) where each ends.
        wanted: the messages to hash, by number; in `out` the others' places stay as they are.
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
    waiting = np.empty(_LANES, dtype=np.int64)
    lanes = 0
    for message in wanted:
        first, last = firsts[message], lasts[message]
        if last - first > _ONE_BLOCK:
            _through(letters, first, last, alone, blocks)
            out[message] = _remainder(alone, 0, powers, size)
            continue
        if lanes == 0:
            block[: 16 * _LANES] = 0
        _close(letters, first, last, block, lanes)
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
        for word in range(16):
            block[word * _LANES] = _read(letters, at + 4 * word)
        _compress(state, block)
        at += 64
    block[: 16 * _LANES] = 0
    _close(letters, at, last, block, 0)
    if last - at > _ONE_BLOCK:  # the closing bit fits, the length does not
        _compress(state, block)
        block[: 16 * _LANES] = 0
    _measure(block, 0, last - first)
    _compress(state, block)


@compiled
def _close(letters: Any, at: Any, last: Any, block: Any, lane: Any) -> None:
    """Writes the rest of a message, of fewer than 64 bytes, and the closing bit into a lane of
    zeros.
    """
    whole = (last - at) >> 2
    for word in range(whole):
        block[np.uint64(word * _LANES + lane)] = _read(letters, at + 4 * word)
    bits = np.uint64(8 * (last - at - 4 * whole))  # of the last word that are the message's
    others = np.uint32(np.uint64(0xFFFFFFFF) >> bits)
    closing = np.uint32(np.uint64(0x80000000) >> bits)
    value = (_read(letters, at + 4 * whole) & ~others) | closing
    block[np.uint64(whole * _LANES + lane)] = value


@compiled
def _read(letters: Any, at: Any) -> Any:
    """Returns four bytes as a word, the first byte highest."""
    at = np.uint64(at)  # a signed index might count from the end: that test parts the four loads
    first, second = np.uint32(letters[at]), np.uint32(letters[at + _1])
    third, fourth = np.uint32(letters[at + _2]), np.uint32(letters[at + _3])
    return np.uint32(
        np.uint32(first << np.uint32(24))
        | np.uint32(second << np.uint32(16))
        | np.uint32(third << np.uint32(8))
        | fourth
    )


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
    """Takes one block of every lane into its state (section 6.2.2)."""
    for step in range(16, 64):
        for lane in range(_LANES):
            block[step * _LANES + lane] = _scheduled(
                block[(step - 16) * _LANES + lane],
                block[(step - 15) * _LANES + lane],
                block[(step - 7) * _LANES + lane],
                block[(step - 2) * _LANES + lane],
            )
    then = state.copy()
    for step in range(0, 64, 8):
        _eight_rounds(state, block[step * _LANES :], _CONSTANTS[step : step + 8])
    for place in range(len(state)):
        state[place] = _sum(state[place], then[place])


@compiled
def _eight_rounds(state: Any, words: Any, constants: Any) -> None:
    """Takes eight rounds in every lane. A round moves each variable on by one name, so that after
    eight all are where they were: none is stored in between.
    """
    k0, k1, k2, k3 = constants[0], constants[1], constants[2], constants[3]
    k4, k5, k6, k7 = constants[4], constants[5], constants[6], constants[7]
    for lane in range(_LANES):
        a, b = state[lane], state[_LANES + lane]
        c, d = state[2 * _LANES + lane], state[3 * _LANES + lane]
        e, f = state[4 * _LANES + lane], state[5 * _LANES + lane]
        g, h = state[6 * _LANES + lane], state[7 * _LANES + lane]
        d, h = _round(a, b, c, d, e, f, g, h, _sum(k0, words[lane]))
        c, g = _round(h, a, b, c, d, e, f, g, _sum(k1, words[_LANES + lane]))
        b, f = _round(g, h, a, b, c, d, e, f, _sum(k2, words[2 * _LANES + lane]))
        a, e = _round(f, g, h, a, b, c, d, e, _sum(k3, words[3 * _LANES + lane]))
        h, d = _round(e, f, g, h, a, b, c, d, _sum(k4, words[4 * _LANES + lane]))
        g, c = _round(d, e, f, g, h, a, b, c, _sum(k5, words[5 * _LANES + lane]))
        f, b = _round(c, d, e, f, g, h, a, b, _sum(k6, words[6 * _LANES + lane]))
        e, a = _round(b, c, d, e, f, g, h, a, _sum(k7, words[7 * _LANES + lane]))
        state[lane], state[_LANES + lane] = a, b
        state[2 * _LANES + lane], state[3 * _LANES + lane] = c, d
        state[4 * _LANES + lane], state[5 * _LANES + lane] = e, f
        state[6 * _LANES + lane], state[7 * _LANES + lane] = g, h


@compiled
def _round(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, added: Any) -> Any:
    """Returns what becomes of d and of h."""
    turned = _turn(e, 6) ^ _turn(e, 11) ^ _turn(e, 25)
    first = _sum(_sum(h, turned), _sum((e & f) ^ (~e & g), added))
    second = _sum(_turn(a, 2) ^ _turn(a, 13) ^ _turn(a, 22), (a & b) ^ (a & c) ^ (b & c))
    return _sum(d, first), _sum(first, second)


@compiled
def _scheduled(sixteenth: Any, fifteenth: Any, seventh: Any, second: Any) -> Any:
    """Returns a word of the schedule from those so many steps before it."""
    low = _turn(fifteenth, 7) ^ _turn(fifteenth, 18) ^ np.uint32(fifteenth >> np.uint32(3))
    high = _turn(second, 17) ^ _turn(second, 19) ^ np.uint32(second >> np.uint32(10))
    return _sum(_sum(sixteenth, low), _sum(seventh, high))


@compiled
def _sum(one: Any, other: Any) -> Any:
    """Returns the sum modulo 2^32: numba adds in 64 bits, which would halve the lanes of a vector."""
    return np.uint32(one + other)


@compiled
def _turn(word: Any, bits: Any) -> Any:
    """Returns a word turned to the right."""
    return np.uint32(np.uint32(word >> np.uint32(bits)) | np.uint32(word << np.uint32(32 - bits)))


@compiled
def _remainder(state: Any, lane: Any, powers: Any, modulus: Any) -> Any:
    total = np.uint64(0)
    for word in range(8):
        total += np.uint64(state[word * _LANES + lane]) * powers[word]
    return np.int64(total % modulus)
