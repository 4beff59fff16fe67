"""Perplexity of a language model on given texts, with a hash of how it was measured."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist import progress
from shortlist.core import Metric, digest
from shortlist.data.files import file_digest
from shortlist.data.readers import Columns, read_files
from shortlist.data.sources import needed_files
from shortlist.data.splits import sample_rows
from shortlist.errors import InvalidInput
from shortlist.evaluation.base import EvalResult, Evaluator
from shortlist.models.likelihood import Predictions, causal_model, vocabulary
from shortlist.models.tokens import tokenize
from shortlist.settings import Seed
from shortlist.stats.intervals import linearised_ratio, ratio_of_sums
from shortlist.store.formats import load_corpus, save_corpus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.data.sources import Source, TaskFiles
    from shortlist.evaluation.base import EvalContext, Stage
    from shortlist.models.likelihood import Causal
    from shortlist.needs import Need
    from shortlist.runtime import Runtime
    from shortlist.store.cache import Artifact

WHAT = "evaluator perplexity"
TEXTS = "texts.arrow"
AVERAGES = ("texts", "tokens")


class Perplexity(Evaluator):
    """The perplexity of texts (Jelinek et al. 1977): exp of the mean loss per token, in float32.

    Args:
        metric: name of the metric; two perplexities of one task need two names.
        path: file of the texts, under the folder of the data (source=local).
        hub: the texts' data set on the hub (source=hub), its split called `texts`.
        column: column of the texts.
        documents: largest number of texts, a sample by id; None for all.
        seed: seed of that sample.
        context: tokens of a window; None for the number of the model's positions.
        stride: None reads one window of each text and counts the texts that are cut; a number moves
            the window by so many tokens, each token being predicted once, in the first window that
            reaches it.
        bos: whether an end token precedes each text; without, the first token is not predicted.
        average: `texts` for the mean over texts of each one's perplexity (Hugging Face's evaluate,
            which GOT-D names); `tokens` for the exponential of the mean loss over all tokens.

    Raises:
        InvalidInput: a number is out of range, or `average` is unknown.
    """

    def __init__(
        self,
        metric: str,
        path: str | None,
        hub: Mapping[str, Any] | None,
        column: str,
        documents: int | None,
        seed: Seed,
        context: int | None,
        stride: int | None,
        bos: bool,
        average: str,
    ) -> None:
        if average not in AVERAGES:
            raise InvalidInput(f"{WHAT}: average must be texts or tokens, found {average!r}")
        if context is not None and context < 2:
            raise InvalidInput(f"{WHAT}: context must be at least 2, found {context}")
        if stride is not None and (stride < 1 or (context is not None and stride >= context)):
            raise InvalidInput(
                f"{WHAT}: stride must be at least 1 and below the context, found stride={stride}, "
                f"context={context}"
            )
        if documents is not None and documents < 1:
            raise InvalidInput(f"{WHAT}: documents must be at least 1, found {documents}")
        self.metric, self.path, self.hub, self.column = metric, path, hub, column
        self.documents, self.seed = documents, seed
        self.context, self.stride, self.bos, self.average = context, stride, bos, average

    def check(self, source: Source, runtime: Runtime) -> None:
        """Refuses a missing file of texts."""
        source.text_files(WHAT, self.path, self.hub)

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
        """Yields the file of texts, or its data set."""
        path, hub = node["path"], node["hub"]
        find = partial(source.text_files, place, path, hub)
        yield from needed_files(place, hub, source, find)

    @classmethod
    def forecast_tokens(cls, node: Mapping[str, Any], texts: int, length: float) -> float:
        """Returns the tokens of texts of 1,024, by two models."""
        return 2 * min(node.get("documents") or texts, 10_000) * 1024.0

    def metric_names(self) -> tuple[str, ...]:
        """Returns the name of the perplexity."""
        return (self.metric,)

    def identity(self, source: Source) -> dict[str, str]:
        """Returns the digest of the texts' file, or the hub's commit."""
        return {"texts": _digest(source.text_files(WHAT, self.path, self.hub))}

    def evaluate(self, context: EvalContext) -> EvalResult:
        """Returns the perplexity with its standard error over texts, and the score of each text.

        With `average=texts` a text's score is its perplexity; with `tokens` it is the linearised
        value of exp(sum of losses / number of tokens), so that the mean is the metric.

        Raises:
            InvalidInput: the model is a masked language model, or no text has a token to predict.
        """
        sample = self.texts(context.source, context.stage)

        def compute(directory: Path) -> dict[str, Any]:
            texts = load_corpus(sample.path / TEXTS)
            sums, counts, facts = self.losses(context.model.directory(), texts, context.runtime)
            np.save(directory / "sums.npy", sums)
            np.save(directory / "counts.npy", counts)
            omitted = {
                "texts_cut": facts.pop("cut"),
                "texts_without_a_prediction": int((counts == 0).sum()),
            }
            return {"counts": omitted, **facts}

        settings = {name: getattr(self, name) for name in ("context", "stride", "bos")}
        inputs = {**context.model.identity(), "texts": sample.facts["texts"]}
        measured = context.stage("perplexity", self.version, settings, inputs, compute)
        sums, counts = (np.load(measured.path / f"{name}.npy") for name in ("sums", "counts"))
        facts = {**measured.facts, "texts": sample.facts["texts"]}
        facts["counts"] = sample.facts["counts"] | facts["counts"]
        return self._result(sums, counts, facts)

    def texts(self, source: Source, stage: Stage) -> Artifact:
        """Returns the stage that holds the sample of the texts; see `Evaluator.texts`."""
        files = source.text_files(WHAT, self.path, self.hub)

        def compute(directory: Path) -> dict[str, Any]:
            column = files.columns.text if files.columns else self.column
            loaded = read_files(next(iter(files.files.values())), Columns(text=column))
            whole = loaded.corpus.canonical()
            texts = whole.take(sample_rows(whole.ids, self.documents, self.seed))
            save_corpus(directory / TEXTS, texts)
            quarantined = loaded.counts["quarantined"]
            omitted = {
                "not_sampled": len(whole) - len(texts),
                "quarantined": quarantined,
                "copies": loaded.counts["rows_read"] - len(whole) - quarantined,
            }
            return {"counts": omitted, "texts": texts.fingerprint}

        settings = {name: getattr(self, name) for name in ("column", "documents", "seed")}
        if files.revision:  # a commit holds many files; `hub` names the file and the column
            settings["hub"] = dict(self.hub or {})
        return stage("texts", self.version, settings, {"texts": _digest(files)}, compute)

    def losses(
        self, directory: Path, texts: Corpus, runtime: Runtime
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]]:
        """Returns the (n,) losses in nats and (n,) numbers of predicted tokens of each text, and as
        facts the resolved context, the hash of the vocabulary and the number of texts cut.
        """
        model = causal_model(directory, self.context, "perplexity context", runtime.device)
        if self.stride is not None and self.stride >= model.max_length:
            raise InvalidInput(
                f"{WHAT}: stride must be below the model's {model.max_length} positions, found "
                f"{self.stride}"
            )
        windowed, text = windows_of(self._ids(model, texts), model.max_length, self.stride)
        total = len(text)
        with progress.bar("perplexity", total, "windows", show=runtime.progress) as report:
            losses = model.loss_sums(windowed, runtime.inference_tokens, report)
        sums, counts = np.zeros(len(texts)), np.zeros(len(texts))
        np.add.at(sums, text, losses)
        np.add.at(counts, text, windowed.counts)
        vocabulary_hash = vocabulary(model.tokenizer)
        facts = {
            "context": model.max_length,
            "vocabulary": vocabulary_hash,
            "cut": windowed.tokens.truncated,
        }
        return sums, counts, facts

    def _ids(self, model: Causal, texts: Corpus) -> list[NDArray[np.int64]]:
        ids = tokenize(model.tokenizer, texts.texts, None, None).ids
        if not self.bos:
            return ids
        end = np.array([model.tokenizer.eos_token_id], dtype=np.int64)
        return [np.concatenate([end, row]) for row in ids]

    def _result(
        self, sums: NDArray[np.float64], counts: NDArray[np.float64], facts: Mapping[str, Any]
    ) -> EvalResult:
        sums, counts = sums[counts > 0], counts[counts > 0]
        n = len(sums)
        if n == 0:
            raise InvalidInput(
                f"{WHAT}: expected texts with a token to predict, found none in {self.path}"
            )
        if self.average == "texts":
            item_scores = np.exp(sums / counts)
            value, error = float(item_scores.mean()), float(item_scores.std(ddof=1)) / n**0.5
        else:
            mean = ratio_of_sums(sums, counts)
            value = float(np.exp(mean.value))
            error = value * (mean.stderr or 0.0)
            item_scores = value * (1 + linearised_ratio(sums, counts) - mean.value)
        metric = Metric(
            name=self.metric,
            unit="perplexity",
            higher_is_better=False,
            value=value,
            n=n,
            stderr=error if n > 1 else None,
            protocol=self.protocol(facts),
        )
        return EvalResult((metric,), {self.metric: item_scores}, facts["counts"])

    def protocol(self, facts: Mapping[str, Any]) -> str:
        """Returns the hash of how it was measured: settings, texts and vocabulary.

        Perplexities per token of two vocabularies do not compare.
        """
        settings = (facts["context"], self.stride, self.bos, self.average)
        parts = ("perplexity", self.version, *settings, facts["texts"], facts["vocabulary"])
        return digest(map(str, parts))


def _digest(files: TaskFiles) -> str:
    return files.revision or digest(map(file_digest, next(iter(files.files.values()))))


def windows_of(
    ids: Sequence[NDArray[np.int64]], context: int, stride: int | None
) -> tuple[Predictions, NDArray[np.int64]]:
    """Returns the w windows of these token sequences with the predicted positions, and the (w,)
    numbers of the sequences that they belong to; see `windows`.
    """
    rows, positions, text = list[Any](), list[Any](), list[int]()
    for number, row in enumerate(ids):
        for start, stop, first in windows(len(row), context, stride):
            rows.append(row[start:stop])
            positions.append(np.arange(first - start, stop - start, dtype=np.int64))
            text.append(number)
    cut = 0 if stride is not None else sum(len(row) > context for row in ids)
    return Predictions.of(rows, positions, cut), np.array(text, dtype=np.int64)


def windows(length: int, context: int, stride: int | None) -> Iterator[tuple[int, int, int]]:
    """Yields (start, stop, first) of each window: tokens from `start` to below `stop` are read,
    those from `first` on are predicted.

    Every token but the text's first is predicted once; without a stride, those of the first window.
    """
    start, first = 0, 1
    while length:
        stop = min(start + context, length)
        yield start, stop, first
        if stride is None or stop == length:
            return
        start, first = start + stride, stop
