"""Published tables: their numbers, and what a record must agree in to be held against them."""

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
SLIP = "slip:"
AVERAGE = "mean"  # stands for the task in an average over the tasks of a row
SECTIONS = ("selector", "task", "metric", "row")  # of settings; a later one overrules the earlier
READING = ("pool", "featurizer", "warmup")  # settings of how documents are chosen and read


@dataclass(frozen=True)
class Number:
    """One printed number.

    Attributes:
        row: the row's label in the paper.
        task: the task, as it is called here; `mean` for an average over the tasks of the row.
        selector: the method, as it is called here.
        model: the model, as it is called here; of an average, that of most of its tasks.
        budget: documents; 0 where none are read.
        metric: the metric, as it is called here.
        unit: a key of `core.UNITS`; fractions, never percentages.
        value: the number.
        spread: what stands beside it, or None.
        kind_of_spread: what that is (`sd of 5 seeds`).
        note: what must be known; one that begins with `slip:` makes the number no target.
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
        """Whether a reproduction should aim at it: the paper's own slips are not."""
        return not self.note.startswith(SLIP)

    @property
    def is_average(self) -> bool:
        """Whether it is an average over the tasks of its row, which no single run has."""
        return self.task == AVERAGE

    @property
    def seeds(self) -> int | None:
        """How many runs the spread is over, where it says so."""
        found = re.fullmatch(r"sd of (\d+) \w+", self.kind_of_spread)
        return int(found.group(1)) if found else None


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Attributes:
        name: of its two files, `NAME.csv` and `NAME.toml`.
        title: what it shows.
        source: paper and number of the table.
        numbers: what is printed.
        protocol: settings of every cell, by their path in a record's configuration.
        sections: settings of the cells of one selector, task, metric or row: by section, by name.
        aliases: names under which a method is known here, the closest first.
        test_items: size of the test set, where no spread is printed.
        deviations: what differs from the paper whatever is run here.
    """

    name: str
    title: str
    source: str
    numbers: tuple[Number, ...]
    protocol: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Mapping[str, Any]]]
    aliases: Mapping[str, Sequence[str]]
    test_items: int | None
    deviations: tuple[str, ...]

    def settings(self, number: Number) -> dict[str, Any]:
        """Returns what a record must agree in to be held against a number."""
        found = dict(self.protocol)
        for section, settings in self.sections.items():
            found |= settings.get(getattr(number, section), {})
        if not number.budget:  # nothing is read, so it does not matter how it would have been
            found = {path: value for path, value in found.items() if _group(path) not in READING}
        return found

    def names(self, selector: str) -> Sequence[str]:
        """Returns the names under which the paper's method may be run here."""
        return self.aliases.get(selector, (selector,))


def published_names(directory: Path) -> list[str]:
    """Returns the names of the tables that are there, in the order of their numbers."""
    names = [path.stem for path in directory.glob("*.csv")]
    return sorted(names, key=lambda name: [int(n) for n in re.findall(r"\d+", name)] or [0])


def read_published(directory: Path, name: str) -> PublishedTable:
    """Returns the table `name` in `directory`.

    Raises:
        InvalidInput: there is no such table, or its files are not what they must be.
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
        raise InvalidInput(f"{path}: expected a row at least, found none")
    described = _described(directory / f"{name}.toml")
    return PublishedTable(
        name=name,
        title=described["title"],
        source=f"{rows[0][1]['paper']}, table {rows[0][1]['table']}",
        numbers=tuple(_number(path, line, row) for line, row in rows),
        protocol=described.get("protocol", {}),
        sections={section: described.get(section, {}) for section in SECTIONS},
        aliases=described.get("names", {}),
        test_items=described.get("test_items"),
        deviations=tuple(described.get("deviations", ())),
    )


def _group(path: str) -> str:
    """Returns the group that a setting belongs to: `pool` of `pool.seed` and of `axes.pool`."""
    return path.removeprefix("axes.").partition(".")[0]


def _described(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: a description of the table was expected: {error}") from error
    known = {"title", "test_items", "deviations", "names", "protocol", *SECTIONS}
    if unknown := sorted(set(found) - known):
        raise InvalidInput(f"{path}: unknown entry `{unknown[0]}`; {near(unknown[0], known)}")
    if not isinstance(found.get("title"), str):
        raise InvalidInput(f"{path}: expected a title")
    return found


def _number(path: Path, line: int, row: Mapping[str, str]) -> Number:
    try:
        made = Number(
            **{
                name: row[name]
                for name in (
                    "row", "task", "selector", "model", "metric", "unit", "kind_of_spread", "note",
                )
            },
            budget=int(row["budget"]),
            value=float(row["value"]),
            spread=float(row["spread"]) if row["spread"] else None,
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{path}, line {line}: {error}") from error
    low, high = UNITS.get(made.unit, (1.0, 0.0))
    if not low <= made.value <= high:
        raise InvalidInput(
            f"{path}, line {line}: {made.value} is no {made.unit}; fractions, not percentages, and "
            f"a unit out of {', '.join(UNITS)}"
        )
    return made
