"""The leaderboard's page in a headless Chromium: it opens from disk, and what it offers works."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import devtools

from shortlist.core import Axes, Metric, Record, StageCost
from shortlist.leaderboard import publish
from shortlist.store.records import write_record

pytestmark = [
    pytest.mark.whole,
    pytest.mark.browser,
    pytest.mark.skipif(
        devtools.CHROMIUM is None, reason="needs chromium: apt-get install chromium"
    ),
]
SELECTORS = {"dsir": 0.70, "gotd": 0.80, "random": 0.60}
NASTY = "<img src=x onerror=\"document.title='broken in'\"> & </script>"


def record(task: str, selector: str, budget: int, seed: int) -> Record:
    wobble = 0.001 * ((len(selector) + 2 * seed) % 3)  # without any spread nothing is told
    accuracy = SELECTORS.get(selector, 0.5) + budget / 10_000 + seed / 100 + wobble
    failed = (selector, budget) == ("dsir", 500)
    return Record(
        key=f"{task}-{selector}-{budget}-{seed}",
        status="failed" if failed else "skipped" if selector == "less" else "done",
        reason=NASTY if failed else "needs labels" if selector == "less" else "",
        axes=Axes(task, "domains", selector, "minilm", "minilm", budget, "documents", seed),
        metrics=()
        if failed or selector == "less"
        else (
            Metric("accuracy", "fraction", True, accuracy, 800, 0.01, "test", "a1b2c3", True),
            Metric("macro_f1", "fraction", True, accuracy - 0.05, 800, None, "test", "a1b2c3"),
            Metric("mlm_loss_before", "nats", False, 3.2, 400, None, "test", "d4"),
            Metric("mlm_loss_after", "nats", False, 3.0 - accuracy / 10, 400, None, "test", "d4"),
            Metric("mlm_loss_drop", "nats_gained", True, 0.2 + accuracy / 10, 400),
        ),
        stages=(
            StageCost("pool", "p", 2.5, 300.0, "cpu", "preparation"),
            StageCost("selection", "s", 1.5, 300.0, "cpu", "selection"),
            StageCost("warmup", "w", 120.0, 900.0, "cpu", "training"),
            StageCost("finetune", "f", 60.0, 900.0, "cpu", "training"),
        ),
        selection={"size": budget, "unique": budget, "domains": {"news": budget}},
        warnings=(f"not converged {NASTY}",) if (selector, seed) == ("gotd", 0) else (),
        config={"seed": seed},
        overrides=(f"selector={selector}", f"budget={budget}", f"note='{NASTY}'"),
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    results = tmp_path_factory.mktemp("results")
    for task in ("chemprot", "citation_intent"):
        for selector in (*SELECTORS, "less"):
            for budget in (200, 500):
                for seed in (0, 1):
                    write_record(results, record(task, selector, budget, seed))
    for number in range(60):  # a long table, of another model
        made = record("pydocs", f"m{number:02}", 200, 0)
        metric = replace(made.metrics[0], value=0.3 + number / 100)
        axes = replace(made.axes, model="large", pool="pydocs")
        write_record(results, replace(made, axes=axes, metrics=(metric,)))
    return publish(results).html.as_uri()


@pytest.fixture
def page(address: str, tmp_path: Path) -> Iterator[devtools.Page]:
    with devtools.browser(tmp_path / "profile") as opened:
        opened.open(address, width=1280, height=900)
        yield opened
        assert opened.errors == []
        assert opened.requests == [address]
        assert opened.run("document.title") == "shortlist leaderboard"


def rows(page: devtools.Page) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('#table-3 tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.querySelector('.name').textContent + ' ' + r.cells[1].textContent)"
    )


def head(page: devtools.Page, name: str, action: str) -> str:
    return page.run(
        "(() => { const head = [...document.querySelectorAll('#table-3 thead th')]"
        f".find(h => h.querySelector('button').textContent === '{name}');"
        f"head.querySelector('button').{action}; return head.ariaSort; }})()"
    )


def test_a_column_sorts_best_first_then_backwards_and_gaps_stay_last(page: devtools.Page) -> None:
    gaps = ["less 200", "dsir 500", "less 500"]
    assert head(page, "accuracy", "click()") == "descending"
    down = ["gotd 500", "gotd 200", "dsir 200", "random 500", "random 200"]
    assert rows(page) == down + gaps
    assert head(page, "accuracy", "click()") == "ascending"
    assert rows(page) == down[::-1] + gaps
    assert head(page, "mlm loss after", "click()") == "ascending"  # lower is better
    assert rows(page)[0] == "gotd 500"
    assert head(page, "selector", "click()") == "ascending"
    assert rows(page)[0].startswith("dsir")


def test_sorting_and_opening_need_no_mouse(page: devtools.Page) -> None:
    head(page, "accuracy", "focus()")
    page.press("Enter", 13, "\r")
    assert rows(page)[0] == "gotd 500"
    page.run("document.querySelector('#table-3 tbody button').focus()")
    page.press("Enter", 13, "\r")
    assert page.run("document.getElementById('details').open")
    page.press("Escape", 27)
    assert not page.run("document.getElementById('details').open")
    assert page.run("document.activeElement.matches('#table-3 tbody button')")


def test_the_filter_keeps_rows_that_hold_every_word(page: devtools.Page) -> None:
    page.run("document.getElementById('filter').focus()")
    page.type("chemprot GOTD")
    assert rows(page) == ["gotd 200", "gotd 500"]
    assert page.run("document.getElementById('count').textContent") == "2 of 84 rows"
    assert page.run("document.getElementById('table-4').hidden")
    page.type(" nothing")
    assert not page.run("document.getElementById('nothing').hidden")
    page.run("document.getElementById('filter').select()")
    page.type("less")
    assert rows(page) == ["less 200", "less 500"]


def choose(page: devtools.Page, name: str, value: str) -> None:
    page.run(
        f"(() => {{ const menu = document.getElementById('{name}'); menu.value = '{value}';"
        "menu.dispatchEvent(new Event('change')); })()"
    )


def test_menus_keep_the_tables_of_a_task_and_the_rows_of_a_model(page: devtools.Page) -> None:
    shown = "[...document.querySelectorAll('main section')].filter(s => !s.hidden).map(s => s.id)"
    choose(page, "task", "citation_intent")
    assert page.run(shown) == ["table-4"]
    choose(page, "model", "large")
    assert page.run(shown) == []
    assert not page.run("document.getElementById('nothing').hidden")
    choose(page, "task", "")
    assert page.run(shown) == ["table-5"]
    choose(page, "model", "")
    assert len(page.run(shown)) == 5
    options = "[...document.getElementById('task').options].map(o => o.text)"
    assert page.run(options) == ["all tasks", "chemprot", "citation_intent", "pydocs"]


def test_long_tables_show_their_first_rows_until_asked(page: devtools.Page) -> None:
    visible = (
        "[...document.querySelectorAll('#table-5 tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.querySelector('.name').textContent)"
    )
    more = "document.querySelector('#table-5 .more')"
    assert page.run(visible) == [f"m{i:02}" for i in range(50)]
    assert page.run(f"{more}.textContent") == "Show all 60 rows (50 are shown)"
    # Sorting is over all rows, and the first of the new order are shown.
    heads = "[...document.querySelectorAll('#table-5 thead button')]"
    page.run(f"{heads}.find(b => b.textContent === 'accuracy').click()")
    assert page.run(visible)[0] == "m59"
    page.run(f"{more}.click()")
    assert len(page.run(visible)) == 60
    assert page.run(f"{more}.hidden")


def test_the_gain_shows_its_conclusion(page: devtools.Page) -> None:
    assert head(page, "gain over random", "click()") == "descending"
    assert rows(page)[0].startswith("gotd")
    page.run("document.querySelector('#table-3 td.gain button').click()")
    words = page.run("document.getElementById('details-sentence').textContent")
    assert words.startswith("accuracy: ") and "random" in words


def test_a_cell_of_several_tasks_opens_the_records_of_its_task(page: devtools.Page) -> None:
    page.run("document.querySelector('#table-1 tbody tr td:nth-of-type(4) button').click()")
    titles = "[...document.querySelectorAll('#details-body summary b')].map(b => b.textContent)"
    assert page.run(titles) == ["chemprot, seed 0", "chemprot, seed 1"]


def test_drawings_take_the_colours_of_the_page(address: str, tmp_path: Path) -> None:
    def colour(dark: bool) -> str:
        with devtools.browser(tmp_path / str(dark)) as page:
            page.open(address, 1280, 900, dark=dark)
            return page.run("getComputedStyle(document.querySelector('figure svg text')).fill")

    assert colour(dark=True) != colour(dark=False)


def test_a_cell_opens_the_records_behind_it(page: devtools.Page) -> None:
    head(page, "accuracy", "click()")
    page.run("document.querySelector('#table-3 tbody td.best button').click()")
    assert page.run("document.getElementById('details-title').textContent") == "gotd, 500 documents"
    text = page.run("document.getElementById('details-body').textContent")
    for part in ("seed 0", "seed 1", "warmup", "120.00", "selector=gotd", "news", NASTY):
        assert part in text
    assert page.run("document.querySelector('#details-body tr.asked').textContent").startswith(
        "accuracy"
    )
    assert page.run("document.querySelector('#details-body a').getAttribute('href')") == (
        "records/chemprot/gotd/chemprot-gotd-500-0.json"
    )


def test_a_gap_shows_its_reason_as_text_and_opens_its_records(page: devtools.Page) -> None:
    gap = "document.querySelector('#table-3 .gap.failed button')"
    assert page.run(f"{gap}.textContent") == f"failed: {NASTY}"
    page.run(f"{gap}.click()")
    assert page.run("document.querySelector('#details-body .reason').textContent") == (
        f"failed: {NASTY}"
    )
    assert page.run("document.querySelectorAll('img').length") == 0


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_the_page_never_scrolls_sideways(page: devtools.Page, width: int) -> None:
    page.resize(width, 844)
    assert page.run("document.documentElement.scrollWidth") == width
    if folder := os.environ.get("SHORTLIST_SCREENSHOTS"):  # to be looked at
        shot = page.send("Page.captureScreenshot", format="png")
        (Path(folder) / f"leaderboard-{width}.png").write_bytes(base64.b64decode(shot["data"]))


def test_the_page_is_dark_where_the_system_is(address: str, tmp_path: Path) -> None:
    def brightness(dark: bool) -> int:
        with devtools.browser(tmp_path / str(dark)) as page:
            page.open(address, 1280, 900, dark=dark)
            colour = page.run("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.strip("rgb()").split(","))

    assert brightness(dark=True) < 128 < 640 < brightness(dark=False)
