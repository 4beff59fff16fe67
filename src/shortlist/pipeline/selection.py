"""From scores to a selection."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Budget, Corpus, Selection, TargetSpec
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.tokens import tokenize
from shortlist.pipeline.base_model import available
from shortlist.pipeline.member_weights import learn_weights
from shortlist.pipeline.scoring import MethodScores, score_candidates, targets_of
from shortlist.pipeline.stage import Cell, Notes, Stage
from shortlist.selectors.base import ScoredPool, fill_worst_rank
from shortlist.selectors.multi_target import Floor, select_with_floors, standardised, weighted_sum
from shortlist.stats.sampling import order, seeded
from shortlist.store import formats
from shortlist.store.atomic import write_jsonl

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Features
    from shortlist.pipeline.candidates import Candidates, CellData
    from shortlist.selectors.base import Choice, Selector

log = logging.getLogger(__name__)

SELECTION, TOKENS = "selection.parquet", "tokens.npy"
SHORTLIST = "shortlist.jsonl"


@dataclass(frozen=True)
class TargetScores:
    """The candidates as a selector chooses from them.

    Attributes:
        total: scores for all targets together.
        by_target: scores for each target alone, as they enter the sum.
    """

    total: ScoredPool
    by_target: Mapping[str, ScoredPool]


@dataclass(frozen=True)
class Ranking:
    """A selector with the scores of its methods: everything that a selection is made from.

    Attributes:
        selector: the selector.
        settings: its settings as plain data.
        spec: targets, weights and floors that it can choose for.
        scores: the scores of its methods.
        candidates: the documents.
        budget: how much may be chosen.
        tokens: the stage that counted the candidates' tokens, where they are needed.
        notes: what scoring and counting add to the record.
        weights: the stage that learned the members' weights, where the selector asks for them.
    """

    selector: Selector
    settings: Mapping[str, Any]
    spec: TargetSpec
    scores: MethodScores
    candidates: Candidates
    budget: Budget
    tokens: Stage | None
    notes: Notes
    weights: Stage | None = None

    @cached_property
    def combined(self) -> TargetScores:
        """The scores for each target and for all together."""
        methods = self.scores.methods
        return combine_scores(
            self.selector,
            self.spec,
            {
                target: {name: fitted.scores for name, fitted in members.items()}
                for target, members in methods.items()
            },
            self.candidates.corpus,
            self.candidates.selectable,
            vectors={
                name: fitted.candidates.features
                for name, fitted in next(iter(methods.values()), {}).items()
            },
            tokens=None if self.tokens is None else np.load(self.tokens.path / TOKENS),
            tokens_are_budget=self.budget.unit == "tokens",
            report=self.scores.fit_facts,
        )

    @property
    def inputs(self) -> dict[str, str]:
        """The keys of everything that decides `combined`, as inputs of a stage."""
        keys = self.scores.keys() | {"leaks": self.candidates.leaks.stage.key}
        keys |= {} if self.weights is None else {"weights": self.weights.key}
        return keys | ({} if self.tokens is None else {"tokens": self.tokens.key})


@dataclass(frozen=True)
class Selected:
    """A selection in the store.

    Attributes:
        stage: the stage that made it.
        notes: what it adds to the record.
        candidates: what it was chosen from.
    """

    stage: Stage
    notes: Notes
    candidates: Candidates

    @cached_property
    def selection(self) -> Selection:
        """The selection, best first."""
        return formats.load_selection(self.stage.path / SELECTION)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(k,) rows of the selected documents among the candidates, best first."""
        return self.candidates.rows(self.selection.ids)

    @cached_property
    def documents(self) -> Corpus:
        """The selected documents, best first."""
        return self.selection.of(self.candidates.corpus)

    @property
    def size(self) -> int:
        """How many documents were selected."""
        return self.stage.facts["size"]


def rank(
    cell: Cell,
    data: CellData,
    candidates: Candidates,
    selector: Selector,
    settings: Mapping[str, Any],
) -> Ranking:
    """Returns the candidates as scored by the methods of a selector; tokens are counted where the
    budget or the selector needs them.

    Args:
        cell: the cell.
        data: its data.
        candidates: the documents to choose from.
        selector: the cell's selector, or the ablation baseline.
        settings: the selector's settings as plain data.
    """
    scores = score_candidates(cell, data, candidates, selector, settings)
    budget, tokens, notes = cell.parts.budget, None, scores.notes
    if budget.unit == "tokens" or selector.traits.reads_tokens:
        tokens, token_notes = count_tokens(cell, data, candidates)
        notes += token_notes
    spec, weights = targets_of(cell.parts.target_spec, selector), None
    if selector.probes is not None:
        if len(scores.methods) > 1:
            raise InvalidInput(
                "selector.rule=learned weighs members for one target, found "
                f"{', '.join(scores.methods)}; give it one, or set selector.rule=mean_rank"
            )
        (members,) = scores.methods.values()
        weights = learn_weights(cell, selector.probes, members, candidates)
        selector = selector.weighted(weights.facts["weights"])
        notes += Notes(stages=(weights,), selection={"members": dict(weights.facts)})
    return Ranking(selector, settings, spec, scores, candidates, budget, tokens, notes, weights)


def select(cell: Cell, ranking: Ranking) -> Selected:
    """Returns the selection that a selector makes of its scores.

    Raises:
        InvalidInput: the budget is more than the pool has, or a floor cannot be met.
    """
    selector, spec, budget, seed = ranking.selector, ranking.spec, ranking.budget, cell.parts.seed
    candidates = ranking.candidates

    def compute(directory: Path) -> dict[str, Any]:
        combined, corpus = ranking.combined, candidates.corpus
        scored = combined.total.values > -np.inf
        unscored = int((candidates.selectable & ~scored).sum())
        costs = combined.total.costs
        if not selector.traits.repeats:
            available = int(scored.sum() if costs is None else costs[scored].sum())
            check_budget(budget, available, int((~candidates.selectable).sum()), unscored)
        facts: dict[str, Any] = {}
        if spec.single:
            choice = selector.select(combined.total, budget, seeded(seed, "selection"))
        else:
            choice, facts["targets"] = _select_for_several(selector, combined, spec, budget, seed)
        ids, domains = corpus.ids, corpus.domains
        selection = Selection(
            ids=tuple(ids[row] for row in choice.rows),
            scores=choice.scores,
            corpus=corpus.fingerprint,
            budget=budget,
            why=(type(selector).__doc__ or "").strip().splitlines()[0],
        )
        formats.save_selection(directory / SELECTION, selection)
        return facts | {
            "size": len(selection),
            "unique": len(set(selection.ids)),
            "sha256": selection.sha256,
            "domains": dict(sorted(Counter(domains[row] for row in choice.rows).items())),
            **({"without_score": unscored} if unscored else {}),
            **choice.report,
        }

    # The selector's settings beside the keys of the scores: `select` may read others than `score`.
    settings: dict[str, Any] = {"selector": ranking.settings, "version": selector.version}
    settings |= {"budget": budget.amount, "unit": budget.unit}
    settings |= {"seed": seed} if selector.traits.stochastic else {}
    if not spec.single:  # "sum": raised when scores for several targets are added in another way
        settings |= {"weights": spec.weights, "floors": spec.floors, "sum": 2}
    stage = cell.stage("selection", 4, settings, ranking.inputs, compute)
    facts = dict(stage.facts)
    if spec is not cell.parts.target_spec and not cell.parts.target_spec.single:
        log.info("%s reads no target: weights and floors change nothing", type(selector).__name__)
        facts["targets"] = {"weights": dict(cell.parts.target_spec.weights), "applied": False}
    return Selected(stage, Notes(stages=(stage,), selection=facts), candidates)


def combine_scores(
    selector: Selector,
    spec: TargetSpec,
    scores: Mapping[str, Mapping[str, NDArray[np.float64]]],
    corpus: Corpus,
    selectable: NDArray[np.bool_],
    *,
    vectors: Mapping[str, Features] = MappingProxyType({}),
    tokens: NDArray[np.int64] | None = None,
    tokens_are_budget: bool = False,
    report: Mapping[str, Any] = MappingProxyType({}),
) -> TargetScores:
    """Returns the scores for each target and their weighted sum.

    Scores of an additive method are summed as they are: of a transport method the sum is the
    gradient of sum_t w_t OT(pool, target_t); of a log-ratio it is the ratio for the geometric mean
    of the targets. Other scores have no common unit, so those for each target are standardised over
    the selectable documents first: a weight is then what one standard deviation is worth.

    A negative weight chooses away from a target. The paper's GOT-D (contrast) is described in words
    only, as toxic samples as the negative target (Kang et al. 2024, section 3.1 and appendix C.1.2;
    no formula, no code); read with its Theorem 1 it takes the largest gradients of OT(pool, toxic).
    Here that is one term of a sum: toward clean *and* away from toxic, -g_clean + w g_toxic, which
    lowers OT(pool, clean) - w OT(pool, toxic) the fastest. Weight 0 for every other target gives
    the paper's reading alone.

    Args:
        selector: the selector whose methods gave the scores.
        spec: targets and their weights.
        scores: (n,) or (n, t) scores by target, then by member.
        corpus: the n candidates.
        selectable: (n,) whether a candidate may be selected; the others get -inf.
        vectors: the candidates' vectors by member.
        tokens: (n,) tokens of each document, where they are needed.
        tokens_are_budget: whether the budget counts tokens.
        report: what the fits report.

    Raises:
        InvalidInput: there are several targets, and a method gives a document several scores.
    """
    id_bits = corpus.id_bits()

    def scored_pool(columns: Mapping[str, NDArray[np.float64]]) -> ScoredPool:
        return ScoredPool(
            values=selector.combine(columns),
            id_bits=id_bits,
            costs=tokens if tokens_are_budget else None,
            documents=corpus,
            columns=columns,
            vectors=vectors,
            report=report,
            tokens=tokens,
        )

    columns: dict[str, dict[str, NDArray[np.float64]]] = {}
    for target, by_member in scores.items():
        for name, values in by_member.items():
            method = selector.members[name].selector if name else selector
            if values.ndim > 1 and len(scores) > 1:
                raise InvalidInput(
                    f"{type(method).__name__} scores each domain of its target separately "
                    "(selector.separate) and cannot also weigh "
                    f"{' and '.join(f'`{one}`' for one in scores)}; give it one target, or set "
                    "selector.separate=false"
                )
            for column_name, column in _columns(name, values):
                masked = np.where(selectable, column, -np.inf)
                comparable = spec.single or method.traits.additive
                columns.setdefault(target, {})[column_name] = (
                    masked if comparable else standardised(masked)
                )
    by_target = {target: scored_pool(own) for target, own in columns.items()}
    if spec.single:
        (total,) = by_target.values()
        return TargetScores(total, by_target)
    total = scored_pool(
        {
            name: weighted_sum({target: own[name] for target, own in columns.items()}, spec.weights)
            for name in next(iter(columns.values()))
        }
    )
    return TargetScores(total, by_target)


def _columns(name: str, scores: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yields a method's columns of scores by name: `dsir`, or `dsir.0`, `dsir.1` for several."""
    if scores.ndim == 1:
        yield name, scores
    else:
        for index, column in enumerate(scores.T):
            yield f"{name}.{index}".lstrip("."), column


def _select_for_several(
    selector: Selector, scores: TargetScores, spec: TargetSpec, budget: Budget, seed: int
) -> tuple[Choice, dict[str, Any]]:
    """Returns the choice for several targets, and what it holds for each of them."""
    draw = partial(seeded, seed, "selection")
    floors: dict[str, Floor] = {}
    if not spec.floors:
        choice = selector.select(scores.total, budget, draw())
    else:
        choice, floors = select_with_floors(
            selector, scores.total, scores.by_target, spec.floors, budget, draw
        )
        if like := selector.stands_in_for:
            member = selector.members[like].selector
            picks, _ = select_with_floors(
                member,
                scores.total.of(like, member),
                {target: pool.of(like, member) for target, pool in scores.by_target.items()},
                spec.floors,
                budget,
                draw,
            )
            # The control reports the overlap of its parts; what counts is that of the whole.
            overlap = len(np.intersect1d(choice.rows, picks.rows))
            choice = replace(choice, report={**choice.report, "overlap": overlap})
    rows = np.unique(choice.rows)
    best = {
        target: order(pool.values, pool.id_bits)[: len(rows)]
        for target, pool in scores.by_target.items()
    }
    held = Counter(row for picks in floors.values() for row in picks.rows.tolist())
    return choice, {
        "applied": True,
        "weights": dict(spec.weights),
        "floors": {
            target: {"share": spec.floors[target], "asked": picks.asked, "kept": picks.met}
            for target, picks in floors.items()
        },
        "kept_for_several": sum(count > 1 for count in held.values()),
        "among_best": {target: float(np.isin(rows, top).mean()) for target, top in best.items()},
        "mean_score": {
            target: float(fill_worst_rank(pool.values)[rows].mean())
            for target, pool in scores.by_target.items()
        },
    }


def count_tokens(cell: Cell, data: CellData, candidates: Candidates) -> tuple[Stage, Notes]:
    """Returns the number of tokens of each candidate, as the model to be trained counts them."""
    model, notes = available(cell, cell.parts.model, cell.settings["model"], data)

    def compute(directory: Path) -> None:
        tokenizer = checkpoint.tokenizer(model.directory())
        lengths = tokenize(tokenizer, candidates.corpus.texts, None, None).lengths
        np.save(directory / TOKENS, lengths)

    inputs = {"corpus": candidates.documents.fingerprint, **model.identity()}
    stage = cell.stage("tokens", 1, {}, inputs, compute)
    return stage, notes + Notes(stages=(stage,))


def write_shortlist(path: Path, selected: Selected) -> None:
    """Writes the selection as JSON lines, best first: id, rank, score, domain, text."""
    write_jsonl(path, shortlist_rows(selected.selection, selected.documents))


def shortlist_rows(selection: Selection, documents: Corpus) -> Iterator[dict[str, Any]]:
    """Yields the rows of `shortlist.jsonl`: id, rank, score, domain, text."""
    columns = selection.ids, selection.scores.tolist(), documents.domains, documents.texts
    for rank, (key, score, domain, text) in enumerate(zip(*columns, strict=True), start=1):
        yield {"id": key, "rank": rank, "score": score, "domain": domain, "text": text}


def check_documents(candidates: Candidates, selector: Selector, budget: Budget) -> None:
    """Refuses a budget of more documents than may be selected, before they are scored.

    Raises:
        InvalidInput: the budget is more than is available.
    """
    if budget.unit == "documents" and not selector.traits.repeats:
        available = int(candidates.selectable.sum())
        check_budget(budget, available, len(candidates.selectable) - available, 0)


def check_budget(budget: Budget, available: int, leaked: int, unscored: int) -> None:
    """Refuses a budget that the candidates cannot fill.

    Raises:
        InvalidInput: the budget is more than is available.
    """
    if budget.amount > available:
        reasons = {"repeat evaluation texts": leaked, "have no score": unscored}
        excluded = " and ".join(f"{count:,} that {why}" for why, count in reasons.items() if count)
        without = f" (without {excluded})" if excluded else ""
        advice = f"set budget={available} or less, or" if available else "set"
        raise InvalidInput(
            f"budget={budget.amount:,} {budget.unit} is more than the pool's {available:,}{without}; "
            f"{advice} a larger pool" + (", or leaks.action=report" if leaked else "")
        )
