"""Which documents: the scores of the methods become a list."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Budget, Selection
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.tokens import tokenize
from shortlist.selectors.base import Scored
from shortlist.store import formats
from shortlist.store.atomic import write_text
from shortlist.trainers.base import seeded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shortlist.stages.context import Context
    from shortlist.store.cache import Artifact


def select(
    cell: Context, scores: Mapping[str, Artifact], pool: Artifact, leaked: Artifact
) -> Artifact:
    """Returns the selection; `shortlist.jsonl` in the run's directory shows it to people.

    Raises:
        InvalidInput: the budget is more than the pool has.
    """
    selector, budget, seed = cell.parts.selector, cell.parts.budget, cell.parts.seed
    lengths = count_tokens(cell, pool) if budget.unit == "tokens" else None

    def compute(directory: Path) -> dict[str, Any]:
        documents = formats.load_corpus(pool.path / "corpus.arrow")
        excluded = json.loads((leaked.path / "leaks.json").read_text(encoding="utf-8"))
        allowed = np.array([key not in excluded for key in documents.ids])
        costs = np.load(lengths.path / "tokens.npy") if lengths else None
        available = allowed.sum() if costs is None else costs[allowed].sum()
        _check_budget(budget, int(available), len(excluded))
        columns = {
            name: np.where(allowed, np.load(made.path / "scores.npy"), -np.inf)
            for name, made in scores.items()
        }
        values = selector.combine(columns)
        vectors = {
            name: formats.load_features(made.path).of(documents)
            for name, made in cell.vectors.items()
        }
        scored = Scored(values, documents.id_words(), costs, documents, columns, vectors)
        choice = selector.select(scored, budget, seeded(seed, "selection"))
        ids, domains = documents.ids, documents.domains
        selection = Selection(
            ids=tuple(ids[row] for row in choice.rows),
            scores=choice.scores,
            weights=choice.weights,
            corpus=documents.fingerprint,
            budget=budget,
            why=(type(selector).__doc__ or "").strip().splitlines()[0],
        )
        formats.save_selection(directory / "selection.parquet", selection)
        return {
            "size": len(selection),
            "unique": len(set(selection.ids)),
            "sha256": selection.sha256,
            "domains": dict(sorted(Counter(domains[row] for row in choice.rows).items())),
            **choice.report,
        }

    settings: dict[str, Any] = {"budget": budget.amount, "unit": budget.unit}
    settings |= {"seed": seed} if selector.stochastic else {}
    # The selector again, beside the scores' key: `select` may read settings that `score` does not.
    settings |= {"selector": cell.config["selector"], "version": selector.version}
    inputs = {f"scores.{name}".rstrip("."): made.key for name, made in scores.items()}
    inputs |= {"leaks": leaked.key}
    inputs |= {"tokens": lengths.key} if lengths else {}
    made = cell.stage("selection", 2, settings, inputs, compute)
    cell.selected |= made.facts
    write_shortlist(cell.directory / "shortlist.jsonl", made, pool)
    return made


def count_tokens(cell: Context, pool: Artifact) -> Artifact:
    """Returns the number of tokens of each document, as the model to be trained counts them."""
    model = cell.parts.model

    def compute(directory: Path) -> None:
        texts = formats.load_corpus(pool.path / "corpus.arrow").texts
        words = checkpoint.tokenizer(model.directory())
        np.save(directory / "tokens.npy", tokenize(words, texts, None, None).lengths)

    inputs = {"corpus": pool.facts["fingerprint"], **model.identity()}
    return cell.stage("tokens", 1, {}, inputs, compute)


def write_shortlist(path: Path, selection: Artifact, pool: Artifact) -> None:
    """Writes the selection as JSON lines, best first: id, rank, score, domain, text."""
    chosen = formats.load_selection(selection.path / "selection.parquet")
    documents = chosen.of(formats.load_corpus(pool.path / "corpus.arrow"))
    rows = zip(chosen.ids, chosen.scores.tolist(), documents.domains, documents.texts, strict=True)
    lines = [
        json.dumps(
            {"id": key, "rank": rank, "score": value, "domain": domain, "text": text},
            ensure_ascii=False,
        )
        for rank, (key, value, domain, text) in enumerate(rows, start=1)
    ]
    write_text(path, "\n".join(lines) + "\n")


def _check_budget(budget: Budget, available: int, leaked: int) -> None:
    if budget.amount > available:
        aside = f" (after {leaked:,} that repeat evaluation texts were set aside)" if leaked else ""
        raise InvalidInput(
            f"budget={budget.amount:,} {budget.unit} is more than the pool's {available:,}{aside}; "
            f"set budget={available} or less, or a larger pool"
        )
