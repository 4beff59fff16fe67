"""Pre-training from scratch: causal LM that continues an interrupted run, by Muon and AdamW."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from shortlist.errors import InvalidInput, Missing
from shortlist.trainers.language_model import Batches, CausalLM
from shortlist.trainers.resuming import Clock, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime


class Pretraining(CausalLM):
    """Next-token prediction whose state is saved in between beside the stage's directory.

    The order of all epochs' batches is drawn before the first, and every step draws its dropout
    from a seed of its own: an interrupted run ends with the same weights as an uninterrupted one.
    """

    setting = "model.pretraining"
    version = 1

    def __init__(self, block: int, matrix_rate: float | None, **settings: Any) -> None:
        """Stores the settings.

        Args:
            block: tokens a training example.
            matrix_rate: peak rate of Muon, which trains the matrices of the layers; None trains all
                weights by AdamW.
            settings: those of `TrainingModule`.

        Raises:
            InvalidInput: a setting is out of range.
        """
        super().__init__(block, **settings)
        if matrix_rate is not None and matrix_rate <= 0:
            raise InvalidInput(
                f"{self.setting}.matrix_rate must be above 0, or null, found {matrix_rate:g}"
            )
        if self.ema is not None:
            raise InvalidInput(
                f"{self.setting}.ema is not part of the state from which pre-training resumes; set "
                f"{self.setting}.ema=null"
            )
        if self.swa_epoch is not None or self.unfreeze_steps is not None:
            raise InvalidInput(
                f"{self.setting} counts all passes as one training; set {self.setting}.swa_epoch and "
                f"{self.setting}.unfreeze_steps to null"
            )
        if self.finds_rate:
            raise InvalidInput(f"{self.setting}.learning_rate must be a number, found find")
        if self.peft is not None:
            raise InvalidInput(
                f"{self.setting}.peft adapts weights that have been trained before; set "
                f"{self.setting}.peft=null"
            )
        if matrix_rate is not None and (self.layer_decay or self.head_learning_rate):
            raise InvalidInput(
                f"{self.setting}.matrix_rate has one rate for all layers, so that layer_decay and "
                f"head_learning_rate cannot be set; set {self.setting}.matrix_rate=null"
            )
        self.matrix_rate = matrix_rate
        self.passes, self.epochs = self.epochs, 1  # Lightning sees one list of all batches
        self.steps_a_pass = 1
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
        """Returns facts of the training; arguments as in `LanguageModelTrainer.train_on`."""
        self.seed = seed
        return super().train_on(start, corpus, directory, seed, runtime, what)

    def run_resumed(self, batches: Batches, what: str, state: Path, runtime: Runtime) -> None:
        """Trains over the batches, `passes` times, without those of an interrupted run."""
        loader = batches.loader
        rows = [rows for _ in range(self.passes) for rows in loader.batch_sampler or ()]
        self.saved = State.read(state)
        done = len(self.saved.losses)
        self.steps_a_pass = len(rows) // self.passes
        if done < len(rows):
            rest: DataLoader[Any] = DataLoader(loader.dataset, batch_sampler=rows[done:])
            self.run(rest, what, runtime, _SaveSteps(state, runtime.checkpoint_seconds))
        else:
            self.saved.restore_weights(self.model)
            self.losses, self.saved = self.saved.losses, State()
        self.steps_an_epoch = self.steps_a_pass

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds the step's dropout."""
        super().on_train_batch_start(batch, batch_idx)
        torch.manual_seed(self.seed * 1_000_003 + self.steps_done + batch_idx)

    def epoch_of(self, batch_idx: int) -> int:
        """Returns the pass over the documents that a batch belongs to, counted from 0."""
        return (self.steps_done + batch_idx) // self.steps_a_pass

    def optimiser(self) -> torch.optim.Optimizer:
        """Returns the optimiser."""
        return super().optimiser() if self.matrix_rate is None else self._muon_and_adam()

    def _muon_and_adam(self) -> torch.optim.Optimizer:
        tables = (part for part in self.model.modules() if isinstance(part, torch.nn.Embedding))
        embeddings = {id(table.weight) for table in tables}
        weights = list(self.model.parameters())
        layers = [p for p in weights if p.ndim == 2 and id(p) not in embeddings]
        in_layers = {id(p) for p in layers}
        return MuonAndAdam(
            layers,
            [p for p in weights if id(p) not in in_layers],
            matrix_rate=self.matrix_rate or 0.0,
            weight_decay=self.weight_decay,
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.eps,
        )


class _SaveSteps(pl.Callback):
    """Writes the state to `path` at the end of a step, where the last one is `seconds` old."""

    def __init__(self, path: Path, seconds: float | None) -> None:
        self.path, self.clock = path, Clock(seconds)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.clock.due():
            self.clock.write(State.of(pl_module, trainer.optimizers[0]), self.path)


class MuonAndAdam(torch.optim.Optimizer):
    """Two optimisers as one: Muon for the matrices of a model's layers, AdamW for all other
    weights.

    Muon orthogonalises its momentum (Jordan et al. 2024), so that all directions of a matrix are
    learnt at one rate; embeddings, biases and norms are no such maps. Both optimisers share
    parameter groups and state with this object: a schedule moves both rates, and `state` holds
    everything that has to be saved.
    """

    def __init__(
        self,
        matrices: Sequence[torch.Tensor],
        others: Sequence[torch.Tensor],
        matrix_rate: float,
        weight_decay: float,
        **adam: Any,
    ) -> None:
        """Creates both optimisers.

        Args:
            matrices: the weights of Muon.
            others: the weights of AdamW, without weight decay.
            matrix_rate: Muon's rate.
            weight_decay: decay of the matrices, a share of their rate.
            adam: AdamW's `lr`, `betas` and `eps`.

        Raises:
            Missing: torch is older than its Muon.
        """
        if not hasattr(torch.optim, "Muon"):
            raise Missing(
                f"model.pretraining.matrix_rate needs torch 2.9 or later, found {torch.__version__}; "
                "upgrade it or set model.pretraining.matrix_rate=null"
            )
        super().__init__([{"params": list(matrices)}, {"params": list(others)}], {})
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=matrix_rate, weight_decay=weight_decay),
            torch.optim.AdamW(others, weight_decay=0.0, fused=True, **adam),
        ]
        self.param_groups = [
            group for optimiser in self.optimisers for group in optimiser.param_groups
        ]
        for optimiser in self.optimisers:
            optimiser.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Returns the closure's loss after a step of both optimisers."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimiser in self.optimisers:
            optimiser.step()
        return loss
