"""Check of GOT-D's assumption that the pool resembles the data the model was pre-trained on.

GOT-D takes the pool in place of the pre-training data (Kang et al. 2024, section 3), which are
usually not available; so the pool is compared with reference texts of many kinds. With enough
documents every pool differs from the reference. The question is whether it lies outside the range
of the reference's kinds: `upper_tail` gives the probability that one more kind lies as far out.

- Tokens per word: a tokenizer holds whole words of its training text and splits the others.
- Loss per token, where the model has a language-model head of its own. A head trained here has read
  the pool, and predicts source code better than prose it has read as much of, so it is not used.
- Debiased Sinkhorn divergences in the model's vectors are reported, but are not part of the
  verdict: they separate subjects (biomedicine from the rest) more than languages.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.readers import read
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer, embed
from shortlist.models import checkpoint
from shortlist.models.tokens import tokenize
from shortlist.ot import sinkhorn_divergence
from shortlist.progress import quiet
from shortlist.runtime import Runtime
from shortlist.stats.intervals import upper_tail

HOLDS, FAILS = 0.05, 0.01  # the assumption holds at this p or more, and fails below that p
MIN_KINDS = 5  # a reference with fewer domains is cut into `PARTS` kinds by id
PARTS = 10
EPSILON = 0.05  # of the mean cost

_SENTENCES = {
    "holds": "The pool looks like what the model has read: {numbers}; GOT-D's assumption holds.",
    "unclear": "The pool lies at the edge of what the model has read: {numbers}; "
    "whether GOT-D's assumption holds is unclear.",
    "fails": "The pool does not look like what the model has read: {numbers}; GOT-D's assumption "
    "fails: expect its advantage over soft-kNN to vanish.",
}


@dataclass(frozen=True)
class Measurements:
    """What is measured of the documents of pool, target or reference.

    Attributes:
        vectors: (n, d) the model's vectors.
        tokens: (n,) numbers of tokens, without special tokens.
        words: (n,) numbers of words.
        losses: (n,) sums of the loss in nats, and (n,) numbers of predictions; None for a model
            without a language-model head of its own.
    """

    vectors: NDArray[Any]
    tokens: NDArray[Any]
    words: NDArray[Any]
    losses: tuple[NDArray[Any], NDArray[Any]] | None = None


@dataclass(frozen=True)
class AssumptionCheck:
    """The verdict and the numbers behind it, under the names that records use.

    Attributes:
        verdict: `holds`, `unclear` or `fails`.
        sentence: the verdict with its numbers.
        p: the smaller probability of both measures, with Bonferroni's correction.
        tokens_per_word: the ratio for `pool`, `target` and `reference`, the `lowest` and `highest`
            of a kind of the reference, and the probabilities `p` and `target_p` that one more kind
            has at least the ratio of the pool, or of the target.
        loss: the same of nats per token; None for a model without a head of its own.
        divergence: mean Sinkhorn divergences, see `divergences`.
        documents: number of documents of pool, target and reference.
        words_read: number of words that texts of pool and target were cut to; None if not cut.
    """

    verdict: str
    sentence: str
    p: float
    tokens_per_word: Mapping[str, float]
    loss: Mapping[str, float] | None
    divergence: Mapping[str, float]
    documents: Mapping[str, int]
    words_read: int | None = None

    def facts(self) -> dict[str, Any]:
        """Returns the check as plain data for a record, without what is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def check_assumption(
    pool: Corpus,
    target: Corpus,
    reference: Corpus,
    *,
    documents: int,
    featurizer: Featurizer,
    model: Path,
    head: Any | None,
    runtime: Runtime,
) -> AssumptionCheck:
    """Returns whether the pool resembles what the model has read.

    Pool and target are cut to the median length of the reference texts: the longer a text, the
    better a model predicts it.

    Args:
        pool: the pool.
        target: the target's texts.
        reference: texts like those the model was pre-trained on, with their kinds as domains.
        documents: number of documents of pool and target to measure, the first by id.
        featurizer: what turns documents into vectors.
        model: directory of the model.
        head: the warm-up trainer, whose `losses_on` measures the loss; None for a model without a
            language-model head of its own.
        runtime: where the model runs.
    """
    length = int(np.median([len(text.split()) for text in reference.texts]))
    corpora = {
        "pool": _beginnings(pool, documents, length),
        "target": _beginnings(target, documents, length),
        "reference": reference,
    }
    measured = {
        name: _measure(corpus, featurizer, model, head, runtime) for name, corpus in corpora.items()
    }
    return replace(assess(measured, kinds_of(reference)), words_read=length)


def reference_texts(path: str | None) -> Corpus:
    """Returns the reference: the user's file, or 160 passages of general English in 16 kinds.

    The passages were written for this project: encyclopaedia, news, fiction, dialogue, letters,
    instructions, science, medicine, law, reviews, forum, tweets, essays, technology, computing and
    biography.

    Raises:
        InvalidInput: it holds fewer than two documents for each of `PARTS` kinds.
    """
    file = Path(path) if path else Path(str(files("shortlist.data") / "reference.jsonl"))
    reference = read(file, domain="domain", optional=("domain",)).corpus.unlabelled()
    if len(reference) < 2 * PARTS:
        raise InvalidInput(
            f"check.reference={file}: expected at least {2 * PARTS} texts, found {len(reference)}; "
            "give more, or null for the built-in ones"
        )
    return reference


def kinds_of(reference: Corpus) -> NDArray[np.int64]:
    """Returns the kind of each document as a number, (n,).

    A kind is a domain; where fewer than `MIN_KINDS` domains have two documents, a tenth by id.
    """
    names, numbers, sizes = np.unique(reference.domains, return_inverse=True, return_counts=True)
    if len(names) >= MIN_KINDS and sizes.min() > 1:
        return numbers.astype(np.int64)
    return np.arange(len(reference)) % PARTS


def assess(measured: Mapping[str, Measurements], kinds: NDArray[np.int64]) -> AssumptionCheck:
    """Returns the verdict on measured documents.

    Args:
        measured: the measurements of `pool`, `target` and `reference`.
        kinds: (n,) kind of each document of the reference.
    """
    tokens = {name: (one.tokens, one.words) for name, one in measured.items()}
    losses = {name: one.losses for name, one in measured.items() if one.losses is not None}
    tokens_per_word = _compared(tokens, kinds, logarithm=True)
    loss = _compared(losses, kinds, logarithm=False) if losses else None
    compared = {"tokens a word": tokens_per_word} | ({"nats a token": loss} if loss else {})
    p = min(1.0, len(compared) * min(one["p"] for one in compared.values()))  # Bonferroni
    verdict = "holds" if p >= HOLDS else "fails" if p < FAILS else "unclear"
    numbers = " and ".join(
        f"{one['pool']:.2f} {unit} against {one['lowest']:.2f} to {one['highest']:.2f} in "
        f"{len(np.unique(kinds))} kinds of reference text"
        for unit, one in compared.items()
    )
    return AssumptionCheck(
        verdict=verdict,
        sentence=_SENTENCES[verdict].format(numbers=numbers),
        p=p,
        tokens_per_word=tokens_per_word,
        loss=loss,
        divergence=divergences({name: one.vectors for name, one in measured.items()}, kinds),
        documents={name: len(one.tokens) for name, one in measured.items()},
    )


def _compared(
    ratios: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    kinds: NDArray[np.int64],
    *,
    logarithm: bool,
) -> dict[str, float]:
    """Returns ratios of sums with the range of the reference's kinds, see `AssumptionCheck`; the
    probabilities are those of the ratios, or of their logarithms.
    """
    total = {name: float(sums.sum() / counts.sum()) for name, (sums, counts) in ratios.items()}
    sums, counts = ratios["reference"]
    each = np.bincount(kinds, weights=sums) / np.bincount(kinds, weights=counts)
    scale = np.log if logarithm else np.asarray
    chances = {
        name: upper_tail(float(scale(total[part])), scale(each))
        for name, part in (("p", "pool"), ("target_p", "target"))
    }
    return {**total, "lowest": float(each.min()), "highest": float(each.max()), **chances}


def divergences(vectors: Mapping[str, NDArray[Any]], kinds: NDArray[np.int64]) -> dict[str, float]:
    """Returns mean Sinkhorn divergences between equally many documents.

    `kind_reference` is the divergence of each kind of the reference from all other kinds,
    `pool_reference` and `target_reference` that of as many documents of pool or target from the
    same other kinds (the divergence of a few documents is large by their number alone), each
    averaged over the kinds. `p` is the probability that one more kind is as far from the others as
    the pool is, `pool_target` the divergence between the whole samples of pool and target.

    Args:
        vectors: vectors of `pool`, `target` and `reference`.
        kinds: (n,) kind of each document of the reference.
    """
    reference = vectors["reference"]
    values: dict[str, list[float]] = {"kind": [], "pool": [], "target": []}
    with quiet("shortlist.ot"):
        for number, kind in enumerate(np.unique(kinds)):
            inside, others = reference[kinds == kind], reference[kinds != kind]
            values["kind"].append(_divergence(inside, others))
            for name in ("pool", "target"):
                rows = (number * len(inside) + np.arange(len(inside))) % len(vectors[name])
                values[name].append(_divergence(vectors[name][np.unique(rows)], others))
    means = {f"{name}_reference": float(np.mean(one)) for name, one in values.items()}
    return {
        **means,
        "p": upper_tail(means["pool_reference"], np.array(values["kind"])),
        "pool_target": _divergence(vectors["pool"], vectors["target"]),
    }


def _divergence(first: NDArray[Any], second: NDArray[Any]) -> float:
    return max(0.0, sinkhorn_divergence(first, second, epsilon=EPSILON).value)


def _beginnings(documents: Corpus, size: int, length: int) -> Corpus:
    """Returns the first `length` words of the first `size` documents by id."""
    texts = documents.take(np.arange(min(size, len(documents)))).unlabelled().texts
    return Corpus.build([" ".join(text.split()[:length]) for text in texts]).unlabelled()


def _measure(
    corpus: Corpus, featurizer: Featurizer, model: Path, head: Any | None, runtime: Runtime
) -> Measurements:
    held_out = None if head is None else head.losses_on(model, corpus, runtime)
    tokenizer = checkpoint.tokenizer(model)
    special = len(tokenizer("")["input_ids"])
    return Measurements(
        vectors=embed(featurizer, corpus, runtime, "featurizer@check.vectors"),
        tokens=tokenize(tokenizer, corpus.texts, None, None).lengths - special,
        words=np.array([len(text.split()) for text in corpus.texts]),
        losses=None if held_out is None else (held_out.sums, held_out.counts),
    )
