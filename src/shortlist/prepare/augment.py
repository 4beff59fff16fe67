"""Augmentation of training rows: changed copies that keep their labels, drawn by the rows' ids.

Copies are made of the rows of a training split after it is cut, so that no copy stands on another
side than its row. Nothing is augmented by default.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from shortlist.core import Corpus
from shortlist.data.splits import draw
from shortlist.errors import InvalidInput, near
from shortlist.models.pretrained import Pretrained
from shortlist.prepare.checks import WordClassifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.models.masked_words import MaskedWords

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


class Augmenter(ABC):
    """How changed copies of training rows are made. Settings stand in `conf/augment/NAME.yaml`.

    Attributes:
        version: raised when the same settings would give another result.
    """

    version: ClassVar[int] = 1

    @property
    def masked_lm(self) -> Pretrained | None:
        """The masked LM that it asks for words; None for none."""
        return None

    @abstractmethod
    def apply(
        self, train: Corpus, elsewhere: Sequence[str] = (), words: MaskedWords | None = None
    ) -> tuple[Corpus, dict[str, int]]:
        """Returns the rows and their copies, sorted by id, and how many copies there are of each
        kind.

        Args:
            train: the training rows; of a pair the first text is changed.
            elsewhere: texts of validation and test.
            words: the opened `masked_lm`, where there is one.
        """


class _Copies:
    """The copies made so far, and counts of those that were not made."""

    def __init__(self, train: Corpus, elsewhere: Sequence[str], protected: Sequence[str]) -> None:
        self.train, self.protected = train, set(protected)
        self.known = {*train.texts, *elsewhere}
        self.counts: Counter[str] = Counter()
        self.rows: list[int] = []
        self.texts: list[str] = []

    def offer(self, row: int, words: Sequence[str], changed: Sequence[str], kind: str) -> None:
        """Adds a copy, or counts it as `unchanged`, `label_words_lost` or `repeated`."""
        made = " ".join(changed)
        if list(changed) == list(words):
            self.counts["unchanged"] += 1
        elif _held(words, self.protected) != _held(changed, self.protected):
            self.counts["label_words_lost"] += 1
        elif made in self.known:
            self.counts["repeated"] += 1
        else:
            self.known.add(made)
            self.rows.append(row)
            self.texts.append(made)
            self.counts[f"made_{kind}"] += 1

    def result(self) -> tuple[Corpus, dict[str, int]]:
        """Returns the rows and their copies, and the counts."""
        train, source = self.train, self.train.take(self.rows)
        first, second = train.masses, source.masses

        def both(own: Sequence[Any] | None, copied: Sequence[Any] | None) -> list[Any] | None:
            return None if own is None or copied is None else [*own, *copied]

        joined = Corpus.build(
            [*train.texts, *self.texts],
            [*train.domains, *source.domains],
            texts_b=both(train.texts_b, source.texts_b),
            labels=both(train.labels, source.labels),
            masses=None if first is None or second is None else np.concatenate([first, second]),
        )
        return joined.canonical(), {"copies": len(self.texts), **dict(sorted(self.counts.items()))}


def _check(copies: int, rate: float) -> None:
    if copies < 1 or not 0 < rate < 1:
        raise InvalidInput(
            "augment needs copies of at least 1 and a rate between 0 and 1, found "
            f"{copies} and {rate:g}"
        )


@dataclass(frozen=True)
class Augmentation(Augmenter):
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
        if not self.kinds:
            raise InvalidInput("augment.kinds: expected one kind or more, found none")
        _check(self.copies, self.rate)

    def apply(
        self, train: Corpus, elsewhere: Sequence[str] = (), words: MaskedWords | None = None
    ) -> tuple[Corpus, dict[str, int]]:
        """Returns the rows and their copies.

        A copy depends on its row's id and the seed alone; that of `crossover` on the rows of its
        label too. Copies are not made (and counted as `unchanged`, `label_words_lost`, `repeated`,
        `no_partner`) where the change has no effect, the copy would not hold the row's protected
        words, the text is there already (in train, or among `elsewhere`), or no other row has the
        label.

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
        ids, texts = train.ids, train.texts
        for row in sorted(range(len(train)), key=ids.__getitem__):
            alike.setdefault(labels[row], []).append(row)
        place = {row: number for rows in alike.values() for number, row in enumerate(rows)}
        made = _Copies(train, elsewhere, self.protected)
        for row, (key, text) in enumerate(zip(ids, texts, strict=True)):
            own = text.split()
            for copy in range(self.copies if own else 0):
                rng = np.random.default_rng(draw(f"{key}/{copy}", self.seed))
                kind = self.kinds[int(rng.integers(len(self.kinds)))]
                if kind == CROSSOVER:
                    others = alike[labels[row]]
                    if len(others) < 2:
                        made.counts["no_partner"] += 1
                        continue
                    step = int(rng.integers(1, len(others)))
                    partner = others[(place[row] + step) % len(others)]
                    changed = crossover(own, texts[partner].split())
                else:
                    changed = EDITS[kind](own, max(1, round(self.rate * len(own))), rng)
                made.offer(row, own, changed, kind)
        return made.result()


@dataclass(frozen=True)
class Substitution(Augmenter):
    """Copies of which some words are replaced by words that a masked LM expects in their places
    (contextual augmentation, Kobayashi 2018, arXiv:1805.06201; without its conditioning on labels).

    The words of a copy are masked together and drawn from the model's most probable words by their
    probabilities. A model that expects `bad` where `good` stands changes the label: the words of
    `protected` stay and are never put in, and a classifier of words must not change its mind.

    Attributes:
        copies: changed copies of each row.
        rate: share of the words that a copy changes, at least one word.
        candidates: a word is drawn from so many.
        max_length: tokens that the model reads of a text; later words stay.
        agreement: whether a copy is made only if a classifier of words, trained on the training
            rows, gives it the class that it gives its row. Pairs of texts and tasks without classes
            cannot be checked so; their copies are counted as `label_unchecked`.
        protected: words that are neither replaced nor put in, in lower case.
        seed: seed of the draws.
        model: the masked LM. One without a head gets it from the pool, as the cell's own does.
    """

    copies: int
    rate: float
    candidates: int
    max_length: int
    agreement: bool
    protected: Sequence[str]
    seed: int
    model: Pretrained

    def __post_init__(self) -> None:
        _check(self.copies, self.rate)
        if self.candidates < 2 or self.max_length < 8:
            raise InvalidInput(
                "augment needs candidates of at least 2 and a max_length of at least 8, found "
                f"{self.candidates} and {self.max_length}"
            )
        if self.model.requires_training:
            raise InvalidInput(
                f"augment.model: expected a model whose weights exist, found {type(self.model).__name__}, "
                "which is trained first; choose minilm or local"
            )

    def apply(
        self, train: Corpus, elsewhere: Sequence[str] = (), words: MaskedWords | None = None
    ) -> tuple[Corpus, dict[str, int]]:
        """Returns the rows and their copies.

        A copy depends on its row's id, the seed and the model; with `agreement` whether it is made
        depends on all rows. Beside those of `Augmentation` there are the counts `no_place` (no word
        can be replaced), `beyond_max_length` (words that stay because the model did not read them)
        and `label_changed` (the classifier's class is another).
        """
        if words is None:
            raise InvalidInput("augment: substitution needs its masked LM opened, found none")
        made = _Copies(train, elsewhere, self.protected)
        drawn: list[tuple[int, list[str], list[int], np.random.Generator]] = []
        for row, (key, text) in enumerate(zip(train.ids, train.texts, strict=True)):
            own = text.split()
            places = [] if words.mask in text else self._places(own)
            for copy in range(self.copies if own else 0):
                if not places:
                    made.counts["no_place"] += 1
                    continue
                rng = np.random.default_rng(draw(f"{key}/{copy}", self.seed))
                size = min(max(1, round(self.rate * len(own))), len(places))
                drawn.append((row, own, sorted(rng.choice(places, size, False).tolist()), rng))
        masked = [" ".join(_masked(own, at, words.mask)) for _, own, at, _ in drawn]
        expected = words.expected(masked, 2 * self.candidates + 1)
        offered: list[tuple[int, list[str], list[str]]] = []
        for (row, own, at, rng), found in zip(drawn, expected, strict=True):
            made.counts["beyond_max_length"] += len(at) - len(found)
            changed = list(own)
            for place, (options, chances) in zip(at, found, strict=False):  # the last may be unread
                before, core, after = _parts(own[place])
                changed[place] = before + self._chosen(core, options, chances, rng) + after
            offered.append((row, own, changed))
        agree = self._agreeing(train, offered)
        for (row, own, changed), same in zip(offered, agree, strict=True):
            if same:
                made.offer(row, own, changed, "substitution")
            else:
                made.counts["label_changed"] += 1
        if not self._checked(train):
            made.counts["label_unchecked"] = len(made.texts)
        made.counts = +made.counts
        return made.result()

    @property
    def masked_lm(self) -> Pretrained:
        """The setting `model`."""
        return self.model

    def _places(self, words: Sequence[str]) -> list[int]:
        cores = [_parts(word)[1].lower() for word in words]
        return [n for n, core in enumerate(cores) if len(core) > 1 and core not in self.protected]

    def _chosen(
        self,
        core: str,
        options: Sequence[str],
        chances: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> str:
        """Returns the drawn word in the case of `core`; `core` itself where none may be put in."""
        kept = [
            place
            for place, word in enumerate(options)
            if word.lower() not in (core.lower(), *self.protected)
        ][: self.candidates]
        if not kept:
            return core
        share = chances[kept] / chances[kept].sum()
        word = options[kept[int(rng.choice(len(kept), p=share))]]
        if core.isupper() and len(core) > 1:
            return word.upper()
        return word.capitalize() if core[0].isupper() else word.lower() if core.islower() else word

    def _checked(self, train: Corpus) -> bool:
        classes = {str(label) for label in train.labels or ()}
        numeric = any(isinstance(label, float) for label in train.labels or ())
        return self.agreement and len(classes) > 1 and not numeric and train.texts_b is None

    def _agreeing(
        self, train: Corpus, offered: Sequence[tuple[int, list[str], list[str]]]
    ) -> Sequence[bool]:
        """Returns whether the classifier gives a copy the class that it gives its row."""
        if not offered or not self._checked(train):
            return [True] * len(offered)
        names = sorted({str(label) for label in train.labels or ()})
        labels = np.array([names.index(str(label)) for label in train.labels or ()])
        classifier = WordClassifier.trained(train.texts, labels)
        own = classifier.probabilities(train.texts).argmax(axis=1)
        copied = classifier.probabilities([" ".join(words) for _, _, words in offered])
        rows = [row for row, _, _ in offered]
        return (copied.argmax(axis=1) == own[rows]).tolist()


_CORE = re.compile(r"([^\w]*)([^\W\d_]+)([^\w]*)")


def _parts(word: str) -> tuple[str, str, str]:
    """Returns the signs before the letters of a word, the letters, and the signs after them; no
    letters where others stand between.
    """
    match = _CORE.fullmatch(word)
    return (match[1], match[2], match[3]) if match else (word, "", "")


def _masked(words: Sequence[str], places: Sequence[int], mask: str) -> list[str]:
    masked = list(words)
    for place in places:
        before, _, after = _parts(words[place])
        masked[place] = before + mask + after
    return masked


def _held(words: Sequence[str], protected: set[str]) -> Counter[str]:
    bare = (word.strip(".,;:!?\"'()").lower() for word in words)
    return Counter(word for word in bare if word in protected or word.endswith("n't"))
