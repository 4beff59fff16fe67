"""Drift between files, logs and runs: from what is named to vectors, and their comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core import Corpus
from shortlist.data.corrections import is_log
from shortlist.data.splits import sample_rows
from shortlist.deploy.runs import RECORD, open_run
from shortlist.deploy.texts import featurizer, read_texts, vectors
from shortlist.diagnostics.datasheet.page import html
from shortlist.diagnostics.drift import Drift, DriftSettings, drift
from shortlist.diagnostics.drift_page import drift_page
from shortlist.errors import InvalidInput
from shortlist.prepare.anonymise import by_patterns
from shortlist.prepare.base import Text


@dataclass(frozen=True)
class Compared:
    """Two samples of texts and their comparison.

    Attributes:
        drift: the comparison.
        old: the old texts of the sample.
        new: the new ones.
        counts: texts by side and fate.
        vectors: name of the featurizer.
    """

    drift: Drift
    old: Sequence[str]
    new: Sequence[str]
    counts: Mapping[str, int]
    vectors: str

    def page(self, title: str) -> str:
        """Returns the page as one HTML file."""
        return html(drift_page(title, self.drift, self.old, self.new))

    @property
    def facts(self) -> dict[str, Any]:
        """The comparison as plain data."""
        test = self.drift.test
        return {
            "drift": self.drift.found,
            "sentence": self.drift.sentence,
            "divergence": test.value,
            "null_interval": list(test.null_interval),
            "p": test.p,
            "p_interval": list(test.p_interval),
            "converged": self.drift.converged,
            "epsilon": self.drift.epsilon,
            **asdict(self.drift.settings),
            "vectors": self.vectors,
            "counts": dict(self.counts),
            "clusters": [
                {
                    **{k: v for k, v in asdict(one).items() if not k.endswith("_rows")},
                    "old_texts": [self.old[row] for row in one.old_rows],
                    "new_texts": [self.new[row] for row in one.new_rows],
                }
                for one in self.drift.clusters
            ],
        }


def compare(
    old: Path, new: Path, settings: DriftSettings, overrides: Sequence[str], *, documents: int = 400,
    vectors_of: str = "static", text: str = "text",
) -> Compared:  # fmt: skip
    """Returns the comparison of two sets of distinct texts: one that was served often counts once.
    Personal data, which a log does not hold, is masked in the texts that a log is compared with.

    Args:
        old: a file of texts, the log of a server, or a run, whose training texts are meant.
        new: likewise.
        settings: how they are compared.
        overrides: settings of the machine, and of the featurizer.
        documents: most texts of a side; a sample by id where there are more.
        vectors_of: an option of `conf/featurizer`.
        text: column of the text.

    Raises:
        InvalidInput: a side cannot be read or has too few texts.
    """
    if documents < 2:
        raise InvalidInput(f"--documents: expected 2 or more, found {documents}")
    counts: dict[str, int] = {}
    samples: dict[str, Corpus] = {}
    sides = {"old": old, "new": new}
    runs = {name: _of_run(path, overrides) for name, path in sides.items() if _is_run(path)}
    pairs = any(two_texts for _, two_texts in runs.values())
    logs = {name for name, path in sides.items() if name not in runs and is_log(path)}
    mask = by_patterns()
    for name, path in sides.items():
        if name in runs:
            corpus = runs[name][0]
            read: Mapping[str, int] = {"training_texts": len(corpus)}
        else:
            second = "text_b" if pairs and name in logs else None
            corpus, read = read_texts([path], name.upper(), text, second)
            corpus = corpus if second is None else corpus.unlabelled()
        rows = sample_rows(corpus.ids, documents, settings.seed)
        counts |= {f"{name}_{fate}": count for fate, count in read.items() if count}
        counts |= {f"{name}_sampled": len(rows)}
        samples[name] = corpus.take(rows)
        if logs and name not in logs:
            texts = samples[name].texts
            masked = [mask.apply(Text(text)).text for text in texts]
            samples[name] = Corpus.build(masked)
            changed = sum(one != other for one, other in zip(texts, masked, strict=True))
            counts |= {f"{name}_masked": changed} if changed else {}
    found = featurizer(overrides, vectors_of)
    values = [np.asarray(_dense(vectors(found, corpus))) for corpus in samples.values()]
    done = drift(values[0], values[1], settings)
    return Compared(done, samples["old"].texts, samples["new"].texts, counts, vectors_of)


def _is_run(path: Path) -> bool:
    return path.name == RECORD or (path / RECORD).is_file()


def _of_run(path: Path, overrides: Sequence[str]) -> tuple[Corpus, bool]:
    """Returns the training texts of a run, and whether an input is two of them."""
    with open_run(path, overrides) as run:
        return run.task.target, run.two_texts


def _dense(values: Any) -> Any:
    return values if isinstance(values, np.ndarray) else values.toarray()
