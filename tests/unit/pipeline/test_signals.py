"""Signals that ask a run to end: nothing is left behind, and others keep their handlers."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from shortlist.pipeline import hydra_app, signals
from shortlist.store.cache import Store


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_run_that_is_asked_to_end_says_so_and_leaves_nothing(
    number: int, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def compute(directory: Path) -> None:
        (directory / "half").write_text("x")
        os.kill(os.getpid(), number)
        time.sleep(10)

    process = os.fork()
    if process == 0:
        code = 99
        try:
            signal.signal(number, signal.SIG_DFL)
            hydra_app.guard(lambda: Store(tmp_path).stage("toy", 1, {}, {}, compute))
        except SystemExit as end:
            code = end.code
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 128 + number
    assert capfd.readouterr().err == (
        f"error: stopped by {signal.Signals(number).name}; "
        "the same command continues where it stopped\n"
    )
    assert list((tmp_path / "toy").iterdir()) == []


def test_handlers_of_others_and_ignored_signals_stay() -> None:
    def other(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, other), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.raised():
            assert signal.getsignal(signal.SIGTERM) is other
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, before[1])


def test_handlers_are_those_of_before_when_it_is_over() -> None:
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with signals.raised(), signals.raised():
        pass
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
