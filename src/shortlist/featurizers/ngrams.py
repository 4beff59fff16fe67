"""Bags of hashed n-grams: what DSIR and the lexical filters look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scipy.sparse import csr_array, vstack
from sklearn.feature_extraction.text import HashingVectorizer

from shortlist import progress
from shortlist.featurizers.base import Featurizer

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime

_CHUNK = 2048


class NGrams(Featurizer):
    """Counts of word n-grams in hashed buckets (DSIR, section 3: unigrams and bigrams, 10,000
    buckets).

    A word is a run of letters and digits or a run of other signs, in lower case. Deviation:
    MurmurHash3 (scikit-learn) in place of SHA-256; which n-grams share a bucket differs, nothing
    else.
    """

    def __init__(self, buckets: int, longest: int) -> None:
        """Stores the number of buckets and the length of the longest n-gram."""
        self.buckets, self.longest = buckets, longest

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[csr_array, dict[str, Any]]:
        """Returns (n, buckets) counts in CSR form."""
        vectorizer: Any = HashingVectorizer  # its stubs know neither norm=None nor a type by name
        count = vectorizer(
            n_features=self.buckets,
            ngram_range=(1, self.longest),
            alternate_sign=False,
            norm=None,
            lowercase=True,
            token_pattern=r"\w+|[^\w\s]+",
            dtype="float32",
        )
        texts = corpus.texts
        parts = []
        with progress.bar("n-grams", len(texts), "documents", show=runtime.progress) as report:
            for start in range(0, len(texts), _CHUNK):
                parts.append(count.transform(texts[start : start + _CHUNK]))
                report(min(_CHUNK, len(texts) - start))
        return csr_array(vstack(parts, format="csr")), {}
