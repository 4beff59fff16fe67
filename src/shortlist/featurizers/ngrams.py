"""Bags of hashed n-grams: what DSIR and the lexical filters look at."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from scipy.sparse import csr_array

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer
from shortlist.numerics.ngrams import WORDS, count, readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime

_CHUNK = 8192
_REMEMBERED = 1 << 20  # n-grams whose bucket is kept: most of a text are among the frequent ones

Part: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]"


class NGrams(Featurizer):
    """Counts of word n-grams in hashed buckets (DSIR, section 3: unigrams and bigrams, 10,000
    buckets).

    A word is a run of letters, digits and underscores or a run of other signs, in lower case, as
    NLTK's WordPunctTokenizer cuts it. `hash: fast` hashes in a compiled loop (Fowler-Noll-Vo of the
    words, SplitMix64 of their sequence); `hash: sha256` puts every n-gram into the bucket that the
    DSIR authors' package puts it into, some hundred times slower. Which n-grams share a bucket
    differs, nothing else.
    """

    version = 2

    def __init__(self, buckets: int, longest: int, hash: str) -> None:
        """Stores the settings.

        Args:
            buckets: number of buckets.
            longest: length of the longest n-gram, in words.
            hash: `fast` or `sha256`.

        Raises:
            InvalidInput: one of them is out of range.
        """
        if hash not in {"fast", "sha256"}:
            raise InvalidInput(f"featurizer.hash must be fast or sha256, found {hash!r}")
        if not 1 <= buckets < 2**31 or longest < 1:
            raise InvalidInput(
                "featurizer.buckets must be from 1 to 2^31 - 1 and featurizer.longest at least 1, "
                f"found {buckets} and {longest}"
            )
        self.buckets, self.longest, self.hash = buckets, longest, hash

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[csr_array, dict[str, Any]]:
        """Returns (n, buckets) counts in CSR form, and in how many documents there was no word."""
        counted = self._fast if self.hash == "fast" else self._sha256
        starts = range(0, len(corpus), _CHUNK)
        parts: list[Part] = []
        workers = torch.get_num_threads() if self.hash == "fast" else 1
        with (
            progress.bar("n-grams", len(corpus), "documents", show=runtime.progress) as report,
            ThreadPoolExecutor(workers) as pool,
        ):
            for part in pool.map(lambda start: counted(corpus, start), starts):
                parts.append(part)
                report(len(part[2]) - 1)
        values = _stacked(parts, (len(corpus), self.buckets))
        return values, {"without_words": int((np.diff(values.indptr) == 0).sum())}

    def _fast(self, corpus: Corpus, start: int) -> Part:
        stop = min(start + _CHUNK, len(corpus))
        return count(readable(*corpus.utf8(start, stop)), self.longest, self.buckets)

    def _sha256(self, corpus: Corpus, start: int) -> Part:
        data: list[int] = []
        indices: list[int] = []
        indptr = [0]
        for text in corpus.table["text"].slice(start, _CHUNK).to_pylist():
            found = Counter(_bucket(gram, self.buckets) for gram in grams(text, self.longest))
            indices += sorted(found)
            data += [found[bucket] for bucket in sorted(found)]
            indptr.append(len(indices))
        return np.array(data, np.float32), np.array(indices, np.int32), np.array(indptr, np.int64)


def grams(text: str, longest: int) -> Iterator[str]:
    """Returns the n-grams of a text, their words joined by spaces, in the order of their length."""
    words = WORDS.findall(text.lower())
    for size in range(1, longest + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


@lru_cache(_REMEMBERED)
def _bucket(gram: str, buckets: int) -> int:
    """Returns SHA-256 as one number modulo `buckets` (`hash_buckets` of data-selection 1.0.3)."""
    return int.from_bytes(hashlib.sha256(gram.encode()).digest(), "big") % buckets


def _stacked(parts: list[Part], shape: tuple[int, int]) -> csr_array:
    """Returns the parts as one matrix; each is given up as soon as it is copied."""
    size = sum(len(part[0]) for part in parts)
    data, indices = np.empty(size, np.float32), np.empty(size, np.int32)
    indptr = np.zeros(shape[0] + 1, np.int64)
    filled = rows = 0
    for place in range(len(parts)):
        values, columns, ends = parts[place]
        data[filled : filled + len(values)] = values
        indices[filled : filled + len(values)] = columns
        indptr[rows + 1 : rows + len(ends)] = ends[1:] + filled
        filled, rows = filled + len(values), rows + len(ends) - 1
        parts[place] = (values[:0], columns[:0], ends[:0])
        del values, columns
    # Under 64-bit row ends scipy would widen the columns, too: twice the file and the memory.
    ends = indptr.astype(np.int32) if size < 2**31 else indptr
    return csr_array((data, indices, ends), shape=shape)
