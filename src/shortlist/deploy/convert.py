"""A fine-tuned model as ONNX: float32, and int8 by dynamic quantisation."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.deploy.inference import SMALL, WHOLE, Session
from shortlist.errors import DoesNotFit, InvalidInput, Missing
from shortlist.models import checkpoint
from shortlist.models.heads.base import reads_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.deploy.runs import StoredRun
    from shortlist.runtime import Runtime

MAX_BYTES = 2**31 - 2**26  # of the weights: a file of ONNX holds 2 GiB
EXAMPLE = (2, 9)  # texts and tokens that are traced; neither is 1, which would be taken as fixed


class _Outputs(torch.nn.Module):
    """A model of transformers that returns its outputs alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        return self.model(**given).logits


def to_onnx(model: Any, path: Path, *, types: bool) -> None:
    """Writes a model as ONNX; number and length of its inputs are free.

    Names of this machine, which the exporter notes at each node, are left out.

    Args:
        model: a model of transformers in evaluation mode, float32, on the CPU.
        path: the file.
        types: whether it reads segment ids.

    Raises:
        Missing: a package is not installed.
        DoesNotFit: the weights are too large for one file.
        InvalidInput: the architecture cannot be converted.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (which torch.onnx needs)
    except ImportError as error:
        raise Missing(
            f"{error.name} is not installed; run: pip install 'shortlist[onnx]'"
        ) from error
    size = sum(one.numel() * one.element_size() for one in model.parameters())
    if size > MAX_BYTES:
        raise DoesNotFit(
            f"a file of ONNX holds weights of at most {MAX_BYTES / 2**30:.2f} GiB, these take "
            f"{size / 2**30:.2f}; export without --onnx"
        )
    ids = torch.ones(EXAMPLE, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, EXAMPLE[1] // 2 :] = 0
    free = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    example = (ids, mask, torch.zeros_like(ids)) if types else (ids, mask)
    names = ["input_ids", "attention_mask", "token_type_ids"][: len(example)]
    with _quiet():
        try:
            torch.onnx.export(
                _Outputs(model).eval(),
                example,
                path,
                dynamo=True,
                dynamic_shapes=(free,) * len(example),
                input_names=names,
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = " ".join(str(error).split())[:300]
            raise InvalidInput(
                f"{type(model).__name__} cannot be converted to ONNX ({reason}); export without --onnx"
            ) from error
    graph = onnx.load(str(path))
    for node in (graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.initializer):
        del node.metadata_props[:]
    onnx.save(graph, str(path))


def to_int8(whole: Path, path: Path) -> None:
    """Writes a model whose weight matrices are int8, one scale a channel; activations are quantised
    as they come (dynamic quantisation of ONNX Runtime).

    Args:
        whole: the model in float32.
        path: the file.

    Raises:
        Missing: ONNX Runtime is not installed.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise Missing(
            f"{error.name} is not installed; run: pip install 'shortlist[onnx]'"
        ) from error
    with _quiet():
        quantize_dynamic(str(whole), str(path), per_channel=True, weight_type=QuantType.QInt8)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Silences notes on optional packages and on names of axes."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class Converted:
    """A converted model in the place of the model of transformers that it was made from.

    Attributes:
        config: that of the original.
        difference: largest absolute difference of an output from the original's, so far.
        largest: largest absolute output of the original, so far.
    """

    def __init__(self, path: Path, original: Any) -> None:
        """Opens a file; see `Session`."""
        self._session, self._original = Session(path), original
        self.config = original.config
        self.difference, self.largest = 0.0, 0.0

    def __call__(self, **given: torch.Tensor) -> Any:
        """Returns the converted model's outputs of a batch, compared with the original's."""
        expected = self._original(**given).logits.numpy()
        found = outputs(self._session, **given)
        self.difference = max(self.difference, float(np.abs(found - expected).max()))
        self.largest = max(self.largest, float(np.abs(expected).max()))
        return SimpleNamespace(logits=torch.from_numpy(found))


def outputs(session: Session, /, **batch: torch.Tensor) -> NDArray[np.float32]:
    """Returns the outputs of a batch; segment ids that it lacks are 0."""
    given = {name: value.numpy() for name, value in batch.items()}
    given.setdefault("token_type_ids", np.zeros_like(given["input_ids"]))
    return session.run(given)


def convert(
    run: StoredRun, weights: Path, directory: Path, runtime: Runtime, *, int8: bool
) -> dict[str, tuple[Converted, NDArray[Any]]]:
    """Returns the converted models of a run, written into `directory`, and their predictions of the
    test items, by name of the file. `weights` is the directory of the model and its tokenizer.

    Raises:
        Missing: as in `to_onnx`, like the others.
        DoesNotFit: likewise.
        InvalidInput: likewise.
    """
    head, length = run.task.head, run.cell.parts.finetune.max_length
    model: Any = head.open(weights).eval()
    to_onnx(model, directory / WHOLE, types=run.two_texts and reads_pairs(model))
    if int8:
        to_int8(directory / WHOLE, directory / SMALL)
    tokenizer = checkpoint.tokenizer(weights)
    inputs = head.read(run.task.data.test, model, tokenizer, length, labelled=False)
    found: dict[str, tuple[Converted, NDArray[Any]]] = {}
    for name in (WHOLE, SMALL)[: 1 + int8]:
        converted = Converted(directory / name, model)
        with torch.inference_mode():
            found[name] = converted, head.predict(converted, inputs, runtime, lambda done: None)
    return found
