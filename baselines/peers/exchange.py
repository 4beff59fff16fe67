"""What every adapter reads and writes (the protocol: src/shortlist/selectors/peer.py).

An adapter runs in the peer's environment: this needs the standard library and numpy, nothing else.
"""

import json
from pathlib import Path


def request(work):
    """Returns (checkout as Path or None, the settings by the peer's own names)."""
    found = json.loads((Path(work) / "request.json").read_text(encoding="utf-8"))
    checkout = Path(found["checkout"]) if found["checkout"] else None
    return checkout, found["arguments"]


def documents(work, name):
    """Returns (ids, texts) of `target` or `pool`, in the order of the vectors."""
    lines = (Path(work) / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["id"] for row in rows], [row["text"] for row in rows]


def vectors(work, name):
    """Returns the vectors of `target` or `pool`, (n, d) float32."""
    import numpy as np

    return np.load(Path(work) / f"{name}.npy")


def answer(work, ids, scores, **facts):
    """Writes the scores, one a document (None: not ranked), and what a reader must know."""
    rows = (
        json.dumps({"id": key, "score": None if score is None else float(score)})
        for key, score in zip(ids, scores, strict=True)
    )
    (Path(work) / "scores.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (Path(work) / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
