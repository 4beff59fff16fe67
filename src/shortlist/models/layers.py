"""The weight matrices of a model's last layers: what influence is measured through."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from shortlist.errors import InvalidInput


def last_matrices(model: Any, layers: int, setting: str) -> dict[str, Any]:
    """Returns the modules with a weight matrix in the model's last `layers` layers, by name.

    Raises:
        InvalidInput: the model has fewer layers, or none that can be told; the message names
            `setting`.
    """
    total = int(model.config.num_hidden_layers)
    if not 1 <= layers <= total:
        raise InvalidInput(
            f"{setting} must lie between 1 and {total} in this model, found {layers}"
        )
    stacks = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == total
    ]
    if not stacks:
        raise InvalidInput(
            f"a list of {total} layers was expected in {type(model).__name__}, found none; choose "
            "another featurizer.model"
        )
    name, stack = stacks[0]
    return {
        f"{name}.{layer}.{inner}": module
        for layer in range(total - layers, total)
        for inner, module in stack[layer].named_modules()
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
    }


def transposed(module: Any) -> bool:
    """Returns whether the module's weight is (in, out), as GPT-2's `Conv1D` has it."""
    return not isinstance(module, torch.nn.Linear)


@contextmanager
def only(model: Any, modules: dict[str, Any]) -> Generator[None]:
    """Yields with gradients wanted of these modules' weights and of no other parameter: what lies
    before them is then run without a graph.
    """
    model.requires_grad_(False)
    for module in modules.values():
        module.weight.requires_grad_(True)
    try:
        yield
    finally:
        model.requires_grad_(False)


@contextmanager
def seen(modules: dict[str, Any]) -> Generator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Yields a mapping that a pass through the model fills with each module's (input, output)."""
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
            found[name] = (inputs[0].detach(), output)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in modules.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
