"""Greedy mutual information with a target by `submodlib` (submodlib-py), in its own environment.

    python adapter.py WORK          (WORK: see src/shortlist/selectors/peer.py)

Arguments: function (facility_location: FLQMI, its class of the variant; concave_over_modular: COM
with the square root; graph_cut: GCMI), relevance (its queryDiversityEta) and limit. Similarities are
cosines of all pairs, 0 where negative; its naive greedy algorithm takes `limit` documents. The score
is minus the place; the others are not ranked.
"""

import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import exchange


def main(work):
    """Maximises one function and answers with the order."""
    import numpy as np
    import submodlib

    _, arguments = exchange.request(work)
    ids = exchange.documents(work, "pool")[0]
    pool, target = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (exchange.vectors(work, name) for name in ("pool", "target"))
    )
    given = {
        "n": len(pool),
        "num_queries": len(target),
        "query_sijs": np.maximum(pool @ target.T, 0),
    }
    eta = {"queryDiversityEta": arguments["relevance"]}
    match arguments["function"]:
        case "facility_location":
            function = submodlib.FacilityLocationVariantMutualInformationFunction(**given, **eta)
        case "concave_over_modular":
            from submodlib_cpp import ConcaveOverModular

            root = ConcaveOverModular.squareRoot
            function = submodlib.ConcaveOverModularFunction(**given, **eta, mode=root)
        case "graph_cut":
            function = submodlib.GraphCutMutualInformationFunction(**given)
    order = function.maximize(
        budget=arguments["limit"],
        optimizer="NaiveGreedy",
        stopIfZeroGain=False,
        stopIfNegativeGain=False,
        show_progress=False,
    )
    scores = [None] * len(ids)
    for place, (row, _) in enumerate(order):
        scores[row] = -place
    value = sum(gain for _, gain in order)
    exchange.answer(work, ids, scores, value=value, version=version("submodlib-py"))


if __name__ == "__main__":
    main(sys.argv[1])
