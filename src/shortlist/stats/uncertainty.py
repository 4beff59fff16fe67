"""How uncertain predicted class probabilities are, and how much those of several models disagree.

Every function takes (n, k) probabilities, or (r, n, k) of r models, and returns (n,) numbers;
larger is less certain. Entropies are in nats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns -sum_c p_c log p_c over the last axis: 0 if certain, log k if classes are alike."""
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return -(probabilities * logs).sum(-1) + 0.0


def margin(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 1 - (p_first - p_second): 1 where the two likeliest classes are alike."""
    two = np.sort(probabilities, axis=-1)[..., -2:]
    return 1 - (two[..., 1] - two[..., 0])


def mutual_information(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns H(mean of p) - mean of H(p) over r models (Houlsby et al. 2011, "Bayesian Active
    Learning by Disagreement"): 0 if all models give the same probabilities.
    """
    return np.maximum(entropy(probabilities.mean(0)) - entropy(probabilities).mean(0), 0)


def vote_entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the entropy of the shares of r models that predict each class (Dagan and Engelson
    1995); of equal probabilities the first class has the vote.
    """
    votes = np.eye(probabilities.shape[-1])[probabilities.argmax(-1)]
    return entropy(votes.mean(0))


def log_loss(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns -log p of the true class of each item, probabilities at least 1e-12."""
    return -np.log(np.maximum(probabilities[np.arange(len(classes)), classes], 1e-12))
