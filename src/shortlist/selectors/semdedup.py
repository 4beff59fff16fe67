"""A random order of the pool without copies in meaning (SemDeDup, Abbas et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch

from shortlist.core import Budget, Features
from shortlist.data.semantic_copies import repeats_an_earlier, spherical_kmeans
from shortlist.errors import InvalidInput
from shortlist.selectors.base import (
    Choice,
    ScoredPool,
    Traits,
    TransductiveSelector,
    documents_of,
)
from shortlist.settings import Count, Share

Keep = Literal["far", "near"]


class Semdedup(TransductiveSelector):
    """A random sample of the pool in which no two documents of a cluster are copies in meaning.

    The pool is clustered by k-means; of documents of a cluster whose cosine reaches the threshold
    one stays. What stays comes in the order of the ids, which are hashes; the copies follow, and
    the record counts those that a budget reaches. It reads no target: a baseline for what a
    selection gains by leaving copies out.

    Formula:
        x is a copy if cos(x, y) >= threshold for a y of its cluster that comes before x in the
        order of cos(y, centroid), smallest first (`keep=far`)

    Paper:
        Abbas et al. 2023 (arXiv 2303.09540).

    Deviations:
        k-means is fitted on at most 64 documents a cluster and draws nothing; the number of
        clusters follows from their size; of exact ties the smaller id stays.

    Cost:
        One product of the pool with the centroids, and of each cluster with itself.
    """

    traits = Traits(target_aware=False)

    def __init__(self, threshold: Share, cluster_size: Count, keep: Keep) -> None:
        """Stores the settings.

        Args:
            threshold: least cosine of copies; 1 - epsilon in the paper's terms.
            cluster_size: mean number of documents of a cluster.
            keep: which of several copies stays: the one farthest from the centroid, as in the
                paper, or the nearest.

        Raises:
            InvalidInput: there is no such rule, or the threshold is not above 0.
        """
        super().__init__()
        if keep not in get_args(Keep) or not 0 < threshold <= 1:
            raise InvalidInput(
                f"selector.keep must be one of {', '.join(get_args(Keep))} and selector.threshold in "
                f"(0, 1], found {keep} and {threshold}"
            )
        self.threshold, self.cluster_size, self.keep_rule = threshold, cluster_size, keep

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the order; returns the number of clusters and of copies."""
        ids = documents_of(pool, "selector=semdedup").id_bits()
        by_id = np.argsort(ids, kind="stable")
        # A stored pool is in that order and read from disk; any other one is copied.
        sorted_already = bool((by_id[1:] > by_id[:-1]).all())
        vectors = pool.dense if sorted_already else pool.dense[by_id]
        count = -(-len(vectors) // self.cluster_size)
        clusters = spherical_kmeans(vectors, count)
        sign = 1 if self.keep_rule == "far" else -1
        order = np.argsort(sign * clusters.cosines, kind="stable")
        copies = repeats_an_earlier(vectors, self.threshold, clusters.labels, order)
        ranking = np.concatenate([np.flatnonzero(~copies), np.flatnonzero(copies)])
        self.keep_ranking(by_id[ranking], len(pool))
        return {"clusters": count, "kept": int((~copies).sum()), "copies": int(copies.sum())}

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the first documents; the report counts copies among them."""
        choice = super().select(scores, budget, generator)
        kept = scores.report.get("kept")
        if kept is None:
            return choice
        return replace(choice, report={"copies": int((choice.scores <= -kept).sum())})
