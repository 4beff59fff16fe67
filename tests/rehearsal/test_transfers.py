"""Files of the hub come whole over a bad line, and one of ten gigabytes is read in little memory."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rehearsal.server import Branch, Handler, Hub

ROOT = Path(__file__).parents[2]
NAME, COMMIT = "some/pool", "c" * 40
FILE, SECOND = "en/rows.json.gz", "en/second.json.gz"
LOAD = f"""
import json, resource
from shortlist.data.pools import Domains
from shortlist.data.readers import silent
from shortlist.data.sources import HubSource
hub = {{"big": {{"dataset": "{NAME}", "files": {{"pool": "en/*.json.gz"}}}}}}
loaded = Domains(["big"], 1000, seed=0, hub=hub).load(HubSource(), silent)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({{"ids": loaded.corpus.ids, "counts": dict(loaded.counts), "peak_kib": peak}}))
"""


class Line(Handler):
    """Answers requests for the first file as `answers` say, in turn, and then in full."""

    answers: list[str]
    asked: list[tuple[float, str | None]]
    stalled: threading.Event
    fetched: list[str]

    def _file(self, branch: Branch, parts: dict[str, str], asked: bytes) -> None:
        if self.command != "GET":
            return super()._file(branch, parts, asked)
        self.fetched.append(parts["path"])
        if parts["path"] != FILE:
            return super()._file(branch, parts, asked)
        self.asked.append((time.monotonic(), self.headers.get("range")))
        answer = self.answers.pop(0) if self.answers else "whole"
        if answer == "later":
            return self._send(429, b"{}", "application/json", {"Retry-After": "1"})
        if answer == "whole":
            return super()._file(branch, parts, asked)
        content = branch.files[FILE]
        self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        if answer == "stalls":
            self.stalled.set()
            time.sleep(60)
        self.close_connection = True
        self.connection.close()
        return None


Served = Callable[[bytes, list[str]], dict[str, str]]


@pytest.fixture
def served(socket_enabled: None, tmp_path: Path) -> Generator[Served]:
    """Serves a file and gives the environment of a process that reads it."""
    servers: list[ThreadingHTTPServer] = []

    def serve(content: bytes, answers: list[str]) -> dict[str, str]:
        files = {FILE: content, SECOND: packed(3, 100)}
        Line.hub = hub = object.__new__(Hub)
        hub.repositories = {("datasets", NAME): {"main": Branch(COMMIT, files)}}
        Line.answers, Line.asked, Line.fetched = answers, [], []
        Line.stalled = threading.Event()
        server = ThreadingHTTPServer(("127.0.0.1", 0), Line)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return {
            **os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def packed(rows: int, characters: int) -> bytes:
    """Distinct rows; what makes them long repeats."""
    filler = "words of a long document " * (characters // 25)
    lines = (json.dumps({"text": f"row {row}: {filler}", "url": "x"}) for row in range(rows))
    return gzip.compress("\n".join([*lines, ""]).encode(), compresslevel=1)


def broken_off() -> bytes:
    """Rows of 30 MB when packed: the hub's client writes 10 MB at a time."""
    drawn = random.Random(0)
    lines = [json.dumps({"text": drawn.randbytes(20_000).hex()}) for _ in range(1500)]
    return gzip.compress("\n".join([*lines, ""]).encode(), compresslevel=1)


def goes_on(asked: str | None) -> bool:
    """Returns whether a request asks for what is missing."""
    return asked is not None and int(asked.removeprefix("bytes=").removesuffix("-")) > 0


def load(environment: dict[str, str]) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)


@pytest.mark.rehearse
def test_a_download_waits_as_the_server_asks_and_goes_on_where_it_broke_off(
    served: Served,
) -> None:
    environment = served(broken_off(), ["later", "breaks off"])
    found = load(environment)
    times, ranges = zip(*Line.asked, strict=True)
    assert ranges[:2] == (None, None) and len(ranges) == 3 and goes_on(ranges[2])
    assert times[1] - times[0] >= 1
    assert found["counts"]["rows_read"] == 1500 + 3 and len(found["ids"]) == 1000


@pytest.mark.rehearse
def test_a_run_that_is_killed_while_it_downloads_keeps_the_whole_files(
    served: Served, tmp_path: Path
) -> None:
    environment = served(broken_off(), ["stalls"])
    whole = tmp_path / "hf/hub/datasets--some--pool/snapshots" / COMMIT / SECOND
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", LOAD], env=environment) as killed:
        assert Line.stalled.wait(120)
        while not whole.exists() and killed.poll() is None:
            time.sleep(0.05)
        killed.kill()
    assert load(environment)["counts"]["rows_read"] == 1500 + 3
    assert Line.fetched == [FILE, SECOND, FILE] or Line.fetched == [SECOND, FILE, FILE]


@pytest.mark.rehearse
def test_a_sample_of_ten_gigabytes_takes_little_memory(served: Served) -> None:
    rows, times = 10_000, int(os.environ.get("STREAM_TIMES", "100"))
    found = load(served(packed(rows, 10_000) * times, []))
    assert found["counts"]["rows_read"] == rows * times + 3
    assert found["counts"]["exact_copies"] == rows * (times - 1)
    assert len(found["ids"]) == 1000
    assert found["peak_kib"] < 2 * 2**20, found["peak_kib"]
