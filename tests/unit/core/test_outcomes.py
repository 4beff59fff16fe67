"""What came out by item survives its packing, and what was not packed is refused."""

import numpy as np
import pytest

from shortlist.core import pack, unpack
from shortlist.errors import InvalidInput


def test_zeros_and_ones_come_back_exactly_and_take_some_two_bits() -> None:
    right = (np.random.default_rng(0).random(10_000) < 0.8).astype(float)
    assert (unpack(pack(right)) == right).all()
    assert len(pack(right)) < 10_000 * 2.5 / 8 * 4 / 3


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_numbers_come_back_to_a_part_in_four_thousand(scale: float) -> None:
    values = np.random.default_rng(1).normal(0, scale, 500)
    assert unpack(pack(values)) == pytest.approx(values, rel=1 / 4000)
    assert len(pack(values)) < 500 * 3 * 4 / 3 + 100


@pytest.mark.parametrize("text", ["%", "AAAA", "eJwDAAAAAAE", "eJxjAAAAAQAB"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="outcomes"):
        unpack(text)


def test_none_is_none() -> None:
    assert len(unpack(pack(np.zeros(0)))) == 0
