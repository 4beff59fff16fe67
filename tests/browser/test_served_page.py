"""The page of a served model in a headless Chromium: it predicts, corrects, and asks its server alone."""

from __future__ import annotations

import base64
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import devtools
import served
import serving

pytestmark = [
    pytest.mark.whole,
    pytest.mark.browser,
    pytest.mark.enable_socket,
    pytest.mark.skipif(
        devtools.CHROMIUM is None, reason="needs chromium: apt-get install chromium"
    ),
]
NASTY = "<img src=x onerror=\"document.title='broken in'\">"
LABELS = ("baking", "sailing", NASTY)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    home = tmp_path_factory.mktemp("page")
    model = served.write_served(home / "model", labels=LABELS, task=NASTY)
    with serving.served(model.path, "--log", str(home / "log.sqlite")) as (_, port):
        yield f"http://127.0.0.1:{port}/", home / "log.sqlite"


def until(page: devtools.Page, script: str) -> Any:
    """Returns the value of an expression once it is true."""
    deadline = time.monotonic() + 10
    while not (value := page.run(script)):
        assert time.monotonic() < deadline, script
        time.sleep(0.02)
    return value


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_a_text_is_predicted_and_corrected_on_the_page(
    server: tuple[str, Path], width: int, dark: bool, tmp_path: Path
) -> None:
    address, log = server
    with devtools.browser(tmp_path / "profile") as page:
        page.open(address, width, 900, dark)
        page.run("document.getElementById('text').focus()")
        page.type(f"the boat and the sail of {width}, joe@example.org")
        page.run("document.getElementById('predict').click()")
        label = until(page, "!answer.hidden && document.getElementById('label').textContent")
        assert label in LABELS
        bars = page.run("[...document.querySelectorAll('#bars dt')].map((e) => e.textContent)")
        assert sorted(bars) == sorted(LABELS)
        assert page.run("document.documentElement.scrollWidth") <= width
        page.run("right.value = 'baking'; document.getElementById('correct').click()")
        assert until(page, "corrected.textContent") == "kept"
        if folder := os.environ.get("SHOTS"):
            shot = page.send("Page.captureScreenshot")["data"]
            Path(folder, f"served-{width}.png").write_bytes(base64.b64decode(shot))
        page.run("document.getElementById('text').value = ' '")
        page.run("document.getElementById('predict').click()")
        line = until(page, "document.getElementById('error').textContent")
        assert line == "texts.0: expected a text, found an empty one"
        assert page.run("document.title") == NASTY
        own = [error for error in page.errors if "422" not in error]  # the browser's own line on it
        assert own == []
        assert all(url.startswith((address, "data:")) for url in page.requests)
    file = sqlite3.connect(log)
    kept = file.execute(
        "SELECT p.text, c.label FROM corrections c JOIN predictions p ON p.id = c.prediction"
    ).fetchall()
    file.close()
    assert (f"the boat and the sail of {width}, [EMAIL_1]", "baking") in kept
