"""How large a model is, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open

from shortlist.models.int8 import SCALE

if TYPE_CHECKING:
    from pathlib import Path

WARM_UP = 3  # passes of each model and batch before any is timed


def size_of(directory: Path) -> dict[str, int]:
    """Returns the number of parameters of a model, and the bytes of the files of its weights."""
    parameters, size = 0, 0
    for file in sorted(directory.glob("*.safetensors")):
        size += file.stat().st_size
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a mapping
                if not name.endswith(SCALE):
                    parameters += int(np.prod(weights.get_slice(name).get_shape()))
    return {"parameters": parameters, "bytes": size}


@dataclass(frozen=True)
class Latency:
    """How long a model takes for a batch.

    Attributes:
        median: median in seconds.
        low: first quartile.
        high: third quartile.
        runs: number of timed passes.
    """

    median: float
    low: float
    high: float
    runs: int


def latencies(
    models: Mapping[str, Any],
    batches: Mapping[str, Sequence[Mapping[str, torch.Tensor]]],
    runs: int,
) -> dict[str, Latency]:
    """Returns the latency of each model, in seconds a batch, of passes without gradient.

    Models take turns, pass by pass, beginning with another one each time, so that what the machine
    does meanwhile meets all of them alike; pass r of every model reads its batch r.

    Args:
        models: models in evaluation mode, by name.
        batches: tokenised batches of each model, read again from the first after the last.
        runs: number of passes that are timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in models}
    names = list(models)
    with torch.inference_mode():
        for turn in range(-WARM_UP, runs):
            for place in range(len(names)):
                name = names[(place + turn) % len(names)]
                own = batches[name]
                start = time.perf_counter()
                models[name](**own[turn % len(own)])
                taken = time.perf_counter() - start
                if turn >= 0:
                    seconds[name].append(taken)
    quartiles = {name: np.quantile(times, (0.25, 0.5, 0.75)) for name, times in seconds.items()}
    return {
        name: Latency(float(middle), float(low), float(high), runs)
        for name, (low, middle, high) in quartiles.items()
    }
