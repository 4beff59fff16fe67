"""Forgetting: what a model keeps of general English through the warm-up and the fine-tuning.

Two kinds of measurements on the same general texts, each compared passage by passage:

- The loss of the language model. A fine-tuned classifier has no head that predicts tokens: its
  encoder is evaluated with the language-model head it had before (a head tied to the word
  embeddings has those of the fine-tuned model). Its loss is an upper bound: what this head cannot
  use counts as forgotten, though a head trained anew might.
- Probes, which do train anew: logistic regression on frozen vectors (means over the tokens of the
  last layer), cross-validated over passages. `kind`: the kind of a passage (news, law, recipes,
  ...). `order`: whether two neighbouring words of a sentence were swapped (bigram shift, Conneau et
  al. 2018).
"""
# scikit-learn has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from shortlist.core import Corpus
from shortlist.diagnostics.assumption import kinds_of
from shortlist.errors import InvalidInput
from shortlist.featurizers.transformer import Encoder, Encoding, mean
from shortlist.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.runtime import Runtime

FOLDS = 5
INVERSE_PENALTY = 0.1  # of standardised vectors
LEAST_WORDS = 5  # of a sentence whose words are swapped


@dataclass(frozen=True)
class Probe:
    """A classification of texts by frozen vectors.

    Attributes:
        name: the name in metrics.
        texts: the n texts.
        labels: (n,) classes.
        folds: (n,) fold in which a text is tested; texts of one passage share theirs.
    """

    name: str
    texts: Sequence[str]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]

    def correct(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns (n,) 1 where the other folds' classifier is correct about a text, else 0."""
        found = np.zeros(len(self.labels))
        for fold in np.unique(self.folds):
            test = self.folds == fold
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
            ).fit(vectors[~test], self.labels[~test])
            found[test] = model.predict(vectors[test]) == self.labels[test]
        return found


def probes(reference: Corpus) -> tuple[Probe, Probe]:
    """Returns the probes `kind` and `order` of general texts, the same for every model.

    Passages of a kind are assigned to the folds round-robin, by id. Half of the sentences, by their hash,
    have one pair of different neighbouring words swapped.
    """
    kinds = kinds_of(reference)
    folds = np.zeros(len(reference), dtype=np.int64)
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        folds[rows] = np.arange(len(rows)) % FOLDS
    texts: list[str] = []
    swapped: list[int] = []
    owner: list[int] = []
    for row, text in enumerate(reference.texts):
        for sentence in re.split(r"(?<=[.!?])\s+", text):
            words = sentence.split()
            hashed = int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:8], "little")
            places = [i for i in range(len(words) - 1) if words[i].lower() != words[i + 1].lower()]
            if len(words) < LEAST_WORDS or not places:
                continue
            if hashed % 2:
                at = places[(hashed >> 1) % len(places)]
                words[at], words[at + 1] = words[at + 1], words[at]
            texts.append(" ".join(words))
            swapped.append(hashed % 2)
            owner.append(row)
    order = Probe("order", texts, np.array(swapped, dtype=np.int64), folds[owner])
    return Probe("kind", reference.texts, kinds, folds), order


def mean_vectors(
    directory: Path, texts: Sequence[str], max_length: int, runtime: Runtime
) -> NDArray[np.float64]:
    """Returns the (n, w) means of the last layer's states over each text's tokens."""
    module = Encoder(checkpoint.encoder(directory), pooling=mean, layer=None, normalise=False)
    tokenizer = checkpoint.tokenizer(directory)
    reader = Encoding(module, tokenizer, max_length, width=0, half=False, runtime=runtime)
    vectors, _ = reader.rows(Corpus.build(texts), lambda done: None)
    return vectors.astype(np.float64)


def save_with_language_model_head(
    language_model: Path, tuned: Path, objective: str, directory: Path
) -> None:
    """Writes into `directory` the language model with the weights of the base of `tuned`.

    Args:
        language_model: directory of a model with its language-model head.
        tuned: directory of a model of the same architecture, whatever its head.
        objective: `mlm` or `clm`.
        directory: where the model is written.

    Raises:
        InvalidInput: `tuned` lacks weights of the base.
    """
    load = {"mlm": checkpoint.masked_lm, "clm": checkpoint.causal_lm}[objective]
    model: Any = load(language_model)
    missing, _ = model.base_model.load_state_dict(
        checkpoint.encoder(tuned).state_dict(), strict=False
    )  # the pooler of a classifier is no part of the language model
    if missing:
        raise InvalidInput(
            f"check.forgetting reads the fine-tuned {type(model.base_model).__name__} by the head of "
            f"the language model, found no weight {missing[0]}; set check.forgetting=false"
        )
    directory.mkdir()
    checkpoint.save(directory, model, checkpoint.tokenizer(language_model))
