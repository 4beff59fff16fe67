"""Is a published number reproduced? Ours beside it, with an interval and a verdict, cell by cell."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shortlist.core import Metric, Record
from shortlist.leaderboard.published import Number, PublishedTable
from shortlist.stats.comparison import half_width

Outcome = Literal["within", "outside", "not comparable", "not run", "no target"]
MANY = 1e6  # degrees of freedom of an error that is known


@dataclass(frozen=True)
class Judged:
    """A published number and what was found here.

    Attributes:
        published: the number.
        outcome: the verdict.
        ours: our mean over seeds, or None.
        low: lower end of the interval in which the published number lies, 19 times out of 20, if
            nothing differs but chance.
        high: upper end.
        n: our seeds.
        reason: which settings differ, or why it is no target.
        record_keys: the records behind our mean.
        errors: what the interval is made of: variances of ours and of theirs, each with its degrees
            of freedom.
    """

    published: Number
    outcome: Outcome
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""
    record_keys: tuple[str, ...] = ()
    errors: tuple[tuple[float, float], ...] = ()


def verdicts(table: PublishedTable, records: Iterable[Record]) -> list[Judged]:
    """Returns the verdict of every number of a published table, in its order."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "done" and record.until == "evaluate":
            groups[record.axes.task, record.axes.selector].append(record)
    cells = {
        number: _judge(table, number, groups) for number in table.numbers if not number.is_average
    }
    return [
        cells[number] if number in cells else _judge_average(number, _row(number, cells.values()))
        for number in table.numbers
    ]


def _judge(
    table: PublishedTable, published: Number, groups: Mapping[tuple[str, str], list[Record]]
) -> Judged:
    if not published.is_target:
        return Judged(published, "no target", reason=published.note)
    runs: dict[str, list[tuple[Record, Metric]]] = defaultdict(list)
    for name in table.names(published.selector):
        for record in groups.get((published.task, name), ()):
            if (metric := record.metric(published.metric)) is not None:
                runs[_without_seed(record)].append((record, metric))
    if not runs:
        return Judged(published, "not run")
    settings = table.settings(published)
    # Of several runs the one that differs least speaks; of equals, that of the closest method, then
    # the one with the most seeds.
    names = table.names(published.selector)
    ranked = sorted(
        (
            len(differences(published, settings, run[0][0])),
            names.index(run[0][0].axes.selector),
            -len(run),
            key,
        )
        for key, run in runs.items()
    )
    run = sorted(runs[ranked[0][-1]], key=lambda pair: pair[0].axes.seed)
    found = differences(published, settings, run[0][0])
    metrics = [metric for _, metric in run]
    return _held_against(
        published,
        statistics.fmean(metric.value for metric in metrics),
        _errors(table, published, metrics),
        n=len(run),
        reason="; ".join(found),
        record_keys=tuple(record.key for record, _ in run),
    )


def _row(average: Number, cells: Iterable[Judged]) -> list[Judged]:
    """Returns the cells that an average is over: all of its row, at its budget."""
    place = (average.row, average.budget)
    return [cell for cell in cells if (cell.published.row, cell.published.budget) == place]


def _judge_average(published: Number, cells: Sequence[Judged]) -> Judged:
    """Returns the verdict of an average, which is made of the cells of its row and needs them all.

    Runs of different tasks have nothing in common, so the variance of the mean of k cells is the
    sum of theirs over k^2. Its seeds are those of the task that has the fewest.
    """
    if not published.is_target:
        return Judged(published, "no target", reason=published.note)
    values = [cell.ours for cell in cells if cell.ours is not None]
    if not values:
        return Judged(published, "not run")
    k = len(cells)
    if len(values) < k:
        missing = [cell.published.task for cell in cells if cell.ours is None]
        return Judged(published, "not run", reason=f"its row has no run of {', '.join(missing)}")
    differing = [cell.published.task for cell in cells if cell.outcome == "not comparable"]
    return _held_against(
        published,
        statistics.fmean(values),
        [(variance / k**2, df) for cell in cells for variance, df in cell.errors],
        n=min(cell.n for cell in cells),
        reason=f"its row differs in {', '.join(differing)}" if differing else "",
        record_keys=tuple(key for cell in cells for key in cell.record_keys),
    )


def _held_against(
    published: Number,
    ours: float,
    errors: Sequence[tuple[float, float]],
    n: int,
    reason: str,
    record_keys: tuple[str, ...],
) -> Judged:
    """Returns the verdict on what was found; a reason makes it no verdict on the number."""
    half = _half(errors)
    inside = abs(ours - published.value) <= half
    return Judged(
        published,
        "not comparable" if reason else "within" if inside else "outside",
        ours=ours,
        low=ours - half,
        high=ours + half,
        n=n,
        reason=reason,
        record_keys=record_keys,
        errors=tuple(errors),
    )


def differences(published: Number, settings: Mapping[str, Any], record: Record) -> list[str]:
    """Returns the settings in which a record differs from the paper, named with both values.

    A value `none` asks for a setting that is null, `unset` for one that is not there: TOML has
    neither.
    """
    expected: dict[str, Any] = {"axes.model": published.model}
    if published.budget:
        expected |= {"axes.budget": published.budget, "axes.budget_unit": "documents"}
    found = list[str]()
    for path, wanted in {**expected, **settings}.items():
        value = _at(record, path)
        if not _equal(value, wanted):
            shown = path.removeprefix("axes.")
            found.append(f"{shown} {_text(value)} (paper: {_text(wanted)})")
    return found


MISSING = object()
NOTHING = {"none": None, "unset": MISSING}


def _at(record: Record, path: str) -> Any:
    """Returns the setting at a path of the configuration, or of the axes."""
    head, _, rest = path.partition(".")
    if head == "axes":
        return getattr(record.axes, rest, MISSING)
    node: Any = record.config
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return MISSING
        node = node[part]
    return node


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, str) and wanted in NOTHING:
        return value is NOTHING[wanted]
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-9)
    return bool(value == wanted)


def _text(value: Any) -> str:
    for name, nothing in NOTHING.items():
        if value is nothing:
            return name
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_seed(record: Record) -> str:
    config = {name: value for name, value in record.config.items() if name != "seed"}
    kept = [record.axes.selector, record.axes.featurizer, record.axes.pool, config, record.reads]
    return json.dumps(kept, sort_keys=True, default=str)


def _errors(
    table: PublishedTable, published: Number, ours: Sequence[Metric]
) -> tuple[tuple[float, float], ...]:
    """Returns the variances of our mean and of the published number, with their degrees of freedom.

    A single seed of ours is taken to spread as the paper's do, so that both variances are one
    estimate and have its degrees of freedom, or, where they print nothing, to be known as its test
    items tell. Where the paper gives a size of the test set only, its error is binomial.
    """
    n = len(ours)
    if n == 1 and published.spread is not None and published.seeds:
        return ((published.spread**2 * (1 + 1 / published.seeds), published.seeds - 1.0),)
    theirs, their_df = 0.0, MANY
    if published.spread is not None and published.seeds:
        theirs, their_df = published.spread**2 / published.seeds, published.seeds - 1.0
    elif table.test_items and published.unit == "fraction":
        theirs = published.value * (1 - published.value) / table.test_items
    if n > 1:
        mine, df = statistics.variance(metric.value for metric in ours) / n, n - 1.0
    else:
        mine, df = (ours[0].stderr or 0.0) ** 2, MANY
    return (mine, df), (theirs, their_df)


def _half(errors: Sequence[tuple[float, float]]) -> float:
    """Returns half the width of the 95 % interval of the difference, by Welch (1947)."""
    total = sum(variance for variance, _ in errors)
    if total == 0:
        return 0.0
    return half_width(math.sqrt(total), total**2 / sum(variance**2 / df for variance, df in errors))
