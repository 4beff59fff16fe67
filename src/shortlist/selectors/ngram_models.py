"""N-gram language models over hashed histories: counted and asked in compiled loops.

Witten-Bell interpolation (Witten and Bell 1991): with c(h) events after the history h, T(h) of them
different, p(w | h) = (c(hw) + T(h) p(w | h')) / (c(h) + T(h)), where h' lacks h's first word, and
below the unigrams every bucket is alike. A document is its words and one end mark, after a start
mark; so a document without words has a probability, too.
"""
# numba carries no type stubs: what its decorator returns is unknown to the checker.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.kernels.hashing import bucket, combine, compiled, mix
from shortlist.kernels.words import character_classes, hash_words, max_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.kernels.words import TextBatch

_START, _END = np.uint64(0x5EED5EED5EED5EED), np.uint64(0xE0DE0DE0DE0DE0DE)


@dataclass(frozen=True)
class NGramModel:
    """Counts of what follows what, in hashed buckets.

    Attributes:
        grams: (order, buckets) c(hw), by the length of hw less one and the bucket of hw.
        histories: (order, buckets) c(h), by the length of h and the bucket of h.
        kinds: (order, buckets) T(h): buckets of hw that were first filled after h.
    """

    grams: NDArray[np.int32]
    histories: NDArray[np.int32]
    kinds: NDArray[np.int32]

    @staticmethod
    def empty(order: int, buckets: int) -> NGramModel:
        """Returns a model that has read nothing; at 0 words all histories share one bucket."""
        return NGramModel(*(np.zeros((order, buckets), dtype=np.int32) for _ in range(3)))

    def read(self, texts: TextBatch) -> None:
        """Counts the documents; block after block gives what all at once would."""
        kinds = character_classes()
        tables = (self.grams, self.histories, self.kinds)
        _read(texts.data, texts.offsets, texts.pretokenized, kinds, *tables)

    def loss(self, texts: TextBatch) -> NDArray[np.float64]:
        """Returns the (n,) cross-entropies in nats per word, the end mark counted as one."""
        kinds = character_classes()
        tables = (self.grams, self.histories, self.kinds)
        return _loss(texts.data, texts.offsets, texts.pretokenized, kinds, *tables)


@compiled
def _gram(words: Any, last: Any, size: Any, buckets: Any) -> Any:
    """Returns the bucket of the `size` words that end with the one at `last`."""
    if size == 0:
        return np.int64(0)
    gram = words[last]
    for first in range(last - 1, last - size, -1):
        gram = combine(words[first], gram)
    return bucket(mix(gram ^ np.uint64(size)), buckets)


@compiled
def _events(data: Any, start: Any, stop: Any, cut: Any, kinds: Any, out: Any) -> Any:
    """Writes start mark, words and end mark into `out` and returns the number of events."""
    out[0] = _START
    found = hash_words(data, start, stop, cut, kinds, out[1:])
    out[found + 1] = _END
    return found + 1


@compiled
def _read(
    data: Any, offsets: Any, cut: Any, kinds: Any, grams: Any, histories: Any, new: Any
) -> Any:
    order, buckets = grams.shape
    words = np.empty(max_bytes(offsets) + 2, dtype=np.uint64)
    for row in range(len(offsets) - 1):
        events = _events(data, offsets[row], offsets[row + 1], cut[row], kinds, words)
        for at in range(1, events + 1):
            for size in range(min(order, at + 1)):
                history = _gram(words, at - 1, size, buckets)
                gram = _gram(words, at, size + 1, buckets)
                histories[size, history] += 1
                if grams[size, gram] == 0:
                    new[size, history] += 1
                grams[size, gram] += 1


@compiled
def _loss(
    data: Any, offsets: Any, cut: Any, kinds: Any, grams: Any, histories: Any, new: Any
) -> Any:
    order, buckets = grams.shape
    words = np.empty(max_bytes(offsets) + 2, dtype=np.uint64)
    found = np.zeros(len(offsets) - 1, dtype=np.float64)
    for row in range(len(found)):
        events = _events(data, offsets[row], offsets[row + 1], cut[row], kinds, words)
        for at in range(1, events + 1):
            likely = 1.0 / buckets
            for size in range(min(order, at + 1)):
                history = _gram(words, at - 1, size, buckets)
                seen, kept = histories[size, history], new[size, history]
                if seen == 0:
                    break
                count = grams[size, _gram(words, at, size + 1, buckets)]
                likely = (count + kept * likely) / (seen + kept)
            found[row] -= np.log(likely)
        found[row] /= events
    return found
