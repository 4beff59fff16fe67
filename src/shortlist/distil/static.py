"""Kernel ridge regression on mean word vectors, which need no forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from scipy.spatial.distance import pdist
from tokenizers import Tokenizer

from shortlist.distil.base import Description, Distiller, Scorer, write_arrays
from shortlist.featurizers.cascade import rarity
from shortlist.models import checkpoint
from shortlist.models.pretrained import Pretrained
from shortlist.models.tokens import tokens_of
from shortlist.settings import Count, Positive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.models.tokens import Tokens

_ROWS = 1024  # documents whose kernel values are held at once
_SOME = 500  # landmarks whose median squared distance is the width of the kernel


@dataclass(frozen=True)
class StaticScorer(Scorer):
    """A vector for each token of a vocabulary, and a regression on their mean.

    Attributes:
        tokenizer: the tokenizer as UTF-8 of its JSON.
        table: (vocabulary, d) float16 vectors of the tokens, rarity included.
        landmarks: (l, d) float32 unit vectors that documents are compared with.
        weights: (l,) weights of the kernel values.
        bias: the constant.
        width: squared distance at which the kernel is 1 / e.
    """

    tokenizer: NDArray[np.uint8]
    table: NDArray[np.float16]
    landmarks: NDArray[np.float32]
    weights: NDArray[np.float64]
    bias: float
    width: float

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns the (n,) scores."""
        scores = np.empty(len(texts))
        for start in range(0, len(texts), _ROWS):
            rows = slice(start, start + _ROWS)
            values = vectors(self._read(texts[rows]), self._vectors)
            scores[rows] = kernel(values, self.landmarks, self.width) @ self.weights + self.bias
        return scores

    def write(self, path: Path) -> None:
        """Writes the file."""
        rest = np.array([self.bias, self.width])
        arrays = {"tokenizer": self.tokenizer, "table": self.table, "landmarks": self.landmarks}
        write_arrays(path, self.description, {**arrays, "weights": self.weights, "rest": rest})

    @classmethod
    def of(cls, description: Description, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Returns the scorer that a file holds."""
        bias, width = arrays["rest"].tolist()
        table, landmarks = arrays["table"], arrays["landmarks"]
        return cls(
            description, arrays["tokenizer"], table, landmarks, arrays["weights"], bias, width
        )

    @cached_property
    def _vectors(self) -> torch.Tensor:
        return torch.from_numpy(self.table.astype(np.float32))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return opened(self.tokenizer.tobytes().decode(), self.description.settings["max_length"])

    def _read(self, texts: Sequence[str]) -> Tokens:
        return read(self._tokenizer, texts)


@dataclass(frozen=True)
class Static(Distiller):
    """Kernel ridge regression on weighted mean word embeddings.

    Formula:
        score(x) = sum_l a_l exp(-|u(x) - u_l|^2 / h) + b with u(x) = v(x) / |v(x)|,
        v(x) = sum_t r_t E_t over the tokens t of x, E the model's word embeddings,
        r_t = 1 + log(n / (1 + n_t)), n_t of the n documents that were learned from having the token;
        u_l are `landmarks` of these, evenly spaced, h the median of |u_l - u_m|^2; a minimises
        sum_i (score(x_i) - y_i)^2 + ridge |a|^2, y the normal scores of the method's ranks

    Attributes:
        model: the model whose word embeddings and tokenizer are taken.
        max_length: tokens read of a document.
        landmarks: most documents that others are compared with.
        ridge: the penalty.
    """

    model: Pretrained
    max_length: Count
    landmarks: Count
    ridge: Positive

    def identity(self) -> dict[str, str]:
        """Returns the digests of the model."""
        return self.model.identity()

    def learn(self, texts: Sequence[str], wanted: NDArray[np.float64]) -> StaticScorer:
        """Returns the scorer."""
        home = self.model.directory()
        tokenizer = checkpoint.tokenizer(home)
        embeddings: Any = checkpoint.encoder(home).get_input_embeddings()
        table = embeddings.weight.detach().float()
        backend = str(tokenizer.backend_tokenizer.to_str())
        found = read(opened(backend, self.max_length), texts)
        weights = rarity(found, len(table), tokenizer.all_special_ids)
        # float16 holds the table exactly enough: what is learned from is what the file holds.
        stored = (table * weights[:, None]).numpy().astype(np.float16)
        values = vectors(found, torch.from_numpy(stored.astype(np.float32)))
        picked = np.linspace(0, len(values) - 1, min(self.landmarks, len(values))).astype(np.int64)
        landmarks = values[picked]
        width = _width(landmarks)
        bias, gram, right = float(wanted.mean()), 0.0, 0.0
        for start in range(0, len(values), _ROWS):
            rows = slice(start, start + _ROWS)
            block = kernel(values[rows], landmarks, width).astype(np.float64)
            gram, right = gram + block.T @ block, right + block.T @ (wanted[rows] - bias)
        learned: Any = np.linalg.solve(gram + self.ridge * np.eye(len(landmarks)), right)
        description = Description("static", {"max_length": self.max_length})
        raw = np.frombuffer(backend.encode(), dtype=np.uint8)
        return StaticScorer(description, raw, stored, landmarks, learned, bias, width)


def opened(backend: str, max_length: int) -> Tokenizer:
    """Returns a tokenizer of the library `tokenizers` that cuts to `max_length` tokens."""
    tokenizer: Any = Tokenizer.from_str(backend)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_length)
    return tokenizer


def read(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
    """Returns the token ids of the texts."""
    whole = [text.encode("utf-8", "replace").decode() for text in texts]  # no half surrogate pairs
    return tokens_of(tokenizer.encode_batch_fast(whole))


def vectors(tokens: Tokens, table: torch.Tensor) -> NDArray[np.float32]:
    """Returns (n, d): the sum of the tokens' vectors, scaled to length 1; zero without any."""
    ends = np.cumsum([0, *tokens.lengths])[:-1]
    ids = np.concatenate(tokens.ids)
    sums = torch.nn.functional.embedding_bag(
        torch.from_numpy(ids), table, torch.from_numpy(ends), mode="sum"
    )
    return torch.nn.functional.normalize(sums, dim=1).numpy()


def kernel(
    values: NDArray[np.float32], landmarks: NDArray[np.float32], width: float
) -> NDArray[np.float32]:
    """Returns the (n, l) values exp(-|u - u_l|^2 / width)."""
    squares = (values**2).sum(1)[:, None] + (landmarks**2).sum(1) - 2 * values @ landmarks.T
    return np.exp(-squares.clip(0) / np.float32(width))


def _width(landmarks: NDArray[np.float32]) -> float:
    """Returns the median squared distance of two different landmarks."""
    some = landmarks[:_SOME].astype(np.float64)
    return max(float(np.median(pdist(some, "sqeuclidean"))), 1e-6)
