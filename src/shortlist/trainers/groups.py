"""Parameter groups: which weights are trained, at which rate, with which weight decay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from shortlist.errors import InvalidInput, near
from shortlist.models.checkpoint import layers_of

POOLER = "pooler"  # as `transformers` names it: a matrix between the last layer and the head
VECTORS = {"ia3_l", "lora_magnitude_vector"}  # as `peft` names them; some are matrices of one row


@dataclass(frozen=True)
class Group:
    """Weights that are trained at one rate with one weight decay.

    Attributes:
        names: the weights' names in the model.
        weights: the weights.
        learning_rate: peak rate.
        weight_decay: AdamW's decay.
    """

    names: tuple[str, ...]
    weights: tuple[torch.nn.Parameter, ...]
    learning_rate: float
    weight_decay: float

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(weight.numel() for weight in self.weights)

    def __str__(self) -> str:
        return (
            f"{self.parameters:,} parameters at rate "
            f"{self.learning_rate:.3g}, weight decay {self.weight_decay:g} ({self.names[0]}"
            f"{f' and {len(self.names) - 1:,} more' if len(self.names) > 1 else ''})"
        )


@dataclass(frozen=True)
class Depths:
    """How far each weight is from a model's input.

    Attributes:
        of: depth by name: 0 for embeddings, i + 1 for layer i, `top` for what follows the last
            layer. A matrix that embeddings share with a head counts as embeddings.
        head: names of the weights outside of the model's base.
        top: number of layers + 1.
    """

    of: dict[str, int]
    head: frozenset[str]
    top: int

    def is_new(self, name: str) -> bool:
        """Returns whether a weight belongs to the head, or to the pooler below it, which a language
        model is stored without.
        """
        return name in self.head or POOLER in name.split(".")

    @classmethod
    def read(cls, model: Any, setting: str) -> Depths:
        """Returns the depths of a model's weights.

        Raises:
            InvalidInput: the model has no list of its layers; the message names `setting`.
        """
        base, stack = model.base_model, layers_of(model)
        if stack is None:
            raise InvalidInput(
                f"{setting} needs a model with a list of {model.config.num_hidden_layers} layers, "
                f"found none in {type(model).__name__}; set {setting}=null"
            )
        top = len(stack) + 1
        known = {
            id(weight): index + 1
            for index, layer in enumerate(stack)
            for weight in layer.parameters()
        }
        tables = (part for part in base.modules() if isinstance(part, torch.nn.Embedding))
        known |= {id(weight): 0 for table in tables for weight in table.parameters()}
        before = True  # what is registered before the layers belongs to the embeddings
        for weight in base.parameters():
            before = before and known.get(id(weight), 0) == 0
            known.setdefault(id(weight), 0 if before else top)
        named = list(model.named_parameters())
        return cls(
            {name: known.get(id(weight), top) for name, weight in named},
            frozenset(name for name, weight in named if id(weight) not in known),
            top,
        )


def groups(
    model: Any,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float | None,
    head_learning_rate: float | None,
    setting: str,
) -> list[Group]:
    """Returns the weights that require gradients, each in one group; vectors (biases, norms, those
    of IA3 and DoRA) have no weight decay.

    Formula (timm's `param_groups_layer_decay`):
        rate(w) = learning_rate * layer_decay ** (layers + 1 - depth(w))

    Args:
        model: the model.
        learning_rate: peak rate of the last depth.
        weight_decay: decay of matrices.
        layer_decay: ratio of the rates of a layer and the next one; None for one rate.
        head_learning_rate: rate of the weights outside of the model's base; None for
            `learning_rate`.
        setting: the group of the settings, for messages.

    Raises:
        InvalidInput: no weight requires gradients, or the model has no layers or no trained head to
            tell apart.
    """
    rates: dict[str, float] = {}
    if layer_decay is not None or head_learning_rate is not None:
        name = "layer_decay" if layer_decay is not None else "head_learning_rate"
        depths = Depths.read(model, f"{setting}.{name}")
        scale = 1.0 if layer_decay is None else layer_decay
        rates = {
            name: learning_rate * scale ** (depths.top - depth) for name, depth in depths.of.items()
        }
        if head_learning_rate is not None:
            if not any(w.requires_grad for n, w in model.named_parameters() if n in depths.head):
                raise InvalidInput(
                    f"{setting}.head_learning_rate needs a head with trained weights of its own, "
                    f"that of {type(model).__name__} has none; set {setting}.head_learning_rate=null"
                )
            rates |= dict.fromkeys(depths.head, head_learning_rate)
    members: dict[tuple[float, float], list[tuple[str, torch.nn.Parameter]]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            decay = 0.0 if weight.ndim < 2 or VECTORS & set(name.split(".")) else weight_decay
            members.setdefault((rates.get(name, learning_rate), decay), []).append((name, weight))
    if not members:
        raise InvalidInput(f"no weight is left to train; set {setting}.freeze=null")
    return [
        Group(tuple(name for name, _ in own), tuple(weight for _, weight in own), rate, decay)
        for (rate, decay), own in sorted(members.items(), key=lambda entry: entry[0], reverse=True)
    ]


def freeze(model: Any, patterns: Sequence[str], setting: str) -> None:
    """Excludes weights from training.

    Args:
        model: the model.
        patterns: `embeddings`, `all` (all but the head and a pooler, which is new: models that
            predict tokens have none), or patterns of names such as `*.layer.0.*`.
        setting: name of the setting, for messages.

    Raises:
        InvalidInput: a pattern matches no weight.
    """
    weights = dict(model.named_parameters())
    for pattern in patterns:
        if pattern in ("embeddings", "all"):
            depths = Depths.read(model, setting)
            found = [
                name
                for name, depth in depths.of.items()
                if (depth == 0 if pattern == "embeddings" else not depths.is_new(name))
            ]
        else:
            found = [name for name in weights if fnmatchcase(name, pattern)]
        if not found:
            raise InvalidInput(
                f"{setting} must be embeddings, all, or patterns that match names of weights, "
                f"{pattern!r} matches none; {near(pattern, weights)}"
            )
        for name in found:
            weights[name].requires_grad_(False)


@dataclass(frozen=True)
class Unfreezing:
    """Weights that are trained from a later epoch on, the last layers first.

    Attributes:
        first_epoch: by weight, the epoch, counted from 0, from which on it is trained.
        steps: number of steps that count as an epoch; None for one of the training.
    """

    first_epoch: tuple[tuple[torch.nn.Parameter, int], ...]
    steps: int | None = None

    @classmethod
    def plan(cls, model: Any, layers: int, setting: str, steps: int | None = None) -> Unfreezing:
        """Returns the epochs of all weights that require gradients: the first epoch trains what
        follows the last layer, or where none of that is trained the highest layers; each further
        one trains `layers` more layers, and the embeddings count as the lowest.
        """
        depths = Depths.read(model, setting)
        found = [
            (weight, -(-(depths.top - depths.of[name]) // layers))
            for name, weight in model.named_parameters()
            if weight.requires_grad
        ]
        earliest = min((epoch for _, epoch in found), default=0)
        return cls(tuple((weight, epoch - earliest) for weight, epoch in found), steps)

    def epoch_of(self, step: int, epoch: int) -> int:
        """Returns the epoch, as counted here, of a step; both of the training are counted from 0."""
        return epoch if self.steps is None else step // self.steps

    def left(self, last: int) -> int:
        """Returns the number of parameters that are not trained by the epoch `last`."""
        return sum(weight.numel() for weight, first in self.first_epoch if first > last)

    def described(self, last: int) -> str:
        """Returns in words when how many parameters begin to be trained, up to the epoch `last`."""
        counts = Counter[int]()
        for weight, first in self.first_epoch:
            counts[first] += weight.numel()
        unit, length = ("epoch", 1) if self.steps is None else ("step", self.steps)
        parts = [
            f"{counts[first]:,} parameters from {unit} {first * length + 1:,} on"
            for first in sorted(counts)
            if first <= last
        ]
        if left := self.left(last):
            parts.append(f"{left:,} never, for which the training is too short")
        return f"gradual unfreezing: {', '.join(parts)}"

    def enter(self, epoch: int) -> None:
        """Lets exactly the weights of this epoch require gradients.

        The optimiser holds all of them from the start: AdamW passes over a weight without gradient
        and begins its moments with the first one, so that state and schedule go on.
        """
        for weight, first in self.first_epoch:
            weight.requires_grad_(epoch >= first)


def trained_within(
    groups: Sequence[Group], unfreezing: Unfreezing | None, steps: int, epochs: int
) -> tuple[int, list[str]]:
    """Returns the number of parameters that a training of so many steps and epochs trains, and the
    groups in words, and when their weights are trained.
    """
    trained, lines = sum(group.parameters for group in groups), [str(group) for group in groups]
    if unfreezing is not None:
        last = unfreezing.epoch_of(steps - 1, epochs - 1)
        trained -= unfreezing.left(last)
        lines.append(unfreezing.described(last))
    return trained, lines
