"""Asks the DSIR authors' package, in its own environment, for its weights and its times."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core import Corpus

ADAPTER = Path(__file__).resolve().parent.parent / "baselines/peers/dsir/adapter.py"


@dataclass(frozen=True)
class Answer:
    """What the package gave.

    Attributes:
        weights: (n,) log importance weights; nan where a document was too short for it.
        facts: its version and the seconds of its passes.
    """

    weights: np.ndarray
    facts: dict[str, Any]


def ask(python: str, target: Corpus, pool: Corpus, **arguments: Any) -> Answer:
    """Returns the package's weights of the pool.

    Args:
        python: interpreter that has `data-selection`.
        target: target texts.
        pool: documents to weigh.
        arguments: settings under the package's own names.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        request = {"checkout": None, "arguments": arguments}
        (work / "request.json").write_text(json.dumps(request))
        for name, corpus in (("target", target), ("pool", pool)):
            rows = zip(corpus.ids, corpus.texts, strict=True)
            lines = [json.dumps({"id": key, "text": text}) + "\n" for key, text in rows]
            (work / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        subprocess.run([python, str(ADAPTER), str(work)], check=True, env=environment)
        rows = map(json.loads, (work / "scores.jsonl").read_text().splitlines())
        found = {row["id"]: row["score"] for row in rows}
        weights = [np.nan if found[key] is None else found[key] for key in pool.ids]
        return Answer(np.array(weights), json.loads((work / "facts.json").read_text()))
