"""Which documents: vectors, the fitted selector, scores, the selection."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file, save_file

from shortlist.core import Budget, Selection
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.tokens import tokenize
from shortlist.selectors.base import Scored, score_pool
from shortlist.store import formats
from shortlist.store.atomic import write_text
from shortlist.trainers.base import seeded

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.stages.context import Context
    from shortlist.store.cache import Artifact


def featurize(cell: Context, corpus: Path, fingerprint: str, name: str) -> Artifact:
    """Returns the vectors of the corpus in the file `corpus`; `name` is what its counts are called.

    Raises:
        ForeignFeatures: the vectors belong to another corpus, or their number is another.
    """
    featurizer, runtime = cell.parts.featurizer, cell.parts.runtime

    def compute(directory: Path) -> dict[str, Any]:
        documents = formats.load_corpus(corpus)
        values, facts = featurizer.compute(documents, directory, runtime)
        formats.save_features(directory, documents.fingerprint, values)
        return facts

    inputs = {"corpus": fingerprint, **featurizer.identity(runtime)}
    made = cell.stage("features", featurizer.version, cell.config["featurizer"], inputs, compute)
    formats.load_features(made.path).of(formats.load_corpus(corpus))
    cell.counts |= {f"{name}_{fact}": count for fact, count in made.facts.items() if count}
    return made


def fit(cell: Context, target: Artifact, pool: Artifact) -> Artifact:
    """Returns what the selector learned; neither budget nor seed is in its key."""
    selector = cell.parts.selector

    def compute(directory: Path) -> dict[str, Any]:
        selector.to(cell.parts.runtime.device)
        selector.show_progress = cell.parts.runtime.progress
        selector.fit(formats.load_features(target.path), formats.load_features(pool.path))
        state = {name: value.contiguous().clone() for name, value in selector.state_dict().items()}
        save_file(state, directory / "fitted.safetensors")
        return selector.report

    inputs = {"target": target.key, "pool": pool.key}
    made = cell.stage("fit", selector.version, cell.config["selector"], inputs, compute)
    cell.selected["fit"] = dict(made.facts)
    if made.facts.get("converged") is False:
        error = made.facts["marginal_error"]
        cell.warnings.append(f"transport not converged: marginal error {error:.1e}")
    return made


def score(cell: Context, fitted: Artifact, pool: Artifact) -> Artifact:
    """Returns the score of every document of the pool."""
    selector, runtime = cell.parts.selector, cell.parts.runtime

    def compute(directory: Path) -> None:
        selector.restore(load_file(fitted.path / "fitted.safetensors"))
        features = formats.load_features(pool.path)
        np.save(directory / "scores.npy", score_pool(selector, features, runtime))

    return cell.stage("scores", 1, {}, {"fit": fitted.key, "pool": pool.key}, compute)


def select(cell: Context, scores: Artifact, pool: Artifact, leaked: Artifact) -> Artifact:
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
        values = np.where(allowed, np.load(scores.path / "scores.npy"), -np.inf)
        scored = Scored(values, documents.id_words(), costs)
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
        }

    settings: dict[str, Any] = {"budget": budget.amount, "unit": budget.unit}
    settings |= {"seed": seed} if selector.stochastic else {}
    # The selector again, beside the scores' key: `select` may read settings that `score` does not.
    settings |= {"selector": cell.config["selector"], "version": selector.version}
    inputs = {"scores": scores.key, "leaks": leaked.key}
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
