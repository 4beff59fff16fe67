"""The comparison of a run's models: size and metric from the record, and measured latency."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.compression.size import Latency, latencies
from shortlist.deploy.convert import convert, outputs
from shortlist.deploy.inference import SMALL, WHOLE, Session
from shortlist.diagnostics.compression_page import (
    CompressedModel,
    Timed,
    compression_page,
    compression_table,
)
from shortlist.diagnostics.datasheet.page import html
from shortlist.errors import InvalidInput, Missing
from shortlist.models import checkpoint
from shortlist.models.checkpoint import INT8
from shortlist.models.heads.base import Inputs
from shortlist.pipeline.compression import PAGE, compressed_models, gain_of
from shortlist.runtime import Runtime
from shortlist.store.atomic import write_text
from shortlist.store.provenance import processor

if TYPE_CHECKING:
    from shortlist.deploy.runs import StoredRun
    from shortlist.rendering.tables import TextTable

TEXTS = 32  # validation texts that are read, and the larger batch
BATCHES = (1, TEXTS)


@dataclass(frozen=True)
class Comparison:
    """The models of a run.

    Attributes:
        task: name of the task.
        models: a row for each.
        timed: their latencies.
    """

    task: str
    models: tuple[CompressedModel, ...]
    timed: Timed

    @property
    def table(self) -> TextTable:
        """The table."""
        return compression_table(self.models, self.timed)


@dataclass(frozen=True)
class _Opened:
    """A model, and the texts that it is timed on."""

    call: Callable[..., Any]
    inputs: Inputs


def compare_models(run: StoredRun, passes: int, *, onnx: bool = False) -> Comparison:
    """Returns sizes, metrics and latencies of a run's models.

    Sizes and metrics of the run's own models are those of its record. Latency is that of a pass
    over one text, and over 32, of the first validation texts by id, already tokenised, in float32
    on the CPU: see `compression.size.latencies`.

    Args:
        run: the run.
        passes: number of timed passes of each model and batch.
        onnx: whether the last model that is not quantised is compared as ONNX too, in float32 and
            with int8 weights; each then predicts the test items once.

    Raises:
        InvalidInput: the run has no smaller model, or a number is out of range.
        Missing: weights or a package are not there.
    """
    if len(run.models) == 1:
        raise InvalidInput(
            f"run {run.name} has no smaller model; run it with compress=[distil,prune,quantise]"
        )
    if passes < 2:
        raise InvalidInput(f"--passes must be at least 2, found {passes}")
    rows = compressed_models(run.models[1:], run.of(run.models[0]).primary, run.record)
    opened = {name: _open(run.of(name)) for name in run.models}
    with tempfile.TemporaryDirectory() as directory:
        if onnx:
            last = [name for name in run.models if not (run.of(name).weights / INT8).is_file()][-1]
            added, sessions = _converted(run.of(last), rows, Path(directory))
            rows += added
            opened |= {name: replace(opened[last], call=call) for name, call in sessions.items()}
        load = os.getloadavg()[0]
        timed = {size: _time(opened, size, passes) for size in BATCHES}
    kind = f"{processor()}, {torch.get_num_threads()} threads, {passes} passes after 3 untimed"
    return Comparison(
        run.task.name, rows, Timed(timed, f"{kind}, load {load:.1f} before; float32 and int8")
    )


def write_comparison(found: Comparison, folder: Path) -> Path:
    """Returns the page, after writing it and the same as JSON into a folder.

    Raises:
        Missing: there is no such folder.
    """
    if not folder.is_dir():
        raise Missing(f"expected a folder for {PAGE}, found none at {folder}; create it")
    page = folder / PAGE
    write_text(page, html(compression_page(found.task, found.models, found.timed)))
    text = json.dumps(asdict(found), indent=1, ensure_ascii=False)
    write_text(page.with_suffix(".json"), text + "\n")
    return page


def _open(run: StoredRun) -> _Opened:
    head, length = run.task.head, run.cell.parts.finetune.max_length
    validation = run.task.data.validation
    sample = validation.take(np.arange(TEXTS) % len(validation))
    model: Any = head.open(run.weights).eval()
    tokenizer = checkpoint.tokenizer(run.weights)
    return _Opened(model, head.read(sample, model, tokenizer, length, labelled=False))


def _time(opened: Mapping[str, _Opened], size: int, passes: int) -> dict[str, Latency]:
    rows = [list(range(first, first + size)) for first in range(0, TEXTS, size)]
    batches = {name: [one.inputs.batch(own) for own in rows] for name, one in opened.items()}
    return latencies({name: one.call for name, one in opened.items()}, batches, passes)


def _converted(
    run: StoredRun, rows: tuple[CompressedModel, ...], directory: Path
) -> tuple[tuple[CompressedModel, ...], dict[str, Callable[..., Any]]]:
    """Returns the rows of a model as ONNX, in float32 and int8, and what calls them."""
    spec, data = run.cell.parts.task, run.task.data
    of = next(row for row in rows if row.name == run.model)
    before = spec.item_scores(run.of(run.models[0]).predictions, data)
    added, calls = [], {}
    models = convert(run, run.weights, directory, Runtime("cpu", progress=False), int8=True)
    for file, kind in ((WHOLE, "ONNX"), (SMALL, "ONNX int8")):
        path, (_, found) = directory / file, models[file]
        metric = next(one for one in spec.evaluate(found, data, "test") if one.primary)
        items = spec.item_scores(found, data)[metric.name]
        gain = gain_of(metric, items - before[metric.name])
        name = f"{run.model}, {kind}"
        row = CompressedModel(name, of.parameters, path.stat().st_size, metric, gain)
        added.append(row)
        calls[name] = partial(outputs, Session(path, torch.get_num_threads()))
    return tuple(added), calls
