"""The model that a cell starts from: as it is, with a head of its own, or made here first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import digest
from shortlist.errors import InvalidInput
from shortlist.models.pretrained import IntermediateModel, ScratchModel, StoredModel
from shortlist.pipeline.context import Context, Start
from shortlist.pipeline.teaching import taught
from shortlist.store import formats
from shortlist.store.cache import unfinished
from shortlist.store.keys import key as make_key
from shortlist.trainers.head import Head

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shortlist.core import Corpus
    from shortlist.models.pretrained import Pretrained
    from shortlist.store.cache import Artifact

BEGUN = "begun"


def base_model(cell: Context, pool: Artifact, leaked: Artifact) -> Start:
    """Returns the model before the warm-up."""
    written = cell.config["model"]
    model = existing(cell, cell.parts.model, written)
    return with_head(cell, model, written.get("head"), pool, leaked)


def existing(cell: Context, model: Pretrained, written: Mapping[str, Any]) -> Pretrained:
    """Returns the model, or, where there is none yet, the one that is made here: pre-trained on the
    pool, or taught another task. `written` are the model's settings.
    """
    if isinstance(model, ScratchModel):
        return pretrained(cell, model, written)
    return taught(cell, model, written) if isinstance(model, IntermediateModel) else model


def pretrained(cell: Context, model: ScratchModel, written: Mapping[str, Any]) -> StoredModel:
    """Returns the model after it has read a sample of the pool; `written` are its settings.

    Every cell over a pool shares it, but for those of tasks whose evaluation texts are in the
    sample: such texts are left out of it.

    Raises:
        InvalidInput: there is nothing to read.
    """
    trainer, runtime = model.pretraining, cell.parts.runtime
    pool, leaked = cell.made("pool"), cell.made("leaks")
    kept, left_out = _sample(pool, leaked, model.documents)
    if len(kept) == 0:
        raise InvalidInput(
            f"pre-training needs documents, all {len(left_out):,} of the pool's sample repeat "
            "evaluation texts; give a larger pool or model.documents=null"
        )

    def compute(directory: Path) -> dict[str, Any]:
        begun = unfinished(directory) / BEGUN
        if not begun.exists():
            made = begun.with_suffix(".part")
            made.mkdir(parents=True, exist_ok=True)
            model.initialise(kept.texts, made)
            made.rename(begun)
        facts = trainer.train_on(begun, kept, directory, model.seed, runtime)
        return {**facts, "left_out": len(left_out)}

    inputs = {"pool": pool.facts["fingerprint"], **trainer.identity(runtime)}
    if left_out:
        inputs["left_out"] = digest(left_out)
    settings = {**written, "trainer": trainer.version}
    made = cell.stage("pretrained", model.version, settings, inputs, compute)
    for fact in ("documents", "tokens", "left_out"):
        cell.counts[f"pretrained_{fact}"] = made.facts[fact]
    return StoredModel(made.path, made.key)


def with_head(
    cell: Context,
    model: Pretrained,
    written: Mapping[str, Any] | None,
    pool: Artifact,
    leaked: Artifact,
) -> Start:
    """Returns the model with a head that predicts tokens; `written` are the head's settings.

    An encoder without a masked-LM head gets one here, trained alone on a sample of the pool: before
    that a loss says nothing. Every selector of a pool and a model shares it, and so do the tasks
    none of whose evaluation texts are in the sample; such texts are left out of it.
    """
    settings, runtime = model.head, cell.parts.runtime
    identity = model.identity()
    if settings is None:
        return Start(model.directory(), make_key("model", model.version, {}, identity))
    head = Head(settings, cell.parts.warmup.wanted_precision)
    kept, left_out = _sample(pool, leaked, settings.documents)

    def compute(directory: Path) -> dict[str, Any]:
        return head.train_on(model.directory(), kept, directory, runtime)

    inputs = {"pool": pool.facts["fingerprint"], **identity, **head.identity(runtime)}
    if left_out:
        inputs["left_out"] = digest(left_out)
    made = cell.stage("head", head.version, written or {}, inputs, compute)
    return Start(made.path, made.key)


def _sample(pool: Artifact, leaked: Artifact, documents: int | None) -> tuple[Corpus, list[str]]:
    """Returns a uniform sample of the pool without evaluation texts, and the ids of those that were
    in it.

    The pool is in the order of ids, which are hashes: its first rows are a uniform sample.
    """
    whole = formats.load_corpus(pool.path / "corpus.arrow")
    first = whole.take(np.arange(len(whole) if documents is None else min(documents, len(whole))))
    excluded = json.loads((leaked.path / "leaks.json").read_text(encoding="utf-8"))
    kept = [row for row, key in enumerate(first.ids) if key not in excluded]
    return first.take(kept), [key for key in first.ids if key in excluded]
