"""The state of an interrupted training: written while it runs, read by the run that continues it."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from shortlist.store.atomic import fsync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

STATE = "state.safetensors"
SHARE = 20  # of the time of writing a state passes before the next one


@dataclass(frozen=True)
class State:
    """What a training needs to go on.

    Attributes:
        tensors: weights (`weight NAME`), moments of the optimiser (`KEY NAME`), `losses` of all
            steps and what else the training names.
        facts: small plain data.
    """

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def losses(self) -> list[float]:
        """The losses of the steps that are done."""
        return self.tensors["losses"].tolist() if self.tensors else []

    @property
    def averages(self) -> dict[str, torch.Tensor]:
        """The averages of weights by name."""
        start = "average "
        return {
            name.removeprefix(start): average
            for name, average in self.tensors.items()
            if name.startswith(start)
        }

    @classmethod
    def of(
        cls,
        module: Any,
        optimizer: Any,
        tensors: Mapping[str, torch.Tensor] | None = None,
        **facts: Any,
    ) -> State:
        """Returns the state of a training: weights, moments, losses, `tensors` and `facts`."""
        state = {"losses": torch.tensor(module.losses, dtype=torch.float64)}
        for name, weight in module.model.named_parameters():
            state[f"weight {name}"] = weight.detach()
            moments = optimizer.state.get(weight, {})
            state |= {f"{key} {name}": value for key, value in moments.items()}
        averages = module.averages.values
        state |= {f"average {name}": average for name, average in averages.items()}
        return cls({**state, **(tensors or {})}, facts)

    @torch.no_grad()
    def restore_weights(self, model: Any) -> None:
        """Gives a model the weights of this state."""
        for name, weight in model.named_parameters():
            weight.copy_(self.tensors[f"weight {name}"])

    def restore_moments(self, optimizer: Any, model: Any) -> None:
        """Gives an optimiser the moments of this state; a weight not yet trained has none."""
        weights = dict(model.named_parameters())
        for key, value in self.tensors.items():
            kind, _, name = key.partition(" ")
            if name in weights and kind not in ("weight", "best", "average"):
                optimizer.state[weights[name]][kind] = value.to(weights[name].device)

    def write(self, path: Path) -> None:
        """Writes the state to `path`, under a temporary name first."""
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".part")
        tensors = {name: value.contiguous() for name, value in self.tensors.items()}
        facts = json.dumps(self.facts)
        save_file(tensors, temporary, {"facts": facts, "sha256": _digest(tensors, facts)})
        fsync(temporary)
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> State:
        """Returns what `write` wrote; an empty state, with a warning, where the file is damaged."""
        if not path.is_file():
            return cls()
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                written = file.metadata() or {}
                facts = written.get("facts", "{}")
                if written.get("sha256") == _digest(tensors, facts):
                    return cls(tensors, json.loads(facts))
        except SafetensorError:
            pass
        log.warning("%s is damaged; training starts from the first step", path)
        return cls()


def _digest(tensors: Mapping[str, torch.Tensor], facts: str) -> str:
    """Returns the SHA-256 of tensors by name and of facts."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass
class Clock:
    """Tells when a state is due. Writing takes at most a twentieth of the time, unless `seconds` is
    0.

    Attributes:
        seconds: least time between two states; None for never.
        last: when the last one was written, or the training began.
        cost: seconds that writing it took.
    """

    seconds: float | None
    last: float = field(default_factory=time.monotonic)
    cost: float = 0.0

    def due(self) -> bool:
        """Returns whether a state is to be written."""
        if not self.seconds:
            return self.seconds == 0
        return time.monotonic() - self.last >= max(self.seconds, SHARE * self.cost)

    def write(self, state: State, path: Path) -> None:
        """Writes a state and begins the time anew."""
        start = time.monotonic()
        state.write(path)
        self.last = time.monotonic()
        self.cost = self.last - start


class SaveState(pl.Callback):
    """Writes the state of a training at the start of a step, and restores torch's random generator
    at the start of the first one.

    The state of torch's generator is that of this moment, in which all draws for the order of an
    epoch and for the batch are done; those of the generators that draw order and batch are of the
    moment before.
    """

    def __init__(
        self,
        path: Path,
        seconds: float | None,
        order: torch.Generator,
        others: Callable[[], State] = State,
        batches: Mapping[str, torch.Generator] | None = None,
    ) -> None:
        """Stores its arguments.

        Args:
            path: the file.
            seconds: least time between two states; None for never.
            order: generator of the order of the examples, which draws at the start of an epoch.
            others: returns what else is kept.
            batches: generators that draw for each batch, by name; None where states are written at
                the start of an epoch alone.
        """
        self.path, self.clock, self.order, self.others = path, Clock(seconds), order, others
        self.inside, self.batches = batches is not None, dict(batches or {})
        self.order_before = order.get_state()
        self.before = self._states()

    def restore(self, saved: State) -> None:
        """Gives the generators of order and batches the states of an earlier run."""
        if saved.tensors:
            for name, generator in {"order": self.order, **self.batches}.items():
                generator.set_state(saved.tensors[name])
            self.order_before, self.before = self.order.get_state(), self._states()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Keeps the state of the order before the draws of the next epoch."""
        self.order_before = self.order.get_state()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the states of the generators before the draws of the next batch."""
        self.before = self._states()

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Continues torch's generator at the first step of all; writes a state if one is due."""
        cuda = pl_module.device.type == "cuda"
        saved: State = pl_module.saved
        done = pl_module.batches_done if trainer.current_epoch == 0 else 0
        if trainer.current_epoch == 0 and batch_idx == 0:
            if saved.tensors:
                torch.set_rng_state(saved.tensors["random"])
                if cuda and "random_cuda" in saved.tensors:
                    torch.cuda.set_rng_state(saved.tensors["random_cuda"], pl_module.device)
        elif (self.inside or batch_idx == 0) and self.clock.due():
            others = self.others()
            tensors = {"random": torch.get_rng_state(), "order": self.order_before}
            tensors |= {**self.before, **others.tensors}
            if cuda:
                tensors["random_cuda"] = torch.cuda.get_rng_state(pl_module.device)
            facts = {"epoch": pl_module.epoch_of(batch_idx), "batch": done + batch_idx}
            facts |= others.facts
            state = State.of(pl_module, trainer.optimizers[0], tensors, **facts)
            self.clock.write(state, self.path)

    def _states(self) -> dict[str, torch.Tensor]:
        return {name: generator.get_state() for name, generator in self.batches.items()}


class LaterBatches:
    """Batches of a sampler; the first time without those that are done, which are drawn."""

    def __init__(self, batches: Any, done: int) -> None:
        """Stores the sampler and the number of batches that are done."""
        self.batches, self.done = batches, done

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        done, self.done = self.done, 0
        return itertools.islice(iter(self.batches), done, None)
