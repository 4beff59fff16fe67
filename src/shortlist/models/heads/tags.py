"""The head of token classification: a tag a word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from shortlist.models import checkpoint
from shortlist.models.heads.base import Head, Inputs, LossOptions, outputs_of
from shortlist.models.heads.labels import named
from shortlist.models.likelihood import IGNORED
from shortlist.models.tokens import encode, tokens_of
from shortlist.models.words import OUTSIDE, first_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime


class Tags(Head):
    """A tag a word: softmax over all tags at the first sub-word of each word, cross-entropy.

    Words are what single spaces separate in a text; labels are JSON lists of as many tags. A word
    begins at the first token that covers its first character. One that no token of its own covers,
    because the text was cut or the tokenizer joins words, is not trained on and predicted `O`.
    """

    description = "a task of one tag a word"
    model_class = "AutoModelForTokenClassification"
    allows = frozenset({"label_smoothing"})

    def __init__(self, tags: Sequence[str]) -> None:
        """Stores the tags, in the order of the outputs."""
        self.tags = tuple(tags)

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model with one output a tag at each token."""
        return named(
            checkpoint.classifier(directory, len(self.tags), kind=self.model_class, **config),
            self.tags,
        )

    def documents(self, corpus: Corpus, model: Any, tokenizer: Any, max_length: int) -> Inputs:
        """Returns the documents, and the places of the words' first tokens."""
        texts = corpus.texts
        encodings = encode(tokenizer, texts, max_length)
        firsts = [
            first_tokens(text, encoding.offsets, encoding.sequence_ids)
            for text, encoding in zip(texts, encodings, strict=True)
        ]
        return Inputs(tokens_of(encodings), tokenizer.pad_token_id, False, places=firsts)

    def targets(self, corpus: Corpus, inputs: Inputs) -> list[NDArray[np.int64]]:
        """Returns the number of a tag by token, `IGNORED` where no word begins or the tag is unknown."""
        index = {tag: number for number, tag in enumerate(self.tags)}
        labels: list[NDArray[np.int64]] = []
        for size, first, tags in zip(
            inputs.tokens.lengths, inputs.places, corpus.labels or (), strict=True
        ):
            row = np.full(size, IGNORED, dtype=np.int64)
            for place, tag in zip(first, json.loads(tags), strict=True):
                if place >= 0:
                    row[place] = index.get(tag, IGNORED)
            labels.append(row)
        return labels

    def loss(self, outputs: Any, labels: torch.Tensor, options: LossOptions) -> torch.Tensor:
        """Returns the mean over words of the cross-entropy in nats."""
        return functional.cross_entropy(
            outputs.logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=options.smoothing,
        )

    def predict(self, model: Any, inputs: Inputs, runtime: Runtime, report: Report) -> NDArray[Any]:
        """Returns (n,) texts: the most likely tags of a document's words as a JSON list."""
        found = [""] * len(inputs.tokens)
        for rows, outputs in outputs_of(model, inputs, runtime, report):
            best = outputs.logits.argmax(-1).cpu().numpy()
            for row, numbers in zip(rows.tolist(), best, strict=True):
                tags = [
                    self.tags[numbers[place]] if place >= 0 else OUTSIDE
                    for place in inputs.places[row]
                ]
                found[row] = json.dumps(tags, ensure_ascii=False)
        return np.array(found)
