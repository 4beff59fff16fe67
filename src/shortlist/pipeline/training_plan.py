"""The plan of a cell's trainings before they are run: `shortlist plan`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput, Missing
from shortlist.models import checkpoint
from shortlist.models.pretrained import IntermediateModel, ScratchModel
from shortlist.pipeline.base_model import base_model
from shortlist.pipeline.candidates import choose_from
from shortlist.pipeline.loading import load_data
from shortlist.pipeline.prefilter import prefilter
from shortlist.pipeline.selection import rank, select
from shortlist.trainers.classify import Validation
from shortlist.trainers.planning import Planned, TrainingPlan

if TYPE_CHECKING:
    from shortlist.core import Corpus
    from shortlist.pipeline.candidates import CellData
    from shortlist.pipeline.stage import Cell


def training_plans(cell: Cell) -> Iterator[tuple[TrainingPlan, str]]:
    """Yields the plan of each training of a cell, and what it was measured on.

    Pool and task are read, and some batches are trained on; nothing is stored. A selection that is
    not stored is stood in for by as many documents of the pool, a head or a warm-up that is not by
    the base model, whose sizes are theirs.

    Raises:
        InvalidInput: the model is first pre-trained or trained on an intermediate task.
        ShortlistError: an input cannot be read, or a training would refuse it.
    """
    parts, data = cell.parts, load_data(cell)
    stored = cell.only_stored()
    if isinstance(parts.model, ScratchModel | IntermediateModel):
        raise InvalidInput(
            "a plan of trainings needs a model that exists, this one is trained first; run "
            "until=warmup, or set model=minilm"
        )
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        try:
            start = base_model(stored, data).model.directory()
        except Missing:
            start.mkdir()
            home = parts.model.directory()
            model = checkpoint.masked_lm(home, new_head=True)
            checkpoint.save(start, model, checkpoint.tokenizer(home))
        corpus, note = _documents(stored, data)
        scratch = Path(folder) / "trained"
        scratch.mkdir()  # for the curve of learning_rate=find
        seed, runtime = parts.seed, replace(parts.runtime, checkpoint_seconds=None, progress=False)
        if len(corpus):
            train = parts.warmup.train_on
            yield _planned(parts.warmup, lambda: train(start, corpus, scratch, seed, runtime)), note
        if parts.until in ("select", "warmup") or parts.task.evaluators:
            return
        splits, head = data.task.data, data.task.head
        validation = Validation(splits.validation, lambda values: 0.0)
        examples = f"{len(splits.train):,} labelled examples"
        tune = parts.finetune.train_on
        yield (
            _planned(
                parts.finetune,
                lambda: tune(start, splits.train, validation, head, scratch, seed, runtime),
            ),
            examples,
        )


def _planned(trainer: Any, train: Callable[[], Any]) -> TrainingPlan:
    """Returns the plan of a training that ends before its first step."""
    trainer.only_plan = True
    try:
        train()
    except Planned as ended:
        return ended.plan
    finally:
        trainer.only_plan = False
    raise AssertionError("a trainer ran in place of planning")


def _documents(stored: Cell, data: CellData) -> tuple[Corpus, str]:
    """Returns the selected documents where they are stored, else as many of the pool, by id."""
    parts = stored.parts
    try:
        candidates = choose_from(stored, data, prefilter(stored, data))
        ranking = rank(stored, data, candidates, parts.selector, stored.settings["selector"])
        chosen = select(stored, ranking)
        return chosen.documents, f"the stored selection of {chosen.size:,} documents"
    except Missing:
        pool, budget = data.pool.corpus, parts.budget
        amount = min(budget.amount, len(pool))
        if budget.unit == "tokens":  # four characters a token
            lengths = np.cumsum([len(text) / 4 for text in pool.texts])
            amount = int(np.searchsorted(lengths, budget.amount))
        return pool.take(np.arange(amount)), f"the first {amount:,} documents of the pool by id"
