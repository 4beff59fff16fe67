"""TAROT by its authors' code (github vita-epfl/TAROT): gradient stores in, a weighted subset out.

    python adapter.py WORK          (WORK: see src/shortlist/selectors/peer.py)

Needs what `tarot` imports (torch, geomloss, scikit-learn, and for its plots matplotlib, seaborn,
wandb). The vectors are laid down as its estimator's store (one checkpoint: `0/candidate_grads.mmap`,
`0/target_grads.mmap`, float32; its estimator multiplies in float16), put into its space by its
estimator and chosen from by its selector. The score of a chosen document is its weight (the
potential); the others are not ranked, so a budget above `selection_ratio`, the share of the pool
that `fixed_size` chooses, is refused; `otm` chooses its own number.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import exchange


def main(work):
    """Fills the store, whitens, selects, and writes the scores."""
    import numpy as np
    import torch

    checkout, arguments = exchange.request(work)
    sys.path.insert(0, str(checkout))
    from tarot.data_selector import DataSelector
    from tarot.wfd_estimator import WFDEstimator

    ids = exchange.documents(work, "pool")[0]
    pool, target = exchange.vectors(work, "pool"), exchange.vectors(work, "target")
    store = Path(work) / "store"
    (store / "0").mkdir(parents=True)
    for name, rows in (("candidate", pool), ("target", target)):
        path = store / "0" / f"{name}_grads.mmap"
        kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=rows.shape)
        kept[:] = rows
        kept.flush()
    estimator = WFDEstimator(
        model=torch.nn.Linear(1, 1),  # its gradients are never asked for: the store is full
        task=lambda *anything: None,
        candidate_set_size=len(pool),
        target_set_size=len(target),
        save_dir=str(store),
        device="cpu",
        proj_dim=pool.shape[1],
        use_half_precision=False,
    )
    scores, candidates, targets = estimator.get_wfd()
    settings = {"device": "cpu", "merge_target_data": False, "data_weighting": False, **arguments}
    chosen, weights = DataSelector(settings).select_data(scores, candidates, targets)
    found = [None] * len(ids)
    for row, weight in zip(np.asarray(chosen).tolist(), np.asarray(weights).tolist(), strict=True):
        found[row] = weight
    exchange.answer(work, ids, found, recommended_budget=len(chosen))


if __name__ == "__main__":
    main(sys.argv[1])
