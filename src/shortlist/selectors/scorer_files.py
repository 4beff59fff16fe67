"""Selectors by a scorer of texts: BETR, whose scorer is distilled here, and any scorer file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist import progress
from shortlist.core import Corpus, Features
from shortlist.data.semantic_copies import unit_rows
from shortlist.distil.base import Distiller
from shortlist.distil.distillation import distil
from shortlist.distil.files import open_scorer
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer, embed
from shortlist.prepare.base import DocumentOperation, Text
from shortlist.runtime import Runtime
from shortlist.selectors.base import Selector, Traits, documents_of
from shortlist.settings import Count
from shortlist.vectors import row_slices

Aggregate = Literal["best", "mean"]
_TARGETS = 64  # whose ranks of the sample are computed at once


class Betr(Selector):
    """Documents like those that targets rank first in a sample, by a scorer distilled from it.

    A sample of the pool is encoded and ranked by cosine to each target text; a scorer of texts
    (`distil`) learns the documents' ranks and scores the whole pool, which is never encoded. The
    record holds the scorer's fidelity on held-out documents of the sample.

    Formula:
        score(x) = the scorer's prediction of -min_i r_i(x) (`best`) or of -mean_i r_i(x) (`mean`)

        r_i(x) is the rank of x in the sample by cosine to target i. The scorer learns normal scores
        of these numbers (`distil`).

    Paper:
        Mizrahi et al. 2025 (arXiv 2507.12466).

    Deviations:
        Equal best ranks are ordered by the mean rank. Ridge regression on hashed n-grams in place
        of a fastText classifier (`distil@selector.distiller=fasttext`); the encoder is a setting;
        the paper filters to a share of the corpus, here the budget decides.

    Cost:
        One forward pass a document of the sample and a target text, and the scorer over the pool.
    """

    scorer: torch.Tensor

    def __init__(
        self, sample: Count, aggregate: Aggregate, encoder: Featurizer, distiller: Distiller
    ) -> None:
        """Stores the settings.

        Args:
            sample: most documents of the pool that are encoded, the first by id.
            aggregate: over the target texts: `best` rank or `mean` rank.
            encoder: computes the vectors; it must not need training.
            distiller: learns the scorer.

        Raises:
            InvalidInput: there is no such aggregate, or the encoder must be trained first.
        """
        super().__init__()
        if aggregate not in get_args(Aggregate):
            raise InvalidInput(
                f"selector.aggregate must be one of {', '.join(get_args(Aggregate))}, found {aggregate}"
            )
        if encoder.requirements().any or encoder.inner is not None:
            raise InvalidInput(
                "selector.encoder takes vectors as they are, found "
                f"{type(encoder).__name__} with something to learn first"
            )
        self.sample = sample
        self.aggregate: Aggregate = aggregate
        self.encoder, self.distiller = encoder, distiller

    def identity(self) -> dict[str, str]:
        """Returns the digests of the encoder's model and of what the distiller reads."""
        parts = {"encoder": self.encoder.identity(Runtime(progress=False))}
        parts["distiller"] = self.distiller.identity()
        return {f"{part}.{name}": key for part, own in parts.items() for name, key in own.items()}

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the scorer's file; returns its fidelity."""
        corpus, texts = (documents_of(one, "selector=betr") for one in (pool, target))
        first = np.argsort(corpus.id_bits(), kind="stable")[: self.sample]
        sample = corpus.take(first)
        scores = sample_ranks(self._vectors(sample), self._vectors(texts), self.aggregate)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"scorer{self.distiller.suffix}"
            made = distil(self.distiller, sample, scores, path, made={"method": "Betr"})
            content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        self.keep("scorer", torch.from_numpy(content.copy()))
        return {"sample": len(sample), "scorer_bytes": made.bytes, **asdict(made.fidelity)}

    def _vectors(self, corpus: Corpus) -> NDArray[np.float32]:
        runtime = Runtime(progress=self.show_progress)
        return unit_rows(embed(self.encoder, corpus, runtime, "selector.encoder"))

    def score_all(self, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
        """Returns the scorer's (n,) scores of the texts."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"scorer{self.distiller.suffix}"
            path.write_bytes(self.scorer.cpu().numpy().tobytes())
            return score_texts(path, pool, "selector=betr", runtime)


class Quality(Selector):
    """Documents of the largest quality score: that of a scorer file, or of published heuristics.

    Without a file a document scores by the rules that it fails, so that many documents share the
    best score; of equal scores the ids decide, which are hashes. One without a word has no score
    and is counted.

    Formula:
        score(x) = that of the file, or -#{rules of Gopher, C4 and FineWeb that x fails}

    Paper:
        Rae et al. 2021 (arXiv 2112.11446), Raffel et al. 2020 (JMLR 21:140), Penedo et al. 2024
        (arXiv 2406.17557), who drop a document for any failed rule; of a file: its makers'.

    Deviations:
        Failed rules are counted in place of a decision; C4's rules for lines edit no text.

    Cost:
        One pass over the texts.
    """

    traits = Traits(target_aware=False)

    def __init__(
        self, scorer: str | None, label: str, rules: Mapping[str, DocumentOperation]
    ) -> None:
        """Stores the settings.

        Args:
            scorer: a scorer file of `distil`, or a fastText classifier (`.bin`, `.ftz`).
            label: of a fastText classifier, the class whose probability is the score.
            rules: operations of `prepare` whose failed rules count, where there is no file.

        Raises:
            InvalidInput: there is neither a file nor a rule.
        """
        super().__init__()
        if scorer is None and not rules:
            raise InvalidInput("selector=quality needs selector.scorer=FILE or selector.rules")
        self.file = None if scorer is None else Path(scorer)
        self.label, self.rules = label, dict(rules)

    def identity(self) -> dict[str, str]:
        """Returns the digest of the scorer file.

        Raises:
            Missing: there is no such file.
        """
        if self.file is None:
            return {}
        open_scorer(self.file, self.label)  # refuses a file that is missing or no scorer
        return {"scorer": hashlib.sha256(self.file.read_bytes()).hexdigest()}

    def score_all(self, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
        """Returns the (n,) scores of the texts."""
        if self.file is not None:
            return score_texts(self.file, pool, "selector=quality", runtime, self.label)
        texts = documents_of(pool, "selector=quality").texts
        scores = np.empty(len(texts))
        with progress.bar("scores", len(texts), "documents", show=runtime.progress) as report:
            for row, text in enumerate(texts):
                document = Text(text)
                failed = sum(len(rule.apply(document).failed) for rule in self.rules.values())
                scores[row] = -failed if document.words else -np.inf
                report(1)
        return scores


def score_texts(
    path: Path, pool: Features, method: str, runtime: Runtime, label: str = "high"
) -> NDArray[np.float64]:
    """Returns the (n,) scores of the pool's texts by a scorer file."""
    scorer, texts = open_scorer(path, label), documents_of(pool, method).joined()
    scores = np.empty(len(pool))
    with progress.bar("scores", len(texts), "documents", show=runtime.progress) as report:
        for rows in row_slices(len(texts)):
            part: Sequence[str] = texts[rows]
            scores[rows] = scorer.score(part)
            report(len(part))
    return scores


def sample_ranks(
    sample: NDArray[np.float32], targets: NDArray[np.float32], aggregate: Aggregate
) -> NDArray[np.float64]:
    """Returns (n,) minus the best or the mean rank of each row of (n, d) unit vectors by cosine to
    the (m, d) unit vectors of the targets; the nearest row has rank 0.

    Of equal best ranks the smaller mean is ahead: a share of it, below 1, is subtracted.
    """
    n = len(sample)
    best, total = np.full(n, n, dtype=np.int64), np.zeros(n)
    for rows in row_slices(len(targets), _TARGETS):
        order = np.argsort(-(targets[rows] @ sample.T), axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.broadcast_to(np.arange(n), order.shape), axis=1)
        best, total = np.minimum(best, ranks.min(0)), total + ranks.sum(0)
    mean = total / len(targets)
    return -(best + mean / n) if aggregate == "best" else -mean
