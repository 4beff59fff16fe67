"""Scorer files: arrays and a description in one safetensors file.

The description is JSON under `shortlist` in the header. One file is copied, attached and uploaded
whole, any safetensors reader shows what it is, and nothing in it is executed. A fastText classifier
is a `.bin` file of fastText's own.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from shortlist.distil.base import Description, Fidelity
from shortlist.errors import InvalidInput, Missing
from shortlist.store.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = 1  # of the files; raised when older programs could not read them


def write_arrays(path: Path, description: Description, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes a scorer file in one step."""
    header = {"format": FORMAT, **asdict(description)}
    tensors = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    content = save(tensors, {"shortlist": json.dumps(header, sort_keys=True)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_arrays(path: Path) -> tuple[Description, dict[str, NDArray[Any]]]:
    """Returns the description of a scorer file and its arrays.

    Raises:
        Missing: there is no such file.
        InvalidInput: it is no scorer file, or one of a later format.
    """
    if not path.is_file():
        raise Missing(f"--scorer: expected a scorer file, found no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["shortlist"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        form = header.pop("format")
        if form != FORMAT:
            raise InvalidInput(
                f"{path}: expected a scorer file of format {FORMAT}, found format {form}; install "
                "the version of shortlist that wrote it"
            )
        known = header.pop("fidelity")
        quantiles = tuple(map(float, header.pop("quantiles")))
        measured = None if known is None else Fidelity(**known)
        return Description(**header, fidelity=measured, quantiles=quantiles), arrays
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{path}: expected a scorer file (distil=linear or static writes one), found another: "
            f"{type(error).__name__}: {error}"
        ) from error
