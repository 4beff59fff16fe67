"""Clustered vectors that the transport tests share, and plan and potential by plain formulas."""

from typing import Any

import torch

from shortlist import ot as transport

F64 = torch.float64
STREAMED = 2**20  # bytes for stored costs: little enough that a few thousand rows are streamed


def cloud(rows: int, seed: int, d: int = 16, clusters: int = 5) -> torch.Tensor:
    """Returns clustered vectors."""
    g = torch.Generator().manual_seed(seed)
    centers = torch.randn(clusters, d, generator=torch.Generator().manual_seed(99))
    which = torch.randint(clusters, (rows,), generator=g)
    return centers[which] + 0.5 * torch.randn(rows, d, generator=g)


POOL, TARGET = cloud(400, 1), cloud(60, 2, clusters=2)
LARGE_POOL, LARGE_TARGET = cloud(6000, 3), cloud(80, 4, clusters=3)


def c_transform(
    candidates: torch.Tensor, target: torch.Tensor, f: torch.Tensor, **settings: Any
) -> torch.Tensor:
    """Returns the potential of the candidates, (n,), from a transform made for them alone."""
    return transport.CTransform(target, f, **settings)(candidates)


def dense_plan(
    found: transport.Transport, pool: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Returns the plan of the potentials, (N, M), computed the plain way in float64."""
    cost = torch.cdist(pool.double(), target.double()) ** 2
    kernel = ((found.f[None] + found.g[:, None] - cost) / found.epsilon).exp()
    return kernel / kernel.numel()
