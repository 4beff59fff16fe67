"""Token classification: a tag a word, measured by entities."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.splits import Split, TaskData
from shortlist.errors import InvalidInput, near
from shortlist.models.heads.tags import Tags
from shortlist.models.words import OUTSIDE
from shortlist.tasks import sums
from shortlist.tasks.metrics import Metric, Values
from shortlist.tasks.structured import Structured, strings


class Entity(NamedTuple):
    """An entity: its type, its first word and its last one."""

    kind: str
    first: int
    last: int


class TokenClassification(Structured):
    """A task of the user's files with a tag a word: named entities in IOB2.

    The text column holds lists of words, the label column lists of as many tags: `O`, `B-TYPE` or
    `I-TYPE`. Texts are the words with spaces between them. An entity is right where its type, its
    first and its last word are (Tjong Kim Sang and De Meulder 2003); metrics are those of seqeval's
    default mode. `macro_entity_f1` is the mean over types that occur in the truth or the
    predictions.

    Args:
        classes: the tags, others are refused row by row; None for those of train.
        settings: those of `FromFiles`.
    """

    default_metrics = ("entity_f1", "entity_precision", "entity_recall", "token_accuracy")
    definitions: ClassVar[Mapping[str, Metric]] = {
        "entity_f1": sums.micro_f1,
        "entity_precision": sums.micro_precision,
        "entity_recall": sums.micro_recall,
        "macro_entity_f1": sums.macro_f1,
        "token_accuracy": sums.mean,
    }

    def __init__(self, classes: Sequence[str] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.names = None if classes is None else tuple(classes)
        if self.columns.text_b is not None:
            raise InvalidInput(
                "task.text_b names a second text, token classification reads one; set "
                "task.text_b=null"
            )

    def parse(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the row with its words as one text and its tags as a JSON list."""
        text, label = self.columns.text, str(self.columns.label)
        words = strings(row.get(text), f"words {text!r}")
        tags = strings(row.get(label), f"tags {label!r}")
        if len(words) != len(tags):
            raise InvalidInput(
                f"tags {label!r}: expected a tag for each of {len(words)} words, found {len(tags)}"
            )
        for place, (word, tag) in enumerate(zip(words, tags, strict=True)):
            if " " in word or not word.strip():
                raise InvalidInput(
                    f"words {text!r}: expected words without spaces, found {word[:40]!r} at place {place}"
                )
            if tag != OUTSIDE and not (tag[:2] in ("B-", "I-") and tag[2:]):
                raise InvalidInput(
                    f"tags {label!r}: expected O, B-TYPE or I-TYPE, found {tag[:40]!r} at place {place}"
                )
            if self.names is not None and tag not in self.names:
                raise InvalidInput(
                    f"tags {label!r}: unknown tag {tag!r} at place {place}; {near(tag, self.names)}"
                )
        return {**row, text: " ".join(words), label: json.dumps(tags, ensure_ascii=False)}

    def classes(self, labels: Iterable[Any]) -> tuple[str, ...]:
        """Returns the tags in labels."""
        return tuple(sorted({tag for label in labels for tag in json.loads(label)}))

    def head(self, labels: Sequence[str] | None) -> Tags:
        """Returns a softmax over the tags at the first token of each word."""
        return Tags(labels or ())

    def prediction_shape(self, n: int, labels: tuple[str, ...] | None) -> tuple[int, ...]:
        """Returns that of a text a document."""
        return (n,)

    def statistics(
        self, metric: str, predictions: NDArray[Any], corpus: Corpus, labels: Sequence[str]
    ) -> Values:
        """Returns (n, 3 t) entities that are found, predicted and true of each type, or for the
        accuracy (n, 2) words with the right tag, and words.
        """
        pairs = [
            (json.loads(true), json.loads(predicted))
            for true, predicted in zip(corpus.labels or (), predictions.tolist(), strict=True)
        ]
        if metric == "token_accuracy":
            right = [
                (sum(a == b for a, b in zip(*pair, strict=True)), len(pair[0])) for pair in pairs
            ]
            return np.array(right, dtype=np.float64)
        kinds = _kinds(labels, corpus)
        index = {kind: number for number, kind in enumerate(kinds)}
        counted = np.zeros((len(pairs), 3, len(kinds)))
        for row, (true, predicted) in enumerate(pairs):
            expected, found = set(entities(true)), set(entities(predicted))
            for place, group in enumerate((expected & found, found, expected)):
                for kind, count in Counter(entity.kind for entity in group).items():
                    counted[row, place, index[kind]] = count
        return counted.reshape(len(pairs), -1)

    def details(
        self, predictions: NDArray[Any], data: TaskData, split: Split = "test"
    ) -> dict[str, Any]:
        """Returns precision, recall and F1 of the entities of each type."""
        corpus, labels = data.split(split), data.labels or ()
        total = self.statistics("entity_f1", predictions, corpus, labels).sum(0)
        return {"per_class": sums.by_class(_kinds(labels, corpus), total)}


def _kinds(tags: Sequence[str], corpus: Corpus) -> list[str]:
    """Returns the types of entities among tags and in the labels of a corpus, sorted."""
    every = {*tags, *(tag for label in corpus.labels or () for tag in json.loads(label))}
    return sorted({tag[2:] for tag in every if tag != OUTSIDE})


def entities(tags: Sequence[str]) -> list[Entity]:
    """Returns the entities of a list of tags: an entity begins at `B-TYPE`, and at `I-TYPE` after
    another type or `O`; it ends before the next entity, another type or `O`.
    """
    found: list[Entity] = []
    open_kind, first = "", 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        kind = "" if tag == OUTSIDE else tag[2:]
        if open_kind and (kind != open_kind or tag.startswith("B-")):
            found.append(Entity(open_kind, first, place - 1))
            open_kind = ""
        if kind and not open_kind:
            open_kind, first = kind, place
    return found
