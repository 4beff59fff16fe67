"""The interface of evaluators: measurements of a language model without fine-tuning on labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shortlist.core import Metric
    from shortlist.data.sources import Source
    from shortlist.data.splits import TaskData
    from shortlist.evaluation.scorers.base import Scorer
    from shortlist.models.pretrained import StoredModel
    from shortlist.runtime import Runtime
    from shortlist.store.cache import Artifact, Compute


# Computes an artifact or takes it from the store: (name, version, settings, inputs, compute); see
# `Store.stage`.
Stage: TypeAlias = "Callable[[str, int, Mapping[str, Any], Mapping[str, str], Compute], Artifact]"


@dataclass(frozen=True)
class EvalContext:
    """The inputs of one evaluation.

    Attributes:
        model: the model after the warm-up; equal to `base` where nothing was selected.
        base: the model before the warm-up.
        data: the task's data.
        digests: fingerprints of the task's splits, by name: inputs of stages that read a split.
        source: where tasks and pools are read from.
        stage: computes an artifact or takes it from the store.
        seed: seed of the cell.
        runtime: the machine.
    """

    model: StoredModel
    base: StoredModel
    data: TaskData
    digests: Mapping[str, str]
    source: Source
    stage: Stage
    seed: int
    runtime: Runtime


@dataclass(frozen=True)
class EvalResult:
    """The output of one evaluation.

    Attributes:
        metrics: the measured numbers; names are unique within a cell, none is marked primary.
        item_scores: (n,) score of each item by the metric's name, in the order of the items, with
            the metric's value as their mean: two cells are compared item by item.
        counts: numbers of items that were left out, truncated or failed, by name.
        warnings: restrictions on how the numbers may be read.
    """

    metrics: tuple[Metric, ...]
    item_scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict[str, Any])
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    warnings: tuple[str, ...] = ()


class Evaluator(ABC):
    """One measurement of a language model. Constructors store settings and do no work.

    Every long computation is a stage of its own (`context.stage`), so that changing one setting
    recomputes only what depends on it: stored generations are scored again without being generated
    again.

    Attributes:
        version: raised when the same settings and inputs would give other numbers.
        scorers: the toxicity scorers that it uses, by name.
    """

    version: ClassVar[int] = 1
    scorers: Mapping[str, Scorer] = MappingProxyType({})

    def check(self, source: Source, runtime: Runtime) -> None:  # noqa: B027 - most need nothing
        """Refuses, before anything is computed, what cannot work: a missing file or package."""

    @classmethod
    def forecast_tokens(cls, node: Mapping[str, Any], texts: int, length: float) -> float:
        """Returns about how many tokens are read and written, before anything is read.

        Args:
            node: its settings.
            texts: number of the task's test texts.
            length: tokens of a text of the target.
        """
        return 0.0

    @abstractmethod
    def metric_names(self) -> tuple[str, ...]:
        """Returns the names of all metrics that `evaluate` may return."""

    def texts(self, source: Source, stage: Stage) -> Artifact | None:
        """Returns the stage whose `texts.arrow` holds the texts that the model is evaluated on in
        addition to the task's data, with their fingerprint under `texts` among its facts; None
        where there are no such texts.

        Documents that repeat one of them are leaks: they are excluded from the selection and from
        what a model is pre-trained on.

        Raises:
            ShortlistError: a file is missing.
        """
        return None

    def identity(self, source: Source) -> dict[str, str]:
        """Returns the digests of what it reads in addition to the task's data, by name.

        They are part of the cell's key: other texts or another scorer under the same path give
        another result.

        Raises:
            ShortlistError: a file is missing.
        """
        return {}

    @abstractmethod
    def evaluate(self, context: EvalContext) -> EvalResult:
        """Returns the metrics of `context.model` and the items' scores."""
