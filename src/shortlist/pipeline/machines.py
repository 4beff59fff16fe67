"""Machines that a sweep is planned for: this one, measured, or a named one, estimated.

A rate of this machine is measured by a pass and a training step of MiniLM; that of a named one is a
share of its peak (`machines.yaml`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from shortlist.errors import InvalidInput, near
from shortlist.models import checkpoint
from shortlist.ot.resources import available_bytes, product_rate

if TYPE_CHECKING:
    from shortlist.runtime import Runtime

STEP_BYTES = 32  # of float32 weights, gradients and two moments, read and written, for one weight


@dataclass(frozen=True)
class Machine:
    """What a machine reaches.

    Attributes:
        name: its name; empty for this one.
        source: where the rates come from.
        gpu: whether models run on an accelerator.
        memory: bytes of the host.
        device_memory: bytes of the accelerator; those of the host where there is none.
        disk: bytes that may be written.
        training: floating-point operations a second of a training.
        passes: likewise of passes without gradient.
        products: multiply-adds a second of a transport's products.
        stepping: weights a second that a step of AdamW moves, clipping included.
    """

    name: str
    source: str
    gpu: bool
    memory: float
    device_memory: float
    disk: float
    training: float
    passes: float
    products: float
    stepping: float

    @property
    def estimated(self) -> bool:
        """Whether the rates were not measured."""
        return bool(self.name)


@dataclass(frozen=True)
class Shape:
    """Size of a transformer."""

    width: int
    layers: int
    vocabulary: int

    @property
    def parameters(self) -> int:
        """Number of weights, about: 12 width^2 a layer, and the embeddings."""
        return 12 * self.layers * self.width**2 + self.vocabulary * self.width

    def flops(self, length: float, head: float) -> float:
        """Returns the operations of a pass over one token of a text of `length` tokens, whose head
        predicts the share `head` of the tokens.
        """
        body = 24 * self.layers * self.width**2 + 4 * self.layers * self.width * length
        return body + 2 * head * self.vocabulary * self.width


def named_machine(name: str) -> Machine:
    """Returns a machine of `machines.yaml`.

    Raises:
        InvalidInput: there is none of this name.
    """
    import yaml

    known = yaml.safe_load(Path(__file__).with_name("machines.yaml").read_text(encoding="utf-8"))
    if name not in known:
        raise InvalidInput(f"--on {name}: there is no such machine; {near(name, known)}")
    facts = known[name]
    rates = {
        rate: facts[rate] * facts[f"{rate}_share"] for rate in ("training", "passes", "products")
    }
    sizes = {size: float(facts[size]) for size in ("memory", "device_memory", "disk")}
    stepping = facts["bandwidth"] * facts["bandwidth_share"] / STEP_BYTES
    return Machine(name, facts["source"], True, **sizes, **rates, stepping=stepping)


def this_machine(
    cache: Path, home: Path, runtime: Runtime, clock: Callable[[], float] = time.perf_counter
) -> Machine:
    """Returns the rates of this machine, measured in some seconds on the model in `home`.

    Args:
        cache: the folder of artifacts (`paths.cache`).
        home: directory of an encoder with a masked-LM head or without.
        runtime: the machine.
        clock: seconds of the machine, or of this process.
    """
    device, length = runtime.device, 64
    model = checkpoint.masked_lm(home, new_head=True).to(device)
    config = model.config
    shape = Shape(config.hidden_size, config.num_hidden_layers, config.vocab_size)
    ids = torch.randint(1000, 2000, (16, length), device=device)
    # precision=auto is bfloat16 where the processor is fast at it, for vectors and for trainings.
    half = checkpoint.precision("auto", device) == "bf16"
    encoder: Any = checkpoint.encoder(home).to(device, torch.bfloat16 if half else torch.float32)
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, fused=True)

    def passed() -> None:
        with torch.inference_mode():
            encoder(input_ids=ids)

    def trained() -> None:
        # Without the head: a masked LM's predicts few tokens, and logits of all are slow to write.
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            hidden = model.base_model(input_ids=ids).last_hidden_state
        hidden.float().square().mean().backward()

    def stepped() -> None:
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    tokens = ids.numel()
    passes = tokens * shape.flops(length, 0) / _seconds(passed, device, clock)
    training = 3 * tokens * shape.flops(length, 0) / _seconds(trained, device, clock)
    stepping = sum(weight.numel() for weight in weights) / _seconds(stepped, device, clock)
    free = float(available_bytes(torch.device("cpu")))
    place = next(one for one in (cache, *cache.parents) if one.exists())
    return Machine(
        "", f"measured on {runtime.device_name}", device.type == "cuda", free,
        float(available_bytes(device)), float(shutil.disk_usage(place).free), training, passes,
        product_rate(shape.width, device, torch.float32), stepping,
    )  # fmt: skip


def _seconds(work: Any, device: torch.device, clock: Callable[[], float]) -> float:
    """Returns the least time of five calls, after one that is not timed: on a CPU that nothing else
    uses.
    """
    times: list[float] = []
    for _ in range(6):
        begin = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - begin)
    return min(times[1:])
