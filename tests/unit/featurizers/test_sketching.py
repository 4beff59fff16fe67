"""A sketch is linear and keeps inner products on average."""

import numpy as np
import torch

from shortlist.featurizers.gradients import Sketch


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_entry_goes_to_one_bucket_with_one_sign() -> None:
    sketch = Sketch.draw(4, 6, 5, np.random.default_rng(0))
    units = torch.eye(24).reshape(24, 4, 6)
    found = sketch.of_matrices(units).reshape(4, 6, 5)
    for p, q in np.ndindex(4, 6):
        expected = torch.zeros(5)
        bucket = (int(sketch.rows[p]) + int(sketch.columns[q])) % 5
        expected[bucket] = sketch.row_signs[p] * sketch.column_signs[q]
        torch.testing.assert_close(found[p, q], expected)


def test_inner_products_are_kept_on_average_with_a_variance_of_one_in_d() -> None:
    one, other = numbers(1, 12, 10), numbers(1, 12, 10, seed=1) + 0.5 * numbers(1, 12, 10)
    truth, size = float((one * other).sum()), float(one.norm() * other.norm())
    d, draws = 64, 2000
    found = []
    for seed in range(draws):
        sketch = Sketch.draw(12, 10, d, np.random.default_rng(seed))
        found.append(float((sketch.of_matrices(one) * sketch.of_matrices(other)).sum()))
    spread = float(np.std(found)) / size
    assert abs(np.mean(found) - truth) / size < 4 * spread / draws**0.5
    assert 0.5 / d < spread**2 < 4 / d
