"""Cross-entropy difference, Moore and Lewis, ACL 2010."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.selectors.bags import texts_of
from shortlist.selectors.base import Selector
from shortlist.selectors.ngram_models import NGramModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from shortlist.core import Features
    from shortlist.runtime import Runtime

_MODELS = ("near", "far")
_TABLES = ("grams", "histories", "kinds")


class MooreLewis(Selector):
    """Nats per word that an n-gram model of the target saves over one of the pool.

    score(x) = H_pool(x) - H_target(x), both Witten-Bell models of words and signs over hashed
    n-grams. Deviations from Moore and Lewis: the general model reads the whole pool in place of a
    sample of the target's size, since documents of a sample would be put at a disadvantage; the
    vocabulary is open, an unseen word takes its bucket's share. Unlike DSIR's sum it is a mean, so
    length by itself is worth nothing.
    """

    def __init__(self, order: int, buckets: int) -> None:
        """Stores the settings.

        Args:
            order: words of the longest n-gram.
            buckets: n-grams of each length are hashed into so many.

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
            for texts in texts_of(features.documents, "selector=moore_lewis"):
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
        found: list[NDArray[np.float64]] = []
        with progress.bar("scores", len(pool), "documents", show=runtime.progress) as report:
            for texts in texts_of(pool.documents, "selector=moore_lewis"):
                found.append(far.loss(texts) - near.loss(texts))
                report(len(texts))
        return np.concatenate(found)
