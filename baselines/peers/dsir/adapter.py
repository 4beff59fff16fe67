"""The log importance weights of the DSIR authors' package, `data-selection`, in its own environment.

    python adapter.py WORK

Arguments, under the package's own names: ngrams, num_buckets, min_example_length, num_proc. Documents
shorter than min_example_length are not ranked. The package resamples without a seed, so the weights
themselves are the answer. The seconds of its two passes are left in facts.json. With a checkout of
p-lambda/dsir its package is imported from there, in place of the installed one.
"""

import contextlib
import io
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from exchange import answer, documents, request


def main(work):
    """Fits, weighs and answers."""
    checkout, arguments = request(work)
    if checkout:
        sys.path.insert(0, str(checkout))
    import data_selection
    from data_selection import HashedNgramDSIR

    ids, _ = documents(work, "pool")
    dsir = HashedNgramDSIR(
        [str(work / "pool.jsonl")], [str(work / "target.jsonl")], str(work / "cache"), **arguments
    )
    begin = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # a bar a worker
        dsir.fit_importance_estimator(num_tokens_to_fit="all")
        fitted = time.perf_counter()
        dsir.compute_importance_weights()
    done = time.perf_counter()
    weights, lengths = np.empty(len(ids)), np.empty(len(ids))
    # Each of its workers takes every n-th line of the one file.
    for part in range(dsir.num_proc):
        rows = slice(part, None, dsir.num_proc)
        weights[rows] = np.load(dsir.log_importance_weights_dir / f"{part}.npy")
        lengths[rows] = np.load(dsir.perexample_metadata_dir / f"{part}.npy")
    long = dsir.perexample_metadata_filter(lengths)
    scores = [weight if kept else None for weight, kept in zip(weights, long, strict=True)]
    seconds = {"fit_seconds": fitted - begin, "score_seconds": done - fitted}
    answer(work, ids, scores, version=data_selection.__version__, **seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
