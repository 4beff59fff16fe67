"""The base model of a cell: as it is, converted, pre-trained here, fine-tuned on another task
first, or given a head that predicts tokens.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import digest
from shortlist.errors import InvalidInput
from shortlist.models.pretrained import IntermediateModel, ScratchModel, StoredModel
from shortlist.models.quantized import QuantizedModel
from shortlist.pipeline.candidates import task_texts
from shortlist.pipeline.data import load_splits
from shortlist.pipeline.leaks import check_leaks
from shortlist.pipeline.stage import Cell, Notes
from shortlist.store.atomic import is_sealed, seal
from shortlist.store.cache import unfinished
from shortlist.store.keys import key as make_key
from shortlist.trainers.language_model import MaskedLMHead

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shortlist.core import Corpus
    from shortlist.models.pretrained import Pretrained
    from shortlist.pipeline.candidates import CellData

INITIAL = "initial"  # folder of the model before its pre-training


@dataclass(frozen=True)
class CellModel:
    """A model at one point of the cell, and what making it added to the record.

    Attributes:
        model: the stored model.
        notes: of the stages that made it.
    """

    model: StoredModel
    notes: Notes = field(default_factory=Notes)


def base_model(cell: Cell, data: CellData) -> CellModel:
    """Returns the model before the warm-up."""
    settings = cell.settings["model"]
    model, notes = available(cell, cell.parts.model, settings, data)
    base = with_head(cell, model, settings.get("head"), data)
    return CellModel(base.model, notes + base.notes)


def available(
    cell: Cell, model: Pretrained, settings: Mapping[str, Any], data: CellData
) -> tuple[Pretrained, Notes]:
    """Returns a model whose files exist: `model` itself, or what the pipeline trains in its place.

    Args:
        cell: the cell.
        model: the model that the configuration names.
        settings: its settings as plain data.
        data: what it is trained on where it does not exist yet.
    """
    if isinstance(model, ScratchModel):
        return _pretrain(cell, model, settings, data)
    if isinstance(model, IntermediateModel):
        return _fine_tune_intermediate(cell, model, settings, data)
    if isinstance(model, QuantizedModel):
        stage, converted = cell.charged_to("preparation").model(*model.conversion)
        return converted, Notes(stages=(stage,), warnings=(model.remark,))
    return model, Notes()


def _pretrain(
    cell: Cell, model: ScratchModel, settings: Mapping[str, Any], data: CellData
) -> tuple[StoredModel, Notes]:
    """Returns the model after pre-training on a sample of the pool.

    All cells over a pool share it unless the sample holds evaluation texts of their tasks, which
    are excluded from it.

    Raises:
        InvalidInput: no document is left to train on.
    """
    trainer, runtime = model.pretraining, cell.parts.runtime
    sample, excluded = _sample(data, model.documents)
    if len(sample) == 0:
        raise InvalidInput(
            f"pre-training needs documents, all {len(excluded):,} of the pool's sample repeat "
            "evaluation texts; give a larger pool or model.documents=null"
        )

    def compute(directory: Path) -> dict[str, Any]:
        initial = unfinished(directory) / INITIAL
        if not is_sealed(initial):  # absent, or damaged since
            shutil.rmtree(initial, ignore_errors=True)
            initial.mkdir(parents=True)
            model.initialise(sample.texts, initial)
            seal(initial)
        facts = trainer.train_on(initial, sample, directory, model.seed, runtime)
        return {**facts, "left_out": len(excluded)}

    inputs = {"pool": data.pool.fingerprint, **trainer.identity(runtime)}
    if excluded:
        inputs["left_out"] = digest(excluded)
    stage, trained = cell.charged_to("preparation").model(
        "pretrained", model.version, {**settings, "trainer": trainer.version}, inputs, compute
    )
    counts = {
        f"pretrained_{fact}": stage.facts[fact] for fact in ("documents", "tokens", "left_out")
    }
    return trained, Notes(stages=(stage,), counts=counts)


def _fine_tune_intermediate(
    cell: Cell, model: IntermediateModel, settings: Mapping[str, Any], data: CellData
) -> tuple[StoredModel, Notes]:
    """Returns the model after fine-tuning on the labels of an intermediate task.

    All cells share it unless the intermediate task's training examples hold evaluation texts of
    their tasks, which are excluded from them.

    Raises:
        InvalidInput: no example is left.
    """
    cell = cell.charged_to("preparation")
    task, place = settings["intermediate_task"], "model.intermediate_task"
    splits = load_splits(cell, model.intermediate_task, "intermediate", task, place)
    texts = task_texts(cell, splits)
    leaks = check_leaks(cell, texts, data.task, data.targets, "intermediate")
    train, id_of = splits.data.train, dict(zip(texts.corpus.texts, texts.corpus.ids, strict=True))
    rows = [row for row, text in enumerate(train.joined()) if id_of[text] not in leaks.excluded]
    if not rows:
        raise InvalidInput(
            f"all {len(train):,} examples of the intermediate task {model.intermediate_task.name} "
            "repeat evaluation texts; choose another model.intermediate_task"
        )
    trainer, runtime, labels = model.trainer, cell.parts.runtime, splits.labels

    def compute(directory: Path) -> dict[str, Any]:
        start = model.base.directory()
        return trainer.train_on(
            start, train.take(rows), None, splits.head, directory, model.seed, runtime
        )

    inputs = {
        "train": splits.fingerprint("train"),
        **model.identity(),
        **trainer.identity(runtime),
    }
    if len(rows) < len(train):
        inputs["left_out"] = digest(sorted(leaks.excluded))
    stage, tuned = cell.model(
        "intermediate",
        model.version,
        {
            "trainer": settings["trainer"],
            "trainer_version": trainer.version,
            "seed": model.seed,
            "labels": labels,
        },
        inputs,
        compute,
    )
    counts = {
        "intermediate_examples": len(rows),
        "intermediate_left_out": len(train) - len(rows),
        "intermediate_truncated": stage.facts["truncated"],
    }
    remark = model.base.remark
    own = Notes(stages=(stage,), counts=counts, warnings=(remark,) if remark else ())
    notes = splits.notes + texts.notes + leaks.notes + own
    return StoredModel(tuned.directory, tuned.key, model.head), notes


def with_head(
    cell: Cell, model: Pretrained, settings: Mapping[str, Any] | None, data: CellData
) -> CellModel:
    """Returns the model with a head that predicts tokens.

    An encoder without a masked-LM head gets one here, trained alone on a sample of the pool: the
    loss of a random head says nothing. Every selector of a pool and a model shares it, and so do
    all tasks without evaluation texts in the sample; such texts are excluded from it.

    Args:
        cell: the cell.
        model: a model whose files exist.
        settings: settings of the head's training as plain data.
        data: holds the pool.
    """
    training, runtime = model.head, cell.parts.runtime
    identity = model.identity()
    if training is None:
        key = make_key("model", model.version, {}, identity)
        return CellModel(StoredModel(model.directory, key))
    head = MaskedLMHead(training, cell.parts.warmup.precision_setting)
    sample, excluded = _sample(data, training.documents)

    def compute(directory: Path) -> dict[str, Any]:
        return head.train_on(model.directory(), sample, directory, runtime)

    inputs = {"pool": data.pool.fingerprint, **identity, **head.identity(runtime)}
    if excluded:
        inputs["left_out"] = digest(excluded)
    stage, whole = cell.charged_to("preparation").model(
        "head", head.version, settings or {}, inputs, compute
    )
    return CellModel(whole, Notes(stages=(stage,)))


def _sample(data: CellData, documents: int | None) -> tuple[Corpus, list[str]]:
    """Returns a uniform sample of the pool without leaks, and the ids of the leaks in it.

    The pool is sorted by id, which is a hash: its first rows are a uniform sample.
    """
    pool, excluded = data.pool.corpus, data.leaks.excluded
    first = pool.take(np.arange(len(pool) if documents is None else min(documents, len(pool))))
    rows = [row for row, key in enumerate(first.ids) if key not in excluded]
    return first.take(rows), [key for key in first.ids if key in excluded]
