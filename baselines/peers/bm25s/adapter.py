"""BM25 of documents over target texts as queries by `bm25s`, in its own environment.

    python adapter.py WORK          (WORK: see src/shortlist/selectors/peer.py)

Arguments: k1 and b. Terms are runs of letters and digits, and runs of punctuation, in lower case;
idf is that of the package's `lucene`. The score is the mean over the queries, in which a repeated
word counts as often as it stands.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import exchange


def main(work):
    """Indexes the pool and answers every target text."""
    import bm25s
    import numpy as np

    _, arguments = exchange.request(work)
    ids, texts = exchange.documents(work, "pool")
    queries = exchange.documents(work, "target")[1]
    pool, target = (
        [re.findall(r"\w+|[^\w\s]+", text.lower()) for text in rows] for rows in (texts, queries)
    )
    index = bm25s.BM25(method="lucene", **arguments)
    index.index(pool, show_progress=False)
    known = set(index.vocab_dict)
    scores = [index.get_scores([term for term in query if term in known]) for query in target]
    answer = np.mean(scores, axis=0, dtype=np.float64)
    exchange.answer(work, ids, answer.tolist(), version=bm25s.__version__)


if __name__ == "__main__":
    main(sys.argv[1])
