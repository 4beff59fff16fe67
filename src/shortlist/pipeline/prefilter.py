"""The pool without the domains that are far from the targets, the same for every selector."""

from __future__ import annotations

import logging
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.data.splits import sample_rows
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import embed
from shortlist.ot import domain_divergences
from shortlist.pipeline.data import CORPUS, Documents
from shortlist.pipeline.stage import Cell, Notes, Stage
from shortlist.progress import quiet
from shortlist.store import formats

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.pipeline.candidates import CellData

log = logging.getLogger(__name__)


def prefilter(cell: Cell, data: CellData) -> Documents:
    """Returns the documents of the `pool.prefilter.keep` domains nearest to the targets, or the pool.

    The selector has no part in it, so every method chooses from the same documents. A domain's
    distance is its divergence to each target that documents are chosen toward, weighted as the
    targets are; equal distances are ordered by name.

    Raises:
        InvalidInput: the pool has no domains, or fewer than are to be kept.
    """
    settings, pool = cell.parts.prefilter, data.pool
    if settings is None:
        return pool
    table = measure_domains(cell, data)
    rows = table.facts["domains"]
    if settings.keep > len(rows):
        raise InvalidInput(
            f"pool.prefilter.keep={settings.keep} is more than the pool's {len(rows)} domains "
            f"({', '.join(row['domain'] for row in rows)}); keep fewer, or keep=null for all"
        )
    nearest = {row["domain"] for row in rows[: settings.keep]}

    def compute(directory: Path) -> dict[str, Any]:
        documents = pool.corpus
        kept = documents.take([i for i, name in enumerate(documents.domains) if name in nearest])
        formats.save_corpus(directory / CORPUS, kept)
        return {
            "documents": len(kept),
            "fingerprint": kept.fingerprint,
            "counts": {"left_out": len(documents) - len(kept)},
            "revision": pool.stage.facts["revision"],
        }

    # The domains by name in place of the table's key: targets that agree on them share the pool.
    inputs = {"pool": pool.fingerprint}
    stage = cell.stage("prefilter", 1, {"domains": sorted(nearest)}, inputs, compute)
    log.info(
        "prefilter: %s documents of %s kept, of the domains %s",
        f"{stage.facts['documents']:,}",
        f"{pool.stage.facts['documents']:,}",
        ", ".join(f"{row['domain']} ({row['divergence']:.4g})" for row in rows[: settings.keep]),
    )
    notes = Notes(
        stages=(table, stage),
        counts={"prefilter_left_out": stage.facts["counts"]["left_out"]},
        inputs={
            "whole_pool_fingerprint": pool.fingerprint,
            "pool_fingerprint": stage.facts["fingerprint"],
        },
        selection={"divergences": [{**row, "kept": row["domain"] in nearest} for row in rows]},
    )
    return Documents(stage, notes)


def measure_domains(cell: Cell, data: CellData) -> Stage:
    """Returns the table of divergences, nearest first; how many are kept is not in its key.

    Deviation from the paper's protocol (Kang et al. 2024, appendix C.2: 10,000 documents a domain,
    vectors of a DistilBERT tuned on the task): the sample and the vectors are settings, by default
    1,000 documents and mean word embeddings, which need no forward pass.

    Raises:
        InvalidInput: the pool has no domains.
    """
    settings, runtime = cell.parts.prefilter, cell.parts.runtime
    assert settings is not None  # checked by `prefilter`
    featurizer, pool, spec = settings.featurizer, data.pool, cell.parts.target_spec
    # Where documents are only chosen away from a target, all others have weight 0 and count alike.
    weights = spec.toward or {name: 1.0 for name, weight in spec.weights.items() if weight == 0}

    def compute(directory: Path) -> dict[str, Any]:
        documents = pool.corpus
        sizes = Counter(documents.domains)
        if not any(sizes):
            raise InvalidInput(
                "pool.prefilter compares domains, but no document of the pool has one; name the "
                "column with pool.domain=COLUMN, or set pool.prefilter.keep=null"
            )

        def sample(corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.float32]:
            ids = corpus.ids
            first = sample_rows([ids[row] for row in rows], settings.documents, settings.seed)
            taken = corpus.take(rows[first])
            return embed(featurizer, taken, runtime, "featurizer@pool.prefilter.featurizer")

        named = np.array(documents.domains)
        domains = {name: sample(documents, np.flatnonzero(named == name)) for name in sorted(sizes)}
        samples = {
            name: sample(corpus, np.arange(len(corpus)))
            for name, corpus in ((name, data.targets[name].target) for name in weights)
        }
        with quiet("shortlist.ot"):
            divergences = domain_divergences(
                domains, samples, relative_epsilon=settings.relative_epsilon, cost=settings.cost
            )
        rows: list[dict[str, Any]] = [
            {
                "domain": domain,
                "documents": sizes[domain],
                "sampled": len(domains[domain]),
                "divergence": math.fsum(weights[name] * by_target[name] for name in weights),
                **({"by_target": by_target} if len(weights) > 1 else {}),
            }
            for domain, by_target in divergences.items()
        ]
        return {"domains": sorted(rows, key=lambda row: (row["divergence"], row["domain"]))}

    written = cell.settings["pool"]["prefilter"]
    decisive = {name: value for name, value in written.items() if name != "keep"}
    decisive |= {"weights": weights, "version": featurizer.version}
    inputs = {"pool": pool.fingerprint, **featurizer.identity(runtime)}
    inputs |= {f"target.{name}": data.targets[name].fingerprint("target") for name in weights}
    return cell.stage("divergences", 1, decisive, inputs, compute)
