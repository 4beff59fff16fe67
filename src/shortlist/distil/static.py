"""Kernel ridge regression on mean token vectors, which need no forward pass."""
# scipy.sparse has no type stubs: the types of its results are unknown.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.spatial.distance import pdist
from scipy.special import logsumexp
from tokenizers import Tokenizer

from shortlist.distil.arrays import write_arrays
from shortlist.distil.base import NO_HINTS, Description, Distiller, Hints, Scorer
from shortlist.featurizers.cascade import rarity
from shortlist.models import checkpoint
from shortlist.models.linear import unit
from shortlist.models.pretrained import Pretrained
from shortlist.models.tokens import tokens_of
from shortlist.settings import Count, Positive, Range

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.models.tokens import Tokens

_ROWS = 1024  # documents whose kernel values are held at once
_SOME = 500  # landmarks whose median squared distance is the width of the kernel
_STEPS = 25  # of the conjugate gradients
_PENALTY = 0.3  # of the vectors of tokens, beside rows of length 1
_SHARED = 1.5  # mean length of the rows of mean word embeddings, beside bags of length 1
_BEST = 0.1  # share of the documents, the best, from which a third of the landmarks are
_TEMPERATURES = (0.02, 0.05, 0.1, 0.2)  # of the similarity to the target
_WEIGHT = 3.0  # of a similarity of unit variance beside a kernel value


@dataclass(frozen=True)
class StaticScorer(Scorer):
    """A vector for each token of a vocabulary, and a regression on the direction of their sum.

    Attributes:
        tokenizer: the tokenizer as UTF-8 of its JSON.
        table: (vocabulary, d) float16 vectors of the tokens, rarity included.
        landmarks: (l, d) float32 unit vectors that documents are compared with.
        target: (m, d) float32 unit vectors of the target's texts; m = 0 without them.
        scales: (t, 2) mean and standard deviation of the similarity at each temperature.
        weights: (l + t,) weights of kernel values and similarities to the target.
        bias: the constant.
        width: squared distance at which the kernel is 1 / e.
    """

    tokenizer: NDArray[np.uint8]
    table: NDArray[np.float16]
    landmarks: NDArray[np.float32]
    target: NDArray[np.float32]
    scales: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float
    width: float

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns the (n,) scores."""
        scores = np.empty(len(texts))
        for start in range(0, len(texts), _ROWS):
            rows = slice(start, start + _ROWS)
            values = vectors(read(self._tokenizer, texts[rows]), self._vectors)
            scores[rows] = self.features(values) @ self.weights + self.bias
        return scores

    def features(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns the (n, l + t) kernel values and similarities of (n, d) unit vectors."""
        similar = (target_similarity(values, self.target) - self.scales[:, 0]) / self.scales[:, 1]
        known = kernel(values, self.landmarks, self.width).astype(np.float64)
        return np.hstack([known, _WEIGHT * similar])

    def write(self, path: Path) -> None:
        """Writes the file."""
        rest = np.array([self.bias, self.width])
        names = ("tokenizer", "table", "landmarks", "target", "scales", "weights")
        arrays = {name: getattr(self, name) for name in names}
        write_arrays(path, self.description, {**arrays, "rest": rest})

    @classmethod
    def of(cls, description: Description, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Returns the scorer that a file holds."""
        bias, width = arrays["rest"].tolist()
        return cls(
            description, arrays["tokenizer"], arrays["table"], arrays["landmarks"],
            arrays["target"], arrays["scales"], arrays["weights"], bias, width,
        )  # fmt: skip

    @cached_property
    def _vectors(self) -> torch.Tensor:
        return torch.from_numpy(self.table.astype(np.float32))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return opened(self.tokenizer.tobytes().decode(), self.description.settings["max_length"])


@dataclass(frozen=True)
class Static(Distiller):
    """Kernel ridge regression on mean token vectors, and their similarity to the target.

    Formula:
        score(x) = sum_l a_l exp(-|u(x) - u_l|^2 / h) + sum_s c_s p_s(x) + b with u(x) = v(x) / |v(x)|,
        v(x) = sum_t r_t T_t over the tokens t of x, r_t = 1 + log(n / (1 + n_t)), n_t of the n
        documents that were learned from having the token; p_s(x) = s log mean_j exp(u(x) . u_j / s)
        over the target's texts j, standardised over the landmarks, for four temperatures s. T = E,
        the model's word embeddings, or, where the method has dense vectors y(x), T = B + E C, the
        ridge regression of the centred y(x) / |y(x)| on the bag of tokens. u_l are `landmarks`
        documents, two thirds of them evenly spaced and a third among the best tenth, h the median
        of |u_l - u_m|^2; a and c minimise sum_i (score(x_i) - z_i)^2 + ridge (|a|^2 + |c|^2), z the
        normal scores of the method's ranks

    Attributes:
        model: the model whose word embeddings and tokenizer are taken.
        max_length: tokens read of a document.
        landmarks: most documents that others are compared with.
        ridge: the penalty.
        students: most documents by which T is learned, the first; 0 leaves it at E.
    """

    model: Pretrained
    max_length: Count
    landmarks: Count
    ridge: Positive
    students: Annotated[int, Range(0)]

    version = 2

    def identity(self) -> dict[str, str]:
        """Returns the digests of the model."""
        return self.model.identity()

    def learn(
        self, texts: Sequence[str], wanted: NDArray[np.float64], hints: Hints = NO_HINTS
    ) -> StaticScorer:
        """Returns the scorer."""
        home = self.model.directory()
        tokenizer = checkpoint.tokenizer(home)
        embeddings: Any = checkpoint.encoder(home).get_input_embeddings()
        table = embeddings.weight.detach().float()
        backend = str(tokenizer.backend_tokenizer.to_str())
        opener = opened(backend, self.max_length)
        found = read(opener, texts)
        weights = rarity(found, len(table), tokenizer.all_special_ids).numpy()
        table = table.numpy()
        if hints.vectors is not None and self.students:
            rows = slice(0, self.students)
            table = student(_bag(found, weights)[rows], table, hints.vectors[rows])
        # float16 holds the table exactly enough: what is learned from is what the file holds.
        table = table * weights[:, None]
        stored = (table / np.abs(table).max()).astype(np.float16)
        vectors_of = torch.from_numpy(stored.astype(np.float32))
        values = vectors(found, vectors_of)
        landmarks = values[_landmarks(wanted, self.landmarks)]
        target = vectors(read(opener, hints.target), vectors_of)
        similar = target_similarity(landmarks, target)
        scales = np.column_stack([similar.mean(0), np.maximum(similar.std(0), 1e-9)])
        raw = np.frombuffer(backend.encode(), dtype=np.uint8)
        description = Description("static", {"max_length": self.max_length})
        bias, columns = float(wanted.mean()), len(landmarks) + len(scales)
        scorer = StaticScorer(
            description, raw, stored, landmarks, target, scales, np.zeros(columns), bias,
            max(float(np.median(pdist(landmarks[:_SOME], "sqeuclidean"))), 1e-6),
        )  # fmt: skip
        gram, right = np.zeros((columns, columns)), np.zeros(columns)
        for start in range(0, len(values), _ROWS):
            rows = slice(start, start + _ROWS)
            block = scorer.features(values[rows])
            gram += block.T @ block
            right += block.T @ (wanted[rows] - bias)
        learned: Any = np.linalg.solve(gram + self.ridge * np.eye(columns), right)
        return replace(scorer, weights=learned)


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
    ids = np.concatenate([*tokens.ids, np.zeros(0, np.int64)])
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


def target_similarity(
    values: NDArray[np.float32], target: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Returns the (n, t) soft maxima s log mean_j exp(u . u_j / s) of (n, d) unit vectors; (n, 0)
    for no target.
    """
    if not len(target):
        return np.zeros((len(values), 0))
    cosines = (values @ target.T).astype(np.float64)
    each = [s * (logsumexp(cosines / s, axis=1) - np.log(len(target))) for s in _TEMPERATURES]
    return np.stack(each, axis=1)


def student(
    bags: csr_array, table: NDArray[np.float32], vectors: NDArray[Any]
) -> NDArray[np.float32]:
    """Returns the (vocabulary, d) vectors of tokens whose weighted sums come nearest to the
    directions of a method's vectors: B + E C, by ridge regression, by conjugate gradients.

    Args:
        bags: (n, vocabulary) weighted counts of tokens, rows of length 1.
        table: (vocabulary, c) word embeddings E.
        vectors: (n, d) vectors of the documents.
    """
    wanted = unit(np.asarray(vectors), np.float32)
    wanted -= wanted.mean(0)
    shared = bags @ table
    scale = _SHARED / max(float(np.linalg.norm(shared, axis=1).mean()), 1e-9)
    shared *= scale
    transposed = csr_array(bags.T)
    left = transposed @ wanted, shared.T @ wanted  # residuals of B and C
    solution = tuple(map(np.zeros_like, left))
    steps, size = left, _squares(left)
    for _ in range(_STEPS):
        made = bags @ steps[0] + shared @ steps[1]
        image = transposed @ made + _PENALTY * steps[0], shared.T @ made + _PENALTY * steps[1]
        products = sum((a * b).sum(0) for a, b in zip(steps, image, strict=True))
        rate = size / np.maximum(products, 1e-20)  # a constant column has neither
        solution = tuple(x + rate * p for x, p in zip(solution, steps, strict=True))
        left = tuple(r - rate * q for r, q in zip(left, image, strict=True))
        before, size = size, _squares(left)
        steps = tuple(
            r + size / np.maximum(before, 1e-20) * p for r, p in zip(left, steps, strict=True)
        )
    return solution[0] + scale * (table @ solution[1])


def _squares(parts: tuple[NDArray[np.float32], ...]) -> Any:
    return sum((part**2).sum(0) for part in parts)


def _bag(tokens: Tokens, weights: NDArray[np.float32]) -> csr_array:
    """Returns the (n, vocabulary) counts of tokens times their weights, rows of length 1."""
    ids, ends = np.concatenate(tokens.ids), np.cumsum([0, *tokens.lengths])
    counts = csr_array((weights[ids], ids, ends), shape=(len(tokens), len(weights)))
    counts.sum_duplicates()
    return unit(counts, np.float32)


def _landmarks(wanted: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Returns the rows of the landmarks: two thirds evenly spaced, a third among the best tenth."""
    best = np.argsort(-wanted, kind="stable")[: max(int(_BEST * len(wanted)), 1)]
    every = np.arange(len(wanted))
    parts = ((every, count - count // 3), (np.sort(best), count // 3))
    picked = [
        rows[np.linspace(0, len(rows) - 1, min(size, len(rows))).astype(np.int64)]
        for rows, size in parts
        if size
    ]
    return np.unique(np.concatenate(picked))
