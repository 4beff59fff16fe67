"""The head of extractive question answering: first and last token of the answer in a context."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.heads.base import Head, Inputs, LossOptions, outputs_of, reads_pairs
from shortlist.models.heads.labels import named
from shortlist.models.tokens import encode, tokens_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime


@dataclass(frozen=True)
class Window:
    """The part of a document that the model reads at once: the question and some of the context.

    Attributes:
        row: number of the document.
        text: its whole context.
        offsets: (t, 2) first and last character (excluded) of each token.
        context: (t,) whether a token belongs to the context.
        none: the token that stands for "the answer is not here".
    """

    row: int
    text: str
    offsets: NDArray[np.int64]
    context: NDArray[np.bool_]
    none: int

    def span(self, begin: int, end: int) -> tuple[int, int] | None:
        """Returns the first and the last token of characters `begin` to `end` (excluded) of the
        context; None where the window does not hold all of them.
        """
        held = self.offsets[self.context]
        if not len(held) or held[:, 0].min() > begin or held[:, 1].max() < end:
            return None
        touching = (self.offsets[:, 1] > begin) & (self.offsets[:, 0] < end) & self.context
        places = np.flatnonzero(touching)
        return (int(places[0]), int(places[-1])) if len(places) else None


class Spans(Head):
    """Two outputs a token, whether the answer starts or ends there: the mean of two
    cross-entropies.

    Texts are contexts, second texts questions; the model reads the question first. What is longer
    than the model's length is read in windows that overlap. A window without the whole answer is
    trained to point at its first special token (a decoder's: at its last token), so that
    probabilities of several windows compare. Labels are JSON objects with the lists `text` and
    `answer_start`; the first answer is trained on.

    The model is stored as a token classifier: transformers' question answering of Llama's
    architecture reads weights under other names than its causal one writes.
    """

    description = "a task of extractive question answering"
    model_class = "AutoModelForTokenClassification"
    allows = frozenset({"label_smoothing"})

    def __init__(self, overlap: int, answer_tokens: int) -> None:
        """Stores the settings.

        Args:
            overlap: tokens of the context that neighbouring windows share.
            answer_tokens: most tokens of a predicted answer.
        """
        self.overlap, self.answer_tokens = overlap, answer_tokens

    @property
    def settings(self) -> Mapping[str, Any]:
        """The kind and both numbers."""
        return {**super().settings, "overlap": self.overlap, "answer_tokens": self.answer_tokens}

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model with the outputs `start` and `end` at each token."""
        return named(
            checkpoint.classifier(directory, 2, kind=self.model_class, **config), ("start", "end")
        )

    def read(
        self, corpus: Corpus, model: Any, tokenizer: Any, max_length: int, *, labelled: bool
    ) -> Inputs:
        """Returns the windows; of labelled documents `truncated` counts those whose answer no
        window holds as a whole.
        """
        inputs = super().read(corpus, model, tokenizer, max_length, labelled=labelled)
        if not labelled:
            return inputs
        assert isinstance(inputs.labels, torch.Tensor)
        none = torch.tensor([window.none for window in inputs.places])
        held = {
            window.row
            for window, found in zip(inputs.places, inputs.labels[:, 0] != none, strict=True)
            if found
        }
        return replace(inputs, tokens=replace(inputs.tokens, truncated=len(corpus) - len(held)))

    def documents(self, corpus: Corpus, model: Any, tokenizer: Any, max_length: int) -> Inputs:
        """Returns the windows of all documents.

        Raises:
            InvalidInput: a question leaves too few tokens for its context.
        """
        questions = list(corpus.texts_b or ())
        joined = tokenizer.num_special_tokens_to_add(pair=True)
        if joined == tokenizer.num_special_tokens_to_add(pair=False):  # nothing between the two
            questions = [f"{question}\n" for question in questions]
        pairs = list(zip(questions, corpus.texts, strict=True))
        self._check_room(pairs, tokenizer, max_length, joined)
        encodings, windows = [], []
        for row, first in enumerate(
            encode(tokenizer, pairs, max_length, stride=self.overlap, strategy="only_second")
        ):
            for one in (first, *first.overflowing):
                sides = one.sequence_ids
                encodings.append(one)
                windows.append(
                    Window(
                        row,
                        pairs[row][1],
                        np.array(one.offsets, dtype=np.int64).reshape(-1, 2),
                        np.array([side == 1 for side in sides], dtype=bool),
                        0 if sides[0] is None else len(sides) - 1,
                    )
                )
        tokens = replace(tokens_of(encodings), truncated=0)  # windows cover what is beyond
        return Inputs(tokens, tokenizer.pad_token_id, reads_pairs(model), places=windows)

    def _check_room(
        self, pairs: Sequence[tuple[str, str]], tokenizer: Any, max_length: int, joined: int
    ) -> None:
        """Refuses questions that leave no more tokens for a longer context than windows share."""
        questions = encode(tokenizer, [question for question, _ in pairs], None, special=False)
        for pair, question in zip(pairs, questions, strict=True):
            room = max_length - joined - len(question.ids)
            if room > self.overlap:
                continue
            (whole,) = encode(tokenizer, [pair], None)
            if len(whole.ids) > max_length:
                raise InvalidInput(
                    f"finetune.max_length={max_length} leaves {max(room, 0)} tokens for the context beside "
                    f"the question {pair[0][:40]!r}, expected more than task.overlap={self.overlap}; raise "
                    "finetune.max_length or lower task.overlap"
                )

    def targets(self, corpus: Corpus, inputs: Inputs) -> torch.Tensor:
        """Returns (n, 3) numbers by window: first and last token of the answer, and the number of
        tokens, beyond which there is padding.
        """
        labels = [json.loads(label) for label in corpus.labels or ()]
        rows: list[tuple[int, int, int]] = []
        for window, length in zip(inputs.places, inputs.tokens.lengths.tolist(), strict=True):
            answer = labels[window.row]
            begin = answer["answer_start"][0]
            found = window.span(begin, begin + len(answer["text"][0]))
            rows.append((*(found or (window.none, window.none)), length))
        return torch.tensor(rows)

    def loss(self, outputs: Any, labels: torch.Tensor, options: LossOptions) -> torch.Tensor:
        """Returns the mean of the cross-entropies of start and end over windows, in nats."""
        logits = outputs.logits.float()
        places = torch.arange(logits.shape[1], device=logits.device)
        beyond = places >= labels[:, 2:]
        # -inf would make a smoothed loss infinite
        starts, ends = logits.masked_fill(beyond[:, :, None], -1e4).unbind(-1)
        losses = [
            functional.cross_entropy(side, labels[:, end], label_smoothing=options.smoothing)
            for end, side in enumerate((starts, ends))
        ]
        return (losses[0] + losses[1]) / 2

    def predict(self, model: Any, inputs: Inputs, runtime: Runtime, report: Report) -> NDArray[Any]:
        """Returns (n,) texts: the most probable span of a document's context over its windows."""
        windows = inputs.places
        found = [""] * (1 + max(window.row for window in windows))
        best = [-np.inf] * len(found)
        for rows, outputs in outputs_of(model, inputs, runtime, report):
            for row, logits in zip(rows.tolist(), outputs.logits.double().cpu(), strict=True):
                window = windows[row]
                sure = logits[: len(window.offsets)].log_softmax(0).numpy()
                score, first, last = best_span(sure, window.context, self.answer_tokens)
                if score > best[window.row]:
                    best[window.row] = score
                    begin, end = window.offsets[first, 0], window.offsets[last, 1]
                    found[window.row] = window.text[begin:end].strip()
        return np.array(found)


def best_span(
    scores: NDArray[np.float64], allowed: NDArray[np.bool_], longest: int
) -> tuple[float, int, int]:
    """Returns the largest sum of a start's and an end's score, and both tokens; of equal ones the
    first start, then the first end. The score is -inf where nothing is allowed.

    Args:
        scores: (t, 2) scores of starts and ends.
        allowed: (t,) tokens that a span may start or end at.
        longest: most tokens of a span.
    """
    outside = np.where(allowed, 0.0, -np.inf)
    both = (scores[:, 0] + outside)[:, None] + (scores[:, 1] + outside)[None, :]
    places = np.arange(len(scores))
    length = places[None, :] - places[:, None]
    both = np.where((length >= 0) & (length < longest), both, -np.inf)
    first, last = np.unravel_index(int(both.argmax()), both.shape)
    return float(both[first, last]), int(first), int(last)
