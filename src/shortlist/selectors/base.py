"""What a selector is: it fits on target and pool, scores documents one by one, and picks.

A new method is a subclass with `fit` and `score` (and, if it is not "take the best", `select`), and
a YAML of the same name in `conf/selector`. Nothing else knows its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.stats.sampling import order, within_budget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from shortlist.core import Budget, Corpus, Features
    from shortlist.featurizers.base import Featurizer
    from shortlist.ot.explanation import Plan
    from shortlist.runtime import Runtime

_CHUNK = 8192


@dataclass(frozen=True)
class ScoredPool:
    """The pool after scoring: what `select` chooses from.

    Attributes:
        values: (n,) score of each document; larger is chosen first; -inf is never chosen.
        id_words: (n,) 64 bits of each id, the entropy of per-document draws.
        costs: (n,) cost of each document in the unit of the budget, or None where each costs 1.
        documents: the pool's documents, row for row.
        columns: (n,) scores by each member of a method that is made of others; where a method gives
            a document several, under `member.0`, `member.1`, ... (alone: `0`, `1`, ...).
        vectors: the pool's vectors by member, or under `""` where the method stands alone.
        report: what `fit` reported; of a member under `member.fact`.
        tokens: (n,) tokens as the model counts them, where the method says that it reads them.
    """

    values: NDArray[np.float64]
    id_words: NDArray[np.uint64]
    costs: NDArray[np.int64] | None = None
    documents: Corpus | None = None
    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict[str, Any])
    vectors: Mapping[str, Features] = field(default_factory=dict[str, Any])
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tokens: NDArray[np.int64] | None = None

    def of(self, name: str, member: Selector) -> ScoredPool:
        """Returns what a member would see if it stood alone."""
        columns, vectors, report = (
            _under(name, known) for known in (self.columns, self.vectors, self.report)
        )
        values = member.combine(columns)
        return replace(self, values=values, columns=columns, vectors=vectors, report=report)


def _under(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of one member, under the names they have where it stands alone."""
    own = {key: value for key, value in known.items() if key.split(".")[0] == name}
    return {key.removeprefix(name).removeprefix("."): value for key, value in own.items()}


@dataclass(frozen=True)
class Choice:
    """Rows of the pool, best first.

    Attributes:
        rows: (k,) rows; may repeat where a method samples with replacement.
        scores: (k,) the numbers that decided, noise and all: larger came first.
        report: facts of the choice for the record.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Traits:
    """What the pipeline must know of a method before it runs.

    Attributes:
        stochastic: `select` draws at random; only then does the seed enter the selection's key.
        repeats: `select` may choose a document more than once.
        reads_tokens: `select` needs the number of tokens of each document whatever the budget
            counts.
        chooses_target: it chooses among the task's own texts in place of the pool.
        target_aware: `fit` reads the target.
        additive: scores for several targets add up, with weights, to the scores for all of them;
            otherwise each target's scores are standardised first.
        potential: a score is minus the potential of a balanced transport problem.
    """

    stochastic: bool = False
    repeats: bool = False
    reads_tokens: bool = False
    chooses_target: bool = False
    target_aware: bool = True
    additive: bool = False
    potential: bool = False


@dataclass(frozen=True)
class Member:
    """A method that another one is made of, and the vectors it looks at."""

    selector: Selector
    featurizer: Featurizer


class Selector(pl.LightningModule):
    """Base of all methods.

    Attributes:
        members: the methods that this one is made of, by name; each is fitted and scores by itself,
            under the same keys as if it stood alone, and `fit` and `score` of this one are not
            called.
        version: bumped when the meaning of the scores changes.
        traits: what the pipeline must know of the method; the same for all its instances, except
            where members decide it.
        stands_in_for: the member for whose picks it draws matched random documents, or None.
        show_progress: whether `fit` may show a bar.
    """

    version = 1
    traits: Traits = Traits()
    stands_in_for: str | None = None
    show_progress = True

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[str, Member] = {}

    def applicable(self, task: str) -> str | None:
        """Returns why the method, or one of its members, cannot serve this kind of task, or None."""
        for name, member in self.members.items():
            reason = member.selector.applicable(task)
            if reason is not None:
                return f"{name}: {reason}"
        return None

    def ablation_baseline(self) -> Mapping[str, Any] | None:
        """Returns the settings, as a YAML has them, of the method without what this one adds, or
        None: a cell says how many of its picks that method shares.

        A method made of others may return `members` alone, `{name: settings}`: then the method
        without is itself, made of those.
        """
        return None

    def identity(self) -> dict[str, str]:
        """Returns what decides the scores beside the settings: the code of another program, say."""
        return {}

    def consist_of(self, members: Mapping[str, Member]) -> None:
        """Makes this method one of `members`.

        Raises:
            InvalidInput: there is none, or one is itself made of others.
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

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Learns the scoring function, which it keeps in buffers, and returns facts for the record."""
        return {}

    @property
    def has_sensitivity(self) -> bool:
        """Whether `sensitivity` computes anything: without it there is no such stage."""
        return False

    def sensitivity(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Returns facts of a diagnostic that follows `fit` in a stage of its own.

        It reads what `fit` kept, restored into this object, and the vectors that `fit` was given.
        """
        return {}

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns (b,) scores of (b, d) vectors, dense or CSR; larger is chosen first.

        A method that needs several numbers a document (one for each of several targets) returns
        (b, t); `combine` and `select` then see t columns.
        """
        return torch.zeros(batch.shape[0], device=batch.device)

    def predict_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Returns `score(batch)`: what Lightning runs on any device."""
        return self.score(batch)

    def score_all(self, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
        """Returns the (n,) or (n, t) scores of the whole pool; by default `score`, batch after batch."""
        return score_pool(self, pool, runtime)

    def plan(self, batch: torch.Tensor) -> Plan | None:
        """Returns where the mass of (b, d) dense vectors goes, by target, for the reasons; None
        where the method moves no mass.

        The scores of a method with a plan are minus its potentials.
        """
        return None

    def combine(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Returns the (n,) scores that the members' make together; by default the first's."""
        return next(iter(self.by_member(columns).values()))

    def by_member(self, columns: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
        """Returns one column a member: a method that gives a document several combines its own."""
        return {
            name: member.selector.combine(_under(name, columns))
            for name, member in self.members.items()
        } or dict(columns)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the best documents that fit the budget; equal scores go by id."""
        return take(order(scores.values, scores.id_words), scores, budget)

    def keep(self, name: str, value: torch.Tensor) -> None:
        """Keeps a tensor that `fit` learned as a buffer, so that it moves between devices and is
        stored.
        """
        if name in self._buffers:
            self._buffers[name] = value
        else:
            self.register_buffer(name, value)

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Puts back what `fit` kept, by name; a buffer that is not declared yet would not reload
        otherwise.
        """
        for name, value in state.items():
            self.keep(name, value)


def take(rows: NDArray[np.int64], scores: ScoredPool, budget: Budget) -> Choice:
    """Returns the longest prefix of `rows` within the budget, each counting once.

    Raises:
        InvalidInput: not one document fits a token budget.
    """
    rows = rows[scores.values[rows] > -np.inf]
    kept = within_budget(rows, scores.costs, budget.amount)
    if len(kept) == 0:
        raise InvalidInput(
            f"budget={budget.amount} {budget.unit} is less than the first document needs; "
            "set a larger budget"
        )
    return Choice(kept, scores.values[kept])


def take_in_turn(rows: NDArray[np.int64], scores: ScoredPool, budget: Budget) -> Choice:
    """Returns the longest prefix of `rows` within the budget where no score decided their order:
    their scores are 0, -1, -2, ...

    Raises:
        InvalidInput: not one document fits a token budget.
    """
    choice = take(rows, scores, budget)
    return replace(choice, scores=np.arange(0.0, -len(choice.rows), -1.0))


def score_pool(selector: Selector, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
    """Returns the (n,) or (n, t) scores of the whole pool, streamed through Lightning's predict loop.

    Raises:
        InvalidInput: a score is not a number.
    """
    loader: DataLoader[Any] = DataLoader(_Batches(pool), batch_size=None)
    blocks: list[NDArray[np.float64]] = []
    with progress.bar("scores", len(pool), "documents", show=runtime.progress) as report:
        runner = runtime.trainer(inference_mode=True, callbacks=[_Collect(blocks, report)])
        runner.predict(selector, loader, return_predictions=False)
    scores = np.concatenate(blocks)
    if np.isnan(scores).any():
        bad = int(np.isnan(scores).sum())
        raise InvalidInput(
            f"{type(selector).__name__} gave no number for {bad:,} of {len(scores):,} documents; "
            "look at the vectors of the pool (featurizer=...)"
        )
    return scores


class _Batches(torch.utils.data.IterableDataset[torch.Tensor]):
    """Consecutive blocks of rows as tensors; CSR stays CSR."""

    def __init__(self, features: Features) -> None:
        self.features = features

    def __iter__(self) -> Iterator[torch.Tensor]:
        values: Any = self.features.values
        for start in range(0, len(self.features), _CHUNK):
            block = values[start : start + _CHUNK]
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


class _Collect(pl.Callback):
    """Keeps each batch's scores, in the order of the pool."""

    def __init__(self, blocks: list[NDArray[np.float64]], report: progress.Report) -> None:
        self.blocks, self.report = blocks, report

    def on_predict_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.blocks.append(outputs.double().cpu().numpy())
        self.report(len(outputs))
