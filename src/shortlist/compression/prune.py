"""Structured pruning: attention heads and units of the feed-forward part are removed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from shortlist.compression.base import Compression, Given
from shortlist.models import checkpoint
from shortlist.models.heads.base import LossOptions
from shortlist.models.shrinking import BertLayer, bert_layers, keep_heads, keep_units
from shortlist.settings import Count, Range
from shortlist.trainers.classify import Classifier

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.models.heads.base import Inputs

PRUNED = "pruned"  # folder of the model before its recovery, removed afterwards
BATCH = 16  # texts of a pass of the importance
Kept = Annotated[float, Range(0, 1, above=True)]


def strongest(importance: torch.Tensor, share: float) -> list[list[int]]:
    """Returns the numbers of the most important columns of each row, ascending; of equal ones the
    first. `share` of them are kept, at least one, rounded to the nearest number.
    """
    kept = max(1, round(share * importance.shape[1]))
    order = importance.argsort(dim=1, descending=True, stable=True)[:, :kept]
    return [sorted(map(int, row)) for row in order]


def norms(layers: Sequence[BertLayer]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the (l, heads) and (l, units) Euclidean norms of the weights of heads and units: rows
    of query, key, value or inner matrix with their biases, and columns of the matrix that reads
    them.

    Filter pruning of Li et al. (2017) with the norm l2.
    """
    heads, units = [], []
    for layer in layers:
        size = int(layer.attention.attention_head_size)
        squares = layer.context.dense.weight.detach().square().sum(0)
        for name in ("query", "key", "value"):
            squares = squares + _rows(getattr(layer.attention, name))
        heads.append(squares.view(-1, size).sum(1))
        units.append(_rows(layer.inner) + layer.outer.weight.detach().square().sum(0))
    return torch.stack(heads).sqrt(), torch.stack(units).sqrt()


def _rows(linear: Any) -> torch.Tensor:
    squares = linear.weight.detach().square().sum(1)
    return squares if linear.bias is None else squares + linear.bias.detach().square()


def taylor(
    model: Any, layers: Sequence[BertLayer], inputs: Inputs, given: Given
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the (l, heads) and (l, units) mean absolute changes of the loss that removing one of
    them causes, to first order.

    Formula:
        mean over texts of |sum over tokens and coordinates of a dL/da|, with a what the head or
        unit gives to the matrix that reads it: the gradient of the loss by a factor of a, at 1
        (Michel et al. 2019, equation 2, for heads; Molchanov et al. 2019 for units).

    Args:
        model: the model, in evaluation mode.
        layers: its layers.
        inputs: labelled examples.
        given: head and machine.
    """
    seen: dict[int, torch.Tensor] = {}

    def keep(place: int) -> Any:
        def hook(module: Any, read: tuple[torch.Tensor, ...]) -> None:
            read[0].retain_grad()
            seen[place] = read[0]

        return hook

    readers = [one for layer in layers for one in (layer.context.dense, layer.outer)]
    handles = [one.register_forward_pre_hook(keep(at)) for at, one in enumerate(readers)]
    sums: list[Any] = [0.0] * len(readers)
    count, device = len(inputs.tokens), given.runtime.device
    try:
        for first in range(0, count, BATCH):
            rows = list(range(first, min(first + BATCH, count)))
            batch = {name: one.to(device) for name, one in inputs.labelled(rows).items()}
            labels = batch.pop("labels")
            loss = given.head.loss(model(**batch), labels, LossOptions()) * len(rows)
            model.zero_grad()
            loss.backward()
            for at, read in seen.items():
                assert read.grad is not None
                change = (read.detach() * read.grad).sum(1)  # (b, coordinates), over the tokens
                if at % 2 == 0:
                    size = int(layers[at // 2].attention.attention_head_size)
                    change = change.view(len(rows), -1, size).sum(2)
                sums[at] = sums[at] + change.abs().sum(0).cpu()
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad()
    return torch.stack(sums[::2]) / count, torch.stack(sums[1::2]) / count


class Prune(Classifier, Compression):
    """Removal of the least important heads and units of every layer, then training on the labels.

    Every layer keeps as many, so that the configuration describes the model. A model with fewer
    units is opened by transformers as any other; one with fewer heads only here, or after `shortlist
    export`, which fills it up with heads of zeros (`models.shrinking`).
    """

    setting = "compress.prune"

    def __init__(
        self,
        units: Kept,
        heads: Kept,
        importance: Literal["taylor", "norm"],
        examples: Count,
        recover: bool,
        **settings: Any,
    ) -> None:
        """Stores the settings.

        Args:
            units: share of the units of each feed-forward part that is kept.
            heads: share of the attention heads of each layer that is kept; 1 for weights that
                transformers opens as they are.
            importance: `taylor`, the change of the loss on training examples to first order, or
                `norm`, that of the weights.
            examples: number of training examples of `taylor`, the first by id.
            recover: whether the pruned model is trained on the labels again.
            settings: those of `Classifier`.
        """
        super().__init__(**settings)
        self.units, self.head_share, self.importance = units, heads, importance
        self.examples, self.recover = examples, recover

    def outline(self, model: Any) -> Any:
        """Returns the model; see `Compression.outline`."""
        bert_layers(model, self.setting)
        return model

    def compress(self, start: Path, directory: Path, given: Given) -> dict[str, Any]:
        """Returns facts, after writing the pruned model; see `Compression.compress`.

        Raises:
            InvalidInput: the model is not built like BERT.
        """
        head, runtime = given.head, given.runtime
        model: Any = head.open(start).eval().to(runtime.device)
        tokenizer = checkpoint.tokenizer(start)
        layers = bert_layers(model, self.setting)
        read = 0
        if self.importance == "norm":
            heads, units = (one.cpu() for one in norms(layers))
        else:
            sample = given.train.take(list(range(min(self.examples, len(given.train)))))
            inputs = head.read(sample, model, tokenizer, given.trainer.max_length, labelled=True)
            heads, units = taylor(model, layers, inputs, given)
            read = len(sample)
        kept_heads, kept_units = strongest(heads, self.head_share), strongest(units, self.units)
        facts = {
            "importance_examples": read,
            "heads_before": heads.shape[1],
            "heads": len(kept_heads[0]),
            "units_before": units.shape[1],
            "units": len(kept_units[0]),
        }
        model = keep_units(model, kept_units, self.setting)
        model = keep_heads(model, kept_heads, self.setting)
        if not self.recover:
            checkpoint.save(directory, model.cpu(), tokenizer)
            return facts
        pruned = directory / PRUNED
        checkpoint.save(pruned, model.cpu(), tokenizer)
        facts |= self.train_on(
            pruned, given.train, given.validation, head, directory, given.seed, runtime
        )
        shutil.rmtree(pruned)
        return facts
