"""The texts of a fine-tuned run that are most worth a label, each with its reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.corrections import compared, in_words
from shortlist.data.feedback import keys_of
from shortlist.deploy.model_dir import version_of
from shortlist.deploy.runs import StoredRun, open_run
from shortlist.deploy.texts import featurizer, read_texts, usable, vectors
from shortlist.diagnostics.formatting import shorten
from shortlist.errors import InvalidInput, near
from shortlist.featurizers.base import Featurizer, NoFeatures
from shortlist.models.linear import unit
from shortlist.pipeline.data import CORPUS
from shortlist.pipeline.selection import SELECTION
from shortlist.stats.uncertainty import (
    entropy,
    log_loss,
    margin,
    mutual_information,
    vote_entropy,
)
from shortlist.store import formats
from shortlist.store.manifest import read_manifest

By = Literal["uncertain", "disagreement", "loss"]

NEAREST = 3  # training texts and selected documents that are named for each item
SNIPPET = 200  # characters of their texts
Measure: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]
# Of (r, n, k) probabilities of r models and the (n,) numbers of the labels, for `loss`.
MEASURES: Mapping[By, Mapping[str, Measure]] = {
    "uncertain": {
        "entropy": lambda p, _: entropy(p.mean(0)),
        "margin": lambda p, _: margin(p.mean(0)),
    },
    "disagreement": {
        "mutual_information": lambda p, _: mutual_information(p),
        "vote_entropy": lambda p, _: vote_entropy(p),
    },
    "loss": {"log_loss": lambda p, truth: log_loss(p.mean(0), truth)},
}


@dataclass(frozen=True)
class Neighbour:
    """A document near an item.

    Attributes:
        id: its id.
        similarity: cosine of the two vectors.
        text: the beginning of its text.
        label: its label; None of a selected document.
    """

    id: str
    similarity: float
    text: str
    label: str | None = None


@dataclass(frozen=True)
class Item:
    """A text that is worth a label, and why.

    Attributes:
        id: its id.
        text: the text, or the first of a pair.
        text_b: the second text of a pair.
        score: the measure that it was chosen by; larger is chosen first.
        given: the label that it has, where it is chosen by its loss.
        probabilities: of all classes, the mean over the models.
        votes: the predicted class and its probability by version of the model.
        train: the nearest training texts.
        selected: the nearest selected documents.
    """

    id: str
    text: str
    text_b: str | None
    score: float
    given: str | None
    probabilities: Mapping[str, float]
    votes: Mapping[str, tuple[str, float]]
    train: tuple[Neighbour, ...]
    selected: tuple[Neighbour, ...]

    @property
    def predicted(self) -> str:
        """The likeliest class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Export:
    """The chosen items.

    Attributes:
        items: the items, first those of largest score.
        measure: the name of the measure.
        counts: texts by fate: `read` is the sum of the others.
        vectors: name of the featurizer of the neighbours.
        record: key of the record of the first run.
    """

    items: tuple[Item, ...]
    measure: str
    counts: Mapping[str, int]
    vectors: str
    record: str


def export_items(
    runs: Sequence[Path], by: By, count: int, settings: Sequence[str], *, measure: str | None = None,
    pool: Sequence[Path] = (), text: str = "text",
) -> Export:  # fmt: skip
    """Returns the texts that are most worth a label.

    `uncertain` takes the largest entropy (or margin) of the mean probabilities of the runs,
    `disagreement` the largest mutual information (or vote entropy) between them, both among the
    texts of `pool`; `loss` the largest -log p(label) of labelled validation items. Texts that equal
    or nearly copy a validation or test text, or equal a training text, are not exported; equal as
    in `screen`.

    Args:
        runs: the runs whose models predict; several for `disagreement`.
        by: by what the texts are chosen.
        count: how many.
        settings: overrides of the machine.
        measure: one of `MEASURES`; None for the first of `by`.
        pool: files of texts without labels, or a log of `shortlist serve`.
        text: column of the text in `pool`.

    Raises:
        InvalidInput: the settings do not fit together, runs are of several tasks, or no text is
            left.
    """
    known = MEASURES[by]
    measure = measure or next(iter(known))
    if measure not in known:
        raise InvalidInput(
            f"--measure {measure} does not go with --by {by}; {near(measure, known)}"
        )
    if count < 1:
        raise InvalidInput(f"--count: expected 1 or more, found {count}")
    if by == "disagreement" and len(runs) < 2:
        raise InvalidInput(
            "--by disagreement compares two runs or more, found one; name those of other seeds"
        )
    if (by == "loss") == bool(pool):
        raise InvalidInput(
            "--by loss reads the labelled validation items of the run; leave out --pool"
            if pool
            else f"--by {by} chooses among texts without labels; name them with --pool FILE"
        )
    with open_run(runs[0], settings) as first:
        if first.kind not in ("single_label", "pairs"):
            raise InvalidInput(
                f"run {first.name}: expected a task of one class a text, found {first.kind}; feedback is "
                "not read for other tasks"
            )
        corpus, counts = _labelled(first) if by == "loss" else _unlabelled(first, pool, text)
        if not len(corpus):
            raise InvalidInput(
                f"expected texts that may be labelled, found none ({in_words(counts)})"
            )
        labels = tuple(first.task.labels or ())
        predictions = {_version(first): _probabilities(first, corpus)}
        for run in runs[1:]:
            with open_run(run, settings) as other:
                if other.task.name != first.task.name or tuple(other.task.labels or ()) != labels:
                    raise InvalidInput(
                        f"run {other.name}: expected task {first.task.name} with its classes, found "
                        f"{other.task.name}; name runs of one task"
                    )
                predictions[_version(other)] = _probabilities(other, corpus)
        if len(predictions) < len(runs):
            raise InvalidInput(
                "expected runs of different weights, found two of the same; name each run once"
            )
        all_of = np.stack(list(predictions.values()))
        truth = np.array([labels.index(str(one)) for one in corpus.labels or ()], dtype=np.int64)
        scores = known[measure](all_of, truth)
        rows = np.lexsort((np.array(corpus.ids), -scores))[:count]
        chosen = corpus.take(rows)
        with_vectors, name = _featurizer(first, settings)
        own = unit(vectors(with_vectors, _plain(chosen)))
        train, selected = first.task.data.train, _selected(first)
        to_train = _nearest(own, with_vectors, train, train.labels)
        to_selected = _nearest(own, with_vectors, selected, None)
        items = tuple(
            Item(
                id=chosen.ids[place],
                text=chosen.texts[place],
                text_b=None if chosen.texts_b is None else chosen.texts_b[place],
                score=float(scores[row]),
                given=None if chosen.labels is None else str(chosen.labels[place]),
                probabilities=dict(zip(labels, all_of[:, row].mean(0).tolist(), strict=True)),
                votes={
                    version: (labels[int(p[row].argmax())], float(p[row].max()))
                    for version, p in predictions.items()
                },
                train=to_train[place],
                selected=to_selected[place],
            )
            for place, row in enumerate(rows.tolist())
        )
        return Export(items, measure, counts, name, first.record.key)


def _labelled(run: StoredRun) -> tuple[Corpus, dict[str, int]]:
    """Returns the validation items whose class the model knows."""
    corpus, known = run.task.data.validation, set(run.task.labels or ())
    rows = [row for row, label in enumerate(corpus.labels or ()) if str(label) in known]
    counts = {"read": len(corpus), "unknown_label": len(corpus) - len(rows), "left": len(rows)}
    return corpus.take(rows), counts


def _unlabelled(run: StoredRun, pool: Sequence[Path], text: str) -> tuple[Corpus, dict[str, int]]:
    """Returns the texts of `pool` that can become training texts, and counts of the others."""
    from shortlist.data.near_copies import near_copies  # numba takes a third of a second to import

    corpus, read = read_texts(pool, "--pool", text, "text_b" if run.two_texts else None)
    data = run.task.data
    joined = corpus.joined()
    held = [*data.validation.joined(), *data.test.joined()]
    copies = {pair.row for pair in near_copies(joined, held)}
    equal, trained = set(map(compared, held)), set(map(compared, data.train.joined()))
    fates: Counter[str] = Counter()
    rows: list[int] = []
    seen: set[str] = set()
    for row, one in enumerate(keys_of(joined, data)):
        if row in copies or one in equal:
            fates["repeats_validation_or_test"] += 1
        elif one in trained:
            fates["already_in_train"] += 1
        elif one in seen:
            fates["copies"] += 1
        else:
            seen.add(one)
            rows.append(row)
    lost = {
        "copies": read["rows_read"] - len(corpus) - read.get("quarantined", 0) + fates["copies"]
    }
    counts = {"read": read["rows_read"], "rejected": read.get("quarantined", 0), **fates, **lost}
    return corpus.take(rows), {**counts, "left": len(rows)}


def _probabilities(run: StoredRun, corpus: Corpus) -> NDArray[np.float64]:
    parts = run.cell.parts
    return parts.finetune.predict(run.weights, corpus, run.task.head, parts.runtime).values


def _version(run: StoredRun) -> str:
    """Returns the version of a run's model, as its model directory states it."""
    files = (read_manifest("finetune", run.weights) or {})["files"]
    return version_of(run.weights, {name: about["sha256"] for name, about in files.items()})


def _featurizer(run: StoredRun, settings: Sequence[str]) -> tuple[Featurizer, str]:
    """Returns the run's featurizer, or mean word embeddings where it has to learn first."""
    own = run.cell.parts.featurizer
    if usable(own) and not isinstance(own, NoFeatures):
        return own, run.record.axes.featurizer
    machine = [text for text in settings if text.startswith(("paths.", "runtime.", "model"))]
    return featurizer(machine), "static"


def _selected(run: StoredRun) -> Corpus:
    """Returns the documents that the run selected; those of the pool, or of the task."""
    ids = set(formats.load_selection(run.artifact("selection") / SELECTION).ids)
    found: list[Corpus] = []
    for stage in run.record.stages:
        file = run.cell.store.root / stage.stage / stage.key / CORPUS
        if stage.stage in ("pool", "prepare", "prefilter", "candidates") and file.is_file():
            corpus = formats.load_corpus(file)
            found.append(corpus.take([row for row, key in enumerate(corpus.ids) if key in ids]))
    return max(found, key=len) if found else Corpus.build([])


def _plain(corpus: Corpus) -> Corpus:
    """Returns a document for each row, pairs joined, in the same order."""
    return Corpus.build(corpus.joined())


def _nearest(
    own: Any, found: Featurizer, corpus: Corpus, labels: Sequence[Any] | None
) -> list[tuple[Neighbour, ...]]:
    """Returns the nearest documents of a corpus to each of (n, d) unit vectors, nearest first."""
    if not len(corpus):
        return [()] * own.shape[0]
    cosines = own @ unit(vectors(found, _plain(corpus))).T
    cosines = cosines if isinstance(cosines, np.ndarray) else cosines.toarray()
    ids, texts = corpus.ids, corpus.joined()
    return [
        tuple(
            Neighbour(
                ids[row],
                round(float(line[row]), 4),
                shorten(texts[row], SNIPPET),
                None if labels is None else str(labels[row]),
            )
            for row in np.lexsort((np.array(ids), -line))[:NEAREST].tolist()
        )
        for line in cosines
    ]
