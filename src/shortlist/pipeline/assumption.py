"""Does the pool look like what the model was pre-trained on?

GOT-D's correction for what the model has already read stands on that: it takes the pool for the
pre-training data. Nobody has those, so pool and target are compared with reference texts of many
kinds. What counts is not whether the pool differs from the reference (with enough documents
everything does) but whether it lies beyond what the reference's kinds differ among themselves:
`upper_tail` gives the chance that a further kind would lie as far out.

- Tokens a word: a tokenizer has whole words for what it was made from and cuts up the rest. Needs
  no head and no training.
- Loss a token, where the model brought its language-model head along. A head trained here has read
  the pool, and predicts source code better than prose it has read as much of; so it is not asked.
- Debiased Sinkhorn divergences in the model's own vectors, shown but not weighed: they tell subjects
  apart (biomedicine from the rest) more than languages.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Corpus
from shortlist.data.readers import read
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.tokens import tokenize
from shortlist.ot import sinkhorn_divergence
from shortlist.stats.intervals import upper_tail
from shortlist.store import formats

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from shortlist.pipeline.context import Context
    from shortlist.store.cache import Artifact

HOLDS, FAILS = 0.05, 0.01  # chances: above the one it holds, below the other it fails
FEWEST_KINDS = 5  # a reference that names fewer is cut into `PARTS` by id
PARTS = 10
EPSILON = 0.05  # of the mean cost

_SAYS = {
    "holds": "The pool looks like what the model has read: {numbers}; GOT-D's assumption holds.",
    "unclear": "The pool lies at the edge of what the model has read: {numbers}; "
    "whether GOT-D's assumption holds is unclear.",
    "fails": "The pool does not look like what the model has read: {numbers}; GOT-D's assumption "
    "fails: expect its advantage over soft-kNN to vanish.",
}


@dataclass(frozen=True)
class Side:
    """What was measured on one of the three sides.

    Attributes:
        corpus: the documents.
        vectors: (n, d) theirs.
        losses: (n,) sums and numbers of predictions, or None where they would not say anything.
        tokens: (n,) tokens and words.
    """

    corpus: Corpus
    vectors: NDArray[Any]
    losses: tuple[NDArray[Any], NDArray[Any]] | None
    tokens: tuple[NDArray[Any], NDArray[Any]]


def check_assumption(cell: Context, pool: Artifact, task: Artifact) -> None:
    """Puts verdict, sentence and numbers into the record, if `check.assumption` asks for them.

    Raises:
        InvalidInput: the reference cannot be read, or holds too little.
    """
    wanted, parts = cell.parts.check, cell.parts
    if not wanted.assumption:
        return
    reference = reference_texts(wanted.reference)
    width = int(np.median([len(text.split()) for text in reference.texts]))
    own_head = parts.model.head is None

    def compute(directory: Path) -> dict[str, Any]:
        sides = {
            "pool": _sample(pool.path / "corpus.arrow", wanted.documents, width),
            "target": _sample(task.path / "target.arrow", wanted.documents, width),
            "reference": reference,
        }
        measured = {name: _measured(cell, corpus, own_head) for name, corpus in sides.items()}
        return assessment(measured, kinds_of(reference)) | {"words_read": width}

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


def reference_texts(path: str | None) -> Corpus:
    """Returns the reference: the user's file, or 160 passages of general English in 16 kinds.

    The passages were written for this project: encyclopaedia, news, fiction, dialogue, letters,
    instructions, science, medicine, law, reviews, forum, tweets, essays, technology, computing and
    biography.

    Raises:
        InvalidInput: it holds fewer than two documents a part.
    """
    file = Path(path) if path else Path(str(files("shortlist.data") / "reference.jsonl"))
    found = read(file, domain="domain").corpus.unlabelled()
    if len(found) < 2 * PARTS:
        raise InvalidInput(
            f"check.reference={file}: expected at least {2 * PARTS} texts, found {len(found)}; "
            "give more, or null for the built-in ones"
        )
    return found


def kinds_of(reference: Corpus) -> NDArray[np.int64]:
    """Returns the kind of each document as a number, (n,).

    A kind is a domain; where fewer than `FEWEST_KINDS` domains have two documents, a tenth by id.
    """
    names, numbers, sizes = np.unique(reference.domains, return_inverse=True, return_counts=True)
    if len(names) >= FEWEST_KINDS and sizes.min() > 1:
        return numbers.astype(np.int64)
    return np.arange(len(reference)) % PARTS


def assessment(sides: Mapping[str, Side], kinds: NDArray[np.int64]) -> dict[str, Any]:
    """Returns verdict, sentence and numbers as plain data.

    Args:
        sides: `pool`, `target` and `reference` as measured.
        kinds: (n,) kind of each document of the reference.
    """
    weighed = {
        "tokens_per_word": _compared({name: one.tokens for name, one in sides.items()}, kinds, True)
    }
    losses = {name: one.losses for name, one in sides.items() if one.losses is not None}
    if losses:
        weighed["loss"] = _compared(losses, kinds, False)
    chance = min(1.0, len(weighed) * min(one["p"] for one in weighed.values()))  # Bonferroni
    verdict = "holds" if chance >= HOLDS else "fails" if chance < FAILS else "unclear"
    units = {"tokens_per_word": "tokens a word", "loss": "nats a token"}
    numbers = " and ".join(
        f"{one['pool']:.2f} {units[name]} against {one['lowest']:.2f} to {one['highest']:.2f} in "
        f"{len(np.unique(kinds))} kinds of reference text"
        for name, one in weighed.items()
    )
    return {
        "verdict": verdict,
        "sentence": _SAYS[verdict].format(numbers=numbers),
        "p": chance,
        **weighed,
        "divergence": divergences({name: one.vectors for name, one in sides.items()}, kinds),
        "documents": {name: len(one.corpus) for name, one in sides.items()},
    }


def _compared(
    ratios: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    kinds: NDArray[np.int64],
    logarithm: bool,
) -> dict[str, float]:
    """Returns sum / sum of each side, the range over the kinds, and the pool's chance among them."""
    found = {name: float(sums.sum() / counts.sum()) for name, (sums, counts) in ratios.items()}
    sums, counts = ratios["reference"]
    each = np.bincount(kinds, weights=sums) / np.bincount(kinds, weights=counts)
    scale = np.log if logarithm else np.asarray
    chances = {
        name: upper_tail(float(scale(found[side])), scale(each))
        for name, side in (("p", "pool"), ("target_p", "target"))
    }
    return {**found, "lowest": float(each.min()), "highest": float(each.max()), **chances}


def divergences(vectors: Mapping[str, NDArray[Any]], kinds: NDArray[np.int64]) -> dict[str, float]:
    """Returns divergences of pool and target from the reference, and of its kinds from each other.

    The divergence of a few documents is large by their number alone, so each kind is held against
    the others, and as many documents of pool and target against the same others.
    """
    reference = vectors["reference"]
    found: dict[str, list[float]] = {"kind": [], "pool": [], "target": []}
    with _without_a_line_a_solve():
        for number, kind in enumerate(np.unique(kinds)):
            inside, others = reference[kinds == kind], reference[kinds != kind]
            found["kind"].append(divergence(inside, others))
            for name in ("pool", "target"):
                rows = (number * len(inside) + np.arange(len(inside))) % len(vectors[name])
                found[name].append(divergence(vectors[name][np.unique(rows)], others))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return {
        "pool_reference": means["pool"],
        "target_reference": means["target"],
        "kind_reference": means["kind"],
        "p": upper_tail(means["pool"], np.array(found["kind"])),
        "pool_target": divergence(vectors["pool"], vectors["target"]),
    }


def divergence(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Returns the debiased Sinkhorn divergence, 0 or more, epsilon 5 % of the mean cost."""
    return max(0.0, sinkhorn_divergence(first, second, epsilon=EPSILON).value)


@contextmanager
def _without_a_line_a_solve() -> Generator[None]:
    solver = logging.getLogger("shortlist.ot")
    level = solver.level
    solver.setLevel(logging.WARNING)
    try:
        yield
    finally:
        solver.setLevel(level)


def _sample(corpus: Path, size: int, width: int) -> Corpus:
    """Returns the first `size` documents by id, their first `width` words.

    As long as the reference's: the more of a text a model sees, the better it predicts it.
    """
    documents = formats.load_corpus(corpus)
    texts = documents.take(np.arange(min(size, len(documents)))).unlabelled().texts
    return Corpus.build(_beginnings(texts, width)).unlabelled()


def _beginnings(texts: Sequence[str], width: int) -> list[str]:
    return [" ".join(text.split()[:width]) for text in texts]


def _measured(cell: Context, corpus: Corpus, own_head: bool) -> Side:
    """Returns vectors, losses (of a model with a head of its own) and tokens of the documents."""
    parts, home = cell.parts, cell.parts.model.directory()
    with TemporaryDirectory() as folder:
        values, _ = parts.check_vectors.compute(corpus, Path(folder), parts.runtime)
        vectors: Any = np.array(values)
    losses = None
    if own_head:
        held_out = parts.warmup.losses_on(home, corpus, parts.runtime)
        losses = (held_out.sums, held_out.counts)
    words = checkpoint.tokenizer(home)
    lengths = tokenize(words, corpus.texts, None, None).lengths - len(words("")["input_ids"])
    spaced = np.array([len(text.split()) for text in corpus.texts])
    return Side(corpus, vectors, losses, (lengths, spaced))
