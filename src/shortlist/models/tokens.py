"""Texts as token ids, and token ids as padded batches of documents of similar length."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from shortlist.progress import Report

_CHUNK = 1024
_KEPT = 1 << 22  # characters of the words that are kept


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
        for encodings in _encodings(backend, rows):
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


@dataclass(frozen=True)
class TokenRuns:
    """Token ids of n documents, one document after the other.

    Attributes:
        ids: all token ids; whether the tokenizer's own special tokens are among them is open.
        lengths: (n,) number of ids of each document.
        truncated: number of documents that were cut to the maximal length.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    truncated: int


def run_reader(tokenizer: Any, max_length: int) -> Callable[[Sequence[str]], TokenRuns]:
    """Returns the fastest function from texts to the ids that `tokenize` gives them.

    Args:
        tokenizer: a tokenizer of `checkpoint.tokenizer`.
        max_length: tokens kept of a document, special tokens included.
    """
    if max_length >= tokenizer.num_special_tokens_to_add() and _reads_words(tokenizer):
        return WordTokens(tokenizer, max_length)

    def read(texts: Sequence[str]) -> TokenRuns:
        tokens = tokenize(tokenizer, texts, None, max_length)
        return TokenRuns(np.concatenate(tokens.ids), tokens.lengths, tokens.truncated)

    return read


def _reads_words(tokenizer: Any) -> bool:
    """Returns whether what lies between two spaces has the same tokens wherever it stands.

    So it is with BERT's tokenizers, but for one that was given a token with a space in it.
    """
    backend: Any = tokenizer.backend_tokenizer
    parts = (backend.normalizer, backend.pre_tokenizer, backend.model)
    bert = ["BertNormalizer", "BertPreTokenizer", "WordPiece"]
    added = backend.get_added_tokens_decoder().values()
    return [type(part).__name__ for part in parts] == bert and not any(
        " " in token.content or token.lstrip or token.rstrip or token.single_word for token in added
    )


class WordTokens:
    """Token ids of texts word by word, each distinct word being tokenized once.

    A word is what lies between two spaces. For texts of 800 characters this is some ten times as
    fast as `tokenize`, whose normalization reads every occurrence again.
    """

    def __init__(self, tokenizer: Any, max_length: int, kept: int = _KEPT) -> None:
        """Starts without a word.

        Args:
            tokenizer: a tokenizer for which `_reads_words` holds.
            max_length: tokens kept of a document, special tokens included.
            kept: beyond so many characters, all words are forgotten before the next texts.

        Attributes:
            characters: number of characters of the words that are kept.
        """
        self._tokenizer, self._kept = tokenizer, kept
        self._limit = max_length - tokenizer.num_special_tokens_to_add()
        self._forget()

    def __call__(self, texts: Sequence[str]) -> TokenRuns:
        """Returns the token ids of n texts, without the special tokens that `tokenize` adds."""
        if self.characters > self._kept:
            self._forget()
        rows = [text.split(" ") for text in texts]
        words = list(chain.from_iterable(rows))
        numbers = self._numbers_of(words)
        sizes = np.diff(self._ends)[numbers]
        ends = np.cumsum(sizes)
        begins = np.cumsum([0, *map(len, rows)])  # of the documents, in words
        firsts = np.concatenate([[0], ends])[begins]
        lengths = np.diff(firsts)
        left = self._limit - (ends - sizes - np.repeat(firsts[:-1], np.diff(begins)))
        sizes = np.clip(left, 0, sizes)
        shifts = self._ends[numbers] - np.cumsum(sizes) + sizes
        places = np.repeat(shifts, sizes) + np.arange(sizes.sum())
        truncated = int((lengths > self._limit).sum())
        return TokenRuns(self._ids[places], np.minimum(lengths, self._limit), truncated)

    def _forget(self) -> None:
        self._numbers, self.characters = _Numbers(), 0
        self._ids, self._ends = np.empty(0, np.int64), np.zeros(1, np.int64)

    def _numbers_of(self, words: list[str]) -> NDArray[np.int64]:
        """Returns the number of each word, after those that are new have been tokenized."""
        numbers = np.fromiter(map(self._numbers.__getitem__, words), np.int64, len(words))
        unknown = np.flatnonzero(numbers < 0)
        if len(unknown):
            new = list(dict.fromkeys(words[place] for place in unknown))
            with _truncating(self._tokenizer, self._limit + 1) as backend:  # one more: it was cut
                parts = chain.from_iterable(_encodings(backend, new, special=False))
                ids = [one.ids for one in parts]
            more = np.fromiter(chain.from_iterable(ids), np.int64)
            self.characters += sum(map(len, new))
            self._ids = np.concatenate([self._ids, more])
            self._ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum([*map(len, ids)])])
            self._numbers.update(zip(new, range(len(self._numbers), len(self._ends)), strict=False))
            found = map(self._numbers.__getitem__, (words[place] for place in unknown))
            numbers[unknown] = np.fromiter(found, np.int64, len(unknown))
        return numbers


class _Numbers(dict[str, int]):
    def __missing__(self, word: str) -> int:
        return -1


def _encodings(backend: Any, rows: list[Any], *, special: bool = True) -> Iterator[list[Any]]:
    """Yields the encodings of texts or pairs without offsets, some at a time."""
    for start in range(0, len(rows), _CHUNK):
        yield backend.encode_batch_fast(rows[start : start + _CHUNK], add_special_tokens=special)


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
