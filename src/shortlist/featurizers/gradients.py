"""Per-example gradients of the language-model loss, sketched: influence as an inner product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Requirements
from shortlist.featurizers.shards import Sharded
from shortlist.featurizers.sketching import Sketch
from shortlist.featurizers.warming import Checkpoint, Warming, checkpoints, warm
from shortlist.models.checkpoint import (
    activations,
    fast_products,
    gradients_of,
    is_transposed,
    last_matrices,
)
from shortlist.models.likelihood import LanguageModel, language_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.models.likelihood import Predictions
    from shortlist.models.pretrained import Pretrained
    from shortlist.progress import Report
    from shortlist.runtime import Runtime

_TOKENS = 2048  # a batch at most: its activations and their sketches are kept


class Gradients(Sharded):
    """LESS's view of a document (Xia et al. 2024, arXiv 2402.04333): where it pushes the weights.

    Row = for each checkpoint c, a block of `columns` numbers: the gradient of the document's mean
    loss in the weight matrices of the last layers, sketched, scaled to length 1, times
    sqrt(rate_c / sum of rates). The inner product of a row of the pool and one of the target is then
    LESS's sum_c rate_c cos(g_c(z), g_c(z')), with weights that sum to one.

    With `adam` a row has two halves: in the first, the step that AdamW would take on the document
    alone stands in place of its gradient (Gamma), in the second there is the gradient. LESS's score
    is the product of the pool's first half and the target's second (`selector=less` takes these).

    Deviations: the last layers' own weights in place of LoRA factors in all layers; a TensorSketch in
    place of a dense projection; the loss is the language model's for pool and target alike, so that
    unlabelled targets will do.

    Cost of 1,000 documents of about 100 tokens, MiniLM, last two layers, one core: 37 seconds a
    checkpoint, twice those of a float32 vector; 47 with `adam`, and 47 an epoch of the warm-up for
    1,000 documents of its own. Meant for a part of a large pool.
    """

    version = 2
    model: Pretrained
    doing = "gradients"

    def __init__(
        self,
        model: Pretrained,
        max_length: int,
        layers: int,
        columns: int,
        seed: int,
        adam: bool,
        warmup: Mapping[str, Any] | None,
    ) -> None:
        """Stores the settings.

        Args:
            model: a causal or masked language model.
            max_length: tokens read of a document; what is cut is counted.
            layers: how many of the last layers.
            columns: numbers a checkpoint.
            seed: draws the sketch.
            adam: whether AdamW's steps stand before the gradients; needs `warmup`.
            warmup: settings of `Warming`: the pool's documents on which those layers are trained
                first, a checkpoint after each epoch; or None: the model as it is.

        Raises:
            InvalidInput: `adam` without `warmup`, or a number out of range.
        """
        self.model = model
        self.max_length, self.layers, self.width = max_length, layers, columns
        self.seed, self.adam = seed, adam
        self.warmup = Warming(**warmup) if warmup else None
        if adam and self.warmup is None:
            raise InvalidInput(
                "featurizer.adam=true needs the moments that AdamW has after a warm-up, found "
                "featurizer.warmup=null; set featurizer.adam=false or describe the warm-up"
            )
        if columns < 2:
            raise InvalidInput(f"featurizer.columns must be at least 2, found {columns}")

    def requirements(self) -> Requirements:
        """Returns the model with a token head and, with a warm-up, the pool to learn from."""
        learns_from = None if self.warmup is None else "pool"
        return Requirements(self.model, token_head=True, learns_from=learns_from)

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identity of the model, and the key of the warm-up."""
        learned = {"warmup": self.learned[1]} if self.learned else {}
        return {**self.model.identity(), **learned}

    def learn(self, corpus: Corpus, directory: Path, runtime: Runtime) -> dict[str, Any]:
        """Returns the facts of the warm-up; its checkpoints are written into `directory`."""
        assert self.warmup is not None
        model = self._opened(runtime)
        modules = last_matrices(model.model, self.layers, "featurizer.layers")
        return warm(model, modules, corpus, self.warmup, directory, runtime)

    def reader(self, runtime: Runtime) -> Influence:
        """Returns the open model with its checkpoints.

        Raises:
            InvalidInput: it has no trained head, fewer layers or positions, or was not warmed up.
        """
        model = self._opened(runtime)
        modules = last_matrices(model.model, self.layers, "featurizer.layers")
        if self.warmup is None:
            found = [Checkpoint({}, {}, {}, 0, 1.0)]
        elif self.learned is None:
            raise InvalidInput(
                "gradients at the checkpoints of a warm-up were asked for before the warm-up; let "
                "the pipeline run it, or set featurizer.warmup=null"
            )
        else:
            found = checkpoints(self.learned[0])
        sketches = {}
        for number, (name, module) in enumerate(modules.items()):
            o, i = module.weight.shape[::-1] if is_transposed(module) else module.weight.shape
            generator = np.random.default_rng([self.seed, number])
            sketches[name] = Sketch.draw(o, i, self.width, generator)
        return Influence(model, modules, sketches, found, self.adam, runtime)

    def _opened(self, runtime: Runtime) -> LanguageModel:
        home, device = self.model.directory(), runtime.device
        return language_model(home, self.max_length, "featurizer.max_length", device)


@dataclass(frozen=True)
class Influence:
    """A language model that is open, the matrices looked at, and the checkpoints.

    Attributes:
        model: the language model.
        modules: the matrices' modules by name.
        sketches: how each matrix's gradient is sketched, by the same name.
        checkpoints: weights, moments and learning rate of each.
        adam: whether AdamW's steps stand before the gradients.
        runtime: the machine.
    """

    model: LanguageModel
    modules: dict[str, Any]
    sketches: dict[str, Sketch]
    checkpoints: list[Checkpoint]
    adam: bool
    runtime: Runtime

    @property
    def columns(self) -> int:
        """Numbers a row: checkpoints times numbers a checkpoint, twice with AdamW's steps."""
        return (1 + self.adam) * len(self.checkpoints) * next(iter(self.sketches.values())).d

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, columns); the zero row for a document without a token to predict, counted."""
        asked = self.model.predictions(documents)
        found = np.zeros((len(documents), self.columns), dtype=np.float32)
        half = self.columns // (1 + self.adam)
        width = half // len(self.checkpoints)
        rates = np.array([each.rate for each in self.checkpoints])
        done = 0  # of a shard's work; documents are reported when their last checkpoint is
        for number, (each, share) in enumerate(
            zip(self.checkpoints, rates / rates.sum(), strict=True)
        ):
            each.load_into(self.modules)
            block = np.arange(number * width, (number + 1) * width)
            stepped = each if self.adam else None
            for rows in self.model.batches(asked, min(self.runtime.inference_tokens, _TOKENS)):
                for side, sketch in enumerate(reversed(self.gradients(asked, rows, stepped))):
                    unit = torch.nn.functional.normalize(sketch, dim=1) * share**0.5
                    found[np.ix_(rows, side * half + block)] = unit.cpu().numpy()
                done += len(rows)
                report(done // len(self.checkpoints))
                done %= len(self.checkpoints)
        empty = int((asked.counts == 0).sum())
        report(empty)
        counts = {"truncated": asked.tokens.truncated} | ({"without_words": empty} if empty else {})
        return found, counts

    def gradients(
        self, asked: Predictions, rows: NDArray[np.int64], at: Checkpoint | None
    ) -> list[torch.Tensor]:
        """Returns [(b, d)]: the sketches, summed over the matrices, of the gradients of each
        document's mean loss; behind them, those of the steps that AdamW would take `at` a checkpoint.

        The gradient in the weights of y = W x is sum_t dy_t (x) x_t, of both of which one pass over a
        batch gives every document's: its outputs depend on no other document.
        """
        width = int(self.model.model.config.hidden_size)
        with (
            gradients_of(self.model.model, self.modules),
            activations(self.modules) as passed,
            fast_products(self.runtime.device, width),
        ):
            losses, line = self.model.losses(asked, rows)
            counts = torch.bincount(line, minlength=len(rows))
            total = (losses / counts[line]).sum()
            names = list(passed)
            pushes = torch.autograd.grad(total, [passed[name][1] for name in names])
        width = next(iter(self.sketches.values())).d
        found = [torch.zeros(len(rows), width, device=line.device) for _ in range(1 + self.adam)]
        with torch.no_grad():
            for name, push in zip(names, pushes, strict=True):
                pull, sketch = passed[name][0], self.sketches[name]
                found[0] += sketch.of_products(push, pull)
                if at is not None:
                    whole = torch.einsum("bto,bti->boi", push, pull)
                    found[1] += sketch.of_matrices(at.step(name, whole))
        return found
