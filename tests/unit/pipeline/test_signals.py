"""Signals as exceptions: raised once, not lost in a library, handlers as before afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest

from shortlist.pipeline.signals import SIGNALS, Stopped, raised


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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
