"""Smaller models by removal: whole layers, units of the feed-forward part, attention heads.

What is left is a model of the same class. Layers and units are counted by the configuration, so
that transformers opens the model; heads are not, because BERT's configuration has no width of the
attention apart from that of the states: `checkpoint.classifier` reads `KEPT_HEADS` and builds the
narrower attention, transformers by itself refuses the sizes of the weights. `restore_heads` fills
such a model up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from shortlist.errors import InvalidInput
from shortlist.models.checkpoint import KEPT_HEADS, layers_of, narrow_attention


def even_layers(total: int, kept: int) -> list[int]:
    """Returns the numbers, from 0, of `kept` of `total` layers at even distances, the last one
    among them: layer j of the kept ones is ceil((j + 1) total / kept) - 1.

    TinyBERT maps the layers of student and teacher like this (Jiao et al. 2020, uniform strategy).
    """
    return [-(-(place + 1) * total // kept) - 1 for place in range(kept)]


def cut_layers(model: Any, kept: int, setting: str) -> Any:
    """Returns the model with `kept` of its layers, those of `even_layers`.

    Raises:
        InvalidInput: it has fewer layers, or no list of them; the message names `setting`.
    """
    total, stack = int(model.config.num_hidden_layers), layers_of(model)
    if stack is None or total < 2:
        raise InvalidInput(
            f"{setting} cuts a list of two or more layers, {type(model).__name__} has none; set "
            "compress.distil.student to a model"
        )
    if not 1 <= kept <= total:
        raise InvalidInput(f"{setting} must lie between 1 and {total} in this model, found {kept}")
    layers = [stack[number] for number in even_layers(total, kept)]
    owner = next(m for m in model.modules() if any(stack is child for child in m.children()))
    name = next(name for name, child in owner.named_children() if child is stack)
    setattr(owner, name, nn.ModuleList(layers))
    model.config.num_hidden_layers = kept
    return model


@dataclass(frozen=True)
class BertLayer:
    """The matrices of one layer of a BERT that pruning changes.

    Attributes:
        attention: the module with `query`, `key` and `value`.
        context: the matrix that reads what the heads return.
        inner: the matrix of which each row is a unit of the feed-forward part.
        outer: the matrix of which each column is one.
    """

    attention: Any
    context: Any
    inner: nn.Linear
    outer: nn.Linear


def bert_layers(model: Any, setting: str) -> list[BertLayer]:
    """Returns the layers of a BERT or of a model that is built like it (RoBERTa, ELECTRA, MiniLM).

    Raises:
        InvalidInput: it is built otherwise; the message names `setting` and the architecture.
    """
    stack: Any = layers_of(model)
    found: list[BertLayer] = []
    try:
        for layer in stack if stack is not None else ():
            attention, context = layer.attention.self, layer.attention.output
            parts = (attention.query, attention.key, attention.value, context.dense)
            inner, outer = layer.intermediate.dense, layer.output.dense
            if not all(isinstance(one, nn.Linear) for one in (*parts, inner, outer)):
                raise AttributeError
            found.append(BertLayer(attention, context, inner, outer))
    except AttributeError:
        found = []
    if not found:
        raise InvalidInput(
            f"{setting} removes heads and units of models that are built like BERT (BERT, MiniLM, "
            f"RoBERTa, ELECTRA), found a {model.config.model_type} model; leave {setting} out"
        )
    return found


@torch.no_grad()
def keep_units(model: Any, kept: Sequence[Sequence[int]], setting: str) -> Any:
    """Returns the model with only these units of the feed-forward part, as many in every layer.

    Args:
        model: a model of `bert_layers`.
        kept: numbers of the units of each layer, ascending.
        setting: for messages.
    """
    for layer, units in zip(bert_layers(model, setting), kept, strict=True):
        _keep_rows(layer.inner, units)
        _keep_columns(layer.outer, units)
    model.config.intermediate_size = len(kept[0])
    return model


@torch.no_grad()
def keep_heads(model: Any, kept: Sequence[Sequence[int]], setting: str) -> Any:
    """Returns the model with only these attention heads, as many in every layer; arguments as in
    `keep_units`.
    """
    for layer, heads in zip(bert_layers(model, setting), kept, strict=True):
        size = int(layer.attention.attention_head_size)
        places = [head * size + place for head in heads for place in range(size)]
        for name in ("query", "key", "value"):
            _keep_rows(getattr(layer.attention, name), places)
        _keep_columns(layer.context.dense, places)
        narrow_attention(layer.attention, len(heads))
    if len(kept[0]) < model.config.num_attention_heads:
        setattr(model.config, KEPT_HEADS, len(kept[0]))
    return model


@torch.no_grad()
def restore_heads(model: Any, setting: str) -> Any:
    """Returns the model of `keep_heads` with as many heads as its configuration says: those that are
    missing stand after the others and are 0, so that no output changes and no product is saved.
    """
    heads = int(model.config.num_attention_heads)
    for layer in bert_layers(model, setting):
        attention = layer.attention
        kept = int(attention.num_attention_heads)
        missing = (heads - kept) * int(attention.attention_head_size)
        for linear in (attention.query, attention.key, attention.value):
            linear.weight = nn.Parameter(functional.pad(linear.weight, (0, 0, 0, missing)))
            if linear.bias is not None:
                linear.bias = nn.Parameter(functional.pad(linear.bias, (0, missing)))
            linear.out_features += missing
        reader = layer.context.dense
        reader.weight = nn.Parameter(functional.pad(reader.weight, (0, missing)))
        reader.in_features += missing
        narrow_attention(attention, heads)
    if hasattr(model.config, KEPT_HEADS):
        delattr(model.config, KEPT_HEADS)
    return model


def _keep_rows(linear: nn.Linear, rows: Sequence[int]) -> None:
    linear.weight = nn.Parameter(linear.weight[list(rows)].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias[list(rows)].clone())
    linear.out_features = len(rows)


def _keep_columns(linear: nn.Linear, columns: Sequence[int]) -> None:
    linear.weight = nn.Parameter(linear.weight[:, list(columns)].clone())
    linear.in_features = len(columns)
