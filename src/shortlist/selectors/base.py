"""Base classes of selectors: what a method learns, how it scores documents and which it selects.

A method is a subclass of `Selector` with `fit` and `score` (and `select`, where it does not take
the documents of largest score), and a YAML of the same name in `conf/selector`. Larger scores are
selected first; -inf excludes a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from shortlist import progress
from shortlist.core import Budget, Corpus, Features
from shortlist.errors import ForeignFeatures, InvalidInput
from shortlist.featurizers.base import Featurizer
from shortlist.ot import Forecast, Plan
from shortlist.runtime import Runtime
from shortlist.stats.sampling import order, within_budget
from shortlist.vectors import row_slices

BATCH_ROWS = 8192  # documents per call of `score`
# The score of a document that a method left without a rank: finite, and below all other scores.
UNRANKED = float(np.finfo(np.float64).min)


@dataclass(frozen=True)
class Traits:
    """What the pipeline must know of a method before it runs; settings may restrict it.

    Attributes:
        stochastic: `select` draws at random; only then does the seed enter the selection's key.
        repeats: `select` may select a document more than once.
        reads_tokens: `select` needs the number of tokens of each document whatever the budget
            counts.
        chooses_target: it selects among the task's own texts in place of the pool.
        target_aware: `fit` reads the target.
        additive: scores for several targets add up, with weights, to the scores for all of them;
            otherwise each target's scores are standardised first.
        potential: a score is minus the potential of a balanced transport problem.
        empty: nothing is selected, and there is no warm-up.
        reads_pool: what `fit` reads of the pool. Of `nothing`, of the `sums` of its vectors and of
            a uniform `sample` of it, a pool of any size can be selected from in one or two passes:
            the score of a document, and the number by which `select` ranks it, depend on nothing
            but the document and the fit. `vectors`: all documents; also of a method that reads
            texts, which `--stream` does not hand to a selector.
    """

    stochastic: bool = False
    repeats: bool = False
    reads_tokens: bool = False
    chooses_target: bool = False
    target_aware: bool = True
    additive: bool = False
    potential: bool = False
    empty: bool = False
    reads_pool: Literal["nothing", "sums", "sample", "vectors"] = "vectors"


@dataclass(frozen=True)
class ScoredPool:
    """The pool after scoring: what `select` selects from.

    Attributes:
        values: (n,) score of each document; -inf is never selected.
        id_bits: (n,) 64 bits of each id, which decide random draws and equal scores.
        costs: (n,) cost of each document in the unit of the budget, or None where each costs 1.
        documents: the pool's documents, row for row.
        columns: (n,) scores by each member of a composed method; a method that gives a document
            several scores has columns `member.0`, `member.1`, ... (without members: `0`, `1`, ...).
        vectors: the pool's vectors by member, or under `""` without members.
        report: facts that `fit` returned; those of a member under `member.fact`.
        tokens: (n,) number of tokens, for methods with the trait `reads_tokens`.
    """

    values: NDArray[np.float64]
    id_bits: NDArray[np.uint64]
    costs: NDArray[np.int64] | None = None
    documents: Corpus | None = None
    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict[str, Any])
    vectors: Mapping[str, Features] = field(default_factory=dict[str, Any])
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tokens: NDArray[np.int64] | None = None

    def of(self, name: str, member: Selector) -> ScoredPool:
        """Returns the scored pool of the member `name`, as if that method had run alone."""
        columns, vectors, report = (
            _of_member(name, named) for named in (self.columns, self.vectors, self.report)
        )
        values = member.combine(columns)
        return replace(self, values=values, columns=columns, vectors=vectors, report=report)

    @property
    def selectable(self) -> NDArray[np.bool_]:
        """(n,) whether a document may be selected."""
        return self.values > -np.inf

    @property
    def ranking(self) -> NDArray[np.int64]:
        """Rows from the largest score to the smallest, equal scores by id."""
        return order(self.values, self.id_bits)


def _of_member(name: str, named: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of one member, under the names they have without members."""
    return {
        key.removeprefix(name).removeprefix("."): value
        for key, value in named.items()
        if key.split(".")[0] == name
    }


@dataclass(frozen=True)
class Choice:
    """Rows of the pool, best first.

    Attributes:
        rows: (k,) rows; they may repeat where the method has the trait `repeats`.
        scores: (k,) numbers that decided, random part included, in decreasing order.
        report: facts of the choice for the record.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Member:
    """A method that is part of a composed one, and the featurizer whose vectors it reads."""

    selector: Selector
    featurizer: Featurizer


class Selector(pl.LightningModule):
    """Base class of all methods.

    Attributes:
        traits: what the pipeline must know of the method; the same for all its instances, except
            where members decide it.
        version: raised when the meaning of the scores changes.
        members: the methods that this one is composed of, by name. Each is fitted and scored under
            the keys that it has alone; `fit` and `score` of this method are then not called.
        stands_in_for: the member whose picks are replaced by matched random documents, or None.
        passage: characters of the passages to which the target's texts are joined and cut before
            their vectors are computed; None: texts as they are.
        probes: share of the target's texts that are held out to learn weights of the members; None:
            no weights are learned.
        show_progress: whether `fit` may show progress.
    """

    traits: Traits = Traits()
    version = 1
    stands_in_for: str | None = None
    passage: int | None = None
    probes: float | None = None
    show_progress = True

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[str, Member] = {}

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Learns the scoring function, keeps it by `keep`, and returns facts for the record."""
        return {}

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns (b,) scores of (b, d) vectors, dense or CSR; larger is selected first.

        A method with several scores a document (one for each of several targets) returns (b, t);
        `combine` and `select` then receive t columns.
        """
        return torch.zeros(batch.shape[0], device=batch.device)

    def score_all(self, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
        """Returns the (n,) or (n, t) scores of the whole pool: by default `score` of each batch."""
        return score_pool(self, pool, runtime)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the documents of largest score that fit the budget, equal scores by id."""
        return take(scores.ranking, scores, budget)

    def applicable(self, task: str) -> str | None:
        """Returns why the method, or a member, cannot serve this kind of task; None if it can."""
        for name, member in self.members.items():
            reason = member.selector.applicable(task)
            if reason is not None:
                return f"{name}: {reason}"
        return None

    def identity(self) -> dict[str, str]:
        """Returns what decides the scores beside the settings, such as another program's digest."""
        return {}

    def ablation_baseline(self) -> Mapping[str, Any] | None:
        """Returns the settings, as a YAML has them, of this method without what it adds, or None.

        The record says how many picks both share. A composed method may return `members` alone,
        `{name: settings}`: the baseline is then this method with those members.
        """
        return None

    @property
    def has_sensitivity(self) -> bool:
        """Whether `sensitivity` computes anything; without it the stage is left out."""
        return False

    def sensitivity(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Returns facts of a diagnostic after `fit`, computed in a stage of its own.

        It reads what `fit` kept, restored into this object, and the vectors that `fit` received.
        """
        return {}

    def forecast(self, candidates: int, targets: int, dimensions: int) -> Forecast | None:
        """Returns memory and time of `fit` for a pool and a target of these sizes; None: not known.

        Raises:
            DoesNotFit: it would not fit into the memory.
        """
        return None

    def plan(self, batch: torch.Tensor) -> Plan | None:
        """Returns the transport plan from (b, d) dense vectors to the target, for explanations.

        None where the method has no plan. Scores of a method with one are minus its potentials.
        """
        return None

    def consist_of(self, members: Mapping[str, Member]) -> None:
        """Sets the members of a composed method.

        Raises:
            InvalidInput: there is none, or one is composed itself or selects among the target.
        """
        if not members:
            raise InvalidInput("selector.members is empty; name one method at least")
        for name, member in members.items():
            if member.selector.members:
                raise InvalidInput(
                    f"selector.members.{name} is itself made of others; name those instead"
                )
            if member.selector.traits.chooses_target:
                raise InvalidInput(
                    f"selector.members.{name} chooses among the task's own texts, expected one that "
                    "ranks the pool"
                )
        self.members = dict(members)

    def combine(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Returns the (n,) joint scores of the members' columns; by default the first member's."""
        return next(iter(self.by_member(columns).values()))

    def weighted(self, weights: Mapping[str, float]) -> Selector:
        """Returns the same method with weights of its members, where it has the attribute `probes`."""
        return self

    def by_member(self, columns: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
        """Returns one (n,) column per member; a member with several columns combines them first."""
        return {
            name: member.selector.combine(_of_member(name, columns))
            for name, member in self.members.items()
        } or dict(columns)

    def predict_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Returns `score(batch)`; Lightning calls it on any device."""
        return self.score(batch)

    def keep(self, name: str, value: torch.Tensor) -> None:
        """Keeps a tensor that `fit` learned as a buffer: it moves between devices and is stored."""
        if name in self._buffers:
            self._buffers[name] = value
        else:
            self.register_buffer(name, value)

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Puts back what `fit` kept; buffers need not be declared before."""
        for name, value in state.items():
            self.keep(name, value)


class TransductiveSelector(Selector):
    """A method that scores the whole pool at once while it fits.

    `fit` of a subclass ends with `keep("pool_scores", ...)`, one score a document, or with
    `keep_ranking`. Documents outside the fitted pool have no score.

    Attributes:
        ranking_length: the setting that makes the ranking longer, where only a part of the pool is
            ranked.
    """

    pool_scores: torch.Tensor
    ranking_length = "limit"

    def keep_ranking(self, rows: NDArray[np.int64], count: int) -> None:
        """Keeps a ranking as scores: 0, -1, -2, ... for `rows`, `UNRANKED` for the others.

        Args:
            rows: rows of the pool, best first.
            count: documents in the pool.
        """
        scores = np.full(count, UNRANKED)
        scores[rows] = -np.arange(len(rows), dtype=np.float64)
        self.keep("pool_scores", torch.from_numpy(scores))

    def score_all(self, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
        """Returns the (n,) scores that `fit` kept.

        Raises:
            ForeignFeatures: the pool has another number of documents than the fitted one.
        """
        kept = self.pool_scores.double().cpu().numpy()
        if len(kept) != len(pool):
            raise ForeignFeatures(
                f"scores of {len(kept):,} documents were kept, found a pool of {len(pool):,}; "
                "fit on this pool"
            )
        return kept

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the documents of largest score that fit the budget.

        Raises:
            InvalidInput: the budget exceeds the ranked documents.
        """
        choice = super().select(scores, budget, generator)
        ranked = int((choice.scores > UNRANKED).sum())
        if ranked < len(choice.rows):
            raise InvalidInput(
                f"budget={budget.amount:,} {budget.unit} reaches beyond the {ranked:,} documents "
                f"that {type(self).__name__} put in order; set selector.{self.ranking_length} larger, "
                "or a smaller budget"
            )
        return choice


def option_name(class_name: str) -> str:
    """Returns the name that `conf` has for a class: `k_center` for `KCenter`, `gotd` for `GOTD`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()


def fill_worst_rank(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns (n,) scores with the smallest ranked score in place of `UNRANKED`."""
    unranked = column == UNRANKED
    ranked = np.isfinite(column) & ~unranked
    return np.where(unranked, column[ranked].min() if ranked.any() else 0.0, column)


def documents_of(source: ScoredPool | Features, method: str) -> Corpus:
    """Returns the documents that scores or vectors belong to.

    Raises:
        InvalidInput: they came without documents.
    """
    if source.documents is None:
        raise InvalidInput(
            f"{method} reads the documents themselves, found none beside vectors or scores; "
            "join vectors to their corpus (Features.of)"
        )
    return source.documents


def take(rows: NDArray[np.int64], scores: ScoredPool, budget: Budget) -> Choice:
    """Returns the longest prefix of `rows` within the budget, without documents of score -inf.

    Raises:
        InvalidInput: no document fits a token budget.
    """
    rows = rows[scores.values[rows] > -np.inf]
    kept = within_budget(rows, scores.costs, budget.amount)
    if len(kept) == 0:
        raise InvalidInput(
            f"budget={budget.amount} {budget.unit} is less than the first document needs; "
            "set a larger budget"
        )
    return Choice(kept, scores.values[kept])


def take_ranked(rows: NDArray[np.int64], scores: ScoredPool, budget: Budget) -> Choice:
    """Returns the longest prefix of `rows` within the budget, with the scores 0, -1, -2, ...

    For methods whose order of rows does not follow from scores; raises as `take` does.
    """
    choice = take(rows, scores, budget)
    return replace(choice, scores=np.arange(0.0, -len(choice.rows), -1.0))


def score_pool(selector: Selector, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
    """Returns the (n,) or (n, t) scores of the whole pool, by Lightning's predict loop.

    Raises:
        InvalidInput: a score is not a number.
    """
    with progress.bar("scores", len(pool), "documents", show=runtime.progress) as report:
        runner = runtime.trainer(inference_mode=True)
        blocks: Any = runner.predict(selector, _Batches(pool, report))
    scores = np.concatenate([block.double().cpu().numpy() for block in blocks])
    check_scores(scores, type(selector).__name__)
    return scores


def check_scores(scores: NDArray[np.float64], method: str) -> None:
    """Refuses (n,) or (n, t) scores that are not numbers.

    Raises:
        InvalidInput: a score is NaN.
    """
    if np.isnan(scores).any():
        bad = int(np.isnan(scores).reshape(len(scores), -1).any(1).sum())
        raise InvalidInput(
            f"{method} gave no number for {bad:,} of {len(scores):,} documents; "
            "look at the vectors of the pool (featurizer=...)"
        )


class _Batches:
    """Consecutive blocks of rows as tensors, dense or CSR; each is reported at the next."""

    def __init__(self, features: Features, report: progress.Report) -> None:
        self.features, self.report = features, report

    def __iter__(self) -> Iterator[torch.Tensor]:
        values: Any = self.features.values
        for rows in row_slices(len(self.features), BATCH_ROWS):
            block = values[rows]
            if isinstance(block, np.ndarray):
                yield torch.from_numpy(np.array(block))  # a copy: torch takes no read-only maps
            else:
                yield torch.sparse_csr_tensor(
                    torch.from_numpy(np.array(block.indptr, dtype=np.int64)),
                    torch.from_numpy(np.array(block.indices, dtype=np.int64)),
                    torch.from_numpy(np.array(block.data)),
                    size=block.shape,
                    check_invariants=False,  # scipy made it
                )
            self.report(block.shape[0])
