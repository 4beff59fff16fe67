"""The datasheet in a headless Chromium: it opens from disk, asks for nothing, fits any screen."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import devtools

from shortlist.diagnostics.datasheet import figures
from shortlist.diagnostics.datasheet.composition import category_table, length_table
from shortlist.diagnostics.datasheet.page import (
    Datasheet,
    Example,
    Fact,
    Figure,
    Group,
    Section,
    html,
)

pytestmark = [
    pytest.mark.whole,
    pytest.mark.browser,
    pytest.mark.skipif(
        devtools.CHROMIUM is None, reason="needs chromium: apt-get install chromium"
    ),
]
NASTY = "<img src=x onerror=\"document.title='broken in'\"> </style><script>document.title='in'</script>"
LONG = "an_identifier_without_a_single_space_" * 12


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(0)
    parts = [
        (name, rng.normal(size=(n, 2))) for name, n in (("pool", 90), ("target", 30), ("picks", 40))
    ]
    domains = [NASTY if n % 3 else LONG for n in range(90)]
    drawn = (
        Figure("Map", figures.scatter(parts, ("first component", "second component")), "A map"),
        Figure("Scores", figures.histogram(rng.normal(size=90), rng.normal(size=9)), "Scores"),
    )
    example = Example("#1", "score 0.5", f"{NASTY} {LONG}", (LONG, NASTY), (("97.0 %", LONG),))
    page = html(
        Datasheet(
            title="500 documents",
            lead=NASTY,
            facts=tuple(Fact(name, "1,234", NASTY) for name in "abcdef"),
            warnings=(NASTY,),
            sections=(
                Section(
                    "mix",
                    "What was chosen",
                    tables=(
                        category_table("Domain", domains, np.arange(20)),
                        length_table(np.arange(90) * 20, np.arange(20)),
                    ),
                    narrow=True,
                ),
                Section("map", "Where it lies", NASTY, figures=drawn),
                Section("examples", "Examples", groups=(Group("The top", "", (example,) * 3),)),
                Section("repeat", "Repeat it", code=f"python run.py note={LONG}"),
            ),
        )
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_the_datasheet_opens_from_disk_and_fits_the_screen(
    address: str, tmp_path: Path, width: int
) -> None:
    with devtools.browser(tmp_path / "profile") as page:
        page.open(address, width, 844)
        assert page.run("document.documentElement.scrollWidth") == width
        assert page.run("document.title") == "500 documents"
        assert page.run("document.querySelectorAll('img, script').length") == 0
        # The letters of a drawing are no smaller than 9 pixels, and inside the screen.
        assert page.run(
            "[...document.querySelectorAll('svg text')].every(one => {"
            " const box = one.getBoundingClientRect();"
            " return Math.max(box.height, box.width) >= 9 && box.left >= 0"
            f" && box.right <= {width}; }})"
        )
        assert page.run("document.querySelectorAll('svg use').length") == 163 + page.run(
            "document.querySelectorAll('svg')[1].querySelectorAll('use').length"
        )
        # A bar is as long as its share of the longest one.
        assert page.run(
            "getComputedStyle(document.querySelector('td.bar')).backgroundSize"
        ).startswith("calc(")
        if folder := os.environ.get("SHORTLIST_SCREENSHOTS"):  # to be looked at
            shot = page.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
            (Path(folder) / f"report-{width}.png").write_bytes(base64.b64decode(shot["data"]))
        assert page.errors == []
        assert page.requests == [address]


def test_the_datasheet_and_its_drawings_are_dark_where_the_system_is(
    address: str, tmp_path: Path
) -> None:
    def colours(dark: bool) -> list[int]:
        with devtools.browser(tmp_path / str(dark)) as page:
            page.open(address, 1280, 900, dark=dark)
            found = [
                page.run("getComputedStyle(document.body).backgroundColor"),
                page.run("getComputedStyle(document.querySelector('svg text')).fill"),
            ]
        return [sum(int(part) for part in one.strip("rgb()").split(",")[:3]) for one in found]

    (paper, letters), (dark_paper, dark_letters) = colours(False), colours(True)
    assert dark_paper < 128 < 640 < paper
    assert letters < 400 < dark_letters
