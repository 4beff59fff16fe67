"""How far the numbers of one and the same model move: the noise floor of the leaderboard.

    python benchmarks/noise_floor.py [--results results] [--cache .cache/shortlist] [--each 2]

For the first records of each task the fine-tuned model is evaluated again from the store: in small
and in large batches (which also changes which texts share one, and so their order), in float32 and in
bfloat16, one of which is what `precision=auto` was. Models that this store does not hold are left out.
The largest difference from the recorded value, over records and variants, is the floor. It goes
into `noise_floor.csv` beside the records, where an earlier, larger one stays.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from shortlist.core import Record
from shortlist.leaderboard.significance import NOISE_FIELDS, NOISE_FILE
from shortlist.pipeline.data import TaskSplits
from shortlist.pipeline.stage import Notes
from shortlist.runtime import Runtime
from shortlist.store.atomic import write_text
from shortlist.store.records import read_records

VARIANTS = {
    "batches of 1,024 tokens": ("auto", 1024),
    "batches of 32,768 tokens": ("auto", 32_768),
    "float32": ("32", 8192),
    "bfloat16": ("bf16", 8192),
}


class Stored:
    """An artifact of the store as the stages see it: its folder and its facts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["facts"]


def moved(record: Record, cache: Path) -> dict[str, dict[str, float]]:
    """Returns, by metric and variant, how far it is from the recorded value."""
    keys = {stage.stage: stage.key for stage in record.stages}
    task: Any = instantiate(record.config["task"])
    stored: Any = Stored(cache / "task" / keys["task"])
    data = TaskSplits(task, stored, Notes()).data
    head = task.head(data.labels)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for name, (precision, tokens) in VARIANTS.items():
        trainer: Any = instantiate({**record.config["finetune"], "precision": precision})
        runtime = Runtime(accelerator="cpu", threads=2, inference_tokens=tokens, progress=False)
        runtime.settle()
        predicted = trainer.predict(cache / "finetune" / keys["finetune"], data.test, head, runtime)
        for metric in task.evaluate(predicted.values, data, "test"):
            recorded = record.metric(metric.name)
            if recorded is not None and recorded.protocol == metric.protocol:
                found[metric.name][name] = abs(metric.value - recorded.value)
    return found


def main() -> None:
    """Prints what moved and writes the floors."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/shortlist"))
    parser.add_argument("--each", type=int, default=2, help="records of each task")
    options = parser.parse_args()
    seen: dict[str, int] = defaultdict(int)
    floors: dict[tuple[str, str], float] = defaultdict(float)
    for record in read_records(options.results):
        task = record.axes.task
        keys = {stage.stage: stage.key for stage in record.stages}
        if not (options.cache / "finetune" / keys.get("finetune", "none")).is_dir():
            continue
        if record.status != "done" or record.until != "evaluate" or seen[task] >= options.each:
            continue
        seen[task] += 1
        for metric, variants in moved(record, options.cache).items():
            for variant, size in variants.items():
                print(f"{task} {record.key} {metric} {variant}: {size:.6f}", flush=True)
                floors[task, metric] = max(floors[task, metric], size)
    path = options.results / NOISE_FILE
    lines = {
        key: {"task": key[0], "metric": key[1], "value": repr(value),
              "how": f"{', '.join(VARIANTS)}; {seen[key[0]]} models"}
        for key, value in floors.items()
    }  # fmt: skip
    # What was once seen to move can move: an earlier, larger floor stays.
    with path.open(encoding="utf-8", newline="") if path.is_file() else io.StringIO() as file:
        for line in csv.DictReader(file):
            key = (line["task"], line["metric"])
            if float(line["value"]) >= floors.get(key, 0.0):
                lines[key] = line
    text = io.StringIO()
    writer = csv.DictWriter(text, NOISE_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(line for _, line in sorted(lines.items()))
    print(write_text(path, text.getvalue()))


if __name__ == "__main__":
    main()
