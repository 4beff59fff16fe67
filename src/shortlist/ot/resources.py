"""Memory and time of a solve, forecast before it starts, and refusal of what cannot fit."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from shortlist.errors import DoesNotFit
from shortlist.vectors import (
    fast_products_exact,
    fast_products_exist,
    float32_products,
    rows_per_block,
)

from .problem import ParameterNames, Regime

EXACT_PAIRS = 5 * 10**7  # about 25 s and 2 GB of network simplex
STORED_BYTES = 512 * 2**20  # costs and plan of the pool sample, or of the whole pool if it is small
STORED_BYTES_MOST = 4 * 2**30  # where many targets need more than that for two sample rows each
SAMPLE_PER_TARGET = 8  # rows of the pool sample for every target
SAMPLE_LEAST = 4096
SAMPLE_GROWTH = 4  # factor by which the sample may grow at a small epsilon
SAMPLE_PASSES = 40  # Sinkhorn sweeps, Newton steps and their conjugate gradients, at epsilon 1 %
RECOMPUTED_PASSES = 80  # the same for a sample whose costs are not stored (measured: 59 to 104)
PAIR_SECONDS = 5e-10  # softmax and two sums over a stored cost, on two cores
FREE_IF_UNKNOWN = 4 * 2**30  # assumed free memory where a system does not report it: a laptop's
UNLIMITED = 2**60  # control groups of version 1 write a huge number for no limit


@dataclass(frozen=True)
class Forecast:
    """Memory and time of a solve.

    Attributes:
        regime: How it will be solved.
        candidates: N.
        targets: M.
        dimensions: d.
        sample_rows: Pool rows that f is first solved on (N if dense or exact).
        sample_most: Rows to which that may grow where epsilon is too small for them.
        stored: Whether the sample's costs are stored, or recomputed at each evaluation.
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
        """Returns the forecast as one line of text."""
        how = {
            "exact": "exact linear program",
            "dense": "dense Newton-Sinkhorn",
            "streamed": f"streamed, f from a sample of {self.sample_rows:,} rows"
            + ("" if self.stored else " whose costs are recomputed at each evaluation"),
        }[self.regime]
        return (
            f"transport {self.candidates:,} x {self.targets:,} x {self.dimensions}: {how}; "
            f"about {self.bytes / 2**20:,.0f} MB beyond the inputs, {self.seconds:,.1f} s"
        )


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
    names: ParameterNames | None = None,
) -> Forecast:
    """Returns regime, memory and time of a solve of this size, or refuses it.

    Epsilon 0 means the exact problem: it is solved as a linear program. A positive epsilon is
    solved dense if costs and plan fit into `stored_bytes`, else streamed. (The exact program never
    replaces a regularised one: scores would jump with the size of the pool.)

    By default half a GiB is stored, and more, up to 4 GiB, where that many targets need it for a
    sample of two rows each (5,800 to 16,000 targets in float32). Beyond, the sample's costs are
    recomputed at each evaluation: correct, but several times slower (50,000 targets and 200,000
    candidates: some 45 products in place of 5), and the forecast says so. What is stored, and with
    it the sample and the result, depends on N, M and d alone: a machine without that memory is
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
        names: Names of these settings for error messages.

    Raises:
        DoesNotFit: Too large for the regime or the memory, naming the setting that fits.
    """
    place, names = torch.device(device), names or ParameterNames()
    width = torch.finfo(dtype).bits // 8
    pairs = candidates * targets
    limit = int(0.8 * available_bytes(place)) if memory_limit is None else memory_limit
    storage = _default_stored_bytes(targets, width) if stored_bytes is None else stored_bytes
    dense_bytes = 2 * width * (pairs + candidates * dimensions)  # costs, plan, the pool read twice
    chosen: Regime = regime or (
        "exact" if epsilon == 0 else "dense" if dense_bytes <= storage else "streamed"
    )
    # Time of a unit: multiply-adds of a pass, its softmax and sums counted as 60 more a pair.
    pass_seconds = pairs * (dimensions + 60) / product_rate(dimensions, place, dtype)
    rows, stored = _sample_size(candidates, targets, width, storage)
    most = rows
    blocks = 3 * width * min(rows_per_block(targets, place), candidates) * targets
    vectors = 8 * (4 * candidates + 16 * targets) + width * 3 * targets * dimensions + blocks
    match chosen:
        case "exact":
            rows, stored, seconds = candidates, True, 5e-7 * pairs
            memory = 48 * pairs + 16 * candidates * dimensions
            if pairs > EXACT_PAIRS:
                raise DoesNotFit(
                    f"the exact program takes at most {EXACT_PAIRS:,} pairs; set "
                    f"{names.epsilon}=0.01 (of the mean cost) or take {names.smaller_pool}; "
                    f"pairs: {pairs:,}"
                )
        case "dense":
            rows, stored = candidates, True
            memory = vectors + dense_bytes
            seconds = 2 * pass_seconds + SAMPLE_PASSES * pairs * PAIR_SECONDS
        case "streamed":
            share = rows / candidates
            fitting = storage // (2 * width * targets) if stored else candidates
            most = max(rows, min(candidates, SAMPLE_GROWTH * rows, fitting))
            memory = vectors + width * most * dimensions + 2 * width * most * targets * stored
            seconds = 3 * pass_seconds + SAMPLE_PASSES * share * pairs * PAIR_SECONDS
            if not stored:
                seconds = (5 + RECOMPUTED_PASSES * share) * pass_seconds
    estimate = Forecast(
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
    if estimate.bytes > limit:
        fewest = _sample_size(candidates, targets, width, 0)[0]
        least = vectors + width * fewest * dimensions  # of a streamed solve that stores no costs
        hints = {
            "exact": f"set {names.epsilon}=0.01",
            "dense": f"set {names.streamed}",
            "streamed": f"set {names.no_stored_costs} (slower)"
            if stored and least <= limit
            else f"take {names.fewer_targets}",
        }
        raise DoesNotFit(
            f"{estimate.sentence}; only {limit / 2**20:,.0f} MB may be used; {hints[chosen]}, or "
            f"give it more memory: {estimate.bytes / 2**20:,.0f} MB"
        )
    return estimate


def product_rate(dimensions: int, device: torch.device, dtype: torch.dtype) -> float:
    """Returns multiply-adds a second of one block product, measured in some ten milliseconds."""
    left = torch.ones(1024, dimensions, device=device, dtype=dtype)
    right = torch.ones(dimensions, 1024, device=device, dtype=dtype)
    best = math.inf
    fast = fast_products_exist(device, dtype) and fast_products_exact(1024, dimensions, 1024)
    with float32_products(fast=fast):
        for _ in range(3):
            begin = time.perf_counter()
            float((left @ right)[0, 0])
            best = min(best, time.perf_counter() - begin)
    return 1024 * 1024 * dimensions / max(best, 1e-7)


def _sample_size(candidates: int, targets: int, width: int, storage: int) -> tuple[int, bool]:
    """Returns (rows of the pool sample, whether its costs are stored) for `storage` bytes.

    Eight rows a target if they fit. Where not even two fit, the costs are not stored: then a
    quarter of the pool, between two rows a target and eight, so that a sample that is multiplied
    again at each evaluation does not outweigh the passes that it saves.
    """
    wanted = max(SAMPLE_PER_TARGET * targets, SAMPLE_LEAST)
    fitting = storage // (2 * width * targets)
    if fitting >= min(2 * targets, candidates):
        return min(candidates, wanted, fitting), True
    return min(candidates, max(2 * targets, min(candidates // 4, 8 * targets))), False


def _default_stored_bytes(targets: int, width: int) -> int:
    """Returns how many bytes are stored by default: a function of the targets, of no machine."""
    wanted = max(STORED_BYTES, 4 * width * targets**2)
    return wanted if wanted <= STORED_BYTES_MOST else STORED_BYTES


def available_bytes(device: torch.device, root: Path = Path("/")) -> int:
    """Returns the memory that is free on `device` now.

    On a CPU the least of what the machine has free (MemAvailable) and of what each control group
    of this process leaves (limit less use, versions 1 and 2; its file cache counts as free). `root`
    is the folder that contains /proc and /sys.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    machine = [
        int(line.split()[1]) * 1024
        for line in _lines(root / "proc/meminfo")
        if line.startswith("MemAvailable:")
    ]
    return min([*machine[:1], *_control_groups(root)], default=FREE_IF_UNKNOWN)


def _control_groups(root: Path) -> list[int]:
    """Returns the bytes that each group leaves, from that of the process up to the root's."""
    left: list[int] = []
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = mount / path.lstrip("/")
        # Inside a container the path is often that of the host and the mount is the group itself.
        for folder in (group, *group.parents):
            left += _left_in_group(folder, *names)
            if folder == mount:
                break
    return left


def _left_in_group(folder: Path, limit: str, use: str) -> list[int]:
    most, used = _lines(folder / limit), _lines(folder / use)
    if not most or not used or most[0] == "max" or int(most[0]) >= UNLIMITED:
        return []
    stats = _lines(folder / "memory.stat")
    cache = [int(line.split()[1]) for line in stats if line.startswith("inactive_file ")]
    return [max(0, int(most[0]) - int(used[0]) + sum(cache))]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # absent or not readable
        return []
