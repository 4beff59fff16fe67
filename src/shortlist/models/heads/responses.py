"""The head of texts that are written in answer to a prompt: a causal language model as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jinja2 import TemplateError
from torch.nn import functional

from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.generation import Sampling, Writer
from shortlist.models.heads.base import Head, Inputs, LossOptions
from shortlist.models.likelihood import IGNORED
from shortlist.models.tokens import Tokens, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime

PLACE = "{prompt}"
MOST_LIKELY = 1e-9  # a nucleus of one token


@dataclass(frozen=True)
class Prompts:
    """What is continued: the documents, the token ids of their prompts, and the tokenizer."""

    corpus: Corpus
    ids: list[NDArray[np.int64]]
    tokenizer: Any


class Responses(Head):
    """The model's own token head: cross-entropy over the tokens of the response and the end token.

    Labels are JSON objects: `messages`, a list of `role` and `content`, and `response`. The model
    reads the messages by the tokenizer's chat template, or the text in the template of the task.
    Predictions are continuations by the most likely tokens, written by `models.generation`, which
    hardly depend on the batch.
    """

    description = "a task of texts that are written"
    model_class = "AutoModelForCausalLM"
    allows = frozenset({"label_smoothing"})
    generates = True

    def __init__(self, template: str, chat: bool | None, answer_tokens: int) -> None:
        """Stores the settings.

        Args:
            template: what is read without a chat template; `{prompt}` is the text.
            chat: whether the tokenizer's chat template is used; None: where it has one.
            answer_tokens: most tokens of a response that is written.
        """
        self.template, self.chat, self.answer_tokens = template, chat, answer_tokens

    @property
    def settings(self) -> Mapping[str, Any]:
        """The kind and all settings."""
        own = {"template": self.template, "chat": self.chat, "answer_tokens": self.answer_tokens}
        return {**super().settings, **own}

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the causal language model.

        Raises:
            InvalidInput: the directory holds an encoder.
        """
        if checkpoint.tokenizer(directory).mask_token_id is not None:
            raise InvalidInput(
                f"a causal language model was expected by {self.description}, {directory} holds an "
                "encoder; set model=smollm2 trainer@warmup=clm, say"
            )
        return checkpoint.causal_lm(directory, **config)

    def read(
        self, corpus: Corpus, model: Any, tokenizer: Any, max_length: int, *, labelled: bool
    ) -> Inputs:
        """Returns the prompts, with `labelled` followed by response and end token, whose ids are
        the labels. Responses are cut to `max_length`, which `truncated` counts; prompts are read
        whole.

        Raises:
            InvalidInput: a prompt leaves no token for its response, or the tokenizer has no chat
                template or no end token.
        """
        prompts = self._prompts(corpus, tokenizer)
        if not labelled:
            return Inputs(_tokens(prompts, 0), tokenizer.pad_token_id, False,
                          places=Prompts(corpus, prompts, tokenizer))  # fmt: skip
        responses = [json.loads(label)["response"] for label in corpus.labels or ()]
        end = tokenizer.eos_token_id
        rows: list[NDArray[np.int64]] = []
        labels: list[NDArray[np.int64]] = []
        truncated = 0
        written = encode(tokenizer, responses, None, special=False)
        for text, prompt, response in zip(corpus.texts, prompts, written, strict=True):
            if len(prompt) >= max_length:
                raise InvalidInput(
                    f"finetune.max_length={max_length} leaves no room for a response after the prompt "
                    f"{text[:40]!r} of {len(prompt):,} tokens; raise it, or shorten the prompt"
                )
            whole = np.concatenate([prompt, np.array([*response.ids, end], dtype=np.int64)])
            truncated += len(whole) > max_length
            rows.append(whole[:max_length])
            labels.append(np.where(np.arange(len(rows[-1])) < len(prompt), IGNORED, rows[-1]))
        return Inputs(_tokens(rows, truncated), tokenizer.pad_token_id, False, labels=labels)

    def _prompts(self, corpus: Corpus, tokenizer: Any) -> list[NDArray[np.int64]]:
        """Returns the token ids of the prompts; one without tokens is an end token."""
        if tokenizer.eos_token_id is None:
            raise InvalidInput(
                f"a tokenizer with an end token was expected by {self.description}, this one has none"
            )
        chat = tokenizer.chat_template is not None if self.chat is None else self.chat
        if chat and tokenizer.chat_template is None:
            raise InvalidInput(
                "task.chat=true needs a tokenizer with a chat template, this one has none; set "
                "task.chat=null, which takes task.template"
            )
        texts = [self.template.replace(PLACE, text) for text in corpus.texts]
        if chat:
            texts = [
                _rendered(tokenizer, json.loads(label)["messages"]) for label in corpus.labels or ()
            ]
        # A chat template holds its special tokens.
        found = encode(tokenizer, texts, None, special=not chat)
        start = [tokenizer.eos_token_id]
        return [np.array(one.ids or start, dtype=np.int64) for one in found]

    def targets(self, corpus: Corpus, inputs: Inputs) -> list[NDArray[np.int64]]:
        """Returns the labels of `read`."""
        assert isinstance(inputs.labels, list)
        return inputs.labels

    def with_labels(self, corpus: Corpus, inputs: Inputs, model: Any, tokenizer: Any) -> Inputs:
        """Returns prompts and responses, cut where the model's positions end."""
        longest = checkpoint.positions_of(model) or int(tokenizer.model_max_length)
        return self.read(corpus, model, tokenizer, longest, labelled=True)

    def loss(self, outputs: Any, labels: torch.Tensor, options: LossOptions) -> torch.Tensor:
        """Returns the mean cross-entropy over the tokens of the responses, in nats."""
        told = labels[:, 1:] != IGNORED
        return functional.cross_entropy(
            outputs.logits[:, :-1][told].float(),
            labels[:, 1:][told],
            label_smoothing=options.smoothing,
        )

    def predict(self, model: Any, inputs: Inputs, runtime: Runtime, report: Report) -> NDArray[Any]:
        """Returns (n,) responses without white space around them.

        Raises:
            InvalidInput: a prompt and a response exceed the model's positions.
        """
        prompts: Prompts = inputs.places
        sampling = Sampling(1, self.answer_tokens, MOST_LIKELY, 1.0)
        writer = Writer.of(model, prompts.tokenizer, sampling, runtime.device)
        longest, most = int(inputs.tokens.lengths.max()), writer.longest_prompt
        if most is not None and longest > most:
            text = prompts.corpus.texts[int(inputs.tokens.lengths.argmax())]
            raise InvalidInput(
                f"the prompt {text[:40]!r} has {longest:,} tokens, expected at most {most:,} beside a "
                f"response of task.answer_tokens={self.answer_tokens}; lower that, or shorten the prompt"
            )
        batch = max(1, runtime.inference_tokens // (longest + self.answer_tokens))
        table = writer.table(prompts.corpus, prompts.ids, 0, batch, report)
        return np.array([text.strip() for text in table["text"].to_pylist()])


def _rendered(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """Returns messages in the tokenizer's chat template, up to where the response begins."""
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise InvalidInput(
            f"the tokenizer's chat template refuses messages of {roles}: {error}; set task.chat=false, "
            "or leave such rows out"
        ) from error


def _tokens(ids: list[NDArray[np.int64]], truncated: int) -> Tokens:
    """Returns token ids of single texts."""
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    return Tokens(ids, [np.zeros_like(row) for row in ids], lengths, truncated)
