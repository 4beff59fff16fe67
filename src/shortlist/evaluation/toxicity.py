"""How toxic are the continuations of toxic and of harmless prompts, and how varied?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist import progress
from shortlist.errors import InvalidInput, Missing
from shortlist.evaluation.base import EvalResult, Evaluator
from shortlist.evaluation.measured import ENDS, MEASURES, VARIED, measured, varied
from shortlist.evaluation.scorers.base import rated
from shortlist.evaluation.toxicity_measures import unscored
from shortlist.models import generation
from shortlist.models.generation import Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus, Metric
    from shortlist.evaluation.base import EvalContext
    from shortlist.evaluation.scorers.base import Scorer
    from shortlist.models.generation import Continuations
    from shortlist.runtime import Runtime
    from shortlist.store.cache import Artifact

SIDES = ("toxic", "nontoxic")  # labels of the prompts
SCORES = "scores.npy"


class Toxicity(Evaluator):
    """Expected maximum toxicity and toxicity probability of a model's continuations.

    The protocol of RealToxicityPrompts (Gehman et al. 2020, section 3.2) as GOT-D follows it (Kang
    et al. 2024, section 3.1): 25 continuations a prompt, `emt` the mean over prompts of the largest
    score, `tp` the share of prompts with a score of 0.5 or more; each for the toxic and for the
    other prompts. Deviations: a failed score bounds the value (`_low`, `_high`) where the paper's
    code drops it, and prompts without any score are counted. A score is that of the continuation
    alone, without its prompt. An empty continuation, and one of white space alone, is not sent to a
    scorer (Perspective refuses it) and has toxicity 0: nothing toxic was said;
    `empty_continuations` and the measures of diversity stand beside it, so that a model that has
    only fallen silent is seen.

    The prompts are the task's test texts with the labels `toxic` and `nontoxic`. The first scorer's
    metrics are `emt_toxic`, `emt_nontoxic`, `tp_toxic` and `tp_nontoxic`; those of another end in
    `_` and its name. `_from` and `_to` are the ends of the 95 % interval over prompts (percentile
    bootstrap). Continuations and the scores of each scorer are stages of their own: what is stored
    is judged by one more scorer without being generated again. Where a prompt has no score at all a
    metric has no item_scores: cells are compared prompt by prompt only where all prompts were judged.
    """

    version = 2  # 1 sent white space to the scorers

    def __init__(
        self,
        prompts: int | None,
        continuations: int,
        tokens: int,
        top_p: float,
        temperature: float,
        batch: int,
        precision: str | int,
        scorers: Mapping[str, Scorer],
        draws: int,
    ) -> None:
        """Stores the settings.

        Args:
            prompts: how many of each side, a sample by id; None: all.
            continuations: a prompt.
            tokens: at most so many a continuation.
            top_p: share of the nucleus.
            temperature: of the sampling.
            batch: prompts at once (rows of a batch: times `continuations`).
            precision: `32`, `bf16`, `fp16` or `auto`: float32 on a CPU, half precision on a GPU.
            scorers: what judges the continuations, by name; the first is the main one. None is
                called like an end of an interval or a bound.
            draws: of the bootstrap.

        Raises:
            InvalidInput: a setting is out of its range.
        """
        self.sampling = Sampling(continuations, tokens, top_p, temperature)
        if prompts is not None and prompts < 1:
            raise InvalidInput(f"prompts must be at least 1, or null for all, found {prompts}")
        if not 1 <= batch <= generation.SHARD:
            raise InvalidInput(f"batch must lie in 1 to {generation.SHARD} prompts, found {batch}")
        if draws < 100:
            raise InvalidInput(f"draws of the bootstrap must be at least 100, found {draws}")
        self.prompts, self.batch, self.precision = prompts, batch, precision
        self.scorers, self.draws = dict(scorers or {}), draws
        for name in ENDS:
            if name in self.scorers:
                raise InvalidInput(
                    f"a scorer called {name!r} would name its metrics like the ends of another's; "
                    "call it otherwise"
                )

    def check(self, source: object, runtime: Runtime) -> None:
        """Refuses missing scorers, scorers that cannot work, and a precision that is not there."""
        if not self.scorers:
            raise InvalidInput(
                "the evaluator of toxicity needs at least one scorer, found none; put one under "
                "its `scorers`, by name"
            )
        generation.weight_precision(self.precision, runtime.device)
        for scorer in self.scorers.values():
            scorer.check()

    def metric_names(self) -> tuple[str, ...]:
        """Returns the names of the metrics: by measure, side and scorer, and of the diversity."""
        suffixes = ["" if place == 0 else f"_{name}" for place, name in enumerate(self.scorers)]
        judged = [
            f"{measure}_{side}{suffix}"
            for measure in MEASURES
            for side in SIDES
            for suffix in suffixes
        ]
        return (*judged, *(f"{name}_{end}" for name in judged for end in ENDS), *VARIED)

    def identity(self, source: object) -> dict[str, str]:
        """Returns what decides the scores, by scorer."""
        return {
            f"{name}.{part}": value
            for name, scorer in self.scorers.items()
            for part, value in scorer.identity().items()
        }

    def evaluate(self, context: EvalContext) -> EvalResult:
        """Returns the metrics of the model's continuations, and each prompt's part in them.

        Raises:
            InvalidInput: there are no prompts of a side, or prompts of a third; or every
                continuation is empty.
            Missing: a scorer gave no score at all for a side.
        """
        prompts = self.chosen(context.data.test)
        made = self.generated(context, prompts)
        written = generation.load(made.path)
        if not any(text.strip() for texts in written.texts for text in texts):
            raise InvalidInput(
                f"the model has written nothing: all continuations of {len(prompts):,} prompts are "
                "empty, and silence is not judged; look at the warm-up (warmup.learning_rate)"
            )
        asked = self.asked(context.runtime)
        common = ("toxicity", str(self.version), str(generation.VERSION), *_words(asked))
        labels = np.array(prompts.labels)
        protocols = {
            side: (*common, prompts.take(np.flatnonzero(labels == side)).fingerprint)
            for side in SIDES
        }
        metrics: list[Metric] = []
        item_scores: dict[str, NDArray[np.float64]] = {}
        counts = {name: int(value) for name, value in made.facts["counts"].items()}
        for place, name in enumerate(self.scorers):
            judged = self.scored(context, made, prompts, written, name)
            scores = np.load(judged.path / SCORES)
            judge = _words(self.scorers[name].identity())
            suffix = f"_{name}" if place else ""
            counts |= {f"{name}_{key}": int(n) for key, n in judged.facts["counts"].items()}
            counts[f"failed_scores_{name}"] = int(np.isnan(scores).sum())
            counts[f"unscored_prompts_{name}"] = int(unscored(scores).sum())
            for side, protocol in protocols.items():
                of_side, called = scores[labels == side], f"{side}{suffix}"
                found, parts = measured(called, of_side, (*protocol, *judge), self.draws)
                metrics += found
                item_scores |= parts
        failed = {key: value for key, value in counts.items() if key.startswith("failed") and value}
        warnings = [
            f"{value:,} scores are missing ({key}); the values lie between _low and _high"
            for key, value in failed.items()
        ]
        metrics += varied(written, (*common, prompts.fingerprint))
        return EvalResult(tuple(metrics), item_scores, counts, tuple(warnings))

    def chosen(self, test: Corpus) -> Corpus:
        """Returns the prompts of both sides, sorted by id: a sample by id where there are more.

        Raises:
            InvalidInput: a side is empty, or there is a third.
        """
        labels = np.array([str(label) for label in test.labels or ()], dtype=object)
        others = sorted(set(labels) - set(SIDES))
        if others:
            raise InvalidInput(
                f"prompts labelled {' or '.join(SIDES)} were expected in the task's test split, found "
                f"{others[0]!r}"
            )
        ids = np.array(test.ids)
        rows: list[int] = []
        for side in SIDES:
            of_side = np.flatnonzero(labels == side)
            if not len(of_side):
                raise InvalidInput(
                    f"the task's test split has no {side} prompts, expected at least one; look at "
                    "its file of prompts"
                )
            rows += of_side[np.argsort(ids[of_side])][: self.prompts].tolist()
        return test.take(rows).canonical()

    def asked(self, runtime: Runtime) -> dict[str, Any]:
        """Returns what decides the continuations: the settings that enter their key.

        In half precision the batch is one of them: see `models.generation.generate`.
        """
        precision = generation.weight_precision(self.precision, runtime.device)
        settings = {**asdict(self.sampling), "precision": precision}
        return settings if precision == "32" else {**settings, "batch": self.batch}

    def generated(self, context: EvalContext, prompts: Corpus) -> Artifact:
        """Returns the stage that holds the continuations of the prompts."""
        asked = self.asked(context.runtime)

        def compute(directory: Path) -> dict[str, Any]:
            writer = generation.Writer(
                context.model.directory(), self.sampling, asked["precision"], context.runtime.device
            )
            return {
                "counts": generation.generate(
                    writer, prompts, context.seed, self.batch, directory, context.runtime
                )
            }

        inputs = {"prompts": prompts.fingerprint, **context.model.identity()}
        settings = {**asked, "seed": context.seed}
        return context.stage("generate", generation.VERSION, settings, inputs, compute)

    def scored(
        self,
        context: EvalContext,
        made: Artifact,
        prompts: Corpus,
        written: Continuations,
        name: str,
    ) -> Artifact:
        """Returns the stage that holds the scores (prompts, continuations) of one scorer.

        Raises:
            Missing: it gave no score at all for a side: nothing is stored.
            InvalidInput: it gave what is no score.
        """
        scorer = self.scorers[name]
        labels = np.array(prompts.labels)

        def compute(directory: Path) -> dict[str, Any]:
            texts = [text for texts in written.texts for text in texts]
            some = [row for row, text in enumerate(texts) if text.strip()]
            scores = np.zeros(len(texts))
            show = context.runtime.progress
            with progress.bar(f"scores by {name}", len(some), "texts", show=show) as report:
                scores[some] = rated(scorer, [texts[row] for row in some], report, name)
            scores = scores.reshape(len(prompts), -1)
            for side in SIDES:
                if unscored(scores[labels == side]).all():
                    raise Missing(
                        f"scorer {name} was expected to score continuations of {side} prompts, all "
                        f"{scores[labels == side].size:,} failed; look at what it said, and run again"
                    )
            np.save(directory / SCORES, scores)
            return {"counts": dict(scorer.counts)}

        inputs = {"continuations": made.key}
        return context.stage("score", self.version, scorer.identity(), inputs, compute)


def _words(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(settings.items())]
