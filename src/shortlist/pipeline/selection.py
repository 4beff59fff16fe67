"""Which documents: the scores of the methods become a list."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Budget, Selection, TargetSpec
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.tokens import tokenize
from shortlist.pipeline.scoring import Scores, aims_of
from shortlist.pipeline.starting import existing
from shortlist.selectors.base import ScoredPool, fill_worst_rank
from shortlist.selectors.multi_target import Floor, select_with_floors, standardised, weighted_sum
from shortlist.stats.sampling import order
from shortlist.store import formats
from shortlist.store.atomic import write_jsonl
from shortlist.trainers.base import seeded

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.pipeline.context import Context
    from shortlist.selectors.base import Choice, Selector
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rated:
    """The pool as a selection sees it.

    Attributes:
        documents: the pool.
        total: scores for all targets together.
        each: scores for each target alone, as they enter the sum.
        allowed: (n,) whether a document may be chosen.
        excluded: how many documents repeat evaluation texts and have no score.
    """

    documents: Corpus
    total: ScoredPool
    each: Mapping[str, ScoredPool]
    allowed: NDArray[np.bool_]
    excluded: int


def select(cell: Context, scores: Scores, pool: Artifact, leaked: Artifact) -> Artifact:
    """Returns the selection; `shortlist.jsonl` in the run's directory shows it to people.

    Raises:
        InvalidInput: the budget is more than the pool has, or a floor cannot be met.
    """
    selector = cell.parts.selector
    made = choose(cell, selector, cell.config["selector"], scores, pool, leaked)
    cell.selected |= made.facts
    if aims_of(cell) is not cell.parts.aims and not cell.parts.aims.single:
        log.info(
            "%s looks at no target: weights and floors change nothing", type(selector).__name__
        )
        cell.selected["targets"] = {"weights": dict(cell.parts.aims.weights), "applied": False}
    write_shortlist(cell.directory / "shortlist.jsonl", made, pool)
    return made


def choose(
    cell: Context,
    selector: Selector,
    written: Mapping[str, Any],
    scores: Scores,
    pool: Artifact,
    leaked: Artifact,
) -> Artifact:
    """Returns the selection that `selector`, whose settings are `written`, makes of its scores."""
    budget, seed, aims = cell.parts.budget, cell.parts.seed, aims_of(cell)
    needs_tokens = budget.unit == "tokens" or selector.traits.reads_tokens
    lengths = count_tokens(cell, pool) if needs_tokens else None

    def compute(directory: Path) -> dict[str, Any]:
        rated = read_rated(cell, selector, scores, pool, leaked, lengths)
        documents, costs, allowed = rated.documents, rated.total.costs, rated.allowed
        available = rated.total.values > -np.inf
        unscored = int((allowed & ~available).sum())
        left = available.sum() if costs is None else costs[available].sum()
        if not selector.traits.repeats:
            _check_budget(budget, int(left), rated.excluded, unscored)
        facts: dict[str, Any] = {}
        if aims.single:
            choice = selector.select(rated.total, budget, seeded(seed, "selection"))
        else:
            choice, facts["targets"] = _for_several(selector, rated, aims, budget, seed)
        ids, domains = documents.ids, documents.domains
        selection = Selection(
            ids=tuple(ids[row] for row in choice.rows),
            scores=choice.scores,
            corpus=documents.fingerprint,
            budget=budget,
            why=(type(selector).__doc__ or "").strip().splitlines()[0],
        )
        formats.save_selection(directory / "selection.parquet", selection)
        return facts | {
            "size": len(selection),
            "unique": len(set(selection.ids)),
            "sha256": selection.sha256,
            "domains": dict(sorted(Counter(domains[row] for row in choice.rows).items())),
            **({"without_score": unscored} if unscored else {}),
            **choice.report,
        }

    settings: dict[str, Any] = {"budget": budget.amount, "unit": budget.unit}
    settings |= {"seed": seed} if selector.traits.stochastic else {}
    if not aims.single:  # "sum": raised when scores for several targets are added in another way
        settings |= {"weights": aims.weights, "floors": aims.floors, "sum": 2}
    # The selector again, beside the scores' key: `select` may read settings that `score` does not.
    settings |= {"selector": written, "version": selector.version}
    inputs = score_keys(scores) | {"leaks": leaked.key}
    inputs |= {"tokens": lengths.key} if lengths else {}
    # For several targets, version 2 weighed orders that left documents out.
    return cell.stage("selection", 2 if aims.single else 3, settings, inputs, compute)


def read_rated(
    cell: Context,
    selector: Selector,
    scores: Scores,
    pool: Artifact,
    leaked: Artifact,
    lengths: Artifact | None,
) -> Rated:
    """Returns the scores for each target and their weighted sum, by method and together.

    Scores of an additive method are summed as they are: of a transport method the sum is the
    gradient of sum_t w_t OT(pool, target_t); of a log-ratio it is the ratio for the geometric mean
    of the targets. Others have no common unit, so each target's scores are brought to mean 0 and
    standard deviation 1 over the pool first: then a weight is what a standard deviation is worth.

    A negative weight goes away from a target. The paper's GOT-D (contrast) is described in words
    only, as toxic samples as the negative target (Kang et al. 2024, section 3.1 and appendix C.1.2;
    no formula, no code); read with its Theorem 1 it takes the largest gradients of OT(pool, toxic).
    Here that is one term of a sum: toward clean *and* away from toxic, -g_clean + w g_toxic, which
    lowers OT(pool, clean) - w OT(pool, toxic) the fastest. Weight 0 for every other target gives
    the paper's reading alone.

    Raises:
        InvalidInput: there are several targets, and a method gives a document several scores.
    """
    aims, documents = aims_of(cell), formats.load_corpus(pool.path / "corpus.arrow")
    excluded = json.loads((leaked.path / "leaks.json").read_text(encoding="utf-8"))
    allowed = np.array([key not in excluded for key in documents.ids])
    tokens = np.load(lengths.path / "tokens.npy") if lengths else None
    words = documents.id_bits()
    vectors = {
        name: formats.load_features(judge.pool.path).of(documents)
        for name, judge in next(iter(cell.judges.values()), {}).items()
    }

    def scored(columns: Mapping[str, NDArray[np.float64]]) -> ScoredPool:
        return ScoredPool(
            values=selector.combine(columns),
            id_bits=words,
            costs=tokens if cell.parts.budget.unit == "tokens" else None,
            documents=documents,
            columns=columns,
            vectors=vectors,
            report=cell.selected.get("fit", {}),
            tokens=tokens,
        )

    columns: dict[str, dict[str, NDArray[np.float64]]] = {}
    for aim, made in scores.items():
        own = columns.setdefault(aim, {})
        for name, one in made.items():
            method = selector.members[name].selector if name else selector
            found = np.load(one.path / "scores.npy")
            if found.ndim > 1 and len(scores) > 1:
                raise InvalidInput(
                    f"{type(method).__name__} parts its target by domain (selector.separate) and "
                    f"cannot also weigh {' and '.join(f'`{one}`' for one in scores)}; give it one "
                    "target, or set selector.separate=false"
                )
            for part, values in _parts(name, found):
                column = np.where(allowed, values, -np.inf)
                alike = aims.single or method.traits.additive
                own[part] = column if alike else standardised(column)
    each = {aim: scored(column) for aim, column in columns.items()}
    if aims.single:
        (total,) = each.values()
        return Rated(documents, total, each, allowed, int((~allowed).sum()))
    members = next(iter(columns.values()))
    total = scored(
        {
            name: weighted_sum({aim: own[name] for aim, own in columns.items()}, aims.weights)
            for name in members
        }
    )
    return Rated(documents, total, each, allowed, int((~allowed).sum()))


def score_keys(scores: Scores) -> dict[str, str]:
    """Returns the keys of the scores as inputs of a stage."""
    alone = len(scores) == 1
    return {
        ".".join(part for part in ("scores", "" if alone else aim, name) if part): made.key
        for aim, own in scores.items()
        for name, made in own.items()
    }


def _for_several(
    selector: Selector, rated: Rated, aims: TargetSpec, budget: Budget, seed: int
) -> tuple[Choice, dict[str, Any]]:
    """Returns the choice for several targets, and what it has for each of them."""

    def with_floors(
        one: Selector, total: ScoredPool, each: Mapping[str, ScoredPool]
    ) -> tuple[Choice, dict[str, Floor]]:
        draw = partial(seeded, seed, "selection")
        return select_with_floors(one, total, each, aims.floors, budget, draw)

    kept: dict[str, Floor] = {}
    if aims.floors:
        choice, kept = with_floors(selector, rated.total, rated.each)
        if like := selector.stands_in_for:
            member = selector.members[like].selector
            alone = {aim: one.of(like, member) for aim, one in rated.each.items()}
            picks, _ = with_floors(member, rated.total.of(like, member), alone)
            # What the control reports of its parts is about the parts.
            overlap = len(np.intersect1d(choice.rows, picks.rows))
            choice = replace(choice, report={**choice.report, "overlap": overlap})
    else:
        choice = selector.select(rated.total, budget, seeded(seed, "selection"))
    rows = np.unique(choice.rows)
    best = {aim: order(one.values, one.id_bits)[: len(rows)] for aim, one in rated.each.items()}
    held = Counter(row for one in kept.values() for row in one.rows.tolist())
    return choice, {
        "applied": True,
        "weights": dict(aims.weights),
        "floors": {
            aim: {"share": aims.floors[aim], "asked": one.asked, "kept": one.met}
            for aim, one in kept.items()
        },
        "kept_for_several": sum(count > 1 for count in held.values()),
        "among_best": {aim: float(np.isin(rows, top).mean()) for aim, top in best.items()},
        "mean_score": {
            aim: float(fill_worst_rank(one.values)[rows].mean()) for aim, one in rated.each.items()
        },
    }


def count_tokens(cell: Context, pool: Artifact) -> Artifact:
    """Returns the number of tokens of each document, as the model to be trained counts them."""
    model = existing(cell, cell.parts.model, cell.config["model"])

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
    write_jsonl(
        path,
        (
            {"id": key, "rank": rank, "score": value, "domain": domain, "text": text}
            for rank, (key, value, domain, text) in enumerate(rows, start=1)
        ),
    )


def _parts(name: str, scores: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yields a method's columns of scores by name: `dsir`, or `dsir.0`, `dsir.1` where it has
    several.
    """
    if scores.ndim == 1:
        yield name, scores
    else:
        for at, column in enumerate(scores.T):
            yield f"{name}.{at}".lstrip("."), column


def _check_budget(budget: Budget, available: int, leaked: int, unscored: int) -> None:
    if budget.amount > available:
        reasons = {"repeat evaluation texts": leaked, "have no score": unscored}
        told = " and ".join(f"{count:,} that {why}" for why, count in reasons.items() if count)
        aside = f" (after {told} were set aside)" if told else ""
        raise InvalidInput(
            f"budget={budget.amount:,} {budget.unit} is more than the pool's {available:,}{aside}; "
            f"set budget={available} or less, or a larger pool"
        )
