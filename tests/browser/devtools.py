"""A headless Chromium driven by DevTools messages on a pair of pipes: no sockets, no packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Page:
    """One tab.

    Attributes:
        errors: what the console and the script engine complained about.
        requests: the address of every request the tab made.
    """

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []

    def open(self, address: str, width: int, height: int, dark: bool = False) -> None:
        """Opens an address and returns once it has loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=address)
        deadline = time.monotonic() + 20
        while self.run("document.readyState + location.href") != f"complete{address}":
            if time.monotonic() > deadline:
                raise TimeoutError(address)
            time.sleep(0.02)

    def resize(self, width: int, height: int) -> None:
        """Gives the page the size of a screen."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def run(self, script: str) -> Any:
        """Returns the value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Presses and releases a key where the focus is."""
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text: str) -> None:
        """Types where the focus is."""
        self.send("Input.insertText", text=text)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Returns the answer to a command; notes the events that come before it."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._reader, 1 << 16)
            if not chunk:
                raise EOFError("chromium ended")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event: dict[str, Any]) -> None:
        match event.get("method"), event.get("params", {}):
            case "Runtime.exceptionThrown", details:
                self.errors.append(json.dumps(details["exceptionDetails"]))
            case "Runtime.consoleAPICalled", {"type": "error" | "warning" | "assert", "args": args}:
                self.errors.append(json.dumps(args))
            case "Log.entryAdded", {"entry": entry}:
                self.errors.append(json.dumps(entry))
            case "Network.requestWillBeSent", {"request": request}:
                self.requests.append(request["url"])
            case _:
                pass


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Yields a tab of a fresh Chromium and ends the process after use."""
    assert CHROMIUM is not None
    to_browser, writer = os.pipe()
    reader, from_browser = os.pipe()
    # The protocol is spoken on descriptors 3 and 4, whatever numbers the pipes have here.
    command = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
    process = subprocess.Popen(
        ["bash", "-c", command, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    page = Page(reader, writer)
    try:
        yield page
    finally:
        page._session = None
        try:
            page.send("Browser.close")
            process.wait(timeout=10)
        except (OSError, EOFError, AssertionError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        os.close(reader)
        os.close(writer)
