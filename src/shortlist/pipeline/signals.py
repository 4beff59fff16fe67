"""Signals that ask the process to end: raised as an exception, so that nothing is left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NoReturn

# Ctrl-C; what schedulers and `kill` send; a closed terminal.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


_arrived: list[int] = []  # signals of the process that have been raised


class Stopped(BaseException):
    """The process was asked to end by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def raised() -> Generator[None]:
    """Raises `Stopped` in the main thread where a signal arrives, until the context ends.

    A library that the exception passes through may turn it into one of its own, which is then
    replaced by it. A signal that is ignored (SIGHUP under nohup) or handled by someone else (a
    launcher) stays so.
    """
    taken: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                taken[number] = signal.signal(number, _raise)
    try:
        yield
    except Exception as error:
        if _arrived:
            raise Stopped(_arrived[-1]) from error
        raise
    finally:
        if taken:
            _arrived.clear()
        for number, handler in taken.items():
            signal.signal(number, handler)


def _raise(number: int, frame: object) -> NoReturn:
    # A second one does not interrupt the cleaning up, but Ctrl-C twice does.
    again = signal.default_int_handler if number == signal.SIGINT else signal.SIG_IGN
    signal.signal(number, again)
    _arrived.append(number)
    raise Stopped(number)
