"""The mean cost between two corpora: what a relative epsilon is relative to."""

import torch

from .costs import Cost, Geometry, mean_cost
from .inputs import Array, check_pair, gather, masses, read, strata

SCALE_ROWS = 16384  # rows that the mean cost is taken over; all of them in a smaller pool


def scale_of(pool: Array, target: Array, *, cost: Cost = "sqeuclidean") -> float:
    """Returns the mean cost between `pool` (N, d) and `target` (M, d), uniform masses.

    Over a stratified sample of `SCALE_ROWS` pool rows where there are more: the same rows, hence
    the same number, as `solve` takes without a generator.

    Raises:
        InvalidInput: vectors that do not go together.
    """
    n, m, _ = check_pair(pool, target)
    place = torch.device("cpu")
    geometry = Geometry.of(read(target, 0, m, place, torch.float32), cost)
    numbers, weight = strata(masses(None, n, "pool masses", place), SCALE_ROWS, None)
    rows = geometry.rows(gather(pool, numbers, place, torch.float32))
    return mean_cost(geometry, rows, weight, masses(None, m, "target masses", place))
