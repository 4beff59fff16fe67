"""What this machine's processor is good at."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch


def bfloat16_is_quick() -> bool:
    """Returns whether this CPU multiplies bfloat16 faster than float32: with matrix units (AMX), or
    by AVX-512 BF16 on an AMD chip.

    Intel's AVX-512 BF16 alone does half as much as its float32 (a Xeon of 2023: 84 against 155
    GFLOP/s a core), and where there is neither it is emulated.
    """

    def has(probe: str) -> bool:
        return bool(getattr(torch.cpu, probe, bool)())  # private, so its absence means no

    amd = "AuthenticAMD" in _maker()
    return has("_is_amx_tile_supported") or (amd and has("_is_avx512_bf16_supported"))


@cache
def _maker() -> str:
    """Returns a text in which the CPU's maker is named."""
    facts = Path("/proc/cpuinfo")
    return facts.read_text(encoding="utf-8") if facts.exists() else platform.processor()
