"""The noise floor: how far a number moves when nothing that matters has changed."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shortlist.errors import InvalidInput

FILE = "noise_floor.csv"
FIELDS = ["task", "metric", "value", "how"]


@dataclass(frozen=True)
class Floor:
    """Differences up to `value` are noise.

    Attributes:
        task: the task it was measured on; `*` for every task.
        metric: the metric.
        value: the largest difference between evaluations of one and the same model, in other
            batches, another order, another precision.
        how: what was varied, in a sentence.
    """

    task: str
    metric: str
    value: float
    how: str


def floor_of(floors: Sequence[Floor], task: str, metric: str) -> float:
    """Returns the floor of a metric on a task: its own, else that of every task, else 0."""
    found = {floor.task: floor.value for floor in floors if floor.metric == metric}
    return found.get(task, found.get("*", 0.0))


def read_floors(results: Path) -> list[Floor]:
    """Returns the floors in `results/noise_floor.csv`; none where there is no such file.

    Raises:
        InvalidInput: the file has other columns, or a value is no number of 0 or more.
    """
    path = results / FILE
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or ()) != FIELDS:
            raise InvalidInput(f"{path}: expected the columns {', '.join(FIELDS)}")
        floors = list[Floor]()
        for row in reader:
            try:
                value = float(row["value"])
            except (TypeError, ValueError):
                value = -1.0
            if not (math.isfinite(value) and value >= 0):
                raise InvalidInput(
                    f"{path}, line {reader.line_num}: expected a value of 0 or more, "
                    f"found {row['value']!r}"
                )
            floors.append(Floor(row["task"], row["metric"], value, row["how"]))
    return floors
