"""Per-example gradients of the language-model loss, sketched: influence as an inner product."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Requirements, ShardedFeaturizer
from shortlist.featurizers.gradient_warmup import (
    Checkpoint,
    GradientWarmup,
    Step,
    load_checkpoints,
    train_checkpoints,
)
from shortlist.models.checkpoint import (
    activations,
    fast_products,
    gradients_of,
    is_transposed,
    last_matrices,
)
from shortlist.models.likelihood import LanguageModel, Predictions, language_model
from shortlist.models.pretrained import Pretrained
from shortlist.progress import Report
from shortlist.runtime import Runtime
from shortlist.settings import Count, Seed

_COMPARED = 32  # documents whose exact gradients are compared with their sketches
_TOKENS = 2048  # of a batch at most: its activations and their sketches are kept


class Gradients(ShardedFeaturizer):
    """Gradient features of LESS, sketched: influence as an inner product.

    A row is a block of `columns` numbers for each checkpoint. With `adam` a row has two halves: the
    first holds, in place of the gradient, the step that AdamW would take on the document alone
    (Gamma), the second the gradient. LESS's score is the product of the pool's first half and the
    target's second (`selector=less` takes these).

    Formula:
        block c of v(x) = sqrt(rate_c / sum of rates) S(g_c(x)) / |S(g_c(x))|

        g_c is the gradient of the document's mean loss in the weight matrices of the last layers at
        checkpoint c, S the sketch. The inner product of a row of the pool and one of the target is
        sum_c rate_c cos(g_c(z), g_c(z')), with rates that sum to one.

    Paper:
        Xia et al., ICML 2024 (arXiv 2402.04333), sections 3 and 4.

    Deviations:
        The last layers' own weights in place of LoRA factors in all layers; a TensorSketch in place
        of a dense projection; the loss is the language model's for pool and target alike, so that
        the target needs no labels; bias-corrected AdamW steps, as the optimiser takes them, where
        the released code has none of the correction and epsilon inside of the root (`step`).

    Cost:
        1,000 documents of about 100 tokens, MiniLM, last two layers, one core: 37 seconds a
        checkpoint, twice those of a float32 vector; 47 with `adam`, and 47 an epoch of the warm-up
        for 1,000 documents. Meant for a part of a large pool.
    """

    version = 3
    passes, predicts = 3, True
    model: Pretrained
    doing = "gradients"

    def __init__(
        self,
        model: Pretrained,
        max_length: Count,
        layers: Count,
        columns: int,
        seed: Seed,
        adam: bool,
        step: Step,
        warmup: GradientWarmup | None,
    ) -> None:
        """Stores the settings.

        Args:
            model: a causal or masked language model.
            max_length: tokens read of a document; truncated documents are counted.
            layers: how many of the last layers.
            columns: numbers a checkpoint.
            seed: draws the sketch.
            adam: whether AdamW's steps precede the gradients; needs `warmup`.
            step: adamw, or released as in the code of LESS (`gradient_warmup.Checkpoint.step`).
            warmup: how those layers are first trained on documents of the pool, with a checkpoint
                after each epoch; None: the model as it is.

        Raises:
            InvalidInput: `adam` without `warmup`, or a number out of range.
        """
        self.model = model
        self.max_length, self.layers, self.width = max_length, layers, columns
        self.seed, self.adam = seed, adam
        self.step: Step = step
        self.warmup = warmup
        if adam and self.warmup is None:
            raise InvalidInput(
                "featurizer.adam=true needs the moments that AdamW has after a warm-up, found "
                "featurizer.warmup=null; set featurizer.adam=false or describe the warm-up"
            )
        if step not in get_args(Step):
            raise InvalidInput(
                f"featurizer.step must be one of {', '.join(get_args(Step))}, found {step}"
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
        """Returns the facts of the warm-up and, of a few documents, the error of the sketch; the
        checkpoints are written into `directory`.
        """
        assert self.warmup is not None
        model, modules = self._open(runtime)
        facts = train_checkpoints(model, modules, corpus, self.warmup, directory, runtime)
        few = corpus.take(np.arange(min(_COMPARED, len(corpus))))
        return facts | self.with_learned(directory, "").reader(runtime).sketch_error(few)

    def reader(self, runtime: Runtime) -> GradientReader:
        """Returns the open model with its checkpoints.

        Raises:
            InvalidInput: it has no trained head, fewer layers or positions, or no warm-up yet.
        """
        model, modules = self._open(runtime)
        if self.warmup is None:
            checkpoints = [Checkpoint({}, {}, {}, 0, 1.0)]
        elif self.learned is None:
            raise InvalidInput(
                "gradients at the checkpoints of a warm-up were asked for before the warm-up; let "
                "the pipeline run it, or set featurizer.warmup=null"
            )
        else:
            checkpoints = load_checkpoints(self.learned[0])
        sketches = {}
        for number, (name, module) in enumerate(modules.items()):
            o, i = module.weight.shape[::-1] if is_transposed(module) else module.weight.shape
            generator = np.random.default_rng([self.seed, number])
            sketches[name] = Sketch.draw(o, i, self.width, generator)
        return GradientReader(model, modules, sketches, checkpoints, self.adam, self.step, runtime)

    def _open(self, runtime: Runtime) -> tuple[LanguageModel, dict[str, Any]]:
        """Returns the model and the modules of the weight matrices, by name."""
        home, device = self.model.directory(), runtime.device
        model = language_model(home, self.max_length, "featurizer.max_length", device)
        return model, last_matrices(model.model, self.layers, "featurizer.layers")


@dataclass(frozen=True)
class GradientReader:
    """An open language model, the matrices whose gradients are taken, and the checkpoints.

    Attributes:
        model: the language model.
        modules: the matrices' modules by name.
        sketches: how each matrix's gradient is sketched, by the same name.
        checkpoints: weights, moments and learning rate of each.
        adam: whether AdamW's steps precede the gradients.
        step: which steps.
        runtime: the machine.
    """

    model: LanguageModel
    modules: dict[str, Any]
    sketches: dict[str, Sketch]
    checkpoints: list[Checkpoint]
    adam: bool
    step: Step
    runtime: Runtime

    @property
    def columns(self) -> int:
        """Numbers a row: checkpoints times numbers a checkpoint, twice with AdamW's steps."""
        return (1 + self.adam) * len(self.checkpoints) * next(iter(self.sketches.values())).d

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, columns); the zero row for a document without a token to predict, counted."""
        predictions = self.model.predictions(documents)
        values = np.zeros((len(documents), self.columns), dtype=np.float32)
        half = self.columns // (1 + self.adam)
        width = half // len(self.checkpoints)
        rates = np.array([checkpoint.rate for checkpoint in self.checkpoints])
        done = 0  # of a shard's work; documents are reported when their last checkpoint is done
        for number, (checkpoint, share) in enumerate(
            zip(self.checkpoints, rates / rates.sum(), strict=True)
        ):
            checkpoint.load_into(self.modules)
            block = np.arange(number * width, (number + 1) * width)
            at = checkpoint if self.adam else None
            tokens = min(self.runtime.inference_tokens, _TOKENS)
            for rows in self.model.batches(predictions, tokens):
                for side, sketch in enumerate(reversed(self.gradients(predictions, rows, at))):
                    scaled = torch.nn.functional.normalize(sketch, dim=1) * share**0.5
                    values[np.ix_(rows, side * half + block)] = scaled.cpu().numpy()
                done += len(rows)
                report(done // len(self.checkpoints))
                done %= len(self.checkpoints)
        empty = int((predictions.counts == 0).sum())
        report(empty)
        counts = {"truncated": predictions.tokens.truncated}
        return values, counts | ({"without_words": empty} if empty else {})

    def gradients(
        self,
        predictions: Predictions,
        rows: NDArray[np.int64],
        at: Checkpoint | None,
        products: torch.Tensor | None = None,
    ) -> list[torch.Tensor]:
        """Returns [(b, d)]: the sketches, summed over the matrices, of the gradients of each
        document's mean loss; then those of the steps that AdamW would take `at` a checkpoint.

        The gradient in the weights of y = W x is sum_t dy_t (x) x_t. One pass over a batch gives
        both factors for every document, since its outputs depend on no other document. A matrix's
        gradients of a batch are in memory at a time.

        Args:
            predictions: of all documents.
            rows: the batch.
            at: the checkpoint of the steps; None: gradients alone.
            products: (b, b) to which the inner products of the whole gradients are added.
        """
        width = int(self.model.model.config.hidden_size)
        with (
            gradients_of(self.model.model, self.modules),
            activations(self.modules) as passed,
            fast_products(self.runtime.device, width),
        ):
            losses, line = self.model.losses(predictions, rows)
            counts = torch.bincount(line, minlength=len(rows))
            total = (losses / counts[line]).sum()
            names = list(passed)
            pushes = torch.autograd.grad(total, [passed[name][1] for name in names])
        d = next(iter(self.sketches.values())).d
        sums = [torch.zeros(len(rows), d, device=line.device) for _ in range(1 + self.adam)]
        with torch.no_grad():
            for name, push in zip(names, pushes, strict=True):
                sketch = self.sketches[name]
                whole = torch.einsum("bto,bti->boi", push, passed[name][0])
                sums[0] += sketch.of_matrices(whole)
                if at is not None:
                    sums[1] += sketch.of_matrices(at.step(name, whole, self.step))
                if products is not None:
                    products += whole.flatten(1) @ whole.flatten(1).T
        return sums

    def sketch_error(self, documents: Corpus) -> dict[str, float]:
        """Returns how far sketched cosines of gradients are from exact ones, at the last
        checkpoint.

        Over all pairs of the documents that have a token to predict: `sketch_error`, the root mean
        square of the difference, and `sketch_spearman`, the rank correlation; none of fewer than
        three documents.
        """
        predictions = self.model.predictions(documents)
        rows = np.flatnonzero(predictions.counts)
        if len(rows) < 3:
            return {}
        self.checkpoints[-1].load_into(self.modules)
        products = torch.zeros(len(rows), len(rows), device=self.runtime.device)
        sketched = self.gradients(predictions, rows, None, products)[0]
        lengths = products.diagonal().clamp_min(torch.finfo(products.dtype).tiny).sqrt()
        exact = products / (lengths[:, None] * lengths)
        unit = torch.nn.functional.normalize(sketched, dim=1)
        pairs = torch.triu_indices(len(rows), len(rows), 1)
        one, two = (each[*pairs].double().cpu().numpy() for each in (exact, unit @ unit.T))
        ranks: Any = spearmanr(one, two)
        return {
            "sketch_error": float(np.sqrt(np.mean((one - two) ** 2))),
            "sketch_spearman": float(ranks.statistic),
        }


@dataclass(frozen=True)
class Sketch:
    """A random linear map from (o, i) matrices to d numbers: entry (p, q) goes to bucket
    (rows[p] + columns[q]) mod d with the sign of row p times that of column q.

    E<S(A), S(B)> = <A, B> over the draw of the hashes, with a variance of the order of
    |A|^2 |B|^2 / d (TensorSketch of degree two: Pham and Pagh, KDD 2013). The map as a matrix, of
    o * i * d numbers, is never made.

    Attributes:
        rows: (o,) buckets, in [0, d).
        columns: (i,) buckets.
        row_signs: (o,) 1 or -1.
        column_signs: (i,) 1 or -1.
        d: length of the result.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    row_signs: torch.Tensor
    column_signs: torch.Tensor
    d: int

    @staticmethod
    def draw(o: int, i: int, d: int, generator: np.random.Generator) -> Sketch:
        """Returns the map for matrices of o rows and i columns, drawn from the generator."""
        drawn: list[torch.Tensor] = []
        for size in (o, i):
            drawn.append(torch.tensor(generator.integers(0, d, size)))
            signs = 1 - 2 * generator.integers(0, 2, size)
            drawn.append(torch.tensor(signs, dtype=torch.float32))
        return Sketch(drawn[0], drawn[2], drawn[1], drawn[3], d)

    def of_matrices(self, matrices: torch.Tensor) -> torch.Tensor:
        """Returns (b, d): the sketches of (b, o, i) matrices, in O(o i)."""
        bucket = (self.rows[:, None] + self.columns) % self.d
        sign = self.row_signs[:, None] * self.column_signs
        return _buckets(matrices.flatten(1), bucket.flatten(), sign.flatten(), self.d)


def _buckets(
    values: torch.Tensor, bucket: torch.Tensor, sign: torch.Tensor, d: int
) -> torch.Tensor:
    """Returns (..., d): signed sums over the last axis, by bucket."""
    sums = torch.zeros(*values.shape[:-1], d, dtype=values.dtype, device=values.device)
    return sums.index_add_(-1, bucket.to(values.device), values * sign.to(values))
