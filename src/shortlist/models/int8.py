"""Weights of eight bits: a scale for each row of a matrix, kept in safetensors.

A matrix W becomes round(W / s) with s_i = max_j |W_ij| / 127 for row i. Products of an opened model
are computed by torch's dynamic kernels on the CPU: the input of a product is rounded to seven bits,
with one scale for the whole tensor. Tables of embeddings are stored so too and opened as float32,
since a row is read, not multiplied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from shortlist.errors import BrokenArtifact

SCALE = ".scale"  # beside the name of a matrix: float32, one number a row
LARGEST = 127


def rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the (m, n) whole numbers of a matrix, int8, and its (m,) scales; 1 for rows of zeros."""
    scale = weight.abs().amax(1) / LARGEST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (weight / scale[:, None]).round().to(torch.int8), scale


def matrices(model: Any) -> dict[str, nn.Linear | nn.Embedding]:
    """Returns the modules of a model whose weights are rounded, by name."""
    kinds = (nn.Linear, nn.Embedding)
    return {name: one for name, one in model.named_modules() if isinstance(one, kinds)}


def write_int8(model: Any, path: Path) -> int:
    """Returns the number of rounded weights, after writing all weights of a model in float32."""
    weights: dict[str, torch.Tensor] = dict(model.state_dict())
    count = 0
    for name in matrices(model):
        whole, scale = rounded(weights[f"{name}.weight"])
        weights |= {f"{name}.weight": whole, f"{name}{SCALE}": scale}
        count += whole.numel()
    save_file({name: weight.contiguous() for name, weight in weights.items()}, path)
    return count


@torch.no_grad()
def read_int8(model: Any, path: Path) -> Any:
    """Returns the model with the weights of `path`, in evaluation mode, for the CPU.

    Args:
        model: a model of the same sizes, whatever its weights.
        path: what `write_int8` has written.

    Raises:
        BrokenArtifact: the weights are those of another model.
    """
    weights = load_file(path)
    modules = matrices(model)
    try:
        scales = {name: weights.pop(f"{name}{SCALE}") for name in modules}
        whole = {name: weights[f"{name}.weight"] for name in modules}
        for name, module in modules.items():
            if isinstance(module, nn.Embedding):
                weights[f"{name}.weight"] = whole[name].float() * scales[name][:, None]
            else:
                weights[f"{name}.weight"] = torch.zeros_like(module.weight)
        model.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BrokenArtifact(
            f"{path}: weights of another model than its config.json: {reason}"
        ) from error
    for name, module in modules.items():
        if isinstance(module, nn.Linear):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, _product(module, whole[name], scales[name]))
    return model.eval()


class Product(nn.Module):
    """A linear module of eight bits; input and output are float32, whatever the context casts to."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Returns the (..., m) products of (..., n) states."""
        return self.inner(states.float())


def _product(module: nn.Linear, whole: torch.Tensor, scale: torch.Tensor) -> Product:
    """Returns the module that multiplies by whole * scale with torch's dynamic kernel."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is to move to torchao, which has no CPU kernels
        from torch.ao.nn.quantized.dynamic import Linear

        offsets = torch.zeros(len(scale), dtype=torch.long)
        make: Any = vars(torch)["_make_per_channel_quantized_tensor"]  # has no public name
        product: Any = Linear(module.in_features, module.out_features)
        product.set_weight_bias(make(whole, scale.double(), offsets, 0), module.bias)
    return Product(product)
