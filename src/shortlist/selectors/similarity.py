"""Selectors by similarity of vectors to the target: centroid, round robin (kNN-TAPT), RDS+."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Selector, TransductiveSelector
from shortlist.selectors.neighbours import nearest
from shortlist.vectors import row_slices, unit_rows

By = Literal["round_robin", "best"]


class Centroid(Selector):
    """Cosine of a document with the mean of the target's unit vectors.

    It cannot represent a target of several topics, whose mean may lie where no text is. A document
    whose vector is zero has cosine 0.

    Formula:
        score(x) = cos(x, mean_i t_i / |t_i|)

    Paper:
        Aharoni and Goldberg 2020, section 4: the mean-embedding filter of domain curation.

    Deviations:
        The vectors are those of the featurizer.

    Cost:
        One product of the pool with one vector.
    """

    centre: torch.Tensor

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps `centre` (d,), of length one; returns the length of the mean of unit vectors."""
        vectors = unit_rows(torch.from_numpy(np.array(target.dense, dtype=np.float64)))
        self.keep("centre", unit_rows(vectors.mean(0, keepdim=True))[0])
        return {"mean_length": float(vectors.mean(0).norm())}

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the cosine of each document with the centre."""
        return unit_rows(batch.double()) @ self.centre


class RoundRobin(TransductiveSelector):
    """Round robin over the target texts: the nearest document of each, then the second nearest, ...

    Nearness is cosine. Within a round the targets come in the order of their ids, which are hashes.
    Cost: one product of the pool with the targets (`nearest`); memory: `neighbours` pairs a target.
    """

    ranking_length = "neighbours"

    def __init__(self, neighbours: int) -> None:
        """Stores how many neighbours each target has; all of them together can be selected."""
        super().__init__()
        if neighbours < 1:
            raise InvalidInput(f"selector.neighbours must be at least 1, found {neighbours}")
        self.neighbours = neighbours

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the ranking; returns how often several targets want the same document."""
        points, targets = pool.dense, target.dense
        near = nearest(points, targets, self.neighbours, "cosine", device=self.device)
        rows = near.rows.cpu().numpy()
        ranking = round_robin(rows)
        self.keep_ranking(ranking, len(pool))
        wanted = np.bincount(rows.ravel(), minlength=len(pool))
        rounds = [done for done in (1, 10, 50, 150, 500) if done <= rows.shape[1]]
        return {
            "neighbours": rows.shape[1],
            "picks": rows.size,
            "distinct": len(ranking),
            "duplicates": rows.size - len(ranking),
            "wanted_by_several": int((wanted > 1).sum()),
            "most_wanted": int(wanted.max()),
            "distinct_after_rounds": {str(done): len(np.unique(rows[:, :done])) for done in rounds},
        }


class TAPTCurated(RoundRobin):
    """Curated task-adaptive pre-training (kNN-TAPT): the nearest documents of every target text.

    A document that several texts want counts once. The rounds follow each other, so that any budget
    is a prefix: k rounds are the paper's selection.

    Formula:
        Round k holds the k-th nearest document of each target text, by cosine.

    Paper:
        Gururangan et al., ACL 2020 (arXiv 2004.10964), section 5.2: the k = 50, 150 or 500 nearest
        of each task text.

    Deviations:
        Cosine of the featurizer's vectors in place of VAMPIRE's; exact search in place of FAISS.

    Cost:
        One product of the pool with the targets; memory: `neighbours` pairs a target.
    """


class RDSPlus(RoundRobin):
    """Representation-based selection (RDS+): cosine of position-weighted mean hidden states.

    The default is a round robin over the target texts, so that a large cluster of targets cannot
    take the budget; `by: best` ranks documents by their largest cosine to any target.

    Formula:
        Round k holds the k-th nearest document of each target text, by cosine of
        sum_i i h_i / sum_i i

        h_i is the last hidden state of token i (`featurizer=position_weighted`).

    Paper:
        Ivison et al. 2025 (arXiv 2503.01807).

    Deviations:
        The vectors are those of the model that is going to be trained; an encoder is allowed. Texts
        are read as they are, up to the featurizer's `max_length`; the released code wraps each in a
        chat template and reads 2,048 tokens.

    Cost:
        One forward pass a document, by the featurizer, and one product of the pool with the
        targets.
    """

    def __init__(self, neighbours: int, by: By) -> None:
        """Stores the rule; `neighbours` is how many documents each target has in a round robin."""
        super().__init__(neighbours)
        if by not in get_args(By):
            raise InvalidInput(f"selector.by must be one of {', '.join(get_args(By))}, found {by}")
        self.by = by

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the ranking of the rounds, or the largest cosine of each document."""
        if self.by == "round_robin":
            return super().fit(target, pool)
        # The nearest target of each document: the same search with the roles exchanged.
        scores, targets = np.empty(len(pool)), target.dense
        for rows in row_slices(len(pool)):
            block = np.array(pool.dense[rows])
            near = nearest(targets, block, 1, "cosine", device=self.device)
            scores[rows] = near.values[:, 0].double().cpu().numpy()
        self.keep("pool_scores", torch.from_numpy(scores))
        return {}


def round_robin(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the distinct rows of (M, k) lists: all first places, then all second places, ...

    Within a round the lists come in their order. A row that an earlier place has taken is skipped
    and not replaced in that round.
    """
    flat = rows.T.ravel()
    first = np.unique(flat, return_index=True)[1]
    return flat[np.sort(first)].astype(np.int64)
