"""Compares measured metrics with published tables: interval, difference and verdict per number."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from shortlist.core import Metric, Record
from shortlist.leaderboard.published import PublishedNumber, PublishedTable
from shortlist.leaderboard.text import number
from shortlist.rendering.tables import (
    TextCell,
    TextTable,
    escape_markdown,
    markdown_table,
    rich_table,
)
from shortlist.stats.comparison import MAX_DF, half_width

if TYPE_CHECKING:
    import rich.table

Verdict = Literal["reproduced", "not reproduced", "not comparable", "not run", "no target"]
Variance = tuple[float, float]  # of a mean, with its degrees of freedom


@dataclass(frozen=True)
class Reproduction:
    """A published number and the measured one.

    Attributes:
        published: the number.
        verdict: `reproduced` if the published number lies in the interval, `not reproduced` if not;
            `not comparable` if settings differ, `not run` without records, `no target` for a number
            that the paper contradicts.
        mean: measured mean over seeds, or None.
        low: lower end of the interval that contains the published number with probability 0.95 if
            both estimate the same value.
        high: upper end.
        n: number of seeds.
        reason: the settings that differ, or why the number is no target.
        record_keys: the records of the mean.
        variances: variances of the measured and of the published mean.
    """

    published: PublishedNumber
    verdict: Verdict
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""
    record_keys: tuple[str, ...] = ()
    variances: tuple[Variance, ...] = ()


def reproductions(table: PublishedTable, records: Iterable[Record]) -> list[Reproduction]:
    """Returns the comparison of every number of a published table, in its order."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "done" and record.until == "evaluate":
            groups[record.axes.task, record.axes.selector].append(record)
    single = {n: _compare(table, n, groups) for n in table.numbers if not n.is_average}
    return [
        single[n] if n in single else _compare_average(n, list(single.values()))
        for n in table.numbers
    ]


def _compare(
    table: PublishedTable,
    published: PublishedNumber,
    groups: Mapping[tuple[str, str], list[Record]],
) -> Reproduction:
    if not published.is_target:
        return Reproduction(published, "no target", reason=published.note)
    names, settings = table.names(published.selector), table.settings(published)
    runs: dict[str, list[tuple[Record, Metric]]] = defaultdict(list)
    for name in names:
        for record in groups.get((published.task, name), ()):
            if (metric := record.metric(published.metric)) is not None:
                runs[_without_seed(record)].append((record, metric))
    if not runs:
        return Reproduction(published, "not run")
    # The run with the fewest differing settings; of equals that of the closest method, then the one
    # with the most seeds.
    *_, best = min(
        (
            len(differences(published, settings, run[0][0])),
            names.index(run[0][0].axes.selector),
            -len(run),
            key,
        )
        for key, run in runs.items()
    )
    run = sorted(runs[best], key=lambda pair: pair[0].axes.seed)
    metrics = [metric for _, metric in run]
    return _with_verdict(
        Reproduction(
            published,
            "not run",
            mean=statistics.fmean(metric.value for metric in metrics),
            n=len(run),
            reason="; ".join(differences(published, settings, run[0][0])),
            record_keys=tuple(record.key for record, _ in run),
            variances=_variances(table, published, metrics),
        )
    )


def _compare_average(published: PublishedNumber, single: Sequence[Reproduction]) -> Reproduction:
    """Returns the comparison of an average over the tasks of its row, which needs all of them.

    Runs of different tasks are independent, so the variance of the mean of k numbers is the sum of
    theirs over k^2. Its number of seeds is the smallest of its tasks.
    """
    if not published.is_target:
        return Reproduction(published, "no target", reason=published.note)
    place = (published.row, published.budget)
    cells = [cell for cell in single if (cell.published.row, cell.published.budget) == place]
    means = [cell.mean for cell in cells if cell.mean is not None]
    missing = [cell.published.task for cell in cells if cell.mean is None]
    if not means or missing:
        reason = f"its row has no run of {', '.join(missing)}" if means else ""
        return Reproduction(published, "not run", reason=reason)
    differing = [cell.published.task for cell in cells if cell.verdict == "not comparable"]
    k = len(cells)
    return _with_verdict(
        Reproduction(
            published,
            "not run",
            mean=statistics.fmean(means),
            n=min(cell.n for cell in cells),
            reason=f"its row differs in {', '.join(differing)}" if differing else "",
            record_keys=tuple(key for cell in cells for key in cell.record_keys),
            variances=tuple((v / k**2, df) for cell in cells for v, df in cell.variances),
        )
    )


def _with_verdict(cell: Reproduction) -> Reproduction:
    """Returns the comparison with its interval and verdict; a reason makes it not comparable.

    The interval is that of the difference at the 95 % level, by Welch (1947).
    """
    assert cell.mean is not None
    half, total = 0.0, sum(variance for variance, _ in cell.variances)
    if total > 0:
        df = total**2 / sum(variance**2 / own for variance, own in cell.variances)
        half = half_width(math.sqrt(total), df)
    inside = abs(cell.mean - cell.published.value) <= half
    verdict: Verdict = "reproduced" if inside else "not reproduced"
    return replace(
        cell,
        verdict="not comparable" if cell.reason else verdict,
        low=cell.mean - half,
        high=cell.mean + half,
    )


def _variances(
    table: PublishedTable, published: PublishedNumber, metrics: Sequence[Metric]
) -> tuple[Variance, ...]:
    """Returns the variances of the measured mean and of the published number.

    For a single measured seed the spread over seeds is that of the paper, so that both variances
    are one estimate with its degrees of freedom; without a printed spread it is the variance over
    test items, taken as known. Where the paper gives the size of the test set only, the variance of
    its number is binomial.
    """
    n = len(metrics)
    if n == 1 and published.spread is not None and published.seeds:
        return ((published.spread**2 * (1 + 1 / published.seeds), published.seeds - 1.0),)
    theirs: Variance = (0.0, MAX_DF)
    if published.spread is not None and published.seeds:
        theirs = published.spread**2 / published.seeds, published.seeds - 1.0
    elif table.test_items and published.unit == "fraction":
        theirs = published.value * (1 - published.value) / table.test_items, MAX_DF
    if n > 1:
        return (statistics.variance(metric.value for metric in metrics) / n, n - 1.0), theirs
    return ((metrics[0].stderr or 0.0) ** 2, MAX_DF), theirs


ABSENT = object()
NO_VALUE = {"none": None, "unset": ABSENT}  # TOML has neither


def differences(
    published: PublishedNumber, settings: Mapping[str, Any], record: Record
) -> list[str]:
    """Returns the settings in which a record differs from the paper, with both values.

    The value `none` asks for a setting that is null, `unset` for one that does not exist.
    """
    expected: dict[str, Any] = {"axes.model": published.model}
    if published.budget:
        expected |= {"axes.budget": published.budget, "axes.budget_unit": "documents"}
    differing = list[str]()
    for path, wanted in {**expected, **settings}.items():
        value = _setting(record, path)
        if not _equal(value, wanted):
            name = path.removeprefix("axes.")
            differing.append(f"{name} {_value_text(value)} (paper: {_value_text(wanted)})")
    return differing


def _setting(record: Record, path: str) -> Any:
    """Returns the setting at a path of the configuration, or of the axes; `ABSENT` without one."""
    head, _, rest = path.partition(".")
    if head == "axes":
        return getattr(record.axes, rest, ABSENT)
    node: Any = record.config
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return ABSENT
        node = node[part]
    return node


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, str) and wanted in NO_VALUE:
        return value is NO_VALUE[wanted]
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-9)
    return bool(value == wanted)


def _value_text(value: Any) -> str:
    for name, nothing in NO_VALUE.items():
        if value is nothing:
            return name
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_seed(record: Record) -> str:
    config = {name: value for name, value in record.config.items() if name != "seed"}
    kept = [record.axes.selector, record.axes.featurizer, record.axes.pool, config, record.reads]
    return json.dumps(kept, sort_keys=True, default=str)


def summary(compared: Sequence[Reproduction]) -> str:
    """Returns the number of each verdict: `3 reproduced, 1 not reproduced, 32 not run`."""
    count = Counter(cell.verdict for cell in compared)
    return ", ".join(f"{count[name]} {name}" for name in get_args(Verdict) if count[name])


def _text_table(table: PublishedTable, compared: Sequence[Reproduction]) -> TextTable:
    headings = (
        "row", "task", "budget", "metric", "published", "measured", "interval", "n", "verdict",
    )  # fmt: skip
    rows: list[tuple[TextCell, ...]] = []
    for cell in compared:
        printed, unit = cell.published, cell.published.unit
        spread = f" ± {number(printed.spread, unit)}" if printed.spread is not None else ""
        interval = ""
        if cell.low is not None and cell.high is not None:
            interval = f"{number(cell.low, unit)} to {number(cell.high, unit)}"
        texts = (
            printed.row, printed.task, f"{printed.budget:,}" if printed.budget else "",
            printed.metric, number(printed.value, unit) + spread,
            "" if cell.mean is None else number(cell.mean, unit),
            interval, str(cell.n) if cell.n else "",
        )  # fmt: skip
        verdict = f"{cell.verdict}: {cell.reason}" if cell.reason else cell.verdict
        strong = cell.verdict == "reproduced"
        rows.append((*map(TextCell, texts), TextCell(verdict, kind="strong" if strong else "")))
    note = "\n".join([summary(compared), *(f"known deviation: {d}" for d in table.deviations)])
    title = f"{table.title} ({table.source})"
    return TextTable(title, headings, tuple(rows), note, left=len(headings))


def reproduction_markdown(table: PublishedTable, compared: Sequence[Reproduction]) -> str:
    """Returns the comparison as a Markdown document."""
    lines = [f"# {table.title}", "", f"{table.source}: {summary(compared)}.", ""]
    lines += [f"- known deviation: {escape_markdown(text)}" for text in table.deviations]
    return "\n".join([*lines, "", markdown_table(_text_table(table, compared))]) + "\n"


def reproduction_console(
    table: PublishedTable, compared: Sequence[Reproduction]
) -> rich.table.Table:
    """Returns the comparison for a terminal."""
    return rich_table(_text_table(table, compared))
