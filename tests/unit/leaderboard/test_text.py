"""Tables as text: complete, escaped, and equal bytes for equal records."""

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

from rich.console import Console

from shortlist.core import Metric, Record
from shortlist.leaderboard import build, console_table
from shortlist.leaderboard.page import page
from shortlist.leaderboard.table import ComparisonTable, Gain
from shortlist.leaderboard.text import latex, markdown, method_rows, number, tables_csv

Maker = Callable[..., Record]
NASTY = "<script>alert('x')</script> | `a` & \"b\" </script> \u2028 {{ 1 + 1 }}"


def board(record: Maker) -> list[Record]:
    records = [
        record(0.5 + seed / 7, selector=selector, budget=budget, seed=seed)
        for selector in ("gotd", "dsir", "random")
        for budget in (100, 500)
        for seed in (0, 1)
    ]
    failed = record(selector="less", status="failed", reason=NASTY, warnings=(NASTY,))
    return [*records, failed]


def test_numbers_have_the_digits_of_their_unit() -> None:
    shown = [
        number(0.71234, "fraction"),
        number(-0.5, "correlation"),
        number(0.25, "nats_gained"),
        number(12.345, "seconds"),
        number(1234.5, "seconds"),
        number(20000, "count"),
        number(math.inf, "perplexity"),
    ]
    assert shown == ["0.7123", "\N{MINUS SIGN}0.5000", "+0.2500", "12.3", "1,234", "20,000", "∞"]


def test_all_renderings_regenerate_byte_for_byte(record: Maker) -> None:
    records = board(record)
    backwards = records[::-1]
    assert markdown(build(records)) == markdown(build(backwards))
    assert tables_csv(build(records)) == tables_csv(build(backwards))
    assert page(build(records), records) == page(build(backwards), backwards)


def test_what_a_processor_does_to_the_last_digit_of_a_quantile_does_not_reach_the_csv(
    record: Maker,
) -> None:
    records = [
        record(0.5 + seed / 50 + better * (1 + seed) / 90, selector=selector, seed=seed)
        for selector, better in (("gotd", 3), ("dsir", 1), ("random", 0))
        for seed in (0, 1, 2)
    ]

    def after(gain: Gain, end: float) -> Gain:
        if gain.low is None or gain.high is None or gain.p is None:
            return gain
        low, high, p = (math.nextafter(x, end) for x in (gain.low, gain.high, gain.p))
        return replace(gain, low=low, high=high, p=p)

    def nudged(end: float) -> list[ComparisonTable]:
        return [
            replace(
                table,
                rows=tuple(
                    replace(row, cells=tuple(
                        replace(cell, gain=cell.gain and after(cell.gain, end)) for cell in row.cells
                    ))
                    for row in table.rows
                ),
            )
            for table in build(records)
        ]  # fmt: skip

    down, up = nudged(-math.inf), nudged(math.inf)
    assert down != up
    assert tables_csv(down) == tables_csv(up)


def test_the_csv_holds_every_value_in_full_precision(record: Maker) -> None:
    tables = build(board(record))
    rows = list(csv.DictReader(io.StringIO(tables_csv(tables))))
    cells = [cell for table in tables for row in table.rows for cell in row.cells]
    assert len(rows) == len(cells)
    for row, cell in zip(rows, cells, strict=True):
        assert (float(row["mean"]) if row["mean"] else None) == cell.mean
        assert (float(row["sd"]) if row["sd"] else None) == cell.sd
        assert tuple(float(value) for value in row["values"].split()) == cell.values
        assert row["status"] == cell.status


def test_markdown_rows_have_the_columns_of_the_heading(record: Maker) -> None:
    lines = [line for line in markdown(build(board(record))).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {16}
    assert "<script" not in markdown(build(board(record)))


def test_markdown_marks_the_best_mean_and_says_why_a_cell_is_empty(record: Maker) -> None:
    boards = [
        record(mean + seed / 100, selector=selector, seed=seed)
        for selector, mean in (("gotd", 0.5), ("dsir", 0.75), ("random", 0.25))
        for seed in (0, 1)
    ]
    # A little life in one seed: without any spread nothing is told.
    boards[0] = record(0.501, seed=0)
    text = markdown(build(boards))
    assert "**0.7550 ± 0.0071**" in text
    assert "**0.5055" not in text
    assert "**+0.5000" in text  # the gain over random
    text = markdown(
        build([record(), record(selector="less", status="skipped", reason="no labels")])
    )
    assert "| skipped: no labels | skipped | skipped |" in text


def test_the_flat_table_has_a_value_for_every_heading(record: Maker) -> None:
    (table,) = build(board(record))
    rows = method_rows(table)
    assert len({tuple(row) for row in rows}) == 1
    assert len(rows) == len(table.rows) and len(rows[0]) > 3 * len(table.columns)
    assert rows[0]["accuracy"] == table.rows[0].cells[0].mean


def test_the_console_table_fits_a_hundred_columns(record: Maker) -> None:
    metrics = tuple(
        Metric(f"some_longer_metric_{i}", "fraction", True, 0.123456, 9, primary=i == 0)
        for i in range(20)
    )
    records = [
        record(selector="a_selector_with_quite_a_long_name" * 2, seed=s, metrics=metrics)
        for s in (0, 1)
    ]
    console = Console(width=300, file=io.StringIO(), record=True)
    console.print(console_table(build(records)[0]))
    text = console.export_text()
    body = text.split("also measured")[0]
    assert max(len(line.rstrip()) for line in body.splitlines()) <= 100
    assert "training" in body
    assert "0.1235 ± 0" in body
    assert "some longer metric 19" in text.split("also measured")[1]


def test_the_console_shows_markup_in_names_as_it_is(record: Maker) -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(console_table(build([record(selector="[red]x[/red]")])[0]))
    assert "[red]x[/red]" in console.export_text()


def test_latex_has_a_cell_for_every_heading_and_no_character_that_it_cannot_set(
    record: Maker,
) -> None:
    text = latex(build(board(record)))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    body = [line for line in text.splitlines() if re.search(r"(?<!\\)&", line)]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1
    assert len(body) == 1 + 7 + 1  # heading, methods, and the one not run at the other budget
    assert text.isascii()
    assert r"$\pm$" in text and "selection (s)" in text


def test_latex_escapes_what_records_say(record: Maker) -> None:
    text = latex(build([record(selector="a_b & 50% {x} $y$ #1")]))
    assert r"a\_b \& 50\% \{x\} \$y\$ \#1" in text


def test_the_page_shows_gains_plots_and_the_selection(record: Maker) -> None:
    records = board(record)
    text = page(build(records), records, {"reports/toy/gotd/toy-files-gotd-100-0.html"})
    assert "gain over random" in text
    assert text.count("<figure>") == 2
    held = re.search(r'<script type="application/json" id="records">(.*?)</script>', text)
    assert held is not None
    found = json.loads(held.group(1))
    assert found["toy-files-gotd-100-0"]["domains"] == {"news": 90}
    assert [key for key in found if found[key]["report"]] == ["toy-files-gotd-100-0"]


def test_four_times_the_methods_are_four_times_the_page_and_no_more(
    record: Maker,
) -> None:
    few, many = (
        [
            record(0.5 + s / 99, key=f"{n}-{s}", selector=f"m{n}", seed=s, stages=(), overrides=())
            for n in range(methods)
            for s in range(2)
        ]
        for methods in (60, 240)
    )
    short, long = (page(build(records), records) for records in (few, many))
    assert short.count("<figure>") == long.count("<figure>") == 0
    assert long.count('<tr data-label="') == 240
    assert len(long) / len(short) < 4.2


class Checker(HTMLParser):
    """Notes scripts, addresses and elements that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element of a drawing that closes itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_escapes_what_records_say_and_points_nowhere(record: Maker) -> None:
    records = board(record)
    text = page(build(records), records)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.scripts == 2
    assert "alert('x')</script>" not in text
    assert "{{ 1 + 1 }}" in text
    assert all(address.startswith(("#", "data:,")) for address in checker.addresses)
    assert "http:" not in text
    assert "https:" not in text


def test_the_page_holds_the_records_behind_its_cells(record: Maker) -> None:
    records = [*board(record), record(seed=9, until="select", metrics=())]
    text = page(build(records), records)
    found = re.search(r'<script type="application/json" id="records">(.*?)</script>', text)
    assert found is not None
    held = json.loads(found.group(1))
    assert set(held) == {r.key for r in records if r.until == "evaluate"}
    failed = next(r for r in held.values() if r["status"] == "failed")
    assert failed["reason"] == NASTY


def test_an_infinite_mean_can_be_sorted_and_shown(record: Maker) -> None:
    metric = Metric("perplexity", "perplexity", False, math.inf, 9, primary=True)
    records = [record(metrics=(metric,), seed=0), record(metrics=(metric,), seed=1)]
    text = page(build(records), records)
    assert 'data-value="Infinity"' in text
    assert "∞" in text
