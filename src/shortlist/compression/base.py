"""The interface of compressions, and what they may use besides the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from shortlist.errors import InvalidInput
from shortlist.models.heads.labels import SingleLabel

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.core import Corpus
    from shortlist.models.heads.base import Head
    from shortlist.runtime import Runtime
    from shortlist.trainers.classify import Classifier, Validation


@dataclass(frozen=True)
class Given:
    """What a compression may use besides the model.

    Attributes:
        train: the labelled examples that the model was fine-tuned on.
        validation: examples that choose an epoch.
        head: what the kind of task adds to a model.
        trainer: the fine-tuning, which says how texts are read.
        seed: of what is drawn.
        runtime: the machine.
    """

    train: Corpus
    validation: Validation
    head: Head
    trainer: Classifier
    seed: int
    runtime: Runtime


class Compression(ABC):
    """Makes a smaller model of a fine-tuned classifier.

    Attributes:
        version: raised when the same settings would give another model.
        last: whether nothing can be done with its model but predicting.
    """

    version: ClassVar[int] = 1
    last: ClassVar[bool] = False

    def check(self, head: Head, place: str) -> None:
        """Refuses tasks of a kind that the compression has no meaning for, before anything is
        trained.

        Raises:
            InvalidInput: the task is not of one class a text.
        """
        if not isinstance(head, SingleLabel):
            raise InvalidInput(
                f"{place} needs a task of one class a text, this one is {head.description}; set "
                "compress=off"
            )

    def reads(self) -> dict[str, str]:
        """Returns digests of what is read besides the model and the examples, by name."""
        return {}

    def outline(self, model: Any) -> Any:
        """Returns the model that is left, without weights, of a model without weights; called
        before anything is trained.

        Raises:
            InvalidInput: the architecture does not allow the compression.
        """
        return model

    @abstractmethod
    def compress(self, start: Path, directory: Path, given: Given) -> dict[str, Any]:
        """Returns facts, after writing the smaller model.

        Args:
            start: directory of the model.
            directory: where the smaller one is written.
            given: what may be used.
        """
