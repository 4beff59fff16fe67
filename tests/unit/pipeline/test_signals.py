"""Signals as exceptions: raised once, not lost in a library, handlers as before afterwards."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from shortlist.pipeline import hydra_app
from shortlist.pipeline.signals import SIGNALS, Stopped, raised
from shortlist.store.cache import Store


@pytest.fixture(autouse=True)
def _default_handlers() -> Generator[None]:
    """As in a command in the foreground: a background job of a shell ignores SIGINT."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def arrive(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_raised_and_the_handler_is_as_before(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, raised():
        arrive(number)
    assert stopped.value.number == number and signal.getsignal(number) == before


def test_a_librarys_exception_in_place_of_it_is_it_again_at_every_depth() -> None:
    with pytest.raises(Stopped), raised():
        try:
            with raised():
                try:
                    arrive()
                except BaseException as error:
                    raise RuntimeError("a callback failed") from error
        except Exception:  # as a cell keeps the reason of its failure
            pytest.fail("the signal became a failure")


def test_an_exception_without_a_signal_stays_what_it_is() -> None:
    with pytest.raises(Stopped), raised():
        arrive()
    with pytest.raises(RuntimeError, match="of its own"), raised():
        raise RuntimeError("of its own")


@pytest.mark.parametrize("number", SIGNALS)
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
        with raised():
            assert signal.getsignal(signal.SIGTERM) is other
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, before[1])


def test_handlers_are_those_of_before_when_it_is_over() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with raised(), raised():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before
