"""Fewer domains for everybody: the pool without those that are far from the targets."""

from __future__ import annotations

import logging
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.data.splits import sample_rows
from shortlist.errors import InvalidInput
from shortlist.ot.nearness import domain_divergences
from shortlist.progress import quiet
from shortlist.store import formats

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.pipeline.context import Context
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)


def prefilter(cell: Context, pool: Artifact, targets: Mapping[str, Artifact]) -> Artifact:
    """Returns the pool of the `pool.prefilter.keep` domains nearest to the targets, or the pool.

    The selector has no part in it, so every method chooses from the same documents. A domain's
    distance is its divergence to each target to choose toward, weighted as the targets are; equal
    distances go by name.

    Raises:
        InvalidInput: the pool has no domains, or fewer than are to be kept.
    """
    settings = cell.parts.prefilter
    if settings is None:
        return pool
    table = measure_domains(cell, pool, targets)
    rows = table.facts["domains"]
    if settings.keep > len(rows):
        raise InvalidInput(
            f"pool.prefilter.keep={settings.keep} is more than the pool's {len(rows)} domains "
            f"({', '.join(row['domain'] for row in rows)}); keep fewer, or keep=null for all"
        )
    nearest = {row["domain"] for row in rows[: settings.keep]}

    def compute(directory: Path) -> dict[str, Any]:
        documents = formats.load_corpus(pool.path / "corpus.arrow")
        kept = documents.take([i for i, name in enumerate(documents.domains) if name in nearest])
        formats.save_corpus(directory / "corpus.arrow", kept)
        return {
            "documents": len(kept),
            "fingerprint": kept.fingerprint,
            "counts": {"left_out": len(documents) - len(kept)},
            "revision": pool.facts["revision"],
        }

    # The domains by name and not by the table's key: targets that agree on them share the pool.
    inputs = {"pool": pool.facts["fingerprint"]}
    made = cell.stage("prefilter", 1, {"domains": sorted(nearest)}, inputs, compute)
    cell.counts["prefilter_left_out"] = made.facts["counts"]["left_out"]
    cell.inputs["whole_pool_fingerprint"] = pool.facts["fingerprint"]
    cell.inputs["pool_fingerprint"] = made.facts["fingerprint"]
    cell.selected["divergences"] = [{**row, "kept": row["domain"] in nearest} for row in rows]
    log.info(
        "prefilter: %s documents of %s kept, of the domains %s",
        f"{made.facts['documents']:,}",
        f"{pool.facts['documents']:,}",
        ", ".join(f"{row['domain']} ({row['divergence']:.4g})" for row in rows[: settings.keep]),
    )
    return made


def measure_domains(cell: Context, pool: Artifact, targets: Mapping[str, Artifact]) -> Artifact:
    """Returns the table of divergences, nearest first; how many are kept is not in its key.

    Deviation from the paper's protocol (Kang et al. 2024, appendix C.2: 10,000 documents a domain,
    vectors of a DistilBERT tuned on the task): the sample and the vectors are settings, by default
    1,000 documents and mean word embeddings, which need no forward pass.

    Raises:
        InvalidInput: the pool has no domains.
    """
    settings, runtime = cell.parts.prefilter, cell.parts.runtime
    assert settings is not None  # `prefilter` has asked
    featurizer, aims = settings.featurizer, cell.parts.aims
    # Where documents are only chosen away from something, all targets weigh 0 and count alike here.
    weights = aims.toward or {name: 1.0 for name, weight in aims.weights.items() if weight == 0}

    def compute(directory: Path) -> dict[str, Any]:
        documents = formats.load_corpus(pool.path / "corpus.arrow")
        sizes = Counter(documents.domains)
        if not any(sizes):
            raise InvalidInput(
                "pool.prefilter compares domains, but no document of the pool has one; name the "
                "column with pool.domain=COLUMN, or set pool.prefilter.keep=null"
            )

        def sample(corpus: Corpus, rows: NDArray[np.int64], name: str) -> NDArray[np.float32]:
            ids = corpus.ids
            first = sample_rows([ids[row] for row in rows], settings.documents, settings.seed)
            at = directory / name
            at.mkdir()
            values, _ = featurizer.compute(corpus.take(rows[first]), at, runtime)
            if not isinstance(values, np.ndarray) or values.shape[1] == 0:
                raise InvalidInput(
                    "pool.prefilter needs dense vectors; choose another "
                    "featurizer@pool.prefilter.featurizer, such as static"
                )
            found = np.array(values, dtype=np.float32)
            for file in at.iterdir():
                file.unlink()
            at.rmdir()
            return found

        named = np.array(documents.domains)
        domains = {
            name: sample(documents, np.flatnonzero(named == name), f"domain{number}")
            for number, name in enumerate(sorted(sizes))
        }
        wanted = {
            name: formats.load_corpus(targets[name].path / "target.arrow") for name in weights
        }
        samples = {
            name: sample(corpus, np.arange(len(corpus)), f"target{number}")
            for number, (name, corpus) in enumerate(wanted.items())
        }
        with quiet("shortlist.ot"):
            found = domain_divergences(
                domains, samples, relative_epsilon=settings.relative_epsilon, cost=settings.cost
            )
        rows: list[dict[str, Any]] = [
            {
                "domain": name,
                "documents": sizes[name],
                "sampled": len(domains[name]),
                "divergence": math.fsum(weights[aim] * own[aim] for aim in weights),
                **({"by_target": own} if len(weights) > 1 else {}),
            }
            for name, own in found.items()
        ]
        return {"domains": sorted(rows, key=lambda row: (row["divergence"], row["domain"]))}

    written = cell.config["pool"]["prefilter"]
    decide = {name: value for name, value in written.items() if name != "keep"}
    inputs = {"pool": pool.facts["fingerprint"], **featurizer.identity(runtime)}
    inputs |= {f"target.{name}": targets[name].facts["target"] for name in weights}
    decide |= {"weights": weights, "version": featurizer.version}
    return cell.stage("divergences", 1, decide, inputs, compute)
