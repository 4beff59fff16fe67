"""Export of a run: its fine-tuned model as a model directory."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.deploy.card import model_card
from shortlist.deploy.convert import convert
from shortlist.deploy.inference import WHOLE
from shortlist.deploy.model_dir import (
    CARD,
    Calibration,
    Measured,
    ModelDir,
    ModelFacts,
    Variant,
    check_free,
    write_model_dir,
)
from shortlist.errors import InvalidInput, Missing
from shortlist.models import checkpoint
from shortlist.models.checkpoint import ADAPTER, INT8, KEPT_HEADS
from shortlist.models.shrinking import restore_heads
from shortlist.pipeline.data import load_pool
from shortlist.pipeline.selection import SELECTION
from shortlist.runtime import Runtime
from shortlist.store.formats import load_selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Metric
    from shortlist.deploy.runs import StoredRun

TOLERANCE = 1e-4  # of outputs of a converted model, where the largest is at most 1; else times that
FILES = (  # of a model of transformers; a stage has others beside them
    "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*",
    "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template*", "*.model",
)  # fmt: skip


def export_run(
    run: StoredRun, out: Path, *, onnx: bool = False, int8: bool = False, licence: str = "unknown"
) -> ModelDir:
    """Returns the model directory of a run.

    With `onnx` or `int8` every test item is predicted by the weights and by each converted model.

    Args:
        run: the run.
        out: the directory.
        onnx: whether the model is written as ONNX too.
        int8: whether it is written as quantised ONNX too, beside the other.
        licence: the hub's identifier of the licence of the model.

    Raises:
        InvalidInput: the model cannot be exported in this form, or its conversion changes it.
        Missing: weights, predictions or a package are not there.
    """
    check_free(out)
    facts = _facts(run)
    weights = run.weights
    if (weights / ADAPTER).is_dir():
        raise InvalidInput(
            f"run {run.name}: expected a model whose weights hold what it learned, this one needs the "
            "vectors of prompt or prefix tuning before its input; fine-tune with peft lora, dora or ia3"
        )
    if (weights / INT8).is_file():
        raise InvalidInput(
            f"run {run.name}: transformers alone cannot open the model {run.model}, which has "
            "weights of eight bits; export the model before it, with --int8 for eight bits"
        )

    def write(directory: Path) -> ModelFacts:
        for file in weights.iterdir():
            if any(file.match(pattern) for pattern in FILES):
                shutil.copyfile(file, directory / file.name)
        if KEPT_HEADS in (weights / "config.json").read_text(encoding="utf-8"):
            whole = restore_heads(run.task.head.open(weights), "export")
            checkpoint.save(directory, whole, checkpoint.tokenizer(weights))
        _limit_tokenizer(directory, facts.max_length)
        described = facts
        if onnx or int8:
            described = replace(facts, variants=_convert(run, facts, directory, int8))
        (directory / CARD).write_text(
            model_card(run, described, _sizes(run), _licences(run), licence), encoding="utf-8"
        )
        return described

    return write_model_dir(out, write)


def _facts(run: StoredRun) -> ModelFacts:
    primary = run.primary
    facts = ModelFacts(
        task=run.task.name,
        kind=run.kind,
        labels=tuple(run.task.labels or ()),
        max_length=run.cell.parts.finetune.max_length,
        record=run.record.key,
        run=run.name,
        selection=run.record.selection["sha256"],
        data_version=run.task.fingerprint("train"),
        metric=Measured(primary.name, primary.value, primary.stderr),
        calibration=run.calibration,
        two_texts=run.two_texts,
        threshold=float(getattr(run.cell.parts.task, "threshold", 0.5)),
    )
    if facts.calibration is None or facts.calibration.method == "temperature":
        return facts  # which keeps the predicted classes
    served = _mapped(run.predictions, facts.calibration)
    return replace(facts, metric=_measured(run, served))


def _mapped(values: NDArray[Any], calibration: Calibration | None) -> NDArray[Any]:
    """Returns predictions as they are served: probabilities of classes through the map."""
    return values if calibration is None else calibration.apply(values)


def _measured(run: StoredRun, values: NDArray[Any]) -> Measured:
    """Returns the primary metric of predictions of the test items."""
    metrics = run.cell.parts.task.evaluate(values, run.task.data, "test")
    found: Metric = next(metric for metric in metrics if metric.primary)
    return Measured(found.name, found.value, found.stderr)


def _convert(run: StoredRun, facts: ModelFacts, directory: Path, int8: bool) -> dict[str, Variant]:
    """Returns what each converted model, which is written into `directory`, changes. Pruned heads
    are left out of it, whatever the weights in `directory` hold.
    """
    runtime = Runtime(
        "cpu", inference_tokens=run.cell.parts.runtime.inference_tokens, progress=False
    )
    expected = _mapped(run.predictions, facts.calibration)
    variants: dict[str, Variant] = {}
    for name, (converted, found) in convert(
        run, run.weights, directory, runtime, int8=int8
    ).items():
        values = _mapped(found, facts.calibration)
        allowed = TOLERANCE * max(1, converted.largest)
        if name == WHOLE and converted.difference > allowed:
            raise InvalidInput(
                f"run {run.name}: outputs of the ONNX model differ by {converted.difference:.1e} from "
                f"those of the weights, expected at most {allowed:.1e}; export without --onnx"
            )
        variants[name] = Variant(
            agreement=float(np.mean(_same(values, expected, facts))),
            difference=converted.difference,
            metric=_measured(run, values),
        )
    return variants


def _same(values: NDArray[Any], expected: NDArray[Any], facts: ModelFacts) -> NDArray[np.bool_]:
    """Returns for each item whether two predictions say the same: the same class, the same classes,
    the same tags, or numbers that differ by at most 1e-3.
    """
    if facts.kind == "regression":
        return np.abs(values - expected) <= 1e-3
    if facts.kind == "tokens":
        return values == expected
    if facts.kind == "multi_label":
        return ((values >= facts.threshold) == (expected >= facts.threshold)).all(1)
    return values.argmax(1) == expected.argmax(1)


def _limit_tokenizer(directory: Path, max_length: int) -> None:
    """Writes the length that the model was trained with into the tokenizer's configuration, so that
    `truncation=True` cuts there.
    """
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"model_max_length": max_length}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sizes(run: StoredRun) -> dict[str, int]:
    data = run.task.data
    return {split: len(data.split(split)) for split in ("train", "validation", "test")}


def _licences(run: StoredRun) -> Mapping[str, int]:
    """Returns the number of selected documents by licence, `not known` where a document has none or
    the pool is no longer stored.
    """
    unknown = "not known"
    size = int(run.record.selection.get("size", 0))
    key = next((one.key for one in run.record.stages if one.stage == "selection"), None)
    path = run.cell.store.root / "selection" / str(key) / SELECTION
    of: dict[str, Any] = {}
    with suppress(Missing):
        pool = load_pool(run.cell).corpus
        of = dict(zip(pool.ids, pool.trait("licence") or [None] * len(pool), strict=True))
    if not path.is_file():
        return {unknown: size} if size else {}
    found = Counter(of.get(one) or unknown for one in load_selection(path).ids)
    return dict(found.most_common())
