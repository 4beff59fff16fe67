"""Verdicts on a published table, as Markdown and for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shortlist.leaderboard.published import PublishedTable
from shortlist.leaderboard.render import escape, markdown_line, number
from shortlist.leaderboard.verdicts import Judged

if TYPE_CHECKING:
    import rich.table


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
