"""Knowledge distillation: a small model learns what a large one answers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from shortlist import progress
from shortlist.compression.base import Compression, Given
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.heads.base import Head, Inputs, LossOptions, outputs_of
from shortlist.models.heads.labels import SingleLabel
from shortlist.models.pretrained import Pretrained
from shortlist.models.shrinking import cut_layers, even_layers
from shortlist.settings import Count, NonNegative, Positive, Share
from shortlist.trainers.classify import Classifier

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime

STUDENT = "student"  # folder of the model before its training, removed afterwards


def divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns T^2 KL(softmax(teacher / T) || softmax(student / T)) in nats, mean over the texts.

    The factor keeps gradients of the size of those of the labels (Hinton et al. 2015, section 2.1).

    Args:
        student: (b, c) logits.
        teacher: (b, c) logits.
        temperature: T.
    """
    known, own = ((one / temperature).log_softmax(-1) for one in (teacher, student))
    return temperature**2 * functional.kl_div(own, known, reduction="batchmean", log_target=True)


def distance_of_states(
    student: tuple[torch.Tensor, ...], teacher: tuple[torch.Tensor, ...], mask: torch.Tensor
) -> torch.Tensor:
    """Returns the mean squared difference of hidden states over layers of the student, tokens that
    are no padding, and coordinates. Layers are mapped by `even_layers`; embeddings are left out.

    Args:
        student: n + 1 arrays of (b, t, w) states: of the embeddings and of n layers.
        teacher: likewise, of as many layers or more.
        mask: (b, t) numbers, 0 for padding.
    """
    of = even_layers(len(teacher) - 1, len(student) - 1)
    real = mask.bool()
    pairs = zip(student[1:], (teacher[1 + number] for number in of), strict=True)
    return torch.stack([functional.mse_loss(own[real], known[real]) for own, known in pairs]).mean()


class Distilled(Head):
    """One class a text, learned from labels and from the answers of a teacher.

    Formula:
        hard * cross-entropy + (1 - hard) * T^2 KL(teacher at T || student at T)

    Args:
        inner: the head of the task.
        answers: (n, c) logits of the teacher, of the examples that are trained on.
        temperature: T.
        hard: weight of the labels.
    """

    description = "a distillation"
    whole_texts = True

    def __init__(
        self, inner: SingleLabel, answers: torch.Tensor, temperature: float, hard: float
    ) -> None:
        self.inner, self.answers = inner, answers
        self.temperature, self.hard = temperature, hard

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the task's head."""
        return self.inner.settings

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model with one output a class."""
        return self.inner.open(directory, **config)

    def targets(self, corpus: Corpus, inputs: Inputs) -> torch.Tensor:
        """Returns (n, 1 + c) numbers: the class, and the teacher's logits."""
        classes = self.inner.targets(corpus, inputs).to(self.answers.dtype)
        return torch.cat([classes[:, None], self.answers], dim=1)

    def loss(self, outputs: Any, labels: torch.Tensor, options: LossOptions) -> torch.Tensor:
        """Returns the loss of a batch, in nats."""
        logits = outputs.logits.float()
        of_labels = functional.cross_entropy(logits, labels[:, 0].long())
        of_teacher = divergence(logits, labels[:, 1:], self.temperature)
        return self.hard * of_labels + (1 - self.hard) * of_teacher

    def predict(self, model: Any, inputs: Inputs, runtime: Runtime, report: Report) -> NDArray[Any]:
        """Returns the (n, c) probabilities."""
        return self.inner.predict(model, inputs, runtime, report)


class Distil(Classifier, Compression):
    """Distillation of a fine-tuned classifier into a smaller model.

    The student is a model of the catalogue with a new head, or the teacher itself with some of its
    layers. The teacher reads the training examples once, without dropout.
    """

    setting = "compress.distil"

    def __init__(
        self,
        student: Pretrained | None,
        student_layers: Count | None,
        temperature: Positive,
        hard: Share,
        hidden: NonNegative,
        **settings: Any,
    ) -> None:
        """Stores the settings.

        Args:
            student: a model that learns; None for a cut of the teacher.
            student_layers: number of the teacher's layers that the cut keeps, at even distances;
                None for half of them, rounded up.
            temperature: T of the answers that are compared.
            hard: weight of the labels; the teacher's answers have the rest.
            hidden: weight of the squared distance between hidden states, for a student of the
                teacher's width and vocabulary; 0 for none.
            settings: those of `Classifier`.

        Raises:
            InvalidInput: settings exclude each other, or one is out of range.
        """
        super().__init__(**settings)
        if student is not None and student_layers is not None:
            raise InvalidInput(
                "compress.distil.student and compress.distil.student_layers both name the student; "
                "set one of them to null"
            )
        if student is not None and student.requires_training:
            raise InvalidInput(
                f"compress.distil.student must be a model whose weights exist, found "
                f"{type(student).__name__}; set it to minilm or distilbert for example"
            )
        if hidden and self.frozen_layers:
            raise InvalidInput(
                "compress.distil.hidden compares the states of all layers, which "
                "compress.distil.frozen_layers leaves out; set one of both to 0"
            )
        self.student, self.student_layers = student, student_layers
        self.temperature, self.hard, self.hidden = temperature, hard, hidden
        self.teacher: tuple[Any, ...] = ()  # a tuple, so that Lightning does not train it

    def reads(self) -> dict[str, str]:
        """Returns the identity of a student of the catalogue."""
        return {} if self.student is None else self.student.identity()

    def check(self, head: Head, place: str) -> None:
        """Refuses tasks, and settings of the training, that a distillation has no meaning for.

        Raises:
            InvalidInput: there is one.
        """
        super().check(head, place)
        assert isinstance(head, SingleLabel)
        self.check_head(Distilled(head, torch.zeros(0, 0), self.temperature, self.hard))

    def outline(self, model: Any) -> Any:
        """Returns the student without weights; see `Compression.outline`."""
        if self.student is not None:
            return checkpoint.outline(self.student.directory())
        return cut_layers(model, self._kept(model), f"{self.setting}.student_layers")

    def _kept(self, teacher: Any) -> int:
        return self.student_layers or -(-int(teacher.config.num_hidden_layers) // 2)

    def training_step(self, inputs: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Returns the loss, with the distance of the hidden states where it has a weight."""
        if not self.hidden:
            return super().training_step(inputs, batch_idx)
        assert self.head is not None
        labels = inputs.pop("labels")
        (teacher,) = self.teacher
        outputs = self.model(**inputs, output_hidden_states=True)
        with torch.no_grad():
            known = teacher(**inputs, output_hidden_states=True).hidden_states
        distance = distance_of_states(outputs.hidden_states, known, inputs["attention_mask"])
        return self.head.loss(outputs, labels, self.loss_options) + self.hidden * distance

    def compress(self, start: Path, directory: Path, given: Given) -> dict[str, Any]:
        """Returns facts of the training, after writing the student; see `Compression.compress`.

        Raises:
            InvalidInput: the student does not fit the teacher.
        """
        head, runtime = given.head, given.runtime
        assert isinstance(head, SingleLabel)
        teacher: Any = head.open(start).eval().to(runtime.device)
        layers = int(teacher.config.num_hidden_layers)
        cut = directory / STUDENT
        if self.student is None:
            tokenizer = checkpoint.tokenizer(start)
            place = f"{self.setting}.student_layers"
            smaller = cut_layers(head.open(start), self._kept(teacher), place)
            checkpoint.save(cut, smaller, tokenizer)
        small = self.student.directory() if self.student else cut
        if self.hidden:
            self._check_states(teacher, start, head.open(small), small)
        answers = self.answers(teacher, start, given)
        learned = Distilled(head, answers, self.temperature, self.hard)
        self.teacher = (teacher,)
        facts = self.train_on(
            small, given.train, given.validation, learned, directory, given.seed, runtime
        )
        self.teacher = ()
        shutil.rmtree(cut, ignore_errors=True)
        return facts | {"teacher_layers": layers}

    def answers(self, teacher: Any, start: Path, given: Given) -> torch.Tensor:
        """Returns the teacher's (n, c) logits for the training examples, read as it was trained."""
        tokenizer = checkpoint.tokenizer(start)
        length = given.trainer.max_length
        inputs = given.head.read(given.train, teacher, tokenizer, length, labelled=False)
        logits = torch.zeros(len(given.train), int(teacher.config.num_labels))
        show = given.runtime.progress
        with (
            progress.bar("teacher", len(given.train), "documents", show=show) as report,
            torch.inference_mode(),
            given.trainer.autocast(given.runtime),
        ):
            for rows, outputs in outputs_of(teacher, inputs, given.runtime, report):
                logits[np.asarray(rows)] = outputs.logits.float().cpu()
        return logits

    def _check_states(self, teacher: Any, start: Path, student: Any, place: Path) -> None:
        """Raises InvalidInput unless both models have states that can be compared."""
        widths = [int(model.config.hidden_size) for model in (student, teacher)]
        layers = [int(model.config.num_hidden_layers) for model in (student, teacher)]
        words = [checkpoint.tokenizer(one).get_vocab() for one in (place, start)]
        reason = ""
        if widths[0] != widths[1]:
            reason = f"states of {widths[0]} numbers against {widths[1]}"
        elif layers[0] > layers[1]:
            reason = f"{layers[0]} layers against {layers[1]}"
        elif words[0] != words[1]:
            reason = "another vocabulary"
        if reason:
            raise InvalidInput(
                f"{self.setting}.hidden compares states of student and teacher, the student has "
                f"{reason}; set {self.setting}.hidden=0"
            )
