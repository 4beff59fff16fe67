"""The Perspective client against a server on this machine that throttles, fails, hangs and lies."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.errors import InvalidInput, Missing
from shortlist.evaluation.scorers.perspective import KEY, PerspectiveScorer
from shortlist.evaluation.scorers.quota import Pace

SECRET = "AIza-not-a-real-key-0123456789"

Answer = tuple[int, dict[str, str], bytes]


class Fake:
    """What the server does with each text, and what it was asked."""

    def __init__(self) -> None:
        self.behaviour: Callable[[str, int], Answer | None] = lambda text, nth: scored(0.5)
        self.requests: list[tuple[float, str, dict[str, Any], dict[str, str]]] = []
        self.asked: dict[str, int] = defaultdict(int)
        self.lock, self.let_go = threading.Lock(), threading.Event()
        self.url = ""

    def texts(self) -> list[str]:
        return [body["comment"]["text"] for _, _, body, _ in self.requests]


def scored(value: Any, attribute: str = "TOXICITY") -> Answer:
    answer = {"attributeScores": {attribute: {"summaryScore": {"value": value}}}}
    return 200, {}, json.dumps(answer).encode()


def silent(done: int) -> None:
    pass


@pytest.fixture
def server(socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["comment"]["text"]
            with fake.lock:
                fake.requests.append((time.monotonic(), self.path, body, dict(self.headers)))
                nth = fake.asked[text]
                fake.asked[text] += 1
            answer = fake.behaviour(text, nth)
            if answer is None:
                fake.let_go.wait(10)
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        fake.url = f"http://127.0.0.1:{http.server_port}/v1/comments:analyze"
        monkeypatch.setenv(KEY, SECRET)
        yield fake
        fake.let_go.set()
        http.shutdown()
        thread.join()


def scorer(url: str, **changed: Any) -> PerspectiveScorer:
    settings: dict[str, Any] = {
        "attribute": "TOXICITY", "languages": ["en"], "rate": 1000.0, "workers": 4, "timeout": 5.0,
        "retries": 3, "first_wait": 0.01, "longest_wait": 2.0, "seed": 0, "kept": None,
    }  # fmt: skip
    return PerspectiveScorer(url, **{**settings, **changed})


def test_scores_come_in_the_order_of_the_texts_and_each_text_is_asked_once(server: Fake) -> None:
    server.behaviour = lambda text, nth: scored(len(text) / 100)
    texts = ["a" * n for n in (7, 3, 9, 3, 1, 7)]
    done: list[int] = []
    asked = scorer(server.url)
    np.testing.assert_allclose(
        asked.score(texts, done.append), [0.07, 0.03, 0.09, 0.03, 0.01, 0.07]
    )
    assert sorted(server.texts()) == sorted(set(texts)) and sum(done) == 6 and asked.counts == {}


def test_the_key_travels_in_a_header_and_the_text_is_not_to_be_stored(server: Fake) -> None:
    scorer(server.url).score(["sail ⛵"], silent)
    ((_, path, body, headers),) = server.requests
    assert path == "/v1/comments:analyze" and headers["X-Goog-Api-Key"] == SECRET
    assert body == {
        "comment": {"text": "sail ⛵"}, "requestedAttributes": {"TOXICITY": {}},
        "languages": ["en"], "doNotStore": True,
    }  # fmt: skip


def test_the_quota_spaces_requests_whatever_the_number_of_workers(server: Fake) -> None:
    scorer(server.url, rate=50.0, workers=8).score([str(n) for n in range(11)], silent)
    times = [at for at, *_ in server.requests]
    assert times[-1] - times[0] >= 10 / 50 - 0.03


def test_a_throttled_text_is_asked_again_after_the_pause_that_the_server_names(
    server: Fake,
) -> None:
    server.behaviour = lambda text, nth: (
        (429, {"Retry-After": "1"}, b"") if (text, nth) == ("a", 0) else scored(0.25)
    )
    asked = scorer(server.url, workers=2, rate=4.0)  # `b` has its turn before the pause ends
    assert asked.score(["a", "b", "c"], silent).tolist() == [0.25] * 3
    times = [at for at, *_ in server.requests]
    assert asked.counts == {"retries": 1} and server.asked["a"] == 2
    assert times[1] - times[0] >= 1.0  # nobody is asked meanwhile


def test_a_pause_may_be_a_date(server: Fake) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server.behaviour = lambda text, nth: (
        (503, {"Retry-After": later}, b"") if nth == 0 else scored(0.25)
    )
    began = time.monotonic()
    assert scorer(server.url, longest_wait=5).score(["a"], silent).tolist() == [0.25]
    assert time.monotonic() - began > 0.5  # a date has whole seconds: at least one of the two


def test_a_pause_beyond_the_longest_is_a_failure_at_once(server: Fake) -> None:
    server.behaviour = lambda text, nth: (429, {"Retry-After": "86400"}, b"")
    asked = scorer(server.url)
    assert np.isnan(asked.score(["a"], silent)).all()
    assert asked.counts == {"failed_http_429": 1} and server.asked["a"] == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_asked_again_and_fails_in_the_end(server: Fake, status: int) -> None:
    server.behaviour = lambda text, nth: (
        scored(0.75) if text == "soon" and nth == 2 else (status, {}, b"<html>busy</html>")
    )
    asked = scorer(server.url)
    found = asked.score(["soon", "never", "never"], silent)
    assert found[0] == 0.75 and np.isnan(found[1:]).all()
    assert dict(server.asked) == {"soon": 3, "never": 4}
    assert asked.counts == {"retries": 5, f"failed_http_{status}": 2}


def test_waits_double_and_differ_by_chance_but_not_between_runs(
    server: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(Pace, "wait", lambda self, seconds: waited.append(seconds))
    monkeypatch.setattr(Pace, "turn", lambda self: None)
    server.behaviour = lambda text, nth: (500, {}, b"")
    for seed in (0, 0, 1):
        scorer(server.url, workers=1, retries=4, first_wait=1, longest_wait=99, seed=seed).score(
            ["a"], silent
        )
    first, again, other = waited[:4], waited[4:8], waited[8:]
    assert first == again != other
    for attempt, wait in enumerate(first):
        assert 0.5 * 2**attempt <= wait <= 1.5 * 2**attempt


def test_a_server_that_hangs_is_a_failure_by_time_out(server: Fake) -> None:
    server.behaviour = lambda text, nth: None if text == "hang" else scored(0.5)
    asked = scorer(server.url, timeout=0.1, retries=1)
    found = asked.score(["hang", "fine"], silent)
    assert np.isnan(found[0]) and found[1] == 0.5
    assert asked.counts == {"retries": 1, "failed_timeout": 1} and server.asked["hang"] == 2


def test_a_server_that_is_not_there_is_a_failure(server: Fake) -> None:
    nowhere = "http://127.0.0.1:9/"  # the discard port: nobody listens
    asked = scorer(nowhere, retries=0)
    assert np.isnan(asked.score(["a", "b"], silent)).all()
    assert asked.counts == {"failed_unreachable": 2}


@pytest.mark.parametrize(
    ("lie", "reason", "times"),
    [
        (scored(7.3), "not_in_0_1", 1),
        (scored(-0.1), "not_in_0_1", 1),
        (scored("0.5"), "not_in_0_1", 1),
        (scored(True), "not_in_0_1", 1),
        (scored(float("nan")), "not_in_0_1", 1),
        (scored(0.5, "INSULT"), "no_score", 1),
        ((200, {}, b"[]"), "no_score", 1),
        ((200, {}, b"null"), "no_score", 1),
        ((400, {}, b'{"error": {"message": "language"}}'), "http_400", 1),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "http_302", 1),
        ((200, {}, b"<html>maintenance</html>"), "not_json", 4),
        ((200, {}, b""), "not_json", 4),
    ],
)
def test_a_lie_is_a_failure_and_asked_again_only_where_that_can_help(
    server: Fake, lie: Answer, reason: str, times: int
) -> None:
    server.behaviour = lambda text, nth: lie if text == "lie" else scored(0.5)
    asked = scorer(server.url)
    found = asked.score(["lie", "truth"], silent)
    assert np.isnan(found[0]) and found[1] == 0.5 and server.asked["lie"] == times
    assert asked.counts[f"failed_{reason}"] == 1


@pytest.mark.parametrize(
    "refusal",
    [(403, {}, SECRET.encode()), (401, {}, b""), (400, {}, b'{"reason": "API_KEY_INVALID"}')],
)
def test_a_refused_key_ends_everything_soon(server: Fake, refusal: Answer) -> None:
    server.behaviour = lambda text, nth: refusal
    with pytest.raises(InvalidInput, match=rf"127\.0\.0\.1:\d+ refuses the key in {KEY}"):
        scorer(server.url, rate=20.0, workers=2).score([str(n) for n in range(200)], silent)
    assert len(server.requests) < 10


def test_a_stopped_run_goes_on_where_it_was(server: Fake, tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "answers.jsonl"
    texts = [f"text {n}" for n in range(6)]
    server.behaviour = lambda text, nth: scored(int(text[-1]) / 10)

    def stop(done: int) -> None:
        if len(server.requests) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scorer(server.url, workers=1, kept=str(kept)).score(texts, stop)
    with kept.open("a") as file:
        file.write('{"asked": "torn')
    before = set(server.texts())
    assert 3 <= len(before) < 6
    done: list[int] = []
    found = scorer(server.url, kept=str(kept)).score(texts, done.append)
    np.testing.assert_allclose(found, np.arange(6) / 10)
    again = [text for text in server.texts() if server.asked[text] > 1]
    assert len(set(again)) <= 1 and sum(done) == 6  # the one under way when it was stopped
    asked = len(server.requests)
    scorer(server.url, kept=str(kept)).score(texts, silent)
    assert len(server.requests) == asked  # a torn line costs no later one
    scorer(server.url, kept=str(kept), attribute="INSULT", retries=0).score(texts, silent)
    assert len(server.requests) == asked + 6


def test_failures_are_not_kept(server: Fake, tmp_path: Path) -> None:
    server.behaviour = lambda text, nth: scored(7.3) if nth == 0 else scored(0.1)
    asked = scorer(server.url, kept=str(tmp_path / "kept.jsonl"))
    assert np.isnan(asked.score(["a"], silent)).all()
    assert asked.score(["a"], silent).tolist() == [0.1]


def test_the_key_is_nowhere(
    server: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    for behaviour in (
        lambda text, nth: scored(0.5),
        lambda text, nth: (403, {}, SECRET.encode()),
        lambda text, nth: (500, {}, SECRET.encode()),
        lambda text, nth: (302, {"Location": f"http://127.0.0.1:9/?key={SECRET}"}, b""),
        lambda text, nth: (200, {}, SECRET.encode()),
    ):
        server.behaviour = behaviour
        asked = scorer(server.url, retries=1, kept=str(tmp_path / "kept.jsonl"))
        try:
            asked.check()
            asked.score([f"text {len(said)}"], silent)
        except InvalidInput as error:
            chain: BaseException | None = error
            while chain is not None:
                said.append(repr(chain))
                chain = chain.__cause__ or chain.__context__
        said += [repr(vars(asked)), repr(asked.identity()), repr(asked.counts)]
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    out, err = capfd.readouterr()
    assert len(said) > 15 and "score" in written
    assert SECRET not in "".join(said) + written + caplog.text + out + err


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (None, Missing, f"set {KEY}"),
        ("  ", Missing, f"set {KEY}"),
        ("AIza\nX-Evil: 1", InvalidInput, "holds characters that no key has"),
        ("AIzaé", InvalidInput, "holds characters that no key has"),
    ],
)
def test_a_key_that_is_missing_or_cannot_be_one_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, value: str | None, error: type[Exception], words: str
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    if value is not None:
        monkeypatch.setenv(KEY, value)
    asked = scorer("https://service.example/analyze")
    for ask in (asked.check, lambda: asked.score(["a"], silent)):
        with pytest.raises(error, match=words) as told:
            ask()
        assert "AIza" not in str(told.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"url": "http://service.example/"}, "must begin with https://"),
        ({"url": "file:///etc/passwd"}, "must begin with https://"),
        ({"rate": 0}, "above 0"),
        ({"retries": -1}, "at least 0"),
        ({"timeout": 0}, "above 0"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        scorer(**{"url": "https://service.example/", **changed})


def test_the_identity_is_what_is_asked_of_whom(tmp_path: Path) -> None:
    asked = scorer("https://service.example/")
    same = scorer("https://service.example/", rate=5, kept=str(tmp_path / "kept"), workers=1)
    assert asked.identity() == same.identity()
    assert scorer("https://service.example/", attribute="INSULT").identity() != asked.identity()
    assert scorer("https://service.example/", languages=[]).identity() != asked.identity()
