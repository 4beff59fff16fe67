"""Pre-training from scratch: causal LM that goes on where a kill has stopped it."""

from __future__ import annotations

import logging
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from shortlist.errors import InvalidInput
from shortlist.store.atomic import fsync
from shortlist.store.cache import unfinished
from shortlist.trainers.causal_lm import CausalLM
from shortlist.trainers.muon import MuonAndAdam

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime

log = logging.getLogger(__name__)

SECONDS_BETWEEN = 60.0  # a kill costs so much work at most
STATE = "state.safetensors"


class Pretraining(CausalLM):
    """Next-token prediction whose state is kept every minute beside the stage's directory.

    The order of all epochs' batches is drawn before the first, and every step draws its dropout from
    a seed of its own: what was stopped and went on ends with the same weights as what was not.
    """

    place = "model.pretraining"
    version = 1

    def __init__(self, block: int, matrix_rate: float | None, **settings: Any) -> None:
        """Stores the settings.

        Args:
            block: tokens a training example.
            matrix_rate: peak rate of Muon, which then trains the matrices of the layers; None
                leaves all to AdamW.
            settings: those of `TrainingModule`.

        Raises:
            InvalidInput: a setting is out of range.
        """
        super().__init__(block, **settings)
        if matrix_rate is not None and matrix_rate <= 0:
            raise InvalidInput(
                f"{self.place}.matrix_rate must be above 0, or null, found {matrix_rate:g}"
            )
        self.matrix_rate = matrix_rate
        self.passes, self.epochs = self.epochs, 1  # Lightning sees one list of all batches
        self.home: Path | None = None
        self.kept: dict[str, torch.Tensor] = {}
        self.seed = 0

    def train_on(
        self,
        start: Path,
        corpus: Corpus,
        directory: Path,
        seed: int,
        runtime: Runtime,
        what: str = "pre-training",
    ) -> dict[str, Any]:
        """Returns facts of the training; arguments as in `CausalLM.train_on`."""
        self.home, self.seed = unfinished(directory), seed
        facts = super().train_on(start, corpus, directory, seed, runtime, what)
        shutil.rmtree(self.home, ignore_errors=True)
        return facts

    def run(
        self, loader: DataLoader[Any], what: str, runtime: Runtime, *callbacks: pl.Callback
    ) -> None:
        """Trains over what the loader's batches, `passes` times, still hold for this run."""
        assert self.home is not None
        batches: list[Any] = [
            rows for _ in range(self.passes) for rows in loader.batch_sampler or ()
        ]
        state = self.home / STATE
        self.kept = load_file(state) if state.is_file() else {}
        before: list[float] = self.kept["losses"].tolist() if self.kept else []
        self.done = len(before)
        if before:
            log.info("%s: going on from step %s of %s", what, f"{self.done:,}", f"{len(batches):,}")
            with torch.no_grad():
                for name, weight in self.model.named_parameters():
                    weight.copy_(self.kept[f"weight {name}"])
        if self.done < len(batches):
            rest = DataLoader(loader.dataset, batch_sampler=batches[self.done :])
            super().run(rest, what, runtime, _Keep(state, before), *callbacks)
        self.losses, self.kept, self.done = [*before, *self.losses], {}, 0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds the step's dropout."""
        torch.manual_seed(self.seed * 1_000_003 + self.done + batch_idx)

    def optimiser(self) -> torch.optim.Optimizer:
        """Returns the optimiser with the moments of the run that was stopped."""
        made = super().optimiser() if self.matrix_rate is None else self._with_muon()
        for name, weight in self.model.named_parameters():
            state = {
                key.split(" ")[0]: value.to(weight.device)
                for key, value in self.kept.items()
                if key.endswith(f" {name}") and not key.startswith("weight ")
            }
            if state:
                made.state[weight] = state
        return made

    def _with_muon(self) -> torch.optim.Optimizer:
        tables = (part for part in self.model.modules() if isinstance(part, torch.nn.Embedding))
        embeddings = {id(table.weight) for table in tables}
        weights = list(self.model.parameters())
        layers = [p for p in weights if p.ndim == 2 and id(p) not in embeddings]
        chosen = {id(p) for p in layers}
        return MuonAndAdam(
            layers,
            [p for p in weights if id(p) not in chosen],
            matrix_rate=self.matrix_rate or 0.0,
            weight_decay=self.weight_decay,
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.eps,
        )


class _Keep(pl.Callback):
    """Writes weights, moments and losses once a minute."""

    def __init__(self, path: Path, before: list[float]) -> None:
        self.path, self.before, self.last = path, before, time.monotonic()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() - self.last < SECONDS_BETWEEN:
            return
        found = {"losses": torch.tensor([*self.before, *pl_module.losses], dtype=torch.float64)}
        moments = trainer.optimizers[0].state
        for name, weight in pl_module.model.named_parameters():
            found[f"weight {name}"] = weight.detach()
            found |= {f"{key} {name}": value for key, value in moments[weight].items()}
        self.path.parent.mkdir(exist_ok=True)
        temporary = self.path.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in found.items()}, temporary)
        fsync(temporary)
        temporary.replace(self.path)
        self.last = time.monotonic()
