"""Load on a served model over loopback: latency, requests a second, and what a SIGTERM loses.

    shortlist export RUN --out DIR --int8
    python benchmarks/serving.py --model DIR --data DATA --task citation_intent

Clients are threads with a connection each that they keep open; a request holds one text and the next
one follows its answer. A request counts as lost where its connection was taken and no whole answer
came; a connection that is refused was not taken.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HEADERS = {"content-type": "application/json"}
CONCURRENCY = (1, 8, 32)


@dataclass
class Client:
    """One client: a connection, and what became of its requests.

    Attributes:
        port: where the server listens.
        seconds: of each answered request.
        refused: connections that were not taken.
        lost: requests on a taken connection without a whole answer.
        statuses: other statuses than 200.
    """

    port: int
    seconds: list[float] = field(default_factory=list[float])
    refused: int = 0
    lost: int = 0
    statuses: list[int] = field(default_factory=list[int])

    def ask(self, texts: Sequence[str], until: threading.Event) -> None:
        """Sends a text after the other until told to end, or until the server is gone."""
        connection: http.client.HTTPConnection | None = None
        place = 0
        while not until.is_set():
            body = json.dumps({"texts": [texts[place % len(texts)]]})
            place += 1
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                try:
                    connection.connect()
                except OSError:
                    self.refused += 1
                    return
            start = time.perf_counter()
            try:
                connection.request("POST", "/predict", body, HEADERS)
                answer = connection.getresponse()
                json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                self.lost += 1
                return
            if answer.status == 200:
                self.seconds.append(time.perf_counter() - start)
            else:
                self.statuses.append(answer.status)
            if answer.will_close:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


@contextmanager
def served(model: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Returns a context whose value is a server process and its port."""
    command = [sys.executable, "-m", "shortlist", "serve", str(model), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = None
        while port is None:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(process.stderr.read() if process.stderr else "no server")
            found = re.match(r"http://127\.0\.0\.1:(\d+)", line)
            port = int(found[1]) if found else None
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def load(
    port: int, texts: Sequence[str], clients: int, seconds: float, stop: int | None = None
) -> list[Client]:
    """Returns clients after they have asked for some seconds.

    Args:
        port: of the server.
        texts: what they ask.
        clients: their number.
        seconds: how long; with `stop` until the server's process gets SIGTERM, and then to its end.
        stop: the process that is told to end.
    """
    until = threading.Event()
    every = [Client(port) for _ in range(clients)]
    shifted = [[*texts[place:], *texts[:place]] for place in range(clients)]
    threads = [
        threading.Thread(target=one.ask, args=(own, until))
        for one, own in zip(every, shifted, strict=True)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    if stop is None:
        until.set()
    else:
        os.kill(stop, signal.SIGTERM)
    for thread in threads:
        thread.join()
    return every


def measured(
    model: Path, texts: Sequence[str], seconds: float, *options: str
) -> Iterator[dict[str, Any]]:
    """Yields a row for each number of clients."""
    with served(model, *options) as (_, port):
        load(port, texts, 2, 1.0)  # warm
        for clients in CONCURRENCY:
            before = os.getloadavg()[0]
            start = time.perf_counter()
            done = load(port, texts, clients, seconds)
            elapsed = time.perf_counter() - start
            times = np.array([value for one in done for value in one.seconds])
            yield {
                "clients": clients,
                "requests": len(times),
                "p50_ms": round(1000 * float(np.quantile(times, 0.5)), 1),
                "p99_ms": round(1000 * float(np.quantile(times, 0.99)), 1),
                "requests_a_second": round(len(times) / elapsed, 1),
                "lost": sum(one.lost for one in done),
                "other_statuses": sum(len(one.statuses) for one in done),
                "load": round(before, 1),
            }


def ended(model: Path, texts: Sequence[str], clients: int) -> dict[str, Any]:
    """Returns what became of the requests around a SIGTERM."""
    with served(model) as (process, port):
        done = load(port, texts, clients, 2.0, stop=process.pid)
        process.wait(timeout=60)
        output = process.stdout.read() if process.stdout else ""
    told = re.search(r"ended after ([\d,]+) answered", output)
    return {
        "clients": clients,
        "answered": sum(len(one.seconds) for one in done),
        "answered_as_the_server_counts": int(told[1].replace(",", "")) if told else None,
        "lost": sum(one.lost for one in done),
        "not_taken": sum(one.refused for one in done),
        "other_statuses": sum(len(one.statuses) for one in done),
        "exit_code": process.returncode,
    }


def main() -> None:
    """Measures and writes `results/benchmarks/serving.{json,md}`."""
    from training import examples

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a model directory with int8")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", default="citation_intent")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each row")
    parser.add_argument("--ends", type=int, default=5, help="servers that get a SIGTERM under load")
    chosen = parser.parse_args()
    began = os.getloadavg()[0]
    texts = list(examples(chosen.data, chosen.task, 256).texts)
    ways = {
        "float32": (),
        "float32, one text a batch": ("--max-batch", "1", "--max-wait-ms", "0"),
        "int8": ("--int8",),
    }
    rows = [
        {"model": name, **row}
        for name, options in ways.items()
        for row in measured(chosen.model, texts, chosen.seconds, *options)
    ]
    ends = [ended(chosen.model, texts, 32) for _ in range(chosen.ends)]
    said = json.loads((chosen.model / "shortlist.json").read_text(encoding="utf-8"))
    words = float(np.mean([len(text.split()) for text in texts]))
    lines = [
        "# Serving over loopback",
        "",
        "Written by `benchmarks/serving.py`; do not edit. MiniLM fine-tuned on a task of classes, one text",
        f"a request ({words:.0f} words on average), clients with a connection each on the same two cores.",
        "The load is that of the machine before the row, other work included.",
        "",
        "| model | clients | requests | p50 (ms) | p99 (ms) | requests a second | lost | load |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row['model']} | {row['clients']} | {row['requests']:,} | {row['p50_ms']} | "
            f"{row['p99_ms']} | {row['requests_a_second']} | {row['lost'] + row['other_statuses']} | "
            f"{row['load']} |"
            for row in rows
        ),
        "",
        "A SIGTERM after 2 s under 32 clients, which go on until connections are refused:",
        "",
        "| answered | as the server counts | lost | connections not taken | exit code |",
        "| ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row['answered']:,} | {row['answered_as_the_server_counts']:,} | "
            f"{row['lost'] + row['other_statuses']} | {row['not_taken']} | {row['exit_code']} |"
            for row in ends
        ),
    ]
    machine = {
        "load_at_the_start": round(began, 1),
        "cores": os.cpu_count(),
        "task": chosen.task,
        "seconds_a_row": chosen.seconds,
    }
    lines += ["", f"machine: {json.dumps(machine, sort_keys=True)}"]
    found = {"machine": machine, "rows": rows, "ends": ends, "variants": said["variants"]}
    folder = Path(__file__).parents[1] / "results/benchmarks"
    text = json.dumps(found, indent=2, sort_keys=True) + "\n"
    (folder / "serving.json").write_text(text, encoding="utf-8")
    (folder / "serving.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
