"""Published tables: the printed numbers, and the settings a record must have to be compared.

A table NAME is two files: `NAME.csv` holds the numbers, `NAME.toml` describes the settings.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shortlist.core import UNITS
from shortlist.errors import InvalidInput, near

FIELDS = (
    "paper", "table", "row", "task", "selector", "model", "budget", "metric", "unit", "value",
    "spread", "kind_of_spread", "note",
)  # fmt: skip
INCONSISTENT = "inconsistent:"  # beginning of the note of a number that the paper contradicts
AVERAGE = "mean"  # in place of the task: an average over the tasks of the row
SECTIONS = ("selector", "task", "metric", "row")  # of settings; a later one overrides an earlier
WARMUP_GROUPS = ("pool", "featurizer", "warmup")  # settings without effect if nothing is read


@dataclass(frozen=True)
class PublishedNumber:
    """One printed number.

    Attributes:
        row: the row's label in the paper.
        task: the task by its name in `conf/task`; `mean` for an average over the tasks of the row.
        selector: the method by its name in `conf/selector`.
        model: the model by its name in `conf/model`; of an average, that of most of its tasks.
        budget: number of documents; 0 for a model without warm-up.
        metric: the metric by its name in the records.
        unit: a key of `core.UNITS`; fractions, never percentages.
        value: the number.
        spread: the printed spread, or None.
        kind_of_spread: what the spread is (`sd of 5 seeds`).
        note: a remark; with `inconsistent:` the number contradicts others of the paper.
    """

    row: str
    task: str
    selector: str
    model: str
    budget: int
    metric: str
    unit: str
    value: float
    spread: float | None
    kind_of_spread: str
    note: str

    @property
    def is_target(self) -> bool:
        """Whether a reproduction should reach it; numbers that the paper contradicts are not."""
        return not self.note.startswith(INCONSISTENT)

    @property
    def is_average(self) -> bool:
        """Whether it is an average over the tasks of its row, which no single run has."""
        return self.task == AVERAGE

    @property
    def seeds(self) -> int | None:
        """Number of runs that the spread is over, where the paper states it."""
        match = re.fullmatch(r"sd of (\d+) \w+", self.kind_of_spread)
        return int(match.group(1)) if match else None


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Attributes:
        name: name of its two files.
        title: what it shows.
        source: paper and number of the table.
        numbers: the printed numbers.
        protocol: settings of every number, by path in a record's configuration.
        sections: settings of the numbers of one selector, task, metric or row: by section, by name.
        aliases: names in `conf/selector` that implement a method, the closest first.
        test_items: size of the test set, where no spread is printed.
        deviations: differences from the paper in every run here.
    """

    name: str
    title: str
    source: str
    numbers: tuple[PublishedNumber, ...]
    protocol: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Mapping[str, Any]]]
    aliases: Mapping[str, Sequence[str]]
    test_items: int | None
    deviations: tuple[str, ...]

    def settings(self, number: PublishedNumber) -> dict[str, Any]:
        """Returns the settings that a record must have to be compared with a number."""
        settings = dict(self.protocol)
        for section, by_name in self.sections.items():
            settings |= by_name.get(getattr(number, section), {})
        if not number.budget:
            settings = {p: value for p, value in settings.items() if _group(p) not in WARMUP_GROUPS}
        return settings

    def names(self, selector: str) -> Sequence[str]:
        """Returns the names in `conf/selector` that implement the paper's method."""
        return self.aliases.get(selector, (selector,))


def published_names(directory: Path) -> list[str]:
    """Returns the names of the tables in a directory, in the order of their numbers."""
    names = [path.stem for path in directory.glob("*.csv")]
    return sorted(names, key=lambda name: [int(n) for n in re.findall(r"\d+", name)] or [0])


def read_published(directory: Path, name: str) -> PublishedTable:
    """Returns the table `name` in `directory`.

    Raises:
        InvalidInput: there is no such table, or one of its files is malformed.
    """
    if name not in (names := published_names(directory)):
        raise InvalidInput(f"no published table `{name}` under {directory}; {near(name, names)}")
    path = directory / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != FIELDS:
            raise InvalidInput(f"{path}: expected the columns {', '.join(FIELDS)}")
        rows = [(reader.line_num, row) for row in reader]
    if not rows:
        raise InvalidInput(f"{path}: expected at least one row, found none")
    description = _description(directory / f"{name}.toml")
    return PublishedTable(
        name=name,
        title=description["title"],
        source=f"{rows[0][1]['paper']}, table {rows[0][1]['table']}",
        numbers=tuple(_number(path, line, row) for line, row in rows),
        protocol=description.get("protocol", {}),
        sections={section: description.get(section, {}) for section in SECTIONS},
        aliases=description.get("names", {}),
        test_items=description.get("test_items"),
        deviations=tuple(description.get("deviations", ())),
    )


def _group(path: str) -> str:
    """Returns the group of a setting: `pool` of `pool.seed` and of `axes.pool`."""
    return path.removeprefix("axes.").partition(".")[0]


def _description(path: Path) -> dict[str, Any]:
    try:
        description = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: expected a description of the table: {error}") from error
    known = {"title", "test_items", "deviations", "names", "protocol", *SECTIONS}
    if unknown := sorted(set(description) - known):
        raise InvalidInput(f"{path}: unknown entry `{unknown[0]}`; {near(unknown[0], known)}")
    if not isinstance(description.get("title"), str):
        raise InvalidInput(f"{path}: expected a title")
    return description


def _number(path: Path, line: int, row: Mapping[str, str]) -> PublishedNumber:
    texts = ("row", "task", "selector", "model", "metric", "unit", "kind_of_spread", "note")
    try:
        number = PublishedNumber(
            **{name: row[name] for name in texts},
            budget=int(row["budget"]),
            value=float(row["value"]),
            spread=float(row["spread"]) if row["spread"] else None,
        )
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{path}, line {line}: {error}") from error
    low, high = UNITS.get(number.unit, (1.0, 0.0))
    if not low <= number.value <= high:
        raise InvalidInput(
            f"{path}, line {line}: {number.value} is not a {number.unit}; expected fractions, not "
            f"percentages, and a unit out of {', '.join(UNITS)}"
        )
    return number
