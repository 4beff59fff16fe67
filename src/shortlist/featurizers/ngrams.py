"""Bags of hashed n-grams: the vectors of DSIR and the lexical selectors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shortlist import progress
from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer
from shortlist.kernels.ngrams import bucket_cache, count_ngrams
from shortlist.kernels.sha256 import MAX_MODULUS
from shortlist.kernels.words import text_batch
from shortlist.runtime import Runtime
from shortlist.vectors import row_slices

_CHUNK = 512  # documents a task: its arrays fit the heap, and the last tasks keep all cores busy

Part: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]"


class NGrams(Featurizer):
    """Counts of word n-grams in hashed buckets.

    A word is a run of letters, digits and underscores or a run of other signs, in lower case, as
    NLTK's WordPunctTokenizer defines it. The bucket of an n-gram is that of the DSIR authors'
    package.

    Formula:
        v_k(x) = #{n-grams of x : SHA-256(words joined by spaces) mod buckets = k}

    Paper:
        Xie et al., NeurIPS 2023 (arXiv 2302.03169), section 3: 10,000 buckets, n = 1 and 2.

    Deviations:
        None: the buckets are those of the authors' package.

    Cost:
        One compiled pass over the words; no model.
    """

    version = 3

    def __init__(self, buckets: int, max_n: int) -> None:
        """Stores the settings.

        Args:
            buckets: number of buckets.
            max_n: largest length of an n-gram, in words.

        Raises:
            InvalidInput: one of them is out of range.
        """
        if not 1 <= buckets <= MAX_MODULUS or max_n < 1:
            raise InvalidInput(
                f"featurizer.buckets must be from 1 to {MAX_MODULUS:,} and featurizer.max_n at least 1, "
                f"found {buckets} and {max_n}"
            )
        self.buckets, self.max_n = buckets, max_n
        self.cache = bucket_cache()  # pool and target share most of their n-grams

    def __reduce__(self) -> tuple[type, tuple[int, int]]:
        return type(self), (self.buckets, self.max_n)  # another process fills a cache of its own

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[csr_array, dict[str, Any]]:
        """Returns (n, buckets) counts in CSR form, and the number of documents without a word."""
        parts: list[Part] = []

        def count(rows: slice) -> Part:
            texts = text_batch(*corpus.utf8(rows.start, rows.stop))
            return count_ngrams(texts, self.max_n, self.buckets, self.cache)

        with (
            progress.bar("n-grams", len(corpus), "documents", show=runtime.progress) as report,
            ThreadPoolExecutor(torch.get_num_threads()) as pool,
        ):
            for part in pool.map(count, row_slices(len(corpus), _CHUNK)):
                parts.append(part)
                report(len(part[2]) - 1)
        values = _stacked(parts, (len(corpus), self.buckets))
        return values, {"without_words": int((np.diff(values.indptr) == 0).sum())}


def _stacked(parts: list[Part], shape: tuple[int, int]) -> csr_array:
    """Returns the parts as one matrix; each is released as soon as it is copied."""
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
