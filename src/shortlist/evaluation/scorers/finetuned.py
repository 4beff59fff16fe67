"""Toxicity by an encoder that is fine-tuned on labelled texts, once for all cells."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.core import digest
from shortlist.errors import InvalidInput
from shortlist.evaluation.scorers.labelled import LabelledColumns, LabelledScorer, read_labelled
from shortlist.models import checkpoint
from shortlist.models.pretrained import Pretrained
from shortlist.models.tokens import Buckets, batch, by_length, tokenize
from shortlist.settings import Count, Positive, Seed
from shortlist.store.cache import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from shortlist import progress
    from shortlist.store.cache import Artifact

STAGE = "toxicity_classifier"
TOKENS_A_BATCH = 8192  # of scoring, padded


@dataclass(frozen=True)
class Recipe:
    """All that decides the classifier except files and model; see `FineTunedScorer`."""

    columns: LabelledColumns
    documents: int
    epochs: int
    learning_rate: float
    batch_size: int
    max_length: int
    seed: int


class FineTunedScorer(LabelledScorer):
    """The probability of the toxic class by an encoder with a linear layer, all weights fine-tuned.

    Both classes have the same weight in training, so that 1/2 separates them whatever their shares
    in the files. AdamW, a learning rate that falls linearly to 0, float32. The classifier is a
    stage: it is trained once and kept in the cache.
    """

    version = 1
    kind = "fine-tuned"

    def __init__(
        self,
        labelled: str | Sequence[str | None] | None,
        text: str,
        label: str,
        toxic: str,
        source: str,
        sources: Sequence[str] | None,
        model: Pretrained,
        documents: Count,
        epochs: Count,
        learning_rate: Positive,
        batch_size: Count,
        max_length: Count,
        seed: Seed,
        cache: str,
    ) -> None:
        """Stores the settings.

        Args:
            labelled: the file or files of labelled texts.
            text: column of the text.
            label: column of the label.
            toxic: the label of toxic texts; every other label means nontoxic.
            source: column by which texts are filtered.
            sources: the values of `source` whose texts are learned from; None for all.
            model: the encoder.
            documents: number of texts that are learned from, a sample by id.
            epochs: passes over them.
            learning_rate: highest rate.
            batch_size: texts a step.
            max_length: tokens read of a text.
            seed: of the new layer, of order and dropout.
            cache: directory of artifacts (`paths.cache`).
        """
        super().__init__(labelled)
        columns = LabelledColumns(text, label, toxic, source, tuple(sources or ()))
        self.recipe = Recipe(
            columns, documents, epochs, float(learning_rate), batch_size, max_length, seed
        )
        self.model, self.cache = model, Path(cache).expanduser().absolute()

    def check(self) -> None:
        """Refuses missing files of labelled texts, and a model that is not there.

        Raises:
            InvalidInput: no file is named.
            Missing: a file or the model does not exist.
        """
        self.identity()

    def identity(self) -> dict[str, str]:
        """Returns the digests of the files of labelled texts, of the settings and of the model."""
        return {
            "scorer": f"fine-tuned {self.version}",
            "labelled": digest(self.digests()),
            "recipe": digest([str(asdict(self.recipe))]),
            **{f"model.{name}": value for name, value in self.model.identity().items()},
        }

    def trained(self) -> Artifact:
        """Returns the stage that holds the classifier: `documents`, how many are `toxic`,
        `truncated`, and the `loss` of the last epoch are among its facts.

        Raises:
            InvalidInput: the labelled texts hold only one class, or none of a source.
        """
        return Store(self.cache).stage(STAGE, self.version, {}, self.identity(), self._train)

    def score(self, texts: Sequence[str], report: progress.Report) -> NDArray[np.float64]:
        """Returns the (n,) probabilities of the toxic class; none is NaN.

        Raises:
            InvalidInput: the labelled texts hold only one class, or none of a source.
        """
        model, tokenizer = self._opened
        tokens = tokenize(tokenizer, list(texts), None, self.recipe.max_length)
        scores = np.empty(len(texts))
        for rows in by_length(tokens.lengths, TOKENS_A_BATCH):
            with torch.inference_mode():
                inputs = batch(tokens, rows, int(tokenizer.pad_token_id), types=False)
                logits = model(**inputs).logits.double()
            scores[rows] = torch.softmax(logits, -1)[:, 1].numpy()
            report(len(rows))
        self.counts = {**self.trained().facts["counts"], "scorer_truncated": tokens.truncated}
        return scores

    @cached_property
    def _opened(self) -> tuple[Any, Any]:
        path = self.trained().path
        return checkpoint.classifier(path, 2).eval(), checkpoint.tokenizer(path)

    def _train(self, directory: Path) -> dict[str, Any]:
        recipe = self.recipe
        labelled = read_labelled(self.paths, recipe.columns)
        rows = np.arange(min(recipe.documents, len(labelled.corpus)))  # ids are hashes of texts
        truth = torch.from_numpy(labelled.toxic[rows])
        sizes = torch.bincount(truth, minlength=2)
        if not sizes.all():
            raise InvalidInput(
                f"the {len(rows):,} labelled texts of the sample are of one class; raise the "
                "scorer's documents"
            )
        start = self.model.directory()
        tokenizer = checkpoint.tokenizer(start)
        tokens = tokenize(tokenizer, labelled.corpus.take(rows).texts, None, recipe.max_length)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            model = checkpoint.classifier(start, 2).train()
            losses = self._steps(model, tokens, truth, len(rows) / (2.0 * sizes), tokenizer)
        checkpoint.save(directory, model, tokenizer)
        last = losses[-len(losses) // recipe.epochs :]
        left = {name: count for name, count in labelled.counts.items() if count}
        return {
            "documents": len(rows),
            "toxic": int(sizes[1]),
            "truncated": tokens.truncated,
            "loss": float(np.mean(last)),
            "counts": {**left, "labelled_documents": len(rows)},
        }

    def _steps(
        self,
        model: Any,
        tokens: Any,
        truth: torch.Tensor,
        weights: torch.Tensor,
        tokenizer: Any,
    ) -> list[float]:
        """Returns the loss of each step after training the model in place."""
        recipe = self.recipe
        order = torch.Generator().manual_seed(recipe.seed)
        sampler = Buckets(tokens.lengths, recipe.batch_size, order)
        total = recipe.epochs * len(sampler)
        optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / total)
        losses: list[float] = []
        for _ in range(recipe.epochs):
            for chosen in sampler:
                inputs = batch(tokens, chosen, int(tokenizer.pad_token_id), types=False)
                logits = model(**inputs).logits
                loss = torch.nn.functional.cross_entropy(logits, truth[chosen], weights)
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
        return losses
