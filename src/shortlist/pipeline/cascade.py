"""The cascade as a stage: the encoder reads only the documents that a budget may reach."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist import progress
from shortlist.core import Features
from shortlist.featurizers import cascade as algorithm
from shortlist.featurizers.transformer import Transformer
from shortlist.models import checkpoint
from shortlist.models.tokens import tokenize
from shortlist.pipeline.stage import Cell, Notes, Stage
from shortlist.selectors.base import Selector, TransductiveSelector
from shortlist.store import formats
from shortlist.vectors import row_slices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.pipeline.candidates import Candidates

log = logging.getLogger(__name__)

VERSION = 1  # raised when equal settings would give other vectors
ENCODED = "encoded.npy"


def reason_against(cell: Cell, candidates: int) -> str | None:
    """Returns why the cascade does not apply to a cell that asks for it, or None where it does."""
    settings, parts = cell.parts.cascade, cell.parts
    assert settings is not None  # the caller asks where there is one
    selector, featurizer = parts.selector, parts.featurizer
    if not isinstance(featurizer, Transformer):
        return "the method's vectors are not those of an encoder"
    if not featurizer.normalise:
        return "it needs vectors of length 1 (featurizer.normalise=true)"
    if selector.members or len(parts.targets) > 1:
        return "it serves one method and one target"
    if isinstance(selector, TransductiveSelector) or type(selector).select is not Selector.select:
        return "it serves methods that take the documents of largest score"
    if parts.budget.unit != "documents":
        return "it needs a budget in documents"
    if settings.sample + parts.budget.amount >= candidates:
        return f"the pool of {candidates:,} documents is too small to gain anything"
    return None


def cascaded(
    cell: Cell,
    candidates: Candidates,
    featurizer: Transformer,
    featurizer_settings: Any,
    target: Features,
    target_key: str,
) -> tuple[Stage, Stage, Notes]:
    """Returns the stages with the vectors of the candidates and of the target, and notes.

    Vectors have one dimension more than the encoder's (`shortlist.featurizers.cascade.extended`).
    Which documents are encoded is decided by the cell's selector, whose ablation baseline reads the
    same vectors.

    Args:
        cell: the cell; `reason_against` has found nothing.
        candidates: the documents to choose from.
        featurizer: the encoder, whose requirements are met.
        featurizer_settings: its settings as plain data.
        target: exact vectors of the target, joined with its documents.
        target_key: the key of the stage that computed them.
    """
    settings, parts, runtime = cell.parts.cascade, cell.parts, cell.parts.runtime
    assert settings is not None and target.documents is not None
    aimed, corpus = target.documents, candidates.corpus
    exact = np.asarray(target.values)
    stretched = replace(target, values=algorithm.extended(exact))

    def write_target(directory: Path) -> None:
        formats.save_features(directory, target.corpus, stretched.values)

    def compute(directory: Path) -> dict[str, Any]:
        reader = featurizer.reader(runtime)
        cheap, cheap_target = cheap_vectors(featurizer, corpus, aimed)
        truncated = 0
        with progress.bar("cascade", None, "documents", show=runtime.progress) as report:

            def encode(rows: NDArray[np.int64]) -> NDArray[np.float32]:
                nonlocal truncated
                values, counts = reader.rows(corpus.take(rows), report)
                truncated += counts["truncated"]
                return values

            with progress.quiet("shortlist.ot"):
                found = algorithm.cascade(
                    cheap,
                    cheap_target,
                    exact,
                    candidates.selectable,
                    encode,
                    lambda values: _fitted(
                        cell, stretched, Features(values, corpus.fingerprint, "", corpus)
                    ),
                    budget=parts.budget.amount,
                    factor=settings.factor,
                    overlap=settings.overlap,
                    sample=settings.sample,
                )
        formats.save_features(directory, corpus.fingerprint, found.values)
        np.save(directory / ENCODED, found.encoded)
        encoded = int(found.encoded.sum())
        return {
            "truncated": truncated,
            "encoded": encoded,
            "predicted": len(corpus) - encoded,
            "rounds": found.rounds,
            "expected_overlap": found.expected_overlap,
        }

    selector = parts.selector
    pool_stage = cell.stage(
        "cascade",
        VERSION,
        {
            "cascade": cell.settings["cascade"],
            "featurizer": featurizer_settings,
            "version": featurizer.version,
            "selector": cell.settings["selector"],
            "selector_version": selector.version,
            "budget": parts.budget.amount,
        },
        {
            "corpus": candidates.documents.fingerprint,
            "leaks": candidates.leaks.stage.key,
            "target": target_key,
            **featurizer.identity(runtime),
            **selector.identity(),
        },
        compute,
    )
    target_stage = cell.stage("features", VERSION, {}, {"extended": target_key}, write_target)
    return pool_stage, target_stage, _notes(settings.overlap, pool_stage, target_stage)


def _notes(wanted: float, pool: Stage, target: Stage) -> Notes:
    facts = pool.facts
    sentence = (
        f"the encoder read {facts['encoded']:,} of {facts['encoded'] + facts['predicted']:,} "
        "documents (cascade); the selection is expected to share "
        f"{100 * facts['expected_overlap']:.0f} % of its documents with that of all exact vectors"
    )
    if not pool.hit:
        log.info("%s; cascade=off reads all", sentence)
    short = facts["expected_overlap"] < wanted
    told = (
        f"{sentence}, {100 * wanted:.0f} % were asked for; raise cascade.factor or set cascade=off"
    )
    counts = {name: facts[name] for name in ("encoded", "predicted", "truncated") if facts[name]}
    return Notes(
        stages=(pool, target),
        counts={f"pool_{name}": count for name, count in counts.items()},
        selection={"cascade": {"applied": True, **facts}},
        warnings=(told,) if short else (),
    )


def cheap_vectors(
    featurizer: Transformer, corpus: Corpus, target: Corpus
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the weighted mean word embeddings of pool and target by the encoder's own table."""
    home = featurizer.model.directory()
    tokenizer = checkpoint.tokenizer(home)
    embeddings: Any = checkpoint.encoder(home).get_input_embeddings()
    table = embeddings.weight.detach().float()
    pool, aimed = (
        tokenize(tokenizer, texts, None, featurizer.max_length)
        for texts in (corpus.texts, target.texts)
    )
    weights = algorithm.rarity(pool, len(table), tokenizer.all_special_ids)
    return (
        algorithm.weighted_embeddings(pool, table, weights),
        algorithm.weighted_embeddings(aimed, table, weights),
    )


def _fitted(
    cell: Cell, target: Features, pool: Features
) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """Returns the scoring function of the cell's selector, fitted to these vectors."""
    device = cell.parts.runtime.device
    selector = copy.deepcopy(cell.parts.selector).to(device)
    selector.show_progress = False
    selector.fit(target, pool)
    selector.to(device)

    def score(values: NDArray[np.float32]) -> NDArray[np.float64]:
        scores = np.empty(len(values))
        with torch.inference_mode():
            for rows in row_slices(len(values)):
                block = torch.from_numpy(values[rows]).to(device)
                scores[rows] = selector.score(block).double().cpu().numpy()
        return scores

    return score
