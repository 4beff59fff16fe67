"""Plots: the Pareto front, the conditions for a plot, equal bytes for equal tables."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np

from shortlist.core import Record
from shortlist.leaderboard import ComparisonTable, build
from shortlist.leaderboard.plots import Plot, pareto, plots
from shortlist.rendering.svg import VARIABLES, figure

Maker = Callable[..., Record]


def tables(record: Maker, methods: int = 3) -> list[ComparisonTable]:
    names = ["random", "gotd", "<dsir>", *"abcdefghij"][:methods]
    return build(
        record(
            0.5 + place / 50 + seed / 97 + budget / 9999, selector=name, budget=budget, seed=seed
        )
        for place, name in enumerate(names)
        for budget in (100, 500)
        for seed in (0, 1)
    )


def drawn(plot: Plot) -> ET.Element:
    text = plot.svg().replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
    return ET.fromstring(text)


def test_the_front_is_what_no_other_beats() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        costs, gains = np.round(generator.random((2, 12)), 1)
        front = pareto(costs.tolist(), gains.tolist())
        beaten = [
            any(
                costs[j] <= costs[i]
                and gains[j] >= gains[i]
                and (costs[j], gains[j]) != (costs[i], gains[i])
                for j in range(12)
            )
            for i in range(12)
        ]
        points = {(costs[i], gains[i]) for i in range(12) if not beaten[i]}
        assert {(costs[i], gains[i]) for i in front} == points
        assert len(front) == len(points)
        assert [costs[i] for i in front] == sorted(costs[i] for i in front)


def test_the_same_table_gives_the_same_bytes(record: Maker) -> None:
    (first,), (second,) = tables(record), tables(record)
    assert [plot.svg() for plot in plots(first)] == [plot.svg() for plot in plots(second)]


def test_a_drawing_has_the_colours_of_the_page_and_no_others(record: Maker) -> None:
    (table,) = tables(record)
    for plot in plots(table):
        text = plot.svg()
        assert not any(colour in text for colour in VARIABLES)
        assert "var(--series-0)" in text and "var(--ink)" in text
        assert "#0" not in text.replace('"#', "").replace("url(#", "")
        assert "font-family" not in text and "<style" not in text and "<metadata" not in text
        drawn(plot)  # well-formed


def test_names_are_escaped_and_every_method_is_named(record: Maker) -> None:
    (table,) = tables(record, methods=12)
    for plot in plots(table):
        shown = {element.text for element in drawn(plot).iter() if element.text}
        assert {row.axes.selector for row in table.rows} <= shown


def test_the_curve_shows_the_means_with_their_spread(record: Maker) -> None:
    (table,) = tables(record)
    curve = plots(table)[0]
    assert curve.title == "Metric by budget"
    axes = figure(curve.draw).axes[0]
    heights = {
        round(float(y), 9)
        for line in axes.lines
        if line.get_linestyle() == "-"
        for y in np.asarray(line.get_ydata())
    }
    assert {round(row.cells[0].mean, 9) for row in table.rows} == heights  # type: ignore[arg-type]


def test_cost_and_gain_shows_the_gains_and_random_at_none(record: Maker) -> None:
    (table,) = tables(record)
    axes = figure(plots(table)[1].draw).axes[0]
    marked = [line for line in axes.lines if line.get_marker() not in ("None", "", "|", "_", None)]
    heights = sorted(round(float(y), 9) for line in marked for y in np.asarray(line.get_ydata()))
    gains = [gain.value if (gain := table.gain(row)) else 0.0 for row in table.rows]
    assert heights == sorted(round(value, 9) for value in gains)


def test_what_has_too_few_numbers_is_not_drawn(record: Maker) -> None:
    assert plots(build([record()])[0]) == []
    (table,) = build(record(selector=s) for s in ("a", "b", "random"))
    assert [plot.title for plot in plots(table)] == ["Gain by cost"]


def test_seconds_of_several_devices_are_not_drawn_together(record: Maker) -> None:
    from dataclasses import replace

    records = [record(selector=s) for s in ("a", "b", "random")]
    stages = tuple(replace(stage, device="cuda") for stage in records[0].stages)
    assert plots(build([replace(records[0], stages=stages), *records[1:]])[0]) == []
