"""The engine on a GPU, beside what the device itself can do: bytes a second and multiply-adds a second."""

import statistics
import time
from typing import Any

import torch
from transport_measures import Rows, told

from shortlist import ot as transport
from shortlist.vectors import float32_products

REPEATS = 3


def gpu(candidates: int, targets: int, dimensions: int = 384, kind: str = "cuda") -> Rows:
    """Returns one solve with its roofline, or the reason why there is none.

    `bytes_bound` and `products_bound` are the least that the passes of the solve take at the copy
    rate and at the float32 product rate measured here; `of_roofline` is the larger of the two over
    the time taken. `kind` is `cuda`, or `cpu` to rehearse the course.
    """
    if kind == "cuda" and not torch.cuda.is_available():
        return [told({"skipped": f"no CUDA device (torch {torch.__version__})"})]
    device = torch.device(kind)
    g = torch.Generator(device=device).manual_seed(0)
    spread = torch.arange(1, dimensions + 1, device=device) ** -0.5
    centres = torch.randn(480, dimensions, generator=g, device=device) * spread

    def draw(count: int, clusters: int) -> torch.Tensor:
        rows = torch.empty(count, dimensions, device=device, dtype=torch.float16)
        for start in range(0, count, 2**18):
            n = min(2**18, count - start)
            which = torch.randint(clusters, (n,), generator=g, device=device)
            noise = 0.6 * torch.randn(n, dimensions, generator=g, device=device) * spread
            rows[start : start + n] = torch.nn.functional.normalize(centres[which] + noise).half()
        return rows

    pool, target = draw(candidates, 480), draw(targets, 64)
    transport.solve(pool[:20000], target, epsilon=0.05)  # libraries load at the first call
    rows: Rows = []
    bandwidth, products = ceilings(device)
    for epsilon in (0.05, 0.01):
        runs = [
            transport.solve(pool, target, epsilon=epsilon, tolerance=1e-2) for _ in range(REPEATS)
        ]
        took, passes = statistics.median(run.seconds for run in runs), runs[-1].passes
        moved = passes * candidates * (2 * dimensions + 8 * targets)  # vectors; a tile out and in
        multiplied = passes * candidates * targets * dimensions
        row: dict[str, Any] = {
            "device": torch.cuda.get_device_name(device) if kind == "cuda" else kind,
            "candidates": candidates,
            "targets": targets,
            "epsilon": epsilon,
            "seconds": took,
            "passes": passes,
            "target_error": runs[-1].target_error,
            "gigabytes_a_second": bandwidth / 1e9,
            "tera_multiply_adds": products / 1e12,
            "bytes_bound": moved / bandwidth,
            "products_bound": multiplied / products,
        }
        row["of_roofline"] = max(row["bytes_bound"], row["products_bound"]) / took
        rows.append(told(row))
    return rows


def ceilings(device: torch.device) -> tuple[float, float]:
    """Returns bytes a second of a copy (read and written) and multiply-adds of a float32 product."""
    numbers, side = (2**28, 2**13) if device.type == "cuda" else (2**22, 2**9)
    source = torch.ones(numbers, device=device)
    copy = torch.empty_like(source)
    left = torch.randn(side, side, device=device)
    out = torch.empty_like(left)
    with float32_products():
        seconds = [
            min(timed(device, work) for _ in range(5))
            for work in (lambda: copy.copy_(source), lambda: torch.mm(left, left, out=out))
        ]
    return 2 * 4 * numbers / seconds[0], float(side) ** 3 / seconds[1]


def timed(device: torch.device, work: Any) -> float:
    """Returns seconds of `work` on the device."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1e3
