"""The check of GOT-D's assumption in a cell: the stage `assumption`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.diagnostics.assumption import check_assumption as check
from shortlist.diagnostics.assumption import reference_texts
from shortlist.store import formats

if TYPE_CHECKING:
    from shortlist.pipeline.context import Context
    from shortlist.store.cache import Artifact


def check_assumption(cell: Context, pool: Artifact, task: Artifact) -> None:
    """Puts verdict, sentence and numbers into the record, if `check.assumption` asks for them.

    Raises:
        InvalidInput: the reference cannot be read, or holds too little.
    """
    wanted, parts = cell.parts.check, cell.parts
    if not wanted.assumption:
        return
    reference = reference_texts(wanted.reference)
    own_head = parts.model.head is None

    def compute(directory: Path) -> dict[str, Any]:
        return check(
            formats.load_corpus(pool.path / "corpus.arrow"),
            formats.load_corpus(task.path / "target.arrow"),
            reference,
            documents=wanted.documents,
            featurizer=parts.check_vectors,
            model=parts.model.directory(),
            head=parts.warmup if own_head else None,
            runtime=parts.runtime,
        ).facts()

    inputs = {
        "pool": pool.facts["fingerprint"],
        "target": task.facts["target"],
        "reference": reference.fingerprint,
        **parts.model.identity(),
        **parts.check_vectors.identity(parts.runtime),
    }
    settings: dict[str, Any] = {
        "documents": wanted.documents,
        "vectors": cell.config["check"]["vectors"],
        "version": parts.check_vectors.version,
    }
    if own_head:
        settings |= {"objective": parts.warmup.objective, "max_length": parts.warmup.max_length}
    made = cell.stage("assumption", 1, settings, inputs, compute)
    cell.selected["assumption"] = dict(made.facts)
    if made.facts["verdict"] != "holds":
        cell.warnings.append(made.facts["sentence"])
