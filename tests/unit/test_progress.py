"""What long work reports: a bar on a terminal, lines in a log, nothing when asked."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import pytest

from shortlist import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_and_nested_bars_do_not_clash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress.bar("outer", 3, "files") as outer, progress.bar("inner", None, "rows") as inner:
        inner(1_500)
        outer(2)
    shown = terminal.getvalue()
    assert "outer" in shown and "2 of 3 files" in shown
    assert "inner" in shown and "1,500 rows" in shown


def test_without_a_terminal_a_line_appears_at_intervals(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 5.0, 20.0, 21.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), progress.bar("scores", 100, "documents") as report:
        for _ in range(3):
            report(20)
    assert [record.getMessage() for record in caplog.records] == [
        "scores: 40 of 100 documents, 2.0 a second, 30 s left"
    ]


def test_a_notebook_shows_a_bar_that_is_empty_in_the_end_and_none_for_short_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("IPython")
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    clock = iter([0.0, 0.2, 0.4, 1.0, 1.1, 2.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    shell: Any = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    try:
        assert not progress._in_notebook()  # IPython on a terminal
        shell.kernel = object()
        shell.display_pub = CapturingDisplayPublisher()
        with caplog.at_level(logging.INFO), progress.bar("short", 3, "files") as report:
            report(3)
        assert not shell.display_pub.outputs
        with caplog.at_level(logging.INFO), progress.bar("<vectors>", 90, "documents") as report:
            for _ in range(3):
                report(30)
        outputs = shell.display_pub.outputs
    finally:
        InteractiveShell.clear_instance()
    texts = [output["data"]["text/plain"] for output in outputs]
    assert texts == ["<vectors>: 30 of 90 documents", "<vectors>: 90 of 90 documents", ""]
    assert (
        "<progress value=90 max=90></progress> &lt;vectors&gt;" in outputs[1]["data"]["text/html"]
    )
    assert [output["update"] for output in outputs] == [False, True, True]
    assert len({output["transient"]["display_id"] for output in outputs}) == 1
    assert not caplog.records


def test_nothing_is_reported_where_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with caplog.at_level(logging.DEBUG), progress.forward(show=False) as report:
        report(1, 2, "files")
    assert terminal.getvalue() == "" and not caplog.records


def test_totals_so_far_become_one_bar_per_kind_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress.forward() as report:
        report(0, 4, "files")
        report(4, 4, "files")
        report(2, 5, "domains")
    shown = terminal.getvalue()
    assert "4 of 4 items" in shown and "2 of 5 items" in shown


def test_a_quiet_logger_speaks_again_after_the_block_even_if_it_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    child = logging.getLogger("some.library.part")
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(KeyError),
        progress.quiet("some.library", logging.ERROR),
    ):
        child.warning("hidden")
        child.error("shown")
        raise KeyError
    with caplog.at_level(logging.INFO):
        child.info("again")
    assert caplog.messages == ["shown", "again"]
