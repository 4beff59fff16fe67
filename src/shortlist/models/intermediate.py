"""A model that is fine-tuned on the labels of an intermediate task before a cell starts from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shortlist.errors import InvalidInput
from shortlist.models.pretrained import HeadTraining, Pretrained

if TYPE_CHECKING:
    from pathlib import Path


class IntermediateModel(Pretrained):
    """An encoder after intermediate-task fine-tuning, MNLI before RTE and MRPC for example.

    GOT-D does so for some rows of its tables (Kang et al. 2024, section 4.3); here all rows of a
    table start from such a model or none does. The pipeline trains it once for all cells, on the
    intermediate task's training examples without those that repeat the cell's evaluation texts.
    """

    requires_training = True

    def __init__(
        self, base: Any, intermediate_task: Any, trainer: Any, seed: int, head: dict[str, Any]
    ) -> None:
        """Stores the settings.

        Args:
            base: the `Pretrained` encoder that is fine-tuned.
            intermediate_task: a `Task` with labels.
            trainer: the `Classifier` that trains; the weights of the last epoch are kept, without
                validation.
            seed: of the classification head's initial weights and of the order of the examples; the
                same for all cells.
            head: settings of `HeadTraining`: the masked-LM head is trained anew afterwards, because
                fine-tuning changes the encoder below it.

        Raises:
            InvalidInput: `base` itself requires training, the intermediate task has no labels, or
                `head` is empty.
        """
        if base.requires_training:
            raise InvalidInput(
                "model.base must be a model whose weights exist, found "
                f"{type(base).__name__}; set model/base=minilm for example"
            )
        if intermediate_task.kind == "unlabelled":
            raise InvalidInput(
                "model.intermediate_task must be a task with labels, found "
                f"{intermediate_task.name} without any"
            )
        if not head:
            raise InvalidInput(
                "model.head must hold the settings of the masked-LM head that is trained after the "
                "intermediate task, found none; see conf/model/minilm_mnli.yaml"
            )
        self.base, self.intermediate_task, self.trainer = base, intermediate_task, trainer
        self.seed = seed
        self.head = HeadTraining(**head)

    def directory(self) -> Path:
        """Refuses: the directory does not exist before the pipeline has trained the model.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            "a model whose weights exist was expected, found one that is fine-tuned on an "
            "intermediate task first; let the pipeline train it, or set model=local model.path=DIR "
            "to the directory it has written"
        )

    def identity(self) -> dict[str, str]:
        """Returns the identity of the base; the data of the intermediate task enter keys by their
        own digests.
        """
        return self.base.identity()
