"""Fully sharded data parallel (FSDP2): the weights of a model are cut over the processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from shortlist.errors import InvalidInput
from shortlist.models.checkpoint import layers_of
from shortlist.trainers.groups import Group


def check(needs_whole: Mapping[str, object], setting: str) -> None:
    """Refuses settings that need whole weights during the training.

    Args:
        needs_whole: the values of these settings by name; None where one is off.
        setting: the group of the settings, for messages.

    Raises:
        InvalidInput: one is on.
    """
    for name, value in needs_whole.items():
        if value is not None:
            raise InvalidInput(
                f"runtime.strategy=fsdp cuts the weights over the processes, and {setting}.{name} "
                f"needs them whole; set {setting}.{name}=null or runtime.strategy=ddp"
            )


def cut(model: Any, groups: Sequence[Group], mesh: DeviceMesh) -> list[Group]:
    """Cuts the weights of each layer, and of the rest of the model, over the processes of a mesh, and
    returns the groups with the weights that are cut.
    """
    for part in (*(layers_of(model) or ()), model):
        fully_shard(part, mesh=mesh)
    named = dict(model.named_parameters())
    return [replace(group, weights=tuple(named[name] for name in group.names)) for group in groups]


def gather(model: Any, whole: Any) -> None:
    """Gives `whole`, a copy of a model from before it was cut, the weights of the model."""
    whole.load_state_dict(
        {
            name: weight.full_tensor().cpu() if isinstance(weight, DTensor) else weight
            for name, weight in model.state_dict().items()
        }
    )
