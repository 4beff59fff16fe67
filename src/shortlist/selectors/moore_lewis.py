"""Cross-entropy difference (Moore and Lewis, ACL 2010), with n-gram models or neural ones.

The n-gram models are counted and evaluated in compiled loops over hashed histories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist import progress
from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.kernels.hashing import bucket, combine, compiled, mix
from shortlist.kernels.words import TextBatch, character_classes, hash_words, max_bytes
from shortlist.runtime import Runtime
from shortlist.selectors.bag_of_words import text_batches
from shortlist.selectors.base import Selector, Traits, option_name

_START, _END = np.uint64(0x5EED5EED5EED5EED), np.uint64(0xE0DE0DE0DE0DE0DE)
_MODELS = ("near", "far")  # of the target and of the pool, as buffers name them
_TABLES = ("grams", "histories", "kinds")


class MooreLewis(Selector):
    """Nats per word that an n-gram model of the target saves over one of the pool.

    The score is a mean, unlike DSIR's sum, so length by itself is worth nothing.

    Formula:
        score(x) = H_pool(x) - H_target(x)

        Cross-entropies of Witten-Bell models over words and punctuation (`NGramModel`).

    Paper:
        Moore and Lewis, ACL 2010.

    Deviations:
        The general model reads the whole pool in place of a sample of the target's size, since
        documents of a sample would be at a disadvantage; the vocabulary is open, an unseen word
        takes its bucket's share.

    Cost:
        Two passes over the words of the pool; memory: six (order, buckets) tables of int32.
    """

    def __init__(self, order: int, buckets: int) -> None:
        """Stores the settings.

        Args:
            order: words of the longest n-gram.
            buckets: number of hash buckets for the n-grams of each length.

        Raises:
            InvalidInput: one of them is out of range.
        """
        super().__init__()
        if order < 1 or not 1 <= buckets < 2**31:
            raise InvalidInput(
                "selector.order must be at least 1 and selector.buckets from 1 to 2^31 - 1, found "
                f"{order} and {buckets}"
            )
        self.order, self.buckets = order, buckets

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the counts of both models, three (order, buckets) tables each."""
        for name, features in zip(_MODELS, (target, pool), strict=True):
            model = NGramModel.empty(self.order, self.buckets)
            for texts in text_batches(features, "selector=moore_lewis"):
                model.read(texts)
            for table in _TABLES:
                self.keep(f"{name}_{table}", torch.from_numpy(getattr(model, table)))
        return {}

    def score_all(self, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
        """Returns the (n,) differences; it reads the documents, not the vectors.

        Raises:
            InvalidInput: the vectors came without their documents.
        """
        near, far = (
            NGramModel(*(self.get_buffer(f"{name}_{table}").cpu().numpy() for table in _TABLES))
            for name in _MODELS
        )
        scores: list[NDArray[np.float64]] = []
        with progress.bar("scores", len(pool), "documents", show=runtime.progress) as report:
            for texts in text_batches(pool, "selector=moore_lewis"):
                scores.append(far.loss(texts) - near.loss(texts))
                report(len(texts))
        return np.concatenate(scores)


class MooreLewisModels(Selector):
    """Nats per token that the model saves on a document after it has read the target.

    The base model stands for the pool's language, the same model after training on the target's
    texts for the target's. A document without a token to predict has no score and is counted. Texts
    of the target that the pool repeats were trained on and come first.

    Formula:
        score(x) = H_base(x) - H_tuned(x)

    Paper:
        Moore and Lewis, ACL 2010, with neural models.

    Deviations:
        One model trained further in place of two trained apart.

    Cost:
        Two forward passes a document and the training on the target, by the featurizer
        (`featurizer=two_losses`).
    """

    traits = Traits(additive=True)  # a log-ratio of probabilities, per token

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Returns the mean saving on target and pool, in nats per token.

        Raises:
            InvalidInput: the vectors are not two losses a document.
        """
        if not isinstance(pool.values, np.ndarray) or pool.dimension != 2:
            raise InvalidInput(
                f"selector={option_name(type(self).__name__)} needs two losses a document, found "
                f"vectors of {pool.dimension}; set featurizer=two_losses"
            )
        facts: dict[str, float] = {}
        for name, features in (("target", target), ("pool", pool)):
            values = np.asarray(features.values, dtype=np.float64)
            facts[f"saved_on_{name}"] = float((values[:, 0] - values[:, 1]).mean())
        return facts

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the difference of the losses; -inf where both are 0 for want of a token."""
        losses = batch.double()
        empty = (losses == 0).all(1)
        return (losses[:, 0] - losses[:, 1]).masked_fill(empty, -torch.inf)


class TargetPath(MooreLewisModels):
    """The share of its loss on a document that the model loses while it reads the target.

    `moore_lewis_models` ranks by the drop itself, in nats, which favours documents that the base
    model predicts badly. A document without a token to predict has no score and is counted.

    Formula:
        score(x) = (H_base(x) - H_tuned(x)) / H_base(x)

    Paper:
        Yang, He and Cheng 2026 (arXiv 2605.09404): the normalised loss drop at the end of a short
        path of low capacity that the target alone induces; the released code has the same formula.

    Deviations:
        Depth and rate of the path are settings (`featurizer.reading.epochs`, `learning_rate`) in
        place of a search on held-out folds of the target; the loss is the language model's, for
        pool and target alike.

    Cost:
        Two forward passes a document and the training of an adapter of rank one on the target, by
        the featurizer (`featurizer=target_path`).
    """

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the relative drop of the loss; -inf where the loss before is 0."""
        losses = batch.double()
        share = (losses[:, 0] - losses[:, 1]) / losses[:, 0]
        return share.masked_fill(losses[:, 0] == 0, -torch.inf)


@dataclass(frozen=True)
class NGramModel:
    """An n-gram language model with Witten-Bell interpolation (Witten and Bell 1991).

    With c(h) events after the history h, T(h) of them different,
    p(w | h) = (c(hw) + T(h) p(w | h')) / (c(h) + T(h)), where h' lacks h's first word, and the
    unigrams are interpolated with a uniform distribution over buckets. A document is a start mark,
    its words and an end mark, so a document without words has a probability too.

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
        """Returns a model without counts; histories of 0 words share one bucket."""
        return NGramModel(*(np.zeros((order, buckets), dtype=np.int32) for _ in range(3)))

    def read(self, texts: TextBatch) -> None:
        """Counts the documents; how they are divided into batches makes no difference."""
        _read(*self._arguments(texts))

    def loss(self, texts: TextBatch) -> NDArray[np.float64]:
        """Returns the (n,) cross-entropies in nats per word, the end mark counted as one."""
        return _loss(*self._arguments(texts))

    def _arguments(self, texts: TextBatch) -> tuple[Any, ...]:
        tables = (self.grams, self.histories, self.kinds)
        return texts.data, texts.offsets, texts.pretokenized, character_classes(), *tables


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
def _events(data: Any, start: Any, stop: Any, pretokenized: Any, classes: Any, out: Any) -> Any:
    """Writes start mark, words and end mark into `out` and returns the number of events."""
    out[0] = _START
    count = hash_words(data, start, stop, pretokenized, classes, out[1:])
    out[count + 1] = _END
    return count + 1


@compiled
def _read(
    data: Any, offsets: Any, pretokenized: Any, classes: Any, grams: Any, histories: Any, kinds: Any
) -> Any:
    order, buckets = grams.shape
    words = np.empty(max_bytes(offsets) + 2, dtype=np.uint64)
    for row in range(len(offsets) - 1):
        events = _events(data, offsets[row], offsets[row + 1], pretokenized[row], classes, words)
        for at in range(1, events + 1):
            for size in range(min(order, at + 1)):
                history = _gram(words, at - 1, size, buckets)
                gram = _gram(words, at, size + 1, buckets)
                histories[size, history] += 1
                if grams[size, gram] == 0:
                    kinds[size, history] += 1
                grams[size, gram] += 1


@compiled
def _loss(
    data: Any, offsets: Any, pretokenized: Any, classes: Any, grams: Any, histories: Any, kinds: Any
) -> Any:
    order, buckets = grams.shape
    words = np.empty(max_bytes(offsets) + 2, dtype=np.uint64)
    losses = np.zeros(len(offsets) - 1, dtype=np.float64)
    for row in range(len(losses)):
        events = _events(data, offsets[row], offsets[row + 1], pretokenized[row], classes, words)
        for at in range(1, events + 1):
            likely = 1.0 / buckets
            for size in range(min(order, at + 1)):
                history = _gram(words, at - 1, size, buckets)
                seen, different = histories[size, history], kinds[size, history]
                if seen == 0:
                    break
                count = grams[size, _gram(words, at, size + 1, buckets)]
                if count == 0 and different == 0:
                    different = 1  # its n-grams were first filled after others, by a collision
                likely = (count + different * likely) / (seen + different)
            losses[row] -= np.log(likely)
        losses[row] /= events
    return losses
