"""What the language model can still do, task by task, and which items the warm-up has cost it."""

from __future__ import annotations

import json
import logging
import math
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist import progress
from shortlist.core import Metric, digest
from shortlist.errors import InvalidInput, Missing
from shortlist.evaluation import harness
from shortlist.evaluation.base import EvalResult, Evaluator
from shortlist.store.atomic import read_jsonl, write_jsonl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.data.sources import Source
    from shortlist.evaluation.base import EvalContext
    from shortlist.models.pretrained import StoredModel
    from shortlist.runtime import Runtime
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)

WHAT = "evaluator utility"
ITEMS = "items.jsonl"
FLIPS = "flips.jsonl"


class Utility(Evaluator):
    """Zero-shot accuracy by lm-evaluation-harness, a task a metric, beside the model before.

    `utility` is the plain mean over the tasks (GOT-D, table 7), and stands beside them or not at
    all: where a task could not be had it is left out and said. `utility_forgotten` is the share of
    all items that the model answered right before the warm-up and wrong after it; which they are
    is `flips.jsonl` of the stage `forgetting`, both ways.

    Args:
        tasks: the package's tasks, `local/NAME`, or paths of YAMLs; the last part names the metric.
        metric: which of the package's metrics judges an item.
        items: of a task at most, a sample by content; None for all.
        seed: of that sample and of the package.

    Raises:
        InvalidInput: no task is named, or two alike, or `items` is no number of items.
    """

    version = 2

    def __init__(self, tasks: Sequence[str], metric: str, items: int | None, seed: int) -> None:
        self.tasks = {harness.Question.called(spec): spec for spec in tasks}
        if not tasks or len(self.tasks) < len(tasks):
            raise InvalidInput(
                f"{WHAT}: expected tasks of different names, found {', '.join(tasks) or 'none'}"
            )
        if items is not None and items < 1:
            raise InvalidInput(f"{WHAT}: items must be at least 1, found {items}")
        self.metric, self.items, self.seed = metric, items, seed

    def check(self, source: Source, runtime: Runtime) -> None:
        """Refuses a machine without the package, unknown tasks and missing files."""
        harness.check_installed(WHAT)
        for spec in self.tasks.values():
            harness.question(WHAT, spec, source)

    def metric_names(self) -> tuple[str, ...]:
        """Returns the names of the mean, of the tasks and of what was forgotten."""
        return ("utility", *(f"utility_{name}" for name in self.tasks), "utility_forgotten")

    def identity(self, source: Source) -> dict[str, str]:
        """Returns the digest of each task: of its file and data, or of its name in the package."""
        harness.check_installed(WHAT)
        return {
            name: harness.question(WHAT, spec, source).digest for name, spec in self.tasks.items()
        }

    def evaluate(self, context: EvalContext) -> EvalResult:
        """Returns the accuracy of each task with its standard error over items, and the flips.

        Outcomes are 1 or 0 by item, in the order of the data. Counts, by task: `items`,
        `not_sampled`, `cut` (too long for the model: its beginning is left out), `forgotten` (right
        before, wrong now), `learned` (the other way).
        """
        metrics, counts, warnings = list[Metric](), dict[str, int](), list[str]()
        item_scores: dict[str, NDArray[np.float64]] = {}
        lost: list[NDArray[np.float64]] = []
        total = 2 * len(self.tasks)
        with progress.bar("utility", total, "tasks", show=context.runtime.progress) as report:
            for name, spec in self.tasks.items():
                asked = harness.question(WHAT, spec, context.source)
                try:
                    before = self._answered(context, context.base, asked)
                    report(1)
                    after = self._answered(context, context.model, asked)
                    report(1)
                except Missing as error:
                    told = f"utility_{name} is not measured, and so the mean is not: {error}"
                    log.warning("%s", told)
                    warnings.append(told)
                    continue
                flips = _forgetting(context, before, after)
                right = _right(after)
                lost.append((_right(before) > right).astype(np.float64))
                item_scores[f"utility_{name}"] = right
                metrics.append(_accuracy(f"utility_{name}", right, self.protocol(after)))
                counts |= {
                    f"items_{name}": len(right),
                    f"not_sampled_{name}": after.facts["left_out"],
                    f"cut_{name}": after.facts["cut"],
                }
                counts |= {f"{change}_{name}": flips.facts[change] for change in CHANGES}
        if lost:
            gone, parts = np.concatenate(lost), [metric.protocol for metric in metrics]
            share = _accuracy(
                "utility_forgotten", gone, digest(["forgotten", *parts]), better=False
            )
            item_scores["utility_forgotten"] = gone
            if not warnings:
                metrics.insert(0, _mean(metrics))
            metrics.append(share)
        return EvalResult(tuple(metrics), item_scores, counts, tuple(warnings))

    def _answered(
        self, context: EvalContext, model: StoredModel, asked: harness.Question
    ) -> Artifact:
        def compute(directory: Path) -> dict[str, Any]:
            scratch = directory / "scratch"
            found = harness.ask(
                model.directory(),
                asked,
                self.metric,
                self.items,
                self.seed,
                scratch,
                context.runtime,
            )
            shutil.rmtree(scratch, ignore_errors=True)
            write_jsonl(directory / ITEMS, found.items)
            return {
                "hash": found.hash,
                "versions": dict(found.versions),
                "left_out": found.left_out,
                "cut": found.cut,
                "lm_eval": harness.version(),
            }

        settings = {"metric": self.metric, "items": self.items, "seed": self.seed}
        inputs = {**model.identity(), "task": asked.digest, "lm_eval": harness.version()}
        return context.stage("utility", self.version, settings, inputs, compute)

    def protocol(self, answered: Artifact) -> str:
        """Returns the hash of how a task is measured: the package's version and its task's, the
        items with prompts and targets, the metric.
        """
        facts = answered.facts
        versions = json.dumps(facts["versions"], sort_keys=True)
        parts = ("utility", self.version, self.metric, facts["lm_eval"], versions, facts["hash"])
        return digest(map(str, parts))


CHANGES = ("forgotten", "learned")


def _forgetting(context: EvalContext, before: Artifact, after: Artifact) -> Artifact:
    """Returns the items that were right and are wrong, and the other way, with both answers.

    Raises:
        InvalidInput: the two were asked different items: the data have changed in between.
    """
    if before.facts["hash"] != after.facts["hash"]:
        raise InvalidInput(
            f"{WHAT}: expected the same items before and after the warm-up, found others; remove "
            f"{before.path} and run again"
        )

    def compute(directory: Path) -> dict[str, Any]:
        flips = list[dict[str, Any]]()
        for first, second in zip(
            *(read_jsonl(made.path / ITEMS) for made in (before, after)), strict=True
        ):
            if first["right"] != second["right"]:
                change = CHANGES[second["right"] > first["right"]]
                answers = {"before": first["answers"], "after": second["answers"]}
                shown = {name: first[name] for name in ("task", "doc", "prompt", "target")}
                flips.append({"change": change, **shown, **answers})
        write_jsonl(directory / FLIPS, flips)
        return {change: sum(flip["change"] == change for flip in flips) for change in CHANGES}

    inputs = {"before": before.key, "after": after.key}
    return context.stage("forgetting", 1, {}, inputs, compute)


def _accuracy(
    name: str, right: NDArray[np.float64], protocol: str, *, better: bool = True
) -> Metric:
    n = len(right)
    return Metric(
        name=name,
        unit="fraction",
        higher_is_better=better,
        value=float(right.mean()),
        n=n,
        stderr=float(right.std(ddof=1)) / math.sqrt(n) if n > 1 else None,
        protocol=protocol,
    )


def _mean(tasks: Sequence[Metric]) -> Metric:
    """Returns the plain mean of the tasks; their items are independent, so variances add."""
    errors = [metric.stderr for metric in tasks]
    squares = [error**2 for error in errors if error is not None]
    return Metric(
        name="utility",
        unit="fraction",
        higher_is_better=True,
        value=sum(metric.value for metric in tasks) / len(tasks),
        n=sum(metric.n for metric in tasks),
        stderr=math.sqrt(sum(squares)) / len(tasks) if len(squares) == len(tasks) else None,
        protocol=digest(["utility", *(part for m in tasks for part in (m.name, m.protocol))]),
    )


def _right(answered: Artifact) -> NDArray[np.float64]:
    return np.array([item["right"] for item in read_jsonl(answered.path / ITEMS)], dtype=np.float64)
