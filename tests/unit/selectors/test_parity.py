"""GOT-D's ranking against ott-jax's converged potentials, in ott-jax's own environment.

SHORTLIST_PEERS=/path/to/python python -m pytest -m peer tests/unit/selectors/test_parity.py
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.stats import spearmanr

from shortlist.core import Corpus, Features
from shortlist.ot import overlap
from shortlist.pipeline.compose import build_component

PYTHON = os.environ.get("SHORTLIST_PEERS", "")
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(12, 48))


def cloud(rows: int, clusters: int) -> Features:
    """Unit vectors in clusters, as texts of several topics have them."""
    values = CENTRES[RNG.integers(clusters, size=rows)] + 0.7 * RNG.normal(size=(rows, 48))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    corpus = Corpus.build([f"text {row}" for row in range(rows)])
    return Features(values.astype(np.float32), corpus.fingerprint, "key", corpus)


@pytest.mark.peer
@pytest.mark.skipif(not PYTHON, reason="set SHORTLIST_PEERS to a python that has ott-jax")
@pytest.mark.parametrize("epsilon", [0.05, 0.01])
def test_gotd_ranks_as_ott_jax_does_where_it_has_converged(
    composed: Any, machine: Any, epsilon: float
) -> None:
    pool, target = cloud(4000, 12), cloud(150, 3)
    scores = []
    for name in ("gotd", "peer_ott"):
        config = OmegaConf.create(
            OmegaConf.to_container(composed(f"selector={name}"), resolve=False)
        )
        if name == "gotd":
            config.selector.relative_epsilon = epsilon
        else:
            config.selector.arguments.relative_epsilon = epsilon
            config.selector.python = PYTHON
        selector = build_component(config, "selector")
        assert selector.applicable("classification") is None
        facts = selector.fit(target, pool)
        assert facts["converged"] is True
        scores.append(selector.score_all(pool, machine))
    agreement = float(spearmanr(*scores).statistic)
    top = overlap(*(torch.from_numpy(one) for one in scores), 0.05)
    print(f"epsilon {epsilon}: Spearman {agreement:.6f}, top 5 % in common {top:.4f}")
    assert agreement >= 0.999
