"""Checks of a labelled task: classes, contradictions, near copies, likely label errors, leakage."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.dealing import k_folds
from shortlist.data.decontamination import find_repeats
from shortlist.data.near_copies import fold, near_copies
from shortlist.data.splits import PROTECTED, SPLITS, TaskData
from shortlist.errors import InvalidInput

FOLDS = 5  # of the out-of-fold probabilities
SHORTEST_CHARS = 3  # shorter texts are listed
LONG = 10  # times the median length: longer texts are listed
# Of a token that may give a label away: training rows, corrected p-value.
MIN_ROWS, LEAK_P = 5, 1e-3
_ID_LIKE = re.compile(r"https?://\S+|@\w+|[A-Za-z_-]*\d[\w-]*")
_PUNCTUATION = re.compile(r"[.,;:!?'\"]+")
_MAX_TRAIN = 50_000  # rows that probabilities are computed for; more are sampled by id and counted


@dataclass(frozen=True)
class Row:
    """One row of a task.

    Attributes:
        split: its split.
        id: its id.
        text: its text; of a pair both, with a line break between them.
        label: its label.
    """

    split: str
    id: str
    text: str
    label: str


@dataclass(frozen=True)
class Contradiction:
    """Rows of one text (case, punctuation and white space ignored) with different labels."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Copy:
    """A validation or test row that nearly repeats a training row.

    Attributes:
        row: the row.
        of: the training row.
        jaccard: similarity of their five-word shingles.
        containment: shared shingles over those of the shorter text.
        exact: whether the texts are equal (case, punctuation and white space ignored).
    """

    row: Row
    of: Row
    jaccard: float
    containment: float
    exact: bool


@dataclass(frozen=True)
class LabelIssue:
    """A training row whose label is probably wrong.

    Attributes:
        row: the row.
        suggested: the class that the classifier, trained without the row, is confident of.
        given: out-of-fold probability of the label.
        probability: out-of-fold probability of `suggested`.
    """

    row: Row
    suggested: str
    given: float
    probability: float


@dataclass(frozen=True)
class LeakingToken:
    """An id-like token that gives a label away.

    Attributes:
        token: the token (a number, a name with digits, an address, a handle).
        label: the label of all training rows that hold it.
        rows: number of training rows that hold it.
        test: number of test rows that hold it.
        p: chance that so many rows have one label, corrected for the number of tokens.
    """

    token: str
    label: str
    rows: int
    test: int
    p: float


@dataclass(frozen=True)
class TaskChecks:
    """What the checks of a task found.

    Attributes:
        task: the task's name.
        sizes: rows by split.
        classes: rows by class and split; empty where there are no classes.
        lengths: minimum, median, maximum of characters by split.
        contradictions: texts with several labels.
        copies: validation and test rows that nearly repeat a training row.
        shared_runs: ids of validation and test rows, by split, that share `decontamination.RUN`
            (13) consecutive words with a training row, or are equal to one.
        issues: likely label errors in train, the most likely first.
        accuracy: out-of-fold accuracy of the classifier that found them; None where it was not run.
        not_judged: training rows beyond those that probabilities were computed for.
        why_not: why label errors were not looked for; empty where they were.
        leaks: id-like tokens that give a label away.
        short: rows with fewer than `SHORTEST_CHARS` characters.
        long: rows longer than `LONG` times the median of train.
    """

    task: str
    sizes: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]]
    lengths: Mapping[str, tuple[int, float, int]]
    contradictions: tuple[Contradiction, ...]
    copies: tuple[Copy, ...]
    shared_runs: Mapping[str, tuple[str, ...]]
    issues: tuple[LabelIssue, ...]
    accuracy: float | None
    not_judged: int
    why_not: str
    leaks: tuple[LeakingToken, ...]
    short: tuple[Row, ...]
    long: tuple[Row, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The main numbers by name."""
        crossing = [
            one
            for one in self.contradictions
            if {row.split for row in one.rows}.intersection(PROTECTED)
        ]
        near = {
            split: [copy for copy in self.copies if copy.row.split == split] for split in SPLITS
        }
        return {
            "contradictory_texts": len(self.contradictions),
            "contradictory_texts_with_evaluation_rows": len(crossing),
            "contradictory_test_rows": sum(
                row.split == "test" for one in self.contradictions for row in one.rows
            ),
            "near_copied_validation_rows": len(near["validation"]),
            "near_copied_test_rows": len(near["test"]),
            "exactly_copied_test_rows": sum(copy.exact for copy in near["test"]),
            "test_rows_that_share_13_words_with_train": len(self.shared_runs["test"]),
            "near_copied_test_rows_of_another_label": sum(
                copy.row.label != copy.of.label for copy in near["test"]
            ),
            "likely_label_errors": len(self.issues),
            "leaking_tokens": len(self.leaks),
            "short_rows": len(self.short),
            "long_rows": len(self.long),
        }


def check_task(name: str, data: TaskData, seed: int = 0) -> TaskChecks:
    """Returns what is remarkable about the rows of a task; nothing is changed.

    Args:
        name: the task's name.
        data: its splits.
        seed: seed of the folds of the out-of-fold probabilities.
    """
    rows = {split: _rows(split, data.split(split)) for split in SPLITS}
    every = [row for split in SPLITS for row in rows[split]]
    median = float(np.median([len(row.text) for row in rows["train"]]))
    issues, accuracy, not_judged, why_not = _label_issues(data, rows["train"], seed)
    labels = {split: Counter(row.label for row in rows[split]) for split in SPLITS}
    classes = {
        label: {split: labels[split][label] for split in SPLITS}
        for label in sorted({row.label for row in every})
    }
    return TaskChecks(
        task=name,
        sizes={split: len(rows[split]) for split in SPLITS},
        classes=classes if data.labels is not None else {},
        lengths={split: _lengths(rows[split]) for split in SPLITS if rows[split]},
        contradictions=_contradictions(every),
        copies=tuple(copy for split in PROTECTED for copy in _copies(rows[split], rows["train"])),
        shared_runs={
            split: tuple(
                leak.id
                for leak in find_repeats(data.split(split), data.train)
                if leak.kind != "near"
            )
            for split in PROTECTED
        },
        issues=issues,
        accuracy=accuracy,
        not_judged=not_judged,
        why_not=why_not,
        leaks=_leaks(rows["train"], rows["test"]) if data.labels is not None else (),
        short=tuple(row for row in every if len(row.text.strip()) < SHORTEST_CHARS),
        long=tuple(row for row in every if len(row.text) > LONG * median),
    )


def confident_learning(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns, for each row, the class that it is confidently counted as, (n,); -1 for none.

    A row is counted as class j if its probability of j is at least the mean probability of j over
    the rows that are labelled j; of several such classes the most probable. A row that is counted
    as another class than its label is a likely label error: the off-diagonal of the confident joint
    (Northcutt, Jiang and Chuang 2021, JAIR 70, section 3.1).

    Args:
        probabilities: (n, k) out-of-sample probabilities.
        labels: (n,) numbers of the given classes.
    """
    classes = probabilities.shape[1]
    thresholds = np.array(
        [
            probabilities[labels == k, k].mean() if (labels == k).any() else np.inf
            for k in range(classes)
        ]
    )
    confident = probabilities >= thresholds - 1e-6
    ranked = np.where(confident, probabilities, -1.0)
    return np.where(confident.any(axis=1), ranked.argmax(axis=1), -1)


def out_of_fold_probabilities(
    texts: Sequence[str], labels: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Returns (n, k) class probabilities of a logistic regression on words and pairs of words
    (TF-IDF), trained on the folds that a row is not in; equal texts share a fold.

    Raises:
        InvalidInput: the rows cannot be dealt with every class in train.
    """
    folds = k_folds([fold(text) or text for text in texts], FOLDS, seed, labels, labels)
    probabilities = np.zeros((len(texts), int(labels.max()) + 1))
    for part in range(FOLDS):
        inside, outside = (np.flatnonzero(side).tolist() for side in (folds == part, folds != part))
        classifier = WordClassifier.trained([texts[row] for row in outside], labels[outside])
        probabilities[inside] = classifier.probabilities([texts[row] for row in inside])
    return probabilities


@dataclass(frozen=True)
class WordClassifier:
    """A logistic regression on words and pairs of words (TF-IDF).

    Attributes:
        words: the fitted vectorizer.
        model: the fitted regression.
    """

    words: Any
    model: Any

    @staticmethod
    def trained(texts: Sequence[str], labels: NDArray[np.int64]) -> WordClassifier:
        """Returns the classifier of n texts and the (n,) numbers of their classes, each of which
        occurs.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=20_000)
        model = LogisticRegression(C=4.0, max_iter=100, tol=1e-3)
        return WordClassifier(words, model.fit(words.fit_transform(texts), labels))

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns (n, k) class probabilities."""
        return self.model.predict_proba(self.words.transform(texts))


def _rows(split: str, corpus: Corpus) -> list[Row]:
    labels = corpus.labels or [""] * len(corpus)
    columns = zip(corpus.ids, corpus.joined(), labels, strict=True)
    return [Row(split, key, text, str(label)) for key, text, label in columns]


def _lengths(rows: Sequence[Row]) -> tuple[int, float, int]:
    sizes = [len(row.text) for row in rows]
    return min(sizes), float(np.median(sizes)), max(sizes)


def _contradictions(rows: Sequence[Row]) -> tuple[Contradiction, ...]:
    by_text: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        # Brackets stay: they mark what a label is about (chemprot).
        key = "\n".join(
            " ".join(_PUNCTUATION.sub(" ", part.casefold()).split()) or part
            for part in row.text.split("\n")
        )
        by_text[key].append(row)
    several = [tuple(same) for same in by_text.values() if len({row.label for row in same}) > 1]
    return tuple(Contradiction(same) for same in several)


def _copies(rows: Sequence[Row], train: Sequence[Row]) -> list[Copy]:
    if not rows or not train:
        return []
    equal: dict[str, Row] = {}
    for row in train:
        equal.setdefault(fold(row.text), row)
    found: list[Copy] = []
    for pair in near_copies([row.text for row in rows], [row.text for row in train]):
        row = rows[pair.row]
        same = equal.get(fold(row.text))  # texts of other words may have the same shingles
        of = train[pair.of] if same is None else same
        found.append(Copy(row, of, pair.jaccard, pair.containment, same is not None))
    return found


def _label_issues(
    data: TaskData, train: Sequence[Row], seed: int
) -> tuple[tuple[LabelIssue, ...], float | None, int, str]:
    """Returns the likely errors, the accuracy, the number of rows not judged, and why none was."""
    if data.labels is None:
        return (), None, len(train), "the task has no classes"
    judged = train[:_MAX_TRAIN]  # train is sorted by id, a hash: these are a sample
    number = {label: place for place, label in enumerate(data.labels)}
    labels = np.array([number[row.label] for row in judged], dtype=np.int64)
    try:
        probabilities = out_of_fold_probabilities([row.text for row in judged], labels, seed)
    except InvalidInput as error:
        return (), None, len(train), str(error)
    counted = confident_learning(probabilities, labels)
    places = np.flatnonzero((counted >= 0) & (counted != labels))
    given = probabilities[places, labels[places]]
    margin = given - probabilities[places, counted[places]]
    issues = tuple(
        LabelIssue(
            judged[place],
            data.labels[int(counted[place])],
            float(probabilities[place, labels[place]]),
            float(probabilities[place, counted[place]]),
        )
        for place in map(int, places[np.argsort(margin, kind="stable")])
    )
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return issues, accuracy, len(train) - len(judged), ""


def _leaks(train: Sequence[Row], test: Sequence[Row]) -> tuple[LeakingToken, ...]:
    """Returns id-like tokens whose training rows, at least `MIN_ROWS`, all have one label."""
    labels_of: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        for token in set(_ID_LIKE.findall(row.text)):
            labels_of[token][row.label] += 1
    base = Counter(row.label for row in train)
    tried = [token for token, labels in labels_of.items() if labels.total() >= MIN_ROWS]
    found: list[LeakingToken] = []
    for token in tried:
        labels = labels_of[token]
        (label, rows), *others = labels.most_common()
        log_p = rows * math.log(base[label] / len(train)) + math.log(len(tried) * len(base))
        if not others and log_p < math.log(LEAK_P):
            seen = sum(token in _ID_LIKE.findall(row.text) for row in test)
            found.append(LeakingToken(token, label, rows, seen, math.exp(log_p)))
    return tuple(sorted(found, key=lambda leak: (leak.p, leak.token)))
