"""Requests to a server that counts them: evenly spaced, held back together when it says so."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import HTTPError, URLError

_MOST_READ = 1 << 20  # bytes of an answer; a score takes some hundred


class Stopped(Exception):
    """The queue was closed while a request waited for its turn."""


class Pace:
    """Turns, so many a second, for any number of threads."""

    def __init__(self, rate: float) -> None:
        """Stores the rate in turns a second."""
        self._gap, self._next, self._held = 1 / rate, 0.0, 0.0
        self._lock, self._closed = threading.Lock(), threading.Event()

    def turn(self) -> None:
        """Returns when the next request may be sent.

        Raises:
            Stopped: `close` was called.
        """
        while True:
            with self._lock:
                now = time.monotonic()
                at = max(now, self._next, self._held)
                self._next = at + self._gap
            self.wait(at - now)
            with self._lock:
                if time.monotonic() >= self._held:
                    return  # else a hold began meanwhile: queue again

    def hold(self, seconds: float) -> None:
        """Gives nobody a turn for so long."""
        with self._lock:
            self._held = max(self._held, time.monotonic() + seconds)

    def wait(self, seconds: float) -> None:
        """Returns after so long.

        Raises:
            Stopped: `close` was called.
        """
        if self._closed.wait(seconds):
            raise Stopped

    def close(self) -> None:
        """Wakes whoever waits: there will be no more turns."""
        self._closed.set()


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        kind: `http_` and the status, or `timeout`, or `unreachable`.
        body: the answer, whatever the status.
        after: seconds to wait that the server asks for, or None.
    """

    kind: str
    body: bytes = b""
    after: float | None = None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the headers, and the key in them, would be sent to whoever is named."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Returns None: the redirection is the answer."""


def post(url: str, headers: dict[str, str], body: bytes, timeout: float) -> Reply:
    """Returns the reply to one POST; every way to fail is a reply, and none quotes a header.

    Args:
        url: where to.
        headers: of the request.
        body: of the request.
        timeout: seconds without a byte.
    """
    opener = urllib.request.build_opener(_NoRedirect())
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with opener.open(request, timeout=timeout) as answer:
            return Reply(f"http_{answer.status}", answer.read(_MOST_READ))
    except HTTPError as error:
        with error:
            after = _seconds(error.headers.get("Retry-After"))
            return Reply(f"http_{error.code}", _rest(error), after)
    except TimeoutError:
        return Reply("timeout")
    except URLError as error:
        return Reply("timeout" if isinstance(error.reason, TimeoutError) else "unreachable")
    except (OSError, http.client.HTTPException):
        return Reply("unreachable")


def _rest(error: HTTPError) -> bytes:
    try:
        return error.read(_MOST_READ)
    except (OSError, http.client.HTTPException):
        return b""


def _seconds(header: str | None) -> float | None:
    """Returns a Retry-After in seconds from now, as RFC 9110 spells it: a number or a date."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
