"""Metrics of texts against the right ones: exact match, token F1, BLEU, chrF, ROUGE.

Exact match and token F1 are SQuAD's (Rajpurkar et al. 2016). BLEU and chrF are sacrebleu's of the
corpus, as fractions; ROUGE is rouge_score's F1 without stemming, the mean over items.
"""

from __future__ import annotations

import importlib.util
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from shortlist.errors import Missing
from shortlist.tasks import sums
from shortlist.tasks.metrics import Metric, Values

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
SACREBLEU = {"bleu": "BLEU", "chrf": "CHRF"}
ROUGE = {"rouge1": "rouge1", "rouge2": "rouge2", "rouge_l": "rougeL"}


def normalised(text: str) -> str:
    """Returns a text in lower case, without ASCII punctuation, articles and surplus white space."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(found: str, right: Sequence[str]) -> float:
    """Returns 1 where a text equals one of the right ones, both normalised, else 0."""
    return float(normalised(found) in {normalised(one) for one in right})


def token_f1(found: str, right: Sequence[str]) -> float:
    """Returns the largest F1 of the words shared with one of the right texts, all normalised; of
    two texts without words it is 1.
    """
    return max(_f1(normalised(found).split(), normalised(one).split()) for one in right)


def _f1(found: list[str], right: list[str]) -> float:
    if not found or not right:
        return float(found == right)
    shared = sum((Counter(found) & Counter(right)).values())
    return 2 * shared / (len(found) + len(right))


SCORES = {"exact_match": exact_match, "token_f1": token_f1}


def means(
    score: Callable[[str, Sequence[str]], float],
    found: Sequence[str],
    right: Sequence[Sequence[str]],
) -> Values:
    """Returns (n, 2) scores and ones, whose ratio of sums is the mean."""
    values = [score(one, others) for one, others in zip(found, right, strict=True)]
    return np.stack([values, np.ones(len(values))], 1).astype(np.float64)


def statistics(metric: str, found: Sequence[str], right: Sequence[str]) -> Values:
    """Returns the (n, s) statistics by item of a metric of `DEFINITIONS`, against one text each."""
    if metric in SACREBLEU:
        return np.array(
            _sacrebleu(metric)._extract_corpus_statistics(list(found), [list(right)]),
            dtype=np.float64,
        )
    if metric in ROUGE:
        from rouge_score.rouge_scorer import RougeScorer

        kind = ROUGE[metric]
        scorer: Any = RougeScorer([kind], use_stemmer=False)
        return means(
            lambda one, others: scorer.score(others[0], one)[kind].fmeasure,
            found,
            [[one] for one in right],
        )
    return means(SCORES[metric], found, [[one] for one in right])


def signature(metric: str) -> str:
    """Returns what a metric's implementation says of itself: sacrebleu's signature, rouge_score's
    version; empty for the others.
    """
    if metric in SACREBLEU:
        measure = _sacrebleu(metric)
        measure.num_refs = 1
        return str(measure.get_signature())
    if metric in ROUGE:
        from importlib.metadata import version

        return f"rouge_score {version('rouge-score')}, {ROUGE[metric]}, F1, no stemming"
    return ""


def check_packages(metrics: Sequence[str]) -> None:
    """Refuses metrics whose implementation is not installed.

    Raises:
        Missing: a package is not there.
    """
    for metric in metrics:
        package = "sacrebleu" if metric in SACREBLEU else "rouge_score" if metric in ROUGE else None
        if package is not None and importlib.util.find_spec(package) is None:
            raise Missing(
                f"task.metrics: {metric} needs the package {package}, found none; run: pip install "
                "'shortlist[eval]'"
            )


@cache
def _sacrebleu(metric: str) -> Any:
    from sacrebleu import metrics

    return getattr(metrics, SACREBLEU[metric])()


def _corpus_score(metric: str, totals: Values) -> Values:
    """Returns sacrebleu's score of (..., s) summed statistics, as a fraction."""
    of = _sacrebleu(metric)._compute_score_from_stats
    rows = totals.reshape(-1, totals.shape[-1])
    values = [min(of(list(map(int, row))).score / 100, 1.0) for row in rows.tolist()]  # rounding
    return np.array(values, dtype=np.float64).reshape(totals.shape[:-1])


DEFINITIONS: Mapping[str, Metric] = {
    "exact_match": sums.mean,
    "token_f1": sums.mean,
    "bleu": partial(_corpus_score, "bleu"),
    "chrf": partial(_corpus_score, "chrf"),
    "rouge1": sums.mean,
    "rouge2": sums.mean,
    "rouge_l": sums.mean,
}
