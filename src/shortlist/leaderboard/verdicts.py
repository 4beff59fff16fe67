"""Is a published number reproduced? Ours beside it, with an interval and a verdict, cell by cell."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from shortlist.core import Metric, Record
from shortlist.leaderboard.published import Number, PublishedTable
from shortlist.leaderboard.render import escape, markdown_line, number
from shortlist.numerics.comparison import half_width

if TYPE_CHECKING:
    import rich.table

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
    """

    published: Number
    outcome: Outcome
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""
    record_keys: tuple[str, ...] = ()


def verdicts(table: PublishedTable, records: Iterable[Record]) -> list[Judged]:
    """Returns the verdict of every number of a published table, in its order."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "done" and record.until == "evaluate":
            groups[record.axes.task, record.axes.selector].append(record)
    return [_judge(table, number, groups) for number in table.numbers]


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
    # Of several runs the one that differs least speaks; of equals, the one with the most seeds.
    ranked = sorted(
        (len(differences(published, settings, run[0][0])), -len(run), key)
        for key, run in runs.items()
    )
    run = sorted(runs[ranked[0][-1]], key=lambda pair: pair[0].axes.seed)
    found = differences(published, settings, run[0][0])
    metrics = [metric for _, metric in run]
    ours = statistics.fmean(metric.value for metric in metrics)
    half = _half(table, published, metrics)
    inside = abs(ours - published.value) <= half
    return Judged(
        published,
        "not comparable" if found else "within" if inside else "outside",
        ours=ours,
        low=ours - half,
        high=ours + half,
        n=len(run),
        reason="; ".join(found),
        record_keys=tuple(record.key for record, _ in run),
    )


def differences(published: Number, settings: Mapping[str, Any], record: Record) -> list[str]:
    """Returns the settings in which a record differs from the paper, named with both values."""
    expected: dict[str, Any] = {"axes.model": published.model}
    if published.budget:
        expected |= {"axes.budget": published.budget, "axes.budget_unit": "documents"}
    found = list[str]()
    for path, wanted in {**expected, **settings}.items():
        value = _at(record, path)
        if value is MISSING or not _equal(value, wanted):
            shown = "unset" if value is MISSING else _text(value)
            found.append(f"{path.removeprefix('axes.')} {shown} (paper: {_text(wanted)})")
    return found


MISSING = object()


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
    if wanted == "none":  # TOML has no null
        return value is None
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-9)
    return bool(value == wanted)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_seed(record: Record) -> str:
    config = {name: value for name, value in record.config.items() if name != "seed"}
    kept = [record.axes.selector, record.axes.featurizer, record.axes.pool, config, record.reads]
    return json.dumps(kept, sort_keys=True, default=str)


def _half(table: PublishedTable, published: Number, ours: Sequence[Metric]) -> float:
    """Returns half the width of the 95 % interval of the difference, by Welch (1947).

    A single seed of ours is taken to spread as the paper's do, or, where they print nothing, to be
    known as its test items tell. Where the paper gives a size of the test set only, its error is
    binomial.
    """
    n = len(ours)
    theirs, their_df = 0.0, MANY
    if published.spread is not None and published.seeds:
        theirs, their_df = published.spread**2 / published.seeds, published.seeds - 1.0
    elif table.test_items and published.unit == "fraction":
        theirs = published.value * (1 - published.value) / table.test_items
    if n > 1:
        mine, df = statistics.variance(metric.value for metric in ours) / n, n - 1.0
    elif published.spread is not None and published.seeds:
        mine, df = published.spread**2, published.seeds - 1.0
    else:
        mine, df = (ours[0].stderr or 0.0) ** 2, MANY
    both = mine + theirs
    if both == 0:
        return 0.0
    return half_width(math.sqrt(both), both**2 / (mine**2 / df + theirs**2 / their_df))


def summary(judged: Sequence[Judged]) -> str:
    """Returns how many numbers have which verdict: `3 within, 1 outside, 32 not run`."""
    outcomes = ("within", "outside", "not comparable", "not run", "no target")
    counted = {name: sum(cell.outcome == name for cell in judged) for name in outcomes}
    return ", ".join(f"{count} {name}" for name, count in counted.items() if count)


HEADINGS = ("row", "task", "budget", "metric", "published", "ours", "interval", "n", "verdict")


def _cells(cell: Judged) -> list[str]:
    found, unit = cell.published, cell.published.unit
    spread = f" ± {number(found.spread, unit)}" if found.spread is not None else ""
    interval = ""
    if cell.low is not None and cell.high is not None:
        interval = f"{number(cell.low, unit)} to {number(cell.high, unit)}"
    return [
        found.row,
        found.task,
        f"{found.budget:,}" if found.budget else "",
        found.metric,
        number(found.value, unit) + spread,
        "" if cell.ours is None else number(cell.ours, unit),
        interval,
        str(cell.n) if cell.n else "",
        f"{cell.outcome}: {cell.reason}" if cell.reason else cell.outcome,
    ]


def verdicts_markdown(table: PublishedTable, judged: Sequence[Judged]) -> str:
    """Returns the verdicts as a Markdown document."""
    lines = [f"# {table.title}", "", f"{table.source}: {summary(judged)}.", ""]
    lines += [f"- known deviation: {escape(text)}" for text in table.deviations]
    lines += ["", markdown_line(HEADINGS), markdown_line(["---"] * len(HEADINGS))]
    lines += [markdown_line([escape(text) for text in _cells(cell)]) for cell in judged]
    return "\n".join(lines) + "\n"


COLOURS = {"within": "green", "outside": "red", "not comparable": "yellow"}


def verdicts_console(table: PublishedTable, judged: Sequence[Judged]) -> rich.table.Table:
    """Returns the verdicts for a terminal."""
    import rich.table
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape as plain

    deviations = [f"known deviation: {text}" for text in table.deviations]
    made = rich.table.Table(
        title=plain(f"{table.title} ({table.source})"),
        caption=plain("\n".join([summary(judged), *deviations])),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    for place, heading in enumerate(HEADINGS):
        made.add_column(heading, justify="right" if 4 <= place <= 7 else "left", overflow="fold")
    for cell in judged:
        colour = COLOURS.get(cell.outcome, "dim")
        *texts, verdict = map(plain, _cells(cell))
        # Why a number is no target takes more words than a terminal has room for.
        short = cell.outcome if cell.outcome == "no target" else verdict
        made.add_row(*texts, f"[{colour}]{short}[/]")
    return made
