"""TSDS by its authors' code (github ZifanL/TSDS): two .npy files and config.yaml in, row numbers out.

    python adapter.py WORK          (WORK: see src/shortlist/selectors/peer.py)

Needs numpy, faiss and PyYAML. Their script draws without a seed; it is run with numpy seeded. The
score is how often a document was drawn; what was never drawn is not ranked.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import exchange


def main(work):
    """Runs tsds.py in a folder of its own and writes the scores."""
    import os
    import runpy

    import numpy as np

    checkout, arguments = exchange.request(work)
    seed, ids = arguments.pop("seed"), exchange.documents(work, "pool")[0]
    run = Path(work) / "run"
    run.mkdir()
    config = {
        "query_embedding_path": str(Path(work) / "target.npy"),
        "candidate_embedding_path": str(Path(work) / "pool.npy"),
        "output_folder": str(run / "output"),
        **arguments,
    }
    (run / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    os.chdir(run)  # it reads config.yaml from there
    sys.path.insert(0, str(checkout))
    np.random.seed(seed)  # noqa: NPY002  (the generator that their code draws from)
    runpy.run_path(str(checkout / "tsds.py"), run_name="__main__")
    drawn = np.load(run / "output" / "selected_candidate_indices.npy").astype(int)
    counts = np.bincount(drawn, minlength=len(ids))
    scores = [int(count) if count else None for count in counts]
    exchange.answer(work, ids, scores, drawn=len(drawn), distinct=int((counts > 0).sum()))


if __name__ == "__main__":
    main(sys.argv[1])
