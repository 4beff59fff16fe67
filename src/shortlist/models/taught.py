"""A model that is fine-tuned on another task's labels before a cell starts from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shortlist.errors import InvalidInput
from shortlist.models.pretrained import HeadTraining, Pretrained

if TYPE_CHECKING:
    from pathlib import Path


class TaughtModel(Pretrained):
    """A model after a lesson: MNLI before RTE and MRPC, say, as GOT-D has it for some of its rows
    (Kang et al. 2024, section 4.3); here for every row of a table or for none.

    The pipeline teaches it, once for all cells, on the lesson's training examples without those
    that repeat the cell's evaluation texts. Its head for tokens is trained anew.
    """

    unmade = True

    def __init__(
        self, base: Any, lesson: Any, teaching: Any, seed: int, head: dict[str, Any]
    ) -> None:
        """Stores the settings.

        Args:
            base: the model that is taught, an encoder.
            lesson: a task with labels.
            teaching: the trainer of labels; the last epoch is kept, no validation is looked at.
            seed: decides the first weights of the lesson's head and the order; one for all cells,
                which start from one model.
            head: settings of `HeadTraining`: a masked-LM head does not outlive the lesson.

        Raises:
            InvalidInput: the base is itself made by the pipeline, the lesson has no labels, or `head`
                is empty.
        """
        if base.unmade:
            raise InvalidInput(
                f"model.base must be a model that is there, found {type(base).__name__}; set "
                "model/base=minilm, say"
            )
        if lesson.kind == "unlabelled":
            raise InvalidInput(
                f"model.lesson must be a task with labels, found {lesson.name} without any"
            )
        if not head:
            raise InvalidInput(
                "model.head must say how a masked-LM head is trained after the lesson, found none; see "
                "conf/model/minilm_mnli.yaml"
            )
        self.base, self.lesson, self.teaching, self.seed = base, lesson, teaching, seed
        self.head = HeadTraining(**head)

    def directory(self) -> Path:
        """Refuses: there is no such directory before the pipeline has taught the model.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            "a model that is there was expected, found one that is fine-tuned on another task first; "
            "let the pipeline do that, or set model=local model.path=DIR to what it has made"
        )

    def identity(self) -> dict[str, str]:
        """Returns that of the base; the lesson's data enter keys by their own digests."""
        return self.base.identity()
