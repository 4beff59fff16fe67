"""Malformed requests to a served model: every one is refused by a 4xx with one line, without a
traceback and without growth of the memory, and the next good request is answered.
"""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import served
from hypothesis import strategies as st
from starlette.testclient import TestClient

from shortlist.deploy.serving.app import Limits, create_app
from soak.outcome import Outcome

REQUESTS = 10_000
KEPT = 300  # requests that are sent again, for the memory: what hypothesis notes grows with each
GROWTH = 8  # MiB of resident memory over half as many requests as there were
LIMITS = Limits(items=4, length=200, body=2_000, wait=0.0, timeout=5.0)
JSON = "application/json"


@dataclass(frozen=True)
class Sent:
    """A request.

    Attributes:
        kind: what is wrong with it.
        body: its body.
        path: where it goes.
        method: its method.
        declared: its content type; None for no header.
    """

    kind: str
    body: bytes
    path: str = "/predict"
    method: str = "POST"
    declared: str | None = JSON


def wrong_values() -> st.SearchStrategy[Any]:
    """Values of JSON that are no list of texts."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text()
    texts = st.text(min_size=1, max_size=20).filter(str.strip)
    item = st.none() | st.booleans() | st.integers() | st.lists(texts, max_size=2)
    return (
        leaves
        | st.dictionaries(st.text(max_size=8), leaves, max_size=3)
        | st.just([])
        | st.builds(lambda a, b: [*a, b], st.lists(texts, max_size=2), item)
    )


def no_object(value: Any) -> bool:
    """Returns whether a value of JSON is no object."""
    return not isinstance(value, dict)


def encoded(value: Any) -> bytes:
    """Returns JSON, halves of surrogate pairs as escapes."""
    return json.dumps(value).encode()


def malformed() -> st.SearchStrategy[Sent]:
    """Requests that must be refused, of every kind."""
    word = st.text("abcdefgh", min_size=1, max_size=8)
    good = st.lists(word, min_size=1, max_size=3)
    names = st.text(max_size=12).filter(lambda name: name not in ("texts", "texts_b"))
    half = st.characters(categories=["Cs"])
    return st.one_of(
        st.builds(lambda v: Sent("wrong type", encoded({"texts": v})), wrong_values()),
        st.builds(
            lambda g, n, v: Sent("unknown field", encoded({"texts": g, n: v})),
            good, names, st.integers() | st.text(max_size=9),
        ),
        st.builds(lambda a: Sent("a field twice", b'{"texts": %b, "texts": ["b"]}' % encoded(a)), good),
        st.builds(lambda g: Sent("unknown model", encoded({"texts": g, "model": "gpt"})), good),
        st.builds(lambda g: Sent("second texts", encoded({"texts": g, "texts_b": g})), good),
        st.builds(lambda w, n: Sent("too long", encoded({"texts": [w * (201 + n)]})),
                  st.sampled_from("aß\u4e2d"), st.integers(0, 60)),
        st.builds(lambda n: Sent("too many", encoded({"texts": ["a"] * (5 + n)})), st.integers(0, 90)),
        st.builds(lambda n: Sent("too large", b" " * (2_001 + n)), st.integers(0, 100_000)),
        st.builds(lambda b: Sent("no JSON", b), st.binary(max_size=200)),
        st.builds(lambda t: Sent("no object", encoded(t)), wrong_values().filter(no_object)),
        st.builds(lambda n: Sent("deep", b"[" * n + b"]" * n), st.integers(100, 900)),
        st.builds(lambda g, i: Sent("cut off", encoded({"texts": g})[: -1 - i]), good, st.integers(0, 5)),
        st.builds(lambda t, e: Sent("wrong encoding", f'{{"texts": ["é{t}"]}}'.encode(e)), word,
                  st.sampled_from(["utf-16", "utf-32", "latin-1", "cp1252"])),
        st.builds(lambda c: Sent("half a pair", encoded({"texts": [c]})), half),
        st.builds(lambda g: Sent("compressed", gzip.compress(encoded({"texts": g}))), good),
        st.builds(lambda t: Sent("blank", encoded({"texts": [t]})), st.text(" \t\n\u2003\u00a0", max_size=9)),
        st.builds(lambda g, d: Sent("no JSON by its header", encoded({"texts": g}), declared=d), good,
                  st.sampled_from([None, "", "text/plain", "application/x-www-form-urlencoded",
                                   "multipart/form-data; boundary=x", "application/jsonp"])),
        st.builds(lambda p, g: Sent("unknown place", encoded({"texts": g}), path=f"/{p}"),
                  st.text("abcdefgh./%-", max_size=20), good),
        st.builds(lambda m, g: Sent("wrong method", encoded({"texts": g}), method=m),
                  st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"]), good),
        st.builds(lambda v: Sent("correction", encoded(v), path="/correct"),
                  st.fixed_dictionaries({"id": st.text(max_size=40) | st.integers(),
                                         "label": st.text(max_size=9) | st.none()}) | wrong_values()),
    )  # fmt: skip


@contextlib.contextmanager
def serving(scratch: Path) -> Iterator[TestClient]:
    """Returns a context whose value is a client of a served toy model that keeps a log."""
    predictor = served.predictor(scratch / "model")
    app = create_app(predictor, LIMITS, scratch / "log.sqlite")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def offence(client: TestClient, sent: Sent) -> str:
    """Returns what is wrong with the answer to a malformed request: empty where nothing is."""
    headers = {} if sent.declared is None else {"content-type": sent.declared}
    try:
        answer = client.request(sent.method, sent.path, content=sent.body, headers=headers)
    except Exception as error:  # any is a fault of the server, and is counted
        return f"{type(error).__name__}: {error}"
    if not 400 <= answer.status_code < 500:
        return f"status {answer.status_code}"
    try:
        content = answer.json()
    except ValueError:
        return f"no JSON: {answer.text[:80]!r}"
    line = content.get("error") if isinstance(content, dict) else None
    if not isinstance(line, str) or set(content) != {"error"}:
        return f"no error: {content}"
    if not line or len(line.splitlines()) != 1 or len(line) > 700 or "Traceback" in line:
        return f"not one line: {line[:80]!r}"
    return ""


def resident() -> float:
    """Returns the resident memory of this process in MiB."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def attack(seed: int, size: float, scratch: Path) -> Outcome:
    """Returns what became of `REQUESTS` requests: `located` were refused by one line, `lost` were
    answered otherwise, `tracebacks` made the server fail.
    """
    tries, kinds = max(1, round(REQUESTS * size)), Counter[str]()
    notes, kept = list[str](), list[Sent]()
    with serving(scratch) as client, contextlib.redirect_stderr(io.StringIO()) as told:

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=tries,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(malformed())
        def send(sent: Sent) -> None:
            found = offence(client, sent)
            kinds["tried"] += 1
            if found:
                failed = "500" in found or "Error" in found
                kinds["tracebacks" if failed else "lost"] += 1
                notes.append(f"{sent.kind}: {found}; {sent.method} {sent.path} {sent.body[:80]!r}")
            if len(kept) < KEPT:
                kept.append(sent)

        send()
        before = resident()
        for place in range(tries // 2):
            offence(client, kept[place % len(kept)])
        growth = resident() - before
        good = client.post("/predict", json={"texts": ["the boat"]})
    if good.status_code != 200:
        notes.append(f"a good request afterwards: {good.status_code} {good.text[:80]}")
    if growth > GROWTH:
        notes.append(f"{growth:.0f} MiB more memory after {tries // 2:,} requests")
    if "Traceback" in told.getvalue():
        notes.append(told.getvalue()[-300:])
    lost = kinds["lost"] + (good.status_code != 200) + (growth > GROWTH)
    refused = kinds["tried"] - kinds["lost"] - kinds["tracebacks"]
    return Outcome(
        "malformed_requests",
        kinds["tried"],
        located=refused,
        lost=lost,
        tracebacks=kinds["tracebacks"] + ("Traceback" in told.getvalue()),
        notes=(
            f"memory {growth:+.1f} MiB over {tries // 2:,} requests",
            *dict.fromkeys(notes[:10]),
        ),
    )
