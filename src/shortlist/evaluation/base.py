"""What an examination is: questions to a language model as it is, without fine-tuning on labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from shortlist.core import Metric
    from shortlist.data.sources import Source
    from shortlist.data.task import TaskData
    from shortlist.evaluation.scorers.base import Scorer
    from shortlist.models.pretrained import StageModel
    from shortlist.runtime import Runtime
    from shortlist.store.cache import Artifact, Facts


class Stage(Protocol):
    """Computes an artifact, or takes it from the store: `stages.context.Context.stage`."""

    def __call__(
        self,
        name: str,
        version: int,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        compute: Callable[[Path], Facts | None],
    ) -> Artifact:
        """Returns the artifact under the key of the settings and the inputs."""
        ...


@dataclass(frozen=True)
class Room:
    """What an examination finds on its desk.

    Attributes:
        model: the model after the warm-up; the model as it was, where nothing was read.
        base: the model before the warm-up.
        data: the task's data.
        digests: fingerprints of the splits, by name: what stages that read them have as input.
        source: where tasks and pools are read from.
        settings: the examination's own settings as plain data, out of which its stages take their
            keys.
        stage: computes or finds an artifact.
        seed: of the cell.
        runtime: the machine.
    """

    model: StageModel
    base: StageModel
    data: TaskData
    digests: Mapping[str, str]
    source: Source
    settings: Mapping[str, Any]
    stage: Stage
    seed: int
    runtime: Runtime


@dataclass(frozen=True)
class Findings:
    """What an examination found.

    Attributes:
        metrics: the numbers; names are unique within a cell, none is primary yet.
        outcomes: what each item contributed, by metric name, in the order of the items: two cells
            are compared item by item.
        counts: what was left out, cut or failed, by name.
        warnings: what a reader of the numbers must know.
    """

    metrics: tuple[Metric, ...]
    outcomes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict[str, Any])
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    warnings: tuple[str, ...] = ()


class Examination(ABC):
    """One way to question a language model. Constructors store settings and do no work.

    Whatever takes long is a stage of its own (`room.stage`), so that a change of one setting
    computes again only what depends on it: generations that are stored are scored anew without
    being generated again.

    Attributes:
        version: raised when the same settings and inputs would give other numbers.
        scorers: who judges the model's texts, by name.
    """

    version: ClassVar[int] = 1
    scorers: Mapping[str, Scorer] = MappingProxyType({})

    def check(self, source: Source, runtime: Runtime) -> None:  # noqa: B027 - most need nothing
        """Refuses, before anything is computed, what cannot work: a missing file, key or package."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Returns the names of all metrics that it may give, known before anything is computed."""

    def texts(self, source: Source, stage: Stage) -> Artifact | None:
        """Returns the stage whose `texts.arrow` holds what the model is measured on beside the task's
        data, `texts` among its facts being the fingerprint; None where there is no such thing.

        Such texts are kept out of what may be chosen and of what a model is pre-trained on.

        Raises:
            ShortlistError: they are not there.
        """
        return None

    def identity(self, source: Source) -> dict[str, str]:
        """Returns the digests of what it reads beside the task's data, by name.

        They are in the cell's key: other texts or another judge under the same path make another
        result.

        Raises:
            ShortlistError: something is not there.
        """
        return {}

    @abstractmethod
    def examine(self, room: Room) -> Findings:
        """Returns the metrics of `room.model`, and what each item contributed to them."""
