"""Text generation: a response is written to a prompt, or to the messages of a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.splits import Split, TaskData
from shortlist.errors import InvalidInput
from shortlist.models.heads.responses import PLACE, Responses
from shortlist.settings import Count
from shortlist.tasks import text_metrics
from shortlist.tasks.metrics import Metric, Values
from shortlist.tasks.structured import Structured, shown

ROLES = ("system", "user", "assistant")


class TextGeneration(Structured):
    """A task of the user's files with prompts and responses: instructions, translation, summaries.

    The text column holds prompts, or lists of messages (`role`, `content`) whose last one, of the
    role `assistant`, is the response; then there is no label column. The loss is that of the
    response's tokens alone. A conversation is read whole and trained on its last message.

    Args:
        template: what the model reads where there is no chat template; `{prompt}` is the prompt, of
            messages their contents with blank lines between.
        chat: whether the tokenizer's chat template is used; None: where it has one.
        answer_tokens: most tokens of a response that is written.
        settings: those of `FromFiles`; `text` is the prompt, `label` the response.
    """

    default_metrics = ("token_f1", "exact_match")
    definitions: ClassVar[Mapping[str, Metric]] = text_metrics.DEFINITIONS

    def __init__(
        self, template: str, chat: bool | None, answer_tokens: Count, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.template, self.chat, self.answer_tokens = template, chat, answer_tokens
        if template.count(PLACE) != 1:
            raise InvalidInput(
                f"task.template must hold {PLACE} once, found {template!r}; set it to '{PLACE}\\n', say"
            )
        if self.columns.text_b is not None:
            raise InvalidInput(
                "task.text_b names a second text, text generation reads one; put it into the prompt "
                "and set task.text_b=null"
            )
        text_metrics.check_packages(self.metrics)
        self.columns = replace(self.columns, optional=("label",))

    def parse(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the row with its prompt as one text, messages and response as a JSON object."""
        text, label = self.columns.text, str(self.columns.label)
        prompt = row.get(text)
        if isinstance(prompt, list | tuple | np.ndarray):
            messages = [_message(one, text) for one in prompt]
            if len(messages) < 2 or messages[-1]["role"] != "assistant":
                raise InvalidInput(
                    f"messages {text!r}: expected two or more, the last of the role assistant, found "
                    f"{[one['role'] for one in messages]}"
                )
            *messages, last = messages
            response, where = last["content"], text
            prompt = "\n\n".join(one["content"] for one in messages)
        else:
            response, where = row.get(label), label
            messages = [{"role": "user", "content": prompt}]
        if not isinstance(response, str) or not response.strip():
            raise InvalidInput(f"response {where!r}: expected a text, found {shown(response)}")
        told = {"messages": messages, "response": response}
        return {**row, text: prompt, label: json.dumps(told, ensure_ascii=False)}

    def head(self, labels: Sequence[str] | None) -> Responses:
        """Returns the model's own token head."""
        return Responses(self.template, self.chat, self.answer_tokens)

    def measured_by(self, metric: str) -> tuple[str, ...]:
        """Returns the signature of the metric's implementation."""
        return (text_metrics.signature(metric),)

    def statistics(
        self, metric: str, predictions: NDArray[Any], corpus: Corpus, labels: Sequence[str]
    ) -> Values:
        """Returns the (n, s) statistics of `text_metrics`."""
        right = [json.loads(label)["response"].strip() for label in corpus.labels or ()]
        return text_metrics.statistics(metric, predictions.tolist(), right)

    def details(
        self, predictions: NDArray[Any], data: TaskData, split: Split = "test"
    ) -> dict[str, Any]:
        """Returns the signatures of the metrics, and the number of empty responses."""
        signed = {name: sign for name in self.metrics if (sign := text_metrics.signature(name))}
        return {"signatures": signed, "empty_responses": int((predictions == "").sum())}


def _message(value: Any, column: str) -> dict[str, str]:
    """Returns a message of a conversation."""
    role, content = (
        (value.get("role"), value.get("content")) if isinstance(value, Mapping) else (None, None)
    )
    if role not in ROLES or not isinstance(content, str) or not content.strip():
        raise InvalidInput(
            f"messages {column!r}: expected objects with a role of {', '.join(ROLES)} and a content, "
            f"found {shown(value)}"
        )
    return {"role": role, "content": content}
