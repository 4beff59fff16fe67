"""Two rounds of feedback, simulated with held-back labels, against as many labels drawn at random.

Each seed draws 100 labelled texts of ag_news, 50 for validation and 200 whose labels are held back. In
each round a model is fine-tuned on what is labelled, 50 of the held-back texts are chosen by the
entropy of its predictions, their labels come back as corrections (`task.feedback`), documents are
selected again toward targets weighted by the model's error, and the model is warmed up and
fine-tuned again. `random` gets 100 labels drawn at random in the same way, at once.

Everything is small, so that it fits into minutes of a busy core: 24 tokens of a text are read, the
last layer of MiniLM is trained. The test split of the cells has 50 texts, because their loss is
measured on them; the metrics are those of 300 other test texts. A run that was interrupted
continues: cells and predictions are kept.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shortlist  # noqa: F401  (before torch: threads that wait must not spin)

import numpy as np  # isort: skip
import torch  # isort: skip
from scipy.stats import t as student  # isort: skip
from sklearn.metrics import f1_score  # isort: skip

from shortlist.core import Corpus, Record
from shortlist.data.corrections import Correction, error_of
from shortlist.data.feedback import feedback_lines
from shortlist.overrides import composed, override
from shortlist.pipeline.cell import execute, open_cell
from shortlist.stats.uncertainty import entropy
from shortlist.store.atomic import write_text

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "results" / "benchmarks"
ARMS = ("uncertain", "random")
LABELLED, ADDED, ROUNDS, HELD_BACK, VALIDATION, HELD_OUT, TEST = 100, 50, 2, 200, 50, 50, 300
SETTINGS = (
    "task=own", "task.label=label", "task.name=ag_news", "selector=gotd", "featurizer=static",
    "pool.per_package=20", "pool.max_files=20", "budget=50", "advice=null",
    "model.head.documents=300", "model.head.epochs=2", "model.head.max_length=48",
    "warmup.max_length=24", "warmup.frozen_layers=5",
    "finetune.max_length=24", "finetune.frozen_layers=5", "finetune.learning_rate=2e-3",
    "finetune.epochs=6", "selector.sensitivity=false",
    "runtime.threads=1", "runtime.report=false", "runtime.progress=false",
)  # fmt: skip

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Fitted:
    """A fine-tuned cell.

    Attributes:
        record: its record.
        labels: the classes.
        predict: from texts to their (n, k) probabilities.
        right: (TEST,) whether each test text is predicted right.
        macro_f1: its macro-F1 on them.
    """

    record: Record
    labels: Sequence[str]
    predict: Callable[[Sequence[str]], Any]
    right: Any
    macro_f1: float


def rows_of(data: Path, split: str) -> list[dict[str, str]]:
    """Returns the rows of a split with text and label."""
    path = data / "tasks" / "ag_news" / f"{split}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [{"text": row["text"], "label": row["label"]} for row in map(json.loads, file)]


def write_rows(path: Path, rows: Rows) -> Path:
    """Returns the path after writing rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def cell(work: Path, settings: Sequence[str], name: str, test: Rows) -> Fitted:
    """Returns a cell after it is run, and what it predicts of the test texts."""
    places = [override(f"paths.{one}", work / one) for one in ("cache", "results", "runs")]
    with composed([*SETTINGS, *settings, *places]) as config:
        job = config.hydra
        choices = dict(job.runtime.choices)
        record = execute(config, choices, tuple(job.overrides.task), work / "runs" / name)
        if record.status != "done":
            raise SystemExit(record.reason)
        opened = open_cell(config, choices, work / "runs" / name)
    key = next(stage.key for stage in record.stages if stage.stage == "finetune")
    labels = record.selection["evaluation"]["classes"]
    parts = opened.parts

    def predict(texts: Sequence[str]) -> Any:
        directory, head = opened.store.root / "finetune" / key, parts.task.head(labels)
        return parts.finetune.predict(directory, Corpus.build(texts), head, parts.runtime).values

    kept = work / "predictions" / f"{key}.npy"
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        np.save(kept, predict([row["text"] for row in test]))
    predicted = np.array(labels)[np.load(kept).argmax(1)]
    truth = np.array([row["label"] for row in test])
    macro = float(f1_score(truth, predicted, average="macro"))
    return Fitted(record, labels, predict, predicted == truth, macro)


def corrections(rows: Rows, model: Fitted, number: int) -> list[Correction]:
    """Returns the true labels of rows as corrections of a model's predictions."""
    found: list[Correction] = []
    for row, p in zip(rows, model.predict([row["text"] for row in rows]), strict=True):
        predicted = model.labels[int(p.argmax())]
        known = dict(zip(model.labels, p.tolist(), strict=True))
        error = error_of(row["label"], predicted, None, known)
        found.append(
            Correction(
                row["text"], row["label"], round=number, predicted=predicted, error=error,
                annotator="held-back label", source="ag_news", record=model.record.key,
            )
        )  # fmt: skip
    return found


def one_seed(data: Path, work: Path, seed: int) -> dict[str, list[Fitted]]:
    """Returns the cells of both arms by round: of `random`, round 0 and the last."""
    rng = np.random.default_rng(seed)
    folder = work / f"seed{seed}"
    every, held, test = (rows_of(data, split) for split in ("train", "validation", "test"))
    train = [every[row] for row in rng.permutation(len(every))[: LABELLED + HELD_BACK]]
    labelled, held_back = train[:LABELLED], train[LABELLED:]
    drawn = rng.permutation(len(held))[:VALIDATION]
    items = np.random.default_rng(2026).permutation(len(test))[: HELD_OUT + TEST]
    measured = [test[row] for row in items[HELD_OUT:]]
    files = {
        "train": write_rows(folder / "train.jsonl", labelled),
        "validation": write_rows(folder / "validation.jsonl", [held[row] for row in drawn]),
        "test": write_rows(work / "test.jsonl", [test[row] for row in items[:HELD_OUT]]),
    }
    own = [*(override(f"task.{split}", path) for split, path in files.items()), f"seed={seed}"]
    first = cell(work, own, f"{seed}-0", measured)
    found: dict[str, list[Fitted]] = {}
    for arm, rounds in (("uncertain", ROUNDS), ("random", 1)):
        fitted, left, given = [first], list(held_back), list[Correction]()
        added = ROUNDS * ADDED // rounds
        for number in range(1, rounds + 1):
            if arm == "random":
                chosen = np.random.default_rng((seed, 1)).permutation(len(left))[:added]
            else:
                uncertain = entropy(fitted[-1].predict([row["text"] for row in left]))
                chosen = np.argsort(-uncertain, kind="stable")[:added]
            given += corrections([left[row] for row in chosen], fitted[-1], number)
            left = [row for place, row in enumerate(left) if place not in set(chosen.tolist())]
            file = write_text(folder / f"{arm}-{number}.jsonl", feedback_lines(given))
            settings = [*own, override("task.feedback", file)]
            fitted.append(cell(work, settings, f"{seed}-{arm}-{number}", measured))
        found[arm] = fitted
        print(seed, arm, [round(float(one.right.mean()), 4) for one in fitted], flush=True)
    return found


def interval(values: Any) -> dict[str, float]:
    """Returns mean and 95 % interval of the mean over seeds (Student's t)."""
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    mean = float(values.mean())
    return {"mean": mean, "low": mean - half, "high": mean + half}


METRICS: Mapping[str, Callable[[Fitted], float]] = {
    "accuracy": lambda one: float(one.right.mean()),
    "macro_f1": lambda one: one.macro_f1,
}


def summary(cells: Mapping[int, Mapping[str, Sequence[Fitted]]]) -> dict[str, Any]:
    """Returns metrics by arm and round with intervals over seeds, and the paired differences."""
    done: dict[str, Any] = {"seeds": sorted(cells), "metrics": {}, "feedback": {}}
    for metric, of in METRICS.items():
        values = {
            arm: np.array([[of(r) for r in one[arm]] for one in cells.values()]) for arm in ARMS
        }
        paired = values["uncertain"][:, -1] - values["random"][:, -1]
        done["metrics"][metric] = {
            "by_round": {arm: [interval(one) for one in own.T] for arm, own in values.items()},
            "gain": {arm: interval(own[:, -1] - own[:, 0]) for arm, own in values.items()},
            "uncertain_minus_random": interval(paired),
            "values": {arm: own.tolist() for arm, own in values.items()},
        }
    differences = np.mean(
        [
            one["uncertain"][-1].right.astype(float) - one["random"][-1].right
            for one in cells.values()
        ],
        axis=0,
    )
    half = 1.96 * float(differences.std(ddof=1)) / TEST**0.5
    mean = float(differences.mean())
    done["accuracy_over_items"] = {"mean": mean, "low": mean - half, "high": mean + half}
    for arm in ARMS:
        facts = [one[arm][-1].record.selection["feedback"] for one in cells.values()]
        names = ("joined", "wrong", "mean_error")
        done["feedback"][arm] = {n: float(np.mean([one[n] for one in facts])) for n in names}
    return done


def page(done: Mapping[str, Any]) -> str:
    """Returns the results as Markdown."""

    def text(one: Mapping[str, float], sign: str = "") -> str:
        return f"{one['mean']:{sign}.3f} ({one['low']:{sign}.3f} to {one['high']:{sign}.3f})"

    lines = [
        "# Feedback",
        "",
        "Written by `benchmarks/feedback.py`; do not edit.",
        "",
        f"ag_news, MiniLM with its last layer trained on 24 tokens: {LABELLED} labelled texts, then "
        f"{ROUNDS} rounds of {ADDED} corrections out of {HELD_BACK} texts whose labels are held back; {TEST} "
        f"test texts, {len(done['seeds'])} seeds. `uncertain` labels the texts of largest entropy in each "
        f"round, `random` {ROUNDS * ADDED} texts drawn at random, at once; both select documents again "
        "toward targets weighted by the model's error, and fine-tune again. In brackets: 95 % intervals "
        "over the seeds (Student's t).",
        "",
    ]
    for metric, of in done["metrics"].items():
        rounds = of["by_round"]["uncertain"]
        heads = "".join(f" round {number} |" for number in range(len(rounds)))
        lines += [
            f"## {metric}",
            "",
            f"| arm |{heads} gain |",
            f"|---|{'---:|' * (len(rounds) + 1)}",
        ]
        for arm in ARMS:
            values = [text(one) for one in of["by_round"][arm]]
            values[1:1] = [""] * (len(rounds) - len(values))
            lines.append(f"| {arm} | {' | '.join(values)} | {text(of['gain'][arm], '+')} |")
        paired = of["uncertain_minus_random"]
        lines += [
            "",
            f"Uncertain less random after the last round, paired by seed: {text(paired, '+')}.",
            "",
        ]
    over = done["accuracy_over_items"]
    lines += [
        f"The same difference of accuracy with its interval over test texts: {text(over, '+')}.",
        "",
    ]
    for arm, of in done["feedback"].items():
        lines.append(
            f"- {arm}: {of['joined']:g} corrections joined on average, {of['wrong']:g} of them of another "
            f"class than predicted, mean error {of['mean_error']:.2f}."
        )
    paired = done["metrics"]["accuracy"]["uncertain_minus_random"]
    if paired["low"] > 0:
        conclusion = "Choosing the least certain texts helps more than labelling as many at random."
    elif paired["high"] < 0:
        conclusion = "Labelling texts at random helps more than choosing the least certain ones."
    else:
        conclusion = (
            "A difference between the least certain texts and as many random ones is not shown: the "
            "interval over seeds contains 0."
        )
    return "\n".join([*lines, "", conclusion, ""])


def main() -> None:
    """Runs the seeds that are asked for and writes their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "bench" / "feedback")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = {seed: one_seed(options.data, options.work.absolute(), seed) for seed in options.seeds}
    if len(cells) > 1:
        done = summary(cells)
        write_text(OUT / "feedback.json", json.dumps(done, indent=1) + "\n")
        write_text(OUT / "feedback.md", page(done))
        print(page(done))


if __name__ == "__main__":
    main()
