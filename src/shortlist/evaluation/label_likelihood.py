"""Zero-shot classification by the likelihood of each label's words in a prompt.

lm-evaluation-harness is not used: of the three normalisations its multiple-choice tasks have only
`sum` (`acc`; `acc_norm` divides by characters, and the loss of the whole prompt is not reported),
it cuts a long prompt by another amount under each label, and it is an optional package.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shortlist import progress
from shortlist.core import Metric, digest
from shortlist.data.splits import sample_rows
from shortlist.errors import InvalidInput, near
from shortlist.evaluation.base import EvalResult, Evaluator
from shortlist.models.likelihood import Predictions, causal_model
from shortlist.settings import Seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.evaluation.base import EvalContext
    from shortlist.models.likelihood import Causal
    from shortlist.runtime import Runtime

WHAT = "evaluator label_likelihood"
NORMALISATIONS = ("sentence", "token", "sum")
PLACEHOLDER = re.compile(r"\{(text_b|text|label)\}")


class Prompt(NamedTuple):
    """One item with one label.

    Attributes:
        text: the filled prompt.
        label_start: position of the first character of the label's words.
    """

    text: str
    label_start: int


class LabelLikelihood(Evaluator):
    """Accuracy of choosing, for each test item, the label with the smallest loss of its prompt.

    `normalise` defines the loss: `sentence` is the mean over all predicted tokens, which orders
    labels as perplexities do (OpenICL's perplexity inference; GOT-D, section E.1); `token` is the
    mean over the tokens from the label on; `sum` is their sum, the negative log-likelihood of the
    label and what follows. Among equal losses the first label is chosen; `ties` counts such items.

    Args:
        metric: name of the metric.
        prompt: the template, with placeholders `{text}`, `{text_b}` (of a pair) and, once,
            `{label}`.
        labels: words of each class, by class.
        normalise: `sentence`, `token` or `sum`.
        documents: largest number of test items, a sample by id; None for all.
        seed: seed of that sample.
        context: tokens of a prompt; None for the number of the model's positions. Longer prompts
            lose their beginning, the same number of tokens under each label, and are counted.
        bos: whether an end token precedes each prompt; without, the first token is not predicted.

    Raises:
        InvalidInput: an unknown normalisation, a prompt without its placeholders, too few labels.
    """

    def __init__(
        self,
        metric: str,
        prompt: str,
        labels: Mapping[str, str],
        normalise: str,
        documents: int | None,
        seed: Seed,
        context: int | None,
        bos: bool,
    ) -> None:
        if normalise not in NORMALISATIONS:
            raise InvalidInput(
                f"{WHAT}: unknown normalise {normalise!r}; {near(normalise, NORMALISATIONS)}"
            )
        placeholders = PLACEHOLDER.findall(prompt)
        if placeholders.count("label") != 1 or "text" not in placeholders:
            raise InvalidInput(
                f"{WHAT}: prompt must have a place {{text}} and one {{label}}, found {prompt!r}"
            )
        if len(labels) < 2 or not all(labels.values()):
            raise InvalidInput(
                f"{WHAT}: labels must give words for two classes or more, found {dict(labels)}"
            )
        if documents is not None and documents < 1:
            raise InvalidInput(f"{WHAT}: documents must be at least 1, found {documents}")
        if context is not None and context < 2:
            raise InvalidInput(f"{WHAT}: context must be at least 2, found {context}")
        self.metric, self.prompt, self.normalise = metric, prompt, normalise
        self.labels = {str(name): str(words) for name, words in labels.items()}
        self.documents, self.seed, self.context, self.bos = documents, seed, context, bos

    @classmethod
    def forecast_tokens(cls, node: Mapping[str, Any], texts: int, length: float) -> float:
        """Returns the tokens of each text with each label, by two models."""
        return 2 * min(node.get("documents") or texts, 10_000) * len(node["labels"]) * length

    def metric_names(self) -> tuple[str, ...]:
        """Returns the name of the accuracy."""
        return (self.metric,)

    def evaluate(self, context: EvalContext) -> EvalResult:
        """Returns the accuracy with its binomial standard error, and 1 or 0 by item.

        `chosen_<class>` counts how often each class was chosen, which shows a model that always
        chooses the same. The (items, labels) losses are `losses.npy` of the stage.

        Raises:
            InvalidInput: the test split has no labels, or one that `labels` does not name.
        """
        test = context.data.test
        items = test.take(sample_rows(test.ids, self.documents, self.seed))
        truth = self._truth(items)

        def compute(directory: Path) -> dict[str, Any]:
            losses, cut = self.losses(context.model.directory(), items, context.runtime)
            np.save(directory / "losses.npy", losses)
            return {"cut": cut}

        settings = {
            name: getattr(self, name)
            for name in ("prompt", "labels", "normalise", "documents", "seed", "context", "bos")
        }
        # Keys sort mappings, but the order of the labels decides ties.
        settings["order"] = list(self.labels)
        inputs = {**context.model.identity(), "test": context.digests["test"]}
        measured = context.stage("label_likelihood", self.version, settings, inputs, compute)
        losses = np.load(measured.path / "losses.npy")
        chosen = losses.argmin(1)
        right = (chosen == truth).astype(np.float64)
        share = float(right.mean())
        accuracy = Metric(
            name=self.metric,
            unit="fraction",
            higher_is_better=True,
            value=share,
            n=len(items),
            stderr=math.sqrt(share * (1 - share) / len(items)),
            protocol=self.protocol(items),
        )
        counts = {
            "not_sampled": len(test) - len(items),
            "cut": measured.facts["cut"],
            "ties": int(((losses == losses.min(1, keepdims=True)).sum(1) > 1).sum()),
            **{f"chosen_{name}": int((chosen == k).sum()) for k, name in enumerate(self.labels)},
        }
        return EvalResult((accuracy,), {self.metric: right}, counts)

    def _truth(self, items: Corpus) -> NDArray[np.int64]:
        if not len(items) or items.labels is None:
            raise InvalidInput(
                f"{WHAT}: expected test items with labels, found none; choose a task that has some"
            )
        index = {name: number for number, name in enumerate(self.labels)}
        for label in items.labels:
            if label not in index:
                raise InvalidInput(
                    f"{WHAT}: labels has no words for the class {label!r} of the test split; "
                    f"{near(str(label), index)}"
                )
        return np.array([index[label] for label in items.labels], dtype=np.int64)

    def protocol(self, items: Corpus) -> str:
        """Returns the hash of how the accuracy is measured: settings and items."""
        labels = [part for pair in self.labels.items() for part in pair]
        settings = (self.prompt, self.normalise, self.context, self.bos)
        parts = ("label likelihood", self.version, *settings, items.fingerprint, *labels)
        return digest(map(str, parts))

    def prompts(self, items: Corpus) -> list[list[Prompt]]:
        """Returns the prompts of each item, one a label.

        Raises:
            InvalidInput: the template has a second text and the items have none.
        """
        if items.texts_b is None and "{text_b}" in self.prompt:
            raise InvalidInput(
                f"{WHAT}: prompt has the placeholder {{text_b}}, the items are single texts"
            )
        second: Sequence[str] = items.texts_b or [""] * len(items)
        return [
            [_filled(self.prompt, text, text_b, words) for words in self.labels.values()]
            for text, text_b in zip(items.texts, second, strict=True)
        ]

    def losses(
        self, directory: Path, items: Corpus, runtime: Runtime
    ) -> tuple[NDArray[np.float64], int]:
        """Returns the (n, labels) losses in nats, normalised, and the number of items cut."""
        model = causal_model(directory, self.context, "label_likelihood context", runtime.device)
        predictions = self._predictions(model, self.prompts(items))
        total = len(predictions.positions)
        with progress.bar("label likelihood", total, "prompts", show=runtime.progress) as report:
            losses = model.loss_sums(predictions, runtime.inference_tokens, report)
        if self.normalise != "sum":
            losses = losses / predictions.counts
        return losses.reshape(len(items), len(self.labels)), predictions.tokens.truncated

    def _predictions(self, model: Causal, prompts: Sequence[Sequence[Prompt]]) -> Predictions:
        end = [model.tokenizer.eos_token_id] * self.bos
        ids, positions, cut = list[Any](), list[Any](), 0
        for item in prompts:
            encoded = model.tokenizer.backend_tokenizer.encode_batch([one.text for one in item])
            rows = [np.array(end + one.ids, dtype=np.int64) for one in encoded]
            over = max(0, max(map(len, rows)) - model.max_length)
            cut += over > 0
            for prompt, encoding, row in zip(item, encoded, rows, strict=True):
                # The label's first token is the first that ends after the label's first character:
                # a tokenizer may join the preceding space to the word.
                ends = np.array([stop for _, stop in encoding.offsets])
                first = len(end) + int(np.argmax(ends > prompt.label_start)) - over
                if first < 1:
                    raise InvalidInput(
                        f"{WHAT}: context={model.max_length} leaves no token of the item before "
                        "the label; raise it or choose shorter labels"
                    )
                ids.append(row[over:])
                start = 1 if self.normalise == "sentence" else first
                positions.append(np.arange(start, len(row) - over, dtype=np.int64))
        return Predictions.of(ids, positions, cut)


def _filled(prompt: str, text: str, text_b: str, label: str) -> Prompt:
    """Returns the filled template; all placeholders are filled at once, since a text may contain
    `{label}` itself.
    """
    values = {"text": text, "text_b": text_b, "label": label}
    before, after = (
        PLACEHOLDER.sub(lambda match: values[match[1]], part) for part in prompt.split("{label}")
    )
    return Prompt(f"{before}{label}{after}", len(before))
