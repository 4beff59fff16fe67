"""The server as a process: it ends on SIGTERM without losing a request, and refuses in one line."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import served

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import serving

from shortlist.cli import main
from shortlist.deploy.model_dir import ModelDir

pytestmark = [pytest.mark.whole, pytest.mark.enable_socket]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelDir:
    return served.write_served(tmp_path_factory.mktemp("process") / "model")


@pytest.mark.slow  # a process for each
def test_a_sigterm_under_load_loses_no_request(model: ModelDir) -> None:
    for drain in ("0", "0.5"):
        with serving.served(model.path, "--drain", drain) as (process, port):
            done = serving.load(port, ["the boat", "bread"], 16, 1.0, stop=process.pid)
            output = process.communicate(timeout=30)[0]
        answered = sum(len(one.seconds) for one in done)
        assert answered >= 16 and process.returncode == 0
        assert sum(one.lost for one in done) == 0 and not any(one.statuses for one in done)
        assert all(one.refused for one in done)  # each client went on to the end
        (told,) = re.findall(r"ended after ([\d,]+) answered requests", output)
        assert int(told.replace(",", "")) == answered


@pytest.mark.slow
def test_a_slow_request_that_was_accepted_is_answered_after_the_signal(model: ModelDir) -> None:
    body = b'{"texts": ["the boat"]}'
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with serving.served(model.path, "--drain", "0") as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body[:9])
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            time.sleep(1.0)  # connections are no longer taken, this one is open
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            slow.sendall(body[9:])
            answer = b"".join(iter(lambda: slow.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK") and b'"label":' in answer
        assert process.wait(timeout=10) == 0


@pytest.mark.slow
def test_what_is_no_http_and_what_never_ends_is_cut_off_and_the_next_is_served(
    model: ModelDir,
) -> None:
    with serving.served(model.path, "--timeout", "0.5", "--max-body", "1000") as (process, port):
        for sent in (b"\x00\xff" * 50, b"GET\r\n\r\n", b"A" * 100_000):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
                one.sendall(sent)
                assert one.recv(4096).startswith(b"HTTP/1.1 400")
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as endless:
            endless.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    endless.sendall(b"64\r\n" + b" " * 100 + b"\r\n")
            assert endless.recv(4096).startswith(b"HTTP/1.1 413")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
            silent.sendall(head + b"content-length: 50\r\n\r\n")
            assert silent.recv(4096).startswith(b"HTTP/1.1 408")
        done = serving.load(port, ["the boat"], 1, 0.2)
        assert done[0].seconds and not done[0].lost
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[1] == ""  # no traceback


@pytest.mark.slow
def test_a_server_imports_neither_torch_nor_transformers() -> None:
    script = (
        "import sys, shortlist.deploy.serving.app, shortlist.deploy.serving.server\n"
        "print({'torch', 'transformers', 'pytorch_lightning', 'sklearn'} & set(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "set()"


def test_what_cannot_be_served_is_refused_in_one_line(
    model: ModelDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        for typed, expected in (
            ([str(tmp_path)], "expected a model directory"),
            ([str(model.path), "--int8"], "expected model.int8.onnx"),
            ([str(model.path), "--port", str(taken)], f"--port {taken}: expected a free address"),
            ([str(model.path), "--port", "70000"], "--port 70000: expected a free address"),
            ([str(model.path), "--max-batch", "0"], "limits must be above 0, found batch 0"),
            ([str(model.path), "--timeout", "nan"], "limits must be above 0, found timeout nan"),
            (
                [str(model.path), "--log", str(tmp_path)],
                f"--log {tmp_path}: expected an SQLite file",
            ),
        ):
            assert main(["serve", *typed]) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("error: ") and expected in line
