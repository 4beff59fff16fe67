"""Augmentation of training rows: changed copies that keep their labels, drawn by the rows' ids.

Copies are made of the rows of a training split after it is cut, so that no copy stands on another
side than its row. Nothing is augmented by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from shortlist.core import Corpus
from shortlist.data.splits import draw
from shortlist.errors import InvalidInput, near

_ROWS = {  # letters beside each other on a keyboard
    row[place]: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for place in range(len(row))
}


class Edit(Protocol):
    """A change of the words of a text."""

    def __call__(self, words: list[str], count: int, rng: np.random.Generator) -> list[str]:
        """Returns the words after `count` changes."""
        ...


def swap(words: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Returns the words with `count` pairs of neighbours exchanged."""
    changed = list(words)
    for _ in range(count if len(words) > 1 else 0):
        place = int(rng.integers(len(changed) - 1))
        changed[place], changed[place + 1] = changed[place + 1], changed[place]
    return changed


def delete(words: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Returns the words without `count` of them; at least one stays."""
    gone = set(rng.choice(len(words), min(count, len(words) - 1), replace=False).tolist())
    return [word for place, word in enumerate(words) if place not in gone]


def typo(words: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Returns the words with `count` letters replaced by neighbours on the keyboard, doubled, or
    left out, in words of four letters and more that are all letters.
    """
    changed = list(words)
    places = [place for place, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for place in (
        rng.choice(places, min(count, len(places)), replace=False).tolist() if places else ()
    ):
        word = changed[place]
        at = int(rng.integers(1, len(word) - 1))
        beside = _ROWS.get(word[at].lower(), "") or word[at]
        letter = beside[int(rng.integers(len(beside)))]
        kinds = (letter, word[at] * 2, "")
        changed[place] = word[:at] + kinds[int(rng.integers(3))] + word[at + 1 :]
    return changed


EDITS: dict[str, Edit] = {"swap": swap, "delete": delete, "typo": typo}
CROSSOVER = "crossover"
KINDS = (*EDITS, CROSSOVER)


def crossover(words: list[str], others: list[str]) -> list[str]:
    """Returns the first half of the words and the second half of those of another row."""
    return words[: (len(words) + 1) // 2] + others[len(others) // 2 :]


@dataclass(frozen=True)
class Augmentation:
    """How training rows are augmented (EDA without synonyms, Wei and Zou 2019, arXiv:1901.11196,
    and instance crossover, Luque 2019, arXiv:1909.11241).

    Attributes:
        copies: changed copies of each row.
        kinds: which changes (`swap`, `delete`, `typo`, `crossover`); a copy gets one of them, drawn
            by the row. `crossover` joins the first half of the row's words to the second half of
            those of another row with the same label; it is not applied to pairs of texts.
        rate: share of the words that a copy changes, at least one word.
        protected: words that no change touches, in lower case: negations and the like, whose loss
            would change the label. A copy that lacks one of the row's is not made.
        seed: seed of the draws.
    """

    copies: int
    kinds: Sequence[str]
    rate: float
    protected: Sequence[str]
    seed: int

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise InvalidInput(
                    f"augment.kinds: there is no change {kind!r}; {near(kind, KINDS)}"
                )
        if self.copies < 1 or not self.kinds or not 0 < self.rate < 1:
            raise InvalidInput(
                "augment needs copies of at least 1, one kind or more and a rate between 0 and 1, found "
                f"{self.copies}, {list(self.kinds)} and {self.rate:g}"
            )

    def apply(self, train: Corpus, elsewhere: Sequence[str] = ()) -> tuple[Corpus, dict[str, int]]:
        """Returns the rows and their copies, sorted by id, and how many copies there are of each
        kind.

        A copy depends on its row's id and the seed alone; that of `crossover` on the rows of its
        label too. Copies are not made (and counted as `unchanged`, `label_words_lost`, `repeated`,
        `no_partner`) where the change has no effect, the copy would not hold the row's protected
        words, the text is there already (in train, or among `elsewhere`), or no other row has the
        label.

        Args:
            train: the training rows; of a pair the first text is changed.
            elsewhere: texts of validation and test.

        Raises:
            InvalidInput: `crossover` of pairs of texts.
        """
        if CROSSOVER in self.kinds and train.texts_b is not None:
            raise InvalidInput(
                "augment.kinds: crossover joins halves of texts, and the label of a pair belongs to "
                "both of its texts; leave it out for this task"
            )
        labels: Sequence[Any] = train.labels or [None] * len(train)
        alike: dict[Any, list[int]] = {}
        ids, own_texts = train.ids, train.texts
        for row in sorted(range(len(train)), key=ids.__getitem__):
            alike.setdefault(labels[row], []).append(row)
        place = {row: number for rows in alike.values() for number, row in enumerate(rows)}
        counts: Counter[str] = Counter()
        protected = set(self.protected)
        known = {*own_texts, *elsewhere}
        rows: list[int] = []
        texts: list[str] = []
        for row, (key, text) in enumerate(zip(ids, own_texts, strict=True)):
            words = text.split()
            for copy in range(self.copies if words else 0):
                rng = np.random.default_rng(draw(f"{key}/{copy}", self.seed))
                kind = self.kinds[int(rng.integers(len(self.kinds)))]
                if kind == CROSSOVER:
                    others = alike[labels[row]]
                    if len(others) < 2:
                        counts["no_partner"] += 1
                        continue
                    step = int(rng.integers(1, len(others)))
                    partner = others[(place[row] + step) % len(others)]
                    changed = crossover(words, own_texts[partner].split())
                else:
                    changed = EDITS[kind](words, max(1, round(self.rate * len(words))), rng)
                made = " ".join(changed)
                if changed == words:
                    counts["unchanged"] += 1
                elif _held(words, protected) != _held(changed, protected):
                    counts["label_words_lost"] += 1
                elif made in known:
                    counts["repeated"] += 1
                else:
                    known.add(made)
                    rows.append(row)
                    texts.append(made)
                    counts[f"made_{kind}"] += 1
        source = train.take(rows)

        first, second = train.masses, source.masses

        def both(own: Sequence[Any] | None, copied: Sequence[Any] | None) -> list[Any] | None:
            return None if own is None or copied is None else [*own, *copied]

        grown = Corpus.build(
            [*own_texts, *texts],
            [*train.domains, *source.domains],
            texts_b=both(train.texts_b, source.texts_b),
            labels=both(train.labels, source.labels),
            masses=None if first is None or second is None else np.concatenate([first, second]),
        )
        return grown.canonical(), {"copies": len(texts), **dict(sorted(counts.items()))}


def _held(words: Sequence[str], protected: set[str]) -> Counter[str]:
    bare = (word.strip(".,;:!?\"'()").lower() for word in words)
    return Counter(word for word in bare if word in protected or word.endswith("n't"))
