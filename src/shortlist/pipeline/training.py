"""What becomes of the model: the warm-up, what the warm-up changed, the fine-tuning."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Metric, digest, pack_item_scores
from shortlist.pipeline.context import Context, Start
from shortlist.pipeline.inputs import task_data
from shortlist.stats.intervals import linearised_ratio, ratio_of_sums
from shortlist.store import formats
from shortlist.tasks.contributions import contributions
from shortlist.trainers.classify import Validation

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.store.cache import Artifact

HELD_OUT_DOCUMENTS = 300  # of the test texts, first by id


def warm_up(cell: Context, base: Start, selection: Artifact, pool: Artifact) -> Start:
    """Returns the model after reading the selection.

    The key holds the chosen ids, not how they were chosen: equal selections train once. Where
    nothing was chosen it is the model as it was.
    """
    if selection.facts["size"] == 0:
        return base
    trainer, seed, runtime = cell.parts.warmup, cell.parts.seed, cell.parts.runtime

    def compute(directory: Path) -> dict[str, Any]:
        chosen = formats.load_selection(selection.path / "selection.parquet")
        documents = chosen.of(formats.load_corpus(pool.path / "corpus.arrow"))
        return trainer.train_on(base.path, documents, directory, seed, runtime)

    inputs = {"model": base.key, "selection": selection.facts["sha256"]}
    inputs |= trainer.identity(runtime)
    settings = {**cell.config["warmup"], "seed": seed}
    made = cell.stage("warmup", trainer.version, settings, inputs, compute)
    cell.counts |= {
        f"warmup_{fact}": count for fact, count in made.facts.items() if isinstance(count, int)
    }
    return Start(made.path, made.key)


def compare_losses(cell: Context, base: Start, warm: Start, task: Artifact) -> None:
    """Adds the language-model loss on held-out target texts before and after, and the drop.

    The drop is paired: both models are asked for the same tokens of the same documents.
    """
    before, after = held_out(cell, base, task), held_out(cell, warm, task)
    first, second = (np.load(made.path / "sums.npy") for made in (before, after))
    counts = np.load(before.path / "counts.npy")
    name = cell.parts.warmup.objective
    for suffix, unit, better, sums in (
        ("loss_before", "nats", False, first),
        ("loss_after", "nats", False, second),
        ("loss_drop", "nats_gained", True, first - second),
    ):
        found = ratio_of_sums(sums, counts)
        packed = pack_item_scores(linearised_ratio(sums, counts))
        cell.item_scores[f"{name}_{suffix}"] = packed
        cell.metrics.append(
            Metric(
                name=f"{name}_{suffix}",
                unit=unit,
                higher_is_better=better,
                value=found.value,
                n=len(counts),
                stderr=found.stderr,
                protocol=before.facts["protocol"],
            )
        )


def held_out(cell: Context, model: Start, task: Artifact) -> Artifact:
    """Returns the model's loss on texts of the split that the task holds out, by document."""
    trainer, runtime = cell.parts.warmup, cell.parts.runtime
    split = cell.parts.task.held_out

    def compute(directory: Path) -> dict[str, Any]:
        texts = formats.load_corpus(task.path / f"{split}.arrow").unlabelled()
        sample = texts.take(np.arange(min(HELD_OUT_DOCUMENTS, len(texts))))
        found = trainer.losses_on(model.path, sample, runtime)
        np.save(directory / "sums.npy", found.sums)
        np.save(directory / "counts.npy", found.counts)
        protocol = digest([found.protocol, sample.fingerprint])
        return {
            "protocol": protocol,
            "not_measured": len(texts) - len(sample),
            "truncated": found.truncated,
        }

    settings = {
        "objective": trainer.objective,
        "max_length": trainer.max_length,
        "documents": HELD_OUT_DOCUMENTS,
    }
    inputs = {"model": model.key, split: task.facts[split]}
    made = cell.stage("held_out", 3, settings, inputs, compute)
    for fact in ("not_measured", "truncated"):
        cell.counts[f"held_out_{fact}"] = made.facts[fact]
    return made


def fine_tune(cell: Context, warm: Start, task: Artifact) -> Start:
    """Returns the model after training on the target's labels."""
    part, trainer = cell.parts.task, cell.parts.finetune
    seed, runtime = cell.parts.seed, cell.parts.runtime
    labels = task.facts["labels"]

    def compute(directory: Path) -> dict[str, Any]:
        data = task_data(task)

        def judge(values: NDArray[np.float64]) -> float:
            metrics = part.evaluate(values, data, "validation")
            ranking = next(metric for metric in metrics if metric.primary)
            return ranking.value if ranking.higher_is_better else -ranking.value

        validation = Validation(data.validation, judge)
        return trainer.train_on(warm.path, data.train, validation, labels, directory, seed, runtime)

    inputs = {"model": warm.key, "train": task.facts["train"], **trainer.identity(runtime)}
    settings = {**cell.config["finetune"], "seed": seed, "labels": labels}
    if trainer.keep_epoch == "best":
        inputs["validation"] = task.facts["validation"]
        settings |= {"primary": part.primary, "positive": part.positive, "task": part.version}
    made = cell.stage("finetune", trainer.version, settings, inputs, compute)
    cell.counts["finetune_truncated"] = made.facts["truncated"]
    return Start(made.path, made.key)


def evaluate(cell: Context, tuned: Start, task: Artifact) -> None:
    """Adds the task's metrics on its test split, in front of the others, and the outcomes by item.

    Nothing before this has seen the split's labels.
    """
    part, trainer, runtime = cell.parts.task, cell.parts.finetune, cell.parts.runtime
    labels = task.facts["labels"]

    def compute(directory: Path) -> dict[str, Any]:
        data = task_data(task)
        outputs = len(labels) if labels else 1
        predicted = trainer.predict(tuned.path, data.test, outputs, runtime)
        np.save(directory / "predictions.npy", predicted.values)
        found = part.evaluate(predicted.values, data, "test")
        return {
            "metrics": [asdict(metric) for metric in found],
            "truncated": predicted.truncated,
        }

    settings = {"task": cell.config["task"], "max_length": trainer.max_length, "labels": labels}
    settings |= {"trainer": trainer.version}
    inputs = {"model": tuned.key, "test": task.facts["test"], **trainer.identity(runtime)}
    made = cell.stage("evaluate", part.version, settings, inputs, compute)
    cell.counts["evaluate_truncated"] = made.facts["truncated"]
    cell.metrics[:0] = [Metric(**metric) for metric in made.facts["metrics"]]
    predictions = np.load(made.path / "predictions.npy")
    test = formats.load_corpus(task.path / "test.arrow")
    found = contributions(part, predictions, test, tuple(labels) if labels else None)
    cell.item_scores |= {name: pack_item_scores(values) for name, values in found.items()}
