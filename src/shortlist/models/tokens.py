"""Texts as token ids, and token ids as padded batches of documents of similar length."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from shortlist.progress import Report

_CHUNK = 1024


@dataclass(frozen=True)
class Tokens:
    """Token ids of n documents.

    Attributes:
        ids: n arrays of token ids, special tokens included.
        types: n arrays of segment ids (0 for the first text, 1 for the second).
        lengths: (n,) number of tokens.
        truncated: number of documents that were cut to the maximal length.
    """

    ids: list[NDArray[np.int64]]
    types: list[NDArray[np.int64]]
    lengths: NDArray[np.int64]
    truncated: int

    def __len__(self) -> int:
        return len(self.ids)


def tokenize(
    tokenizer: Any,
    texts: Sequence[str],
    texts_b: Sequence[str] | None,
    max_length: int | None,
    report: Report = lambda done: None,
) -> Tokens:
    """Returns the token ids of n texts or pairs, with special tokens.

    Args:
        tokenizer: a tokenizer of `checkpoint.tokenizer`.
        texts: the texts, or the first texts of pairs.
        texts_b: the second texts of pairs, or None.
        max_length: tokens kept of a document, the longer text of a pair being cut first; None for
            all.
        report: called with the number of documents just tokenized.
    """
    rows: list[Any] = list(zip(texts, texts_b, strict=True)) if texts_b is not None else list(texts)
    ids: list[NDArray[np.int64]] = []
    types: list[NDArray[np.int64]] = []
    truncated = 0
    with _truncating(tokenizer, max_length, strategy="longest_first") as backend:
        for start in range(0, len(rows), _CHUNK):
            encodings = backend.encode_batch_fast(rows[start : start + _CHUNK])
            ids += [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
            types += [np.array(encoding.type_ids, dtype=np.int64) for encoding in encodings]
            truncated += sum(bool(encoding.overflowing) for encoding in encodings)
            report(len(encodings))
    return Tokens(ids, types, np.array([len(row) for row in ids], dtype=np.int64), truncated)


def encode(
    tokenizer: Any,
    rows: Sequence[str] | Sequence[tuple[str, str]],
    max_length: int | None,
    *,
    special: bool = True,
    **truncation: Any,
) -> list[Any]:
    """Returns the encodings of texts or pairs with offsets.

    Args:
        tokenizer: a tokenizer of `checkpoint.tokenizer`.
        rows: the texts, or pairs of them.
        max_length: tokens that an encoding is cut to; None for all.
        special: whether special tokens are added.
        truncation: `stride` and `strategy` of the tokenizer's truncation.
    """
    with _truncating(tokenizer, max_length, **truncation) as backend:
        return list(backend.encode_batch(list(rows), add_special_tokens=special))


def tokens_of(encodings: Sequence[Any]) -> Tokens:
    """Returns the token ids of encodings."""
    ids = [np.array(one.ids, dtype=np.int64) for one in encodings]
    types = [np.array(one.type_ids, dtype=np.int64) for one in encodings]
    truncated = sum(bool(one.overflowing) for one in encodings)
    return Tokens(ids, types, np.array([len(row) for row in ids], dtype=np.int64), truncated)


@contextmanager
def _truncating(tokenizer: Any, max_length: int | None, **truncation: Any) -> Generator[Any]:
    """Gives the tokenizer's backend, which cuts to `max_length` and runs in parallel."""
    backend: Any = tokenizer.backend_tokenizer
    if max_length is None:
        backend.no_truncation()
    else:
        backend.enable_truncation(max_length=max_length, **truncation)
    parallel = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # only here: see shortlist/__init__.py
    try:
        yield backend
    finally:
        os.environ["TOKENIZERS_PARALLELISM"] = parallel or "false"
        backend.no_truncation()


def pad(rows: Sequence[NDArray[np.int64]], value: int, width: int = 0) -> torch.Tensor:
    """Returns the n rows as a (n, t) tensor, padded on the right with `value`; t is the length of
    the longest row, at least `width`.
    """
    padded = np.full((len(rows), max(width, *(len(row) for row in rows))), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return torch.from_numpy(padded)


def batch(
    tokens: Tokens,
    rows: Sequence[int] | NDArray[Any],
    pad_id: int,
    *,
    types: bool,
    width: int = 0,
) -> dict[str, torch.Tensor]:
    """Returns `input_ids`, `attention_mask` and, where `types` is true, `token_type_ids` of these
    rows, each (b, t) and padded by `pad_id` to at least `width`.
    """
    lengths = torch.from_numpy(tokens.lengths[np.asarray(rows)])
    padded = pad([tokens.ids[row] for row in rows], pad_id, width)
    inputs = {
        "input_ids": padded,
        "attention_mask": (torch.arange(padded.shape[1]) < lengths[:, None]).long(),
    }
    if types:
        inputs["token_type_ids"] = pad([tokens.types[row] for row in rows], 0, width)
    return inputs


def by_length(lengths: NDArray[np.int64], tokens_a_batch: int) -> Iterator[NDArray[np.int64]]:
    """Yields batches of rows of similar length, each of at most `tokens_a_batch` padded tokens.

    The longest rows come first, so that a batch too large for the memory fails at once and not
    after an hour.
    """
    rows = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(rows):
        size = max(1, tokens_a_batch // int(lengths[rows[start]]))
        yield rows[start : start + size]
        start += size


class Buckets:
    """Shuffled training batches of documents of similar length: a batch sampler.

    An epoch is a permutation, cut into stretches of `50 * batch_size` rows; a stretch is sorted by
    length and cut into batches; the batches are shuffled. Every document occurs once an epoch.
    """

    def __init__(
        self, lengths: NDArray[np.int64], batch_size: int, generator: torch.Generator
    ) -> None:
        """Stores the lengths (n,), the rows a batch and the generator of the permutations."""
        self.lengths, self.batch_size, self.generator = lengths, batch_size, generator

    def __len__(self) -> int:
        stretch = 50 * self.batch_size
        full, rest = divmod(len(self.lengths), stretch)
        return full * 50 + -(-rest // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rows = torch.randperm(len(self.lengths), generator=self.generator).numpy()
        batches: list[list[int]] = []
        for start in range(0, len(rows), 50 * self.batch_size):
            stretch = rows[start : start + 50 * self.batch_size]
            stretch = stretch[np.argsort(self.lengths[stretch], kind="stable")]
            batches += [
                stretch[i : i + self.batch_size].tolist()
                for i in range(0, len(stretch), self.batch_size)
            ]
        yield from (
            batches[i] for i in torch.randperm(len(batches), generator=self.generator).tolist()
        )
