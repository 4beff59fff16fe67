"""The model as the warm-up left it, questioned by every evaluator of its task."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from shortlist.core import pack_item_scores
from shortlist.errors import InvalidInput, near
from shortlist.evaluation.base import EvalContext
from shortlist.models.pretrained import StoredModel
from shortlist.pipeline.inputs import SPLITS, task_data

if TYPE_CHECKING:
    from shortlist.pipeline.context import Context, Start
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)


def prepare_evaluators(cell: Context) -> None:
    """Lets every evaluator refuse what cannot work, before anything is computed, and warns of a
    judge that has also chosen.

    Raises:
        InvalidInput: the task's primary metric is not among theirs, or two share a name.
    """
    part = cell.parts.task
    names = [name for asked in part.evaluators.values() for name in asked.metric_names()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(
            f"task {part.name}: two evaluators measure {', '.join(twice)}; leave one of them out "
            "or name its metrics otherwise"
        )
    if part.evaluators and part.primary not in names:
        raise InvalidInput(
            f"task {part.name}: expected task.primary among what its evaluators measure, found "
            f"{part.primary!r}; {near(str(part.primary), names)}"
        )
    for evaluator in part.evaluators.values():
        evaluator.check(cell.parts.source, cell.parts.runtime)
    picks = cell.parts.featurizer.scorer
    for judge in [
        name
        for evaluator in part.evaluators.values()
        for name, scorer in evaluator.scorers.items()
        if picks is not None and scorer.identity() == picks.identity()
    ]:
        told = (
            f"the documents were chosen by the scorer that judges what came of them ({judge}): its "
            "numbers flatter this method; look at another judge's"
        )
        cell.warnings.append(told)
        log.warning("%s", told)


def evaluate_model(cell: Context, base: Start, warm: Start, task: Artifact) -> None:
    """Adds the metrics of the task's evaluators, in front of the others, and their outcomes.

    Raises:
        InvalidInput: the task's primary metric could not be measured.
    """
    part, data = cell.parts.task, task_data(task)
    found = []
    for name, evaluator in part.evaluators.items():
        findings = evaluator.evaluate(
            EvalContext(
                model=StoredModel(warm.path, warm.key),
                base=StoredModel(base.path, base.key),
                data=data,
                digests={split: task.facts[split] for split in SPLITS},
                source=cell.parts.source,
                stage=cell.stage,
                seed=cell.parts.seed,
                runtime=cell.parts.runtime,
            )
        )
        found += findings.metrics
        cell.item_scores |= {k: pack_item_scores(v) for k, v in findings.item_scores.items()}
        cell.counts |= {f"{name}_{fact}": count for fact, count in findings.counts.items()}
        cell.warnings += [told for told in findings.warnings if told not in cell.warnings]
    if all(metric.name != part.primary for metric in found):
        told = "; ".join(cell.warnings)
        raise InvalidInput(
            f"task {part.name}: task.primary={part.primary} was not measured: {told}"
        )
    cell.metrics[:0] = [replace(metric, primary=metric.name == part.primary) for metric in found]
