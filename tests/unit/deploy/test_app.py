"""The HTTP interface of a served model: answers, refusals, limits, measures, the log."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import served
from soak import malformed_requests
from starlette.testclient import TestClient

from shortlist.deploy.inference import Predictor
from shortlist.deploy.model_dir import Measured, Variant
from shortlist.deploy.serving.app import Limits, State, create_app

TEXTS = ["the boat and the sail", "bread with butter"]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return served.predictor(tmp_path_factory.mktemp("served") / "model")


@contextmanager
def client(predictor: Predictor, *, log: Path | None = None, state: State | None = None,
           **limits: Any) -> Iterator[TestClient]:  # fmt: skip
    app = create_app(predictor, replace(Limits(wait=0.0), **limits), log, state)
    with TestClient(app) as opened:
        yield opened


def refused(answer: Any, status: int) -> str:
    """Returns the line of a refusal of this status."""
    assert (answer.status_code, set(answer.json())) == (status, {"error"}), answer.text
    assert len(answer.json()["error"].splitlines()) == 1
    return answer.json()["error"]


def test_answers_are_those_of_the_model_with_its_versions(predictor: Predictor) -> None:
    with client(predictor) as http:
        answer = http.post("/predict", json={"texts": TEXTS}).json()
    assert answer["model_version"] == predictor.model.model_version
    assert answer["data_version"] == predictor.model.data_version and "logged" not in answer
    for found, expected in zip(answer["predictions"], predictor.predict(TEXTS), strict=True):
        assert found["label"] == expected.label and found["truncated"] is False
        assert found["probabilities"] == pytest.approx(dict(expected.probabilities))
        assert found["probability"] == max(found["probabilities"].values())


@pytest.mark.parametrize(
    ("facts", "body", "keys"),
    [
        ({"kind": "regression", "labels": ()}, {"texts": TEXTS}, {"id", "label", "truncated"}),
        ({"kind": "multi_label"}, {"texts": TEXTS}, {"id", "label", "probabilities", "truncated"}),
        ({"kind": "tokens", "labels": ("B-X", "O")}, {"texts": TEXTS}, {"id", "label", "truncated"}),
        ({"kind": "pairs", "two_texts": True}, {"texts": TEXTS, "texts_b": TEXTS},
         {"id", "label", "probability", "probabilities", "truncated"}),
    ],
)  # fmt: skip
def test_every_kind_of_model_is_served(
    facts: dict[str, Any], body: dict[str, Any], keys: set[str], tmp_path: Path
) -> None:
    opened = served.predictor(tmp_path / "model", **facts)
    with client(opened) as http:
        answer = http.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        expected = opened.predict(body["texts"], body.get("texts_b"))
        for found, one in zip(answer.json()["predictions"], expected, strict=True):
            assert set(found) == keys
            assert found["label"] == (
                pytest.approx(one.label) if facts["kind"] == "regression" else one.label
            )
        assert http.get("/").status_code == 200


def test_requests_that_come_together_run_in_one_batch(predictor: Predictor) -> None:
    with client(predictor, wait=0.3, batch=8) as http:
        answers: list[Any] = []

        def ask(text: str) -> None:
            answers.append((text, http.post("/predict", json={"texts": [text]}).json()))

        threads = [
            threading.Thread(target=ask, args=(word,))
            for word in ["the", "boat", "and", "a", "cake"]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        text = http.get("/metrics").text
    assert float(re.findall(r"batch_size_sum (\S+)", text)[0]) == 5
    assert float(re.findall(r"batch_size_count (\S+)", text)[0]) < 5
    for word, answer in answers:
        (expected,) = predictor.predict([word])
        assert answer["predictions"][0]["probability"] == pytest.approx(expected.probability)


def test_limits_are_refused_with_what_is_allowed(predictor: Predictor) -> None:
    with client(predictor, items=2, length=30, body=300) as http:
        assert "at most 2 texts" in refused(http.post("/predict", json={"texts": ["a"] * 3}), 413)
        line = refused(http.post("/predict", json={"texts": ["a", "b" * 31]}), 422)
        assert line == "texts.1: expected at most 30 characters, found 31"
        assert "at most 300 bytes" in refused(
            http.post("/predict", json={"texts": ["a" * 400]}), 413
        )

        chunks = (b" " * 100 for _ in range(9))  # without a length in the header
        header = {"content-type": "application/json"}
        refused(http.post("/predict", content=chunks, headers=header), 413)
        assert http.post("/predict", json={"texts": ["a" * 30]}).status_code == 200


def test_a_field_that_stands_twice_is_refused_and_no_text_dropped(predictor: Predictor) -> None:
    with client(predictor) as http:
        body, header = '{"texts": ["a"], "texts": ["b"]}', {"content-type": "application/json"}
        line = refused(http.post("/predict", content=body, headers=header), 422)
    assert line == "texts: expected once, found 2 times"


def test_a_busy_server_and_a_late_answer_are_said(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    run = predictor.outputs

    def slow(encodings: Any) -> Any:
        gate.wait(5)
        return run(encodings)

    monkeypatch.setattr(predictor, "outputs", slow)
    with client(predictor, timeout=0.2, waiting=2) as http:
        assert "within 0.2 s" in refused(http.post("/predict", json={"texts": ["a"]}), 504)
        answer = http.post("/predict", json={"texts": ["a", "b", "c"]})
        assert "2 texts wait" in refused(answer, 503) and answer.headers["retry-after"] == "1"
        gate.set()
        assert http.post("/predict", json={"texts": ["a"]}).status_code == 200


def test_a_fault_of_the_model_is_a_500_without_its_traceback(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(encodings: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(predictor, "outputs", broken)
    app = create_app(predictor, Limits(wait=0.0))
    with TestClient(app, raise_server_exceptions=False) as http:
        assert "secret" not in refused(http.post("/predict", json={"texts": ["a"]}), 500)
        assert 'requests_total{path="/predict",status="500"} 1.0' in http.get("/metrics").text


def test_health_says_what_is_served_and_that_the_server_ends(predictor: Predictor) -> None:
    state = State()
    with client(predictor, state=state) as http:
        healthy = http.get("/health")
        assert healthy.status_code == 200 and healthy.json()["status"] == "ok"
        assert healthy.json()["labels"] == list(served.LABELS)
        assert healthy.json()["file"] == "model.onnx"
        state.ending = True
        ending = http.get("/health")
        assert (ending.status_code, ending.json()["status"]) == (503, "ending")
        answer = http.post("/predict", json={"texts": ["a"]})  # what still comes is answered
        assert answer.status_code == 200 and answer.headers["connection"] == "close"


def test_health_and_page_state_the_metric_of_the_file_that_is_served(tmp_path: Path) -> None:
    own = Variant(0.9, 0.1, Measured("accuracy", 0.625, 0.05))
    with client(served.predictor(tmp_path / "model", variants={"model.onnx": own})) as http:
        assert http.get("/health").json()["metric"] == str(own.metric)
        assert str(own.metric) in http.get("/").text


def test_measures_count_requests_texts_and_cuts(predictor: Predictor) -> None:
    with client(predictor) as http:
        http.post("/predict", json={"texts": ["boat " * 99, "a"]})
        http.post("/predict", content=b"{", headers={"content-type": "application/json"})
        for place in range(30):  # strangers do not make the table of measures longer
            http.get(f"/{place}")
        text = http.get("/metrics").text
    for line in ('requests_total{path="/predict",status="200"} 1.0', "predictions_total 2.0",
                 'requests_total{path="/predict",status="400"} 1.0', "truncated_total 1.0",
                 'requests_total{path="other",status="404"} 30.0',
                 f'model_version="{predictor.model.model_version}"'):  # fmt: skip
        assert line in text, line


def test_predictions_and_corrections_are_kept_only_where_asked_for(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = tmp_path / "log.sqlite"
    with client(predictor, log=path) as http:
        answer = http.post("/predict", json={"texts": ["sail, joe@example.org", "bread"]}).json()
        assert answer["logged"] is True
        first, second = answer["predictions"]
        assert http.post("/correct", json={"id": first["id"], "label": "baking"}).status_code == 200
        line = refused(http.post("/correct", json={"id": first["id"], "label": "cooking"}), 422)
        assert line == "label: expected one of baking, sailing, found 'cooking'"
        unknown = {"id": "0" * 32, "label": "baking"}
        assert "no prediction 000" in refused(http.post("/correct", json=unknown), 404)
        refused(http.post("/correct", json={"id": "1'; DROP TABLE predictions", "label": "a"}), 422)
    file = sqlite3.connect(path)
    rows = file.execute(
        "SELECT id, text, label, probability FROM predictions ORDER BY id"
    ).fetchall()
    corrected = file.execute("SELECT prediction, label FROM corrections").fetchall()
    file.close()
    assert rows == [
        (first["id"], "sail, [EMAIL_1]", first["label"], first["probability"]),
        (second["id"], "bread", second["label"], second["probability"]),
    ]
    assert corrected == [(first["id"], "baking")]
    with client(predictor) as http:
        line = refused(http.post("/correct", json={"id": first["id"], "label": "baking"}), 404)
        assert "--log FILE.sqlite" in line


def test_a_log_that_cannot_be_written_costs_no_answer_and_is_said(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.sqlite"
    with client(predictor, log=path) as http:
        other = sqlite3.connect(path)
        other.execute("DROP TABLE predictions")
        other.commit()
        other.close()
        answer = http.post("/predict", json={"texts": ["a"]})
        assert answer.status_code == 200 and answer.json()["logged"] is False
        assert "log_failures_total 1.0" in http.get("/metrics").text
    assert "--log cannot be written: no such table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("facts", "right", "wrong"),
    [
        ({"kind": "regression", "labels": ()}, 1.5, "high"),
        ({"kind": "multi_label"}, ["baking"], ["cooking"]),
        ({"kind": "tokens", "labels": ("B-X",)}, ["O", "B-X"], ["B-Y"]),
        ({}, "baking", ["baking"]),
    ],
)  # fmt: skip
def test_a_correction_is_a_label_that_the_model_could_predict(
    facts: dict[str, Any], right: Any, wrong: Any, tmp_path: Path
) -> None:
    opened = served.predictor(tmp_path / "model", **facts)
    with client(opened, log=tmp_path / "log.sqlite") as http:
        (one,) = http.post("/predict", json={"texts": ["a boat"]}).json()["predictions"]
        assert http.post("/correct", json={"id": one["id"], "label": right}).status_code == 200
        refused(http.post("/correct", json={"id": one["id"], "label": wrong}), 422)


def test_the_page_requests_nothing_from_elsewhere_and_its_script_is_the_allowed_one(
    predictor: Predictor,
) -> None:
    import base64
    import hashlib

    with client(predictor) as http:
        page = http.get("/").text
        assert json.dumps(http.get("/openapi.json").json()).count("http") == 0
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
    script = re.findall(r"<script>(.*?)</script>", page, re.S)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and f"'sha256-{digest}'" in policy
    assert "connect-src 'self'" in policy and not re.search(r"https?:", page)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with malformed_requests.serving(tmp_path_factory.mktemp("attacked")) as http:
        yield http


@hypothesis.settings(max_examples=300)
@hypothesis.given(malformed_requests.malformed())
def test_every_malformed_request_is_refused_by_one_line(
    attacked: TestClient, sent: malformed_requests.Sent
) -> None:
    assert malformed_requests.offence(attacked, sent) == ""
