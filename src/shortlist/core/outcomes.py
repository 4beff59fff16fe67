"""What came out item by item, small enough to stand in a record."""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import InvalidInput

BITS = 12  # of the mantissa that are kept: 1 in 8,000, far below what one item is known to


def pack(values: NDArray[np.float64]) -> str:
    """Returns (n,) numbers as text: float32 rounded to `BITS` bits, deflated, in base 64.

    The bytes are deflated plane by plane (all first bytes, all second ones, ...): right and wrong
    answers come down to some two bits an item. Zeros and ones are kept exactly.
    """
    mantissa, exponent = np.frexp(values)
    rounded = np.ldexp(np.round(mantissa * (1 << BITS)) / (1 << BITS), exponent) + 0.0
    planes = rounded.astype("<f4").view(np.uint8).reshape(-1, 4).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def unpack(text: str) -> NDArray[np.float64]:
    """Returns the numbers that `pack` was given, as it rounded them.

    Raises:
        InvalidInput: the text is not what `pack` makes.
    """
    try:
        planes = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), np.uint8)
        return np.ascontiguousarray(planes.reshape(4, -1).T).view("<f4").ravel().astype(np.float64)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise InvalidInput(f"outcomes that `pack` wrote were expected, found: {error}") from error
