"""Plots as SVG: the page's colours and fonts, labels with all their digits, equal bytes."""

from __future__ import annotations

import logging
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from shortlist.rendering.svg import SERIES, SOFT, VARIABLES, legend, svg


def draw(axes: Any) -> None:
    axes.plot([1.2345, 2.3456], [0.0, 1.0], color=SERIES[0], marker="o", label="<a & b>")
    axes.axhline(0.5, color=SOFT)
    axes.set_xticks([1.2345, 2.3456], ["1.2345", "2.3456"])
    legend(axes, 1)


def test_a_plot_has_the_colours_of_the_page_and_no_others() -> None:
    text = svg(draw, 1)
    assert not any(colour in text for colour in VARIABLES)
    assert "var(--series-0)" in text and "var(--soft)" in text
    assert "font-family" not in text and "<style" not in text and "<metadata" not in text


def test_labels_keep_their_digits_and_coordinates_have_one_decimal() -> None:
    text = svg(draw, 1)
    labels = {element.text for element in ET.fromstring(text).iter() if element.text}
    assert {"1.2345", "2.3456", "<a & b>"} <= labels
    coordinates = re.findall(r"\d+\.\d+", " ".join(re.findall(r'd="([^"]*)"', text)))
    assert coordinates and all(re.fullmatch(r"\d+\.\d", number) for number in coordinates)


def test_ids_that_nothing_refers_to_are_gone_and_equal_plots_are_equal_bytes() -> None:
    text = svg(draw, 1)
    assert set(re.findall(r' id="([^"]+)"', text)) <= set(re.findall(r"#([\w-]+)", text))
    assert svg(draw, 1) == text


def test_matplotlib_says_nothing_where_its_folder_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "")
    place: Any = matplotlib._get_config_or_cache_dir  # type: ignore[attr-defined]
    folder = Path(place(lambda: Path("/proc/none")))
    assert folder.is_dir() and folder != Path("/proc/none/matplotlib") and not caplog.messages
    logging.getLogger("matplotlib").warning("another line")
    assert caplog.messages == ["another line"]
