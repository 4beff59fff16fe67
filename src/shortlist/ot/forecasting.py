"""What a solve will take, before it starts; and the refusal of what cannot fit."""

import math
import time
from dataclasses import dataclass

import torch

from shortlist.errors import DoesNotFit
from shortlist.vectors import (
    fast_products_exact,
    fast_products_exist,
    float32_products,
    rows_per_block,
)

from .memory import available_bytes
from .result import Regime
from .words import PLAIN, Words

EXACT_PAIRS = 5 * 10**7  # about 25 s and 2 GB of network simplex
STORED_BYTES = 512 * 2**20  # costs and plan of the pool sample, or of the whole pool if it is small
STORED_MOST = 4 * 2**30  # where many targets need more than that for two sample rows each
SAMPLE_PER_TARGET = 8  # rows of the pool sample for every target
SAMPLE_LEAST = 4096
SAMPLE_GROWS = 4  # times, where the room is there, at a small epsilon
SAMPLE_VISITS = 40  # Sinkhorn sweeps, Newton steps and their conjugate gradients, at epsilon 1 %
MADE_VISITS = 80  # the same of a sample so small that its costs are made anew (seen: 59 to 104)
PAIR_SECONDS = 5e-10  # softmax and two sums over a kept cost, on two cores


@dataclass(frozen=True)
class Forecast:
    """Memory and time of a solve.

    Attributes:
        regime: How it will be solved.
        candidates: N.
        targets: M.
        dimensions: d.
        sample_rows: Pool rows that f is first solved on (N if dense or exact).
        sample_most: To how many that grows where epsilon is so small that they are too few.
        stored: Whether the sample's costs are kept in memory, or made anew at each visit.
        bytes: Peak memory beyond the inputs.
        seconds: Expected time, from the speed of a product measured just now; a rough guide.
    """

    regime: Regime
    candidates: int
    targets: int
    dimensions: int
    sample_rows: int
    sample_most: int
    stored: bool
    bytes: int
    seconds: float

    @property
    def sentence(self) -> str:
        """Returns one line for a person."""
        how = {
            "exact": "exact linear program",
            "dense": "dense Newton-Sinkhorn",
            "streamed": f"streamed, f from a sample of {self.sample_rows:,} rows"
            + ("" if self.stored else " whose costs are made anew at each visit"),
        }[self.regime]
        return (
            f"transport {self.candidates:,} x {self.targets:,} x {self.dimensions}: {how}; "
            f"about {self.bytes / 2**20:,.0f} MB beyond the inputs, {self.seconds:,.1f} s"
        )


def product_rate(dimensions: int, device: torch.device, dtype: torch.dtype) -> float:
    """Returns multiply-adds a second of one tile product, measured in some ten milliseconds."""
    left = torch.ones(1024, dimensions, device=device, dtype=dtype)
    right = torch.ones(dimensions, 1024, device=device, dtype=dtype)
    best = math.inf
    quick = fast_products_exist(device, dtype) and fast_products_exact(1024, dimensions, 1024)
    with float32_products(fast=quick):
        for _ in range(3):
            begin = time.perf_counter()
            float((left @ right)[0, 0])
            best = min(best, time.perf_counter() - begin)
    return 1024 * 1024 * dimensions / max(best, 1e-7)


def forecast(
    candidates: int,
    targets: int,
    dimensions: int,
    *,
    epsilon: float,
    regime: Regime | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    stored_bytes: int | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    words: Words = PLAIN,
) -> Forecast:
    """Returns regime, memory and time of a solve of this size, or refuses it.

    Epsilon 0 means the exact problem: it is solved as a linear program. A positive epsilon is
    solved dense if costs and plan fit into `stored_bytes`, else streamed. (The exact program never
    stands in for a regularised one: scores would jump with the size of the pool.)

    By default half a GiB is stored, and more, up to 4 GiB, where that many targets need it for a
    sample of two rows each (5,800 to 16,000 targets in float32). Beyond, the sample's costs are
    made anew at each visit: right, but several times slower (50,000 targets and 200,000
    candidates: some 45 products in place of 5), and the forecast says so. What is stored, and with
    it the sample and the result, hangs on N, M and d alone: a machine without that memory is
    refused, and told how to ask for less.

    Args:
        candidates: N.
        targets: M.
        dimensions: d.
        epsilon: Regularisation; only whether it is zero matters.
        regime: Overrides the choice.
        dtype: Arithmetic of the products.
        device: Where it will run.
        stored_bytes: Memory for costs and plan; by default as above.
        memory_limit: Bytes that may be used; by default four fifths of what is free.
        time_limit: Seconds that may be used; by default any.
        words: What the caller calls these settings.

    Raises:
        DoesNotFit: Too large for the regime, the memory or the time, naming the setting that fits.
    """
    place = torch.device(device)
    width = torch.finfo(dtype).bits // 8
    pairs = candidates * targets
    limit = int(0.8 * available_bytes(place)) if memory_limit is None else memory_limit
    room = _room(targets, width) if stored_bytes is None else stored_bytes
    kept = 2 * width * (pairs + candidates * dimensions)  # costs, plan, and the pool read twice
    chosen: Regime = regime or (
        "exact" if epsilon == 0 else "dense" if kept <= room else "streamed"
    )
    # Time of a unit: multiply-adds of a visit, its softmax and sums counted as 60 more a pair.
    visit = pairs * (dimensions + 60) / product_rate(dimensions, place, dtype)
    rows, stored = sample_size(candidates, targets, width, room)
    most = rows
    tiles = 3 * width * min(rows_per_block(targets, place), candidates) * targets
    vectors = 8 * (4 * candidates + 16 * targets) + width * 3 * targets * dimensions + tiles
    match chosen:
        case "exact":
            rows, stored, seconds = candidates, True, 5e-7 * pairs
            memory = 48 * pairs + 16 * candidates * dimensions
            if pairs > EXACT_PAIRS:
                raise DoesNotFit(
                    f"the exact program takes at most {EXACT_PAIRS:,} pairs; set "
                    f"{words.epsilon}=0.01 (of the mean cost) or take {words.pool}; "
                    f"pairs: {pairs:,}"
                )
        case "dense":
            rows, stored = candidates, True
            memory = vectors + kept
            seconds = 2 * visit + SAMPLE_VISITS * pairs * PAIR_SECONDS
        case "streamed":
            share = rows / candidates
            most = _most(rows, candidates, room // (2 * width * targets) if stored else candidates)
            memory = vectors + width * most * dimensions + 2 * width * most * targets * stored
            seconds = 3 * visit + SAMPLE_VISITS * share * pairs * PAIR_SECONDS
            if not stored:
                seconds = (5 + MADE_VISITS * share) * visit
    found = Forecast(
        chosen,
        candidates,
        targets,
        dimensions,
        rows,
        max(rows, most),
        stored,
        int(memory),
        float(seconds),
    )
    if found.bytes > limit:
        fewest = sample_size(candidates, targets, width, 0)[0]
        least = vectors + width * fewest * dimensions  # of a streamed solve that keeps no costs
        hints = {
            "exact": f"set {words.epsilon}=0.01",
            "dense": f"set {words.streamed}",
            "streamed": f"set {words.anew} (slower)"
            if stored and least <= limit
            else f"take {words.targets}",
        }
        raise DoesNotFit(
            f"{found.sentence}; only {limit / 2**20:,.0f} MB may be used; {hints[chosen]}, or give "
            f"it more memory: {found.bytes / 2**20:,.0f} MB"
        )
    if time_limit is not None and found.seconds > time_limit:
        raise DoesNotFit(
            f"{found.sentence}; only {time_limit:,.0f} s may be used; take {words.targets}, or "
            f"{words.pool}, or set a larger {words.time}: {found.seconds:,.0f} s"
        )
    return found


def sample_size(candidates: int, targets: int, width: int, stored_bytes: int) -> tuple[int, bool]:
    """Returns (rows of the pool sample, whether its costs are kept).

    Eight rows a target if they fit. Where not even two fit, the costs are not kept: then a quarter
    of the pool, between two rows a target and eight, so that a sample that must be multiplied again
    at each visit does not outweigh the passes that it saves.
    """
    wanted = max(SAMPLE_PER_TARGET * targets, SAMPLE_LEAST)
    room = stored_bytes // (2 * width * targets)
    if room >= min(2 * targets, candidates):
        return min(candidates, wanted, room), True
    return min(candidates, max(2 * targets, min(candidates // 4, 8 * targets))), False


def _most(rows: int, candidates: int, room: int) -> int:
    return max(rows, min(candidates, SAMPLE_GROWS * rows, room))


def _room(targets: int, width: int) -> int:
    """Returns how many bytes are stored by default: a function of the targets, of no machine."""
    wanted = max(STORED_BYTES, 4 * width * targets**2)
    return wanted if wanted <= STORED_MOST else STORED_BYTES
