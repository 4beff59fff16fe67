"""Extractive question answering: the answer is a passage of the context."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models.heads.spans import Spans
from shortlist.settings import Count, NaturalNumber
from shortlist.tasks import sums, text_metrics
from shortlist.tasks.metrics import Metric, Values
from shortlist.tasks.structured import Structured, shown, strings


class ExtractiveQa(Structured):
    """A task of the user's files with questions whose answers stand in their contexts, as SQuAD
    1.1.

    Answers are objects with the lists `text` and `answer_start`, lists of objects with both, or
    texts, which are looked for from the beginning of the context. Metrics compare with the best of
    all answers.

    Args:
        overlap: tokens of the context that neighbouring windows share; longer contexts are read in
            windows of `finetune.max_length`.
        answer_tokens: most tokens of a predicted answer.
        settings: those of `FromFiles`; `text` is the context, `text_b` the question.
    """

    default_metrics = ("token_f1", "exact_match")
    definitions: ClassVar[Mapping[str, Metric]] = {
        "token_f1": sums.mean,
        "exact_match": sums.mean,
    }

    def __init__(self, overlap: NaturalNumber, answer_tokens: Count, **settings: Any) -> None:
        super().__init__(**settings)
        self.overlap, self.answer_tokens = overlap, answer_tokens
        if self.columns.text_b is None:
            raise InvalidInput(
                f"task {self.name!r}: expected a column of questions, found none; set "
                "task.text_b=COLUMN"
            )

    def parse(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the row with its answers as a JSON object of lists: `text`, `answer_start`."""
        context, column = row.get(self.columns.text), str(self.columns.label)
        if not isinstance(context, str):
            raise InvalidInput(
                f"context {self.columns.text!r}: expected a string, found {shown(context)}"
            )
        answers = [
            {"text": text, "answer_start": _start(text, start, context, column)}
            for text, start in _answers(row.get(column), column)
        ]
        label = {name: [one[name] for one in answers] for name in ("text", "answer_start")}
        return {**row, column: json.dumps(label, ensure_ascii=False)}

    def head(self, labels: Sequence[str] | None) -> Spans:
        """Returns a start and an end of the answer by token."""
        return Spans(self.overlap, self.answer_tokens)

    def statistics(
        self, metric: str, predictions: NDArray[Any], corpus: Corpus, labels: Sequence[str]
    ) -> Values:
        """Returns (n, 2) scores of the predictions, and ones."""
        right = [json.loads(label)["text"] for label in corpus.labels or ()]
        return text_metrics.means(text_metrics.SCORES[metric], predictions.tolist(), right)


def _answers(value: Any, column: str) -> list[tuple[str, int | None]]:
    """Returns texts and starts of a column's value."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple | np.ndarray) and all(
        isinstance(one, Mapping) for one in value
    ):
        value = {
            name: [one.get(name) for one in value]
            for name in ("text", "answer_start")
            if any(name in one for one in value)
        }
    starts: Any = None
    if isinstance(value, Mapping):
        starts, value = value.get("answer_start"), value.get("text")
        if isinstance(value, str):
            starts, value = None if starts is None else [starts], [value]
    texts = strings([] if value is None else value, f"answers {column!r}")
    if not texts:
        raise InvalidInput(f"answers {column!r}: expected one or more, found none")
    if starts is None:
        return [(text, None) for text in texts]
    if not isinstance(starts, list | tuple | np.ndarray) or len(starts) != len(texts):
        raise InvalidInput(
            f"answers {column!r}: expected a start for each of {len(texts)} texts, found {shown(starts)}"
        )
    for one in starts:
        if one is not None and (not isinstance(one, Integral) or isinstance(one, bool)):
            raise InvalidInput(
                f"answers {column!r}: expected whole numbers as starts, found {shown(one)}"
            )
    return [
        (text, None if one is None else int(one)) for text, one in zip(texts, starts, strict=True)
    ]


def _start(text: str, start: int | None, context: str, column: str) -> int:
    """Returns the first character of an answer in its context."""
    if not text.strip():
        raise InvalidInput(f"answers {column!r}: expected texts, found {text!r}")
    if start is None:
        start = context.find(text)
        if start < 0:
            raise InvalidInput(f"answers {column!r}: {text[:40]!r} is not in the context")
    there = context[start : start + len(text)] if start >= 0 else ""
    if there != text:
        raise InvalidInput(
            f"answers {column!r}: expected {text[:40]!r} at character {start} of the context, found "
            f"{there[:40]!r}"
        )
    return start
