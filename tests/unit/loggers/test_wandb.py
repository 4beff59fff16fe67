"""The W&B logger, offline: what it wrote is read back from disk and compared.

wandb talks to its own local service through a Unix socket; these tests let Unix sockets through and
nothing else, so a connection to any host would fail.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shortlist.core import Axes, Metric, Record, StageCost
from shortlist.errors import InvalidInput, Missing
from shortlist.leaderboard import build
from shortlist.leaderboard.flat import wide
from shortlist.loggers.wandb import WandbLogger, key_source, run_id

wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
pytest_socket = pytest.importorskip("pytest_socket")
pytest.importorskip(
    "urllib3"
)  # it tries an IPv6 socket when imported: do that before they are blocked


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without a key, without earlier settings and with Unix sockets only."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    for name in ("CONFIG", "CACHE", "DATA", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb" / name))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    pytest_socket.enable_socket()  # the guards stack: the suite's own would refuse Unix sockets too
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


def record(selector: str, seed: int, **changes: Any) -> Record:
    metrics = (
        Metric("accuracy", "fraction", True, 0.5 + seed / 8 + len(selector) / 64, 80, primary=True),
        Metric("mlm_loss_after", "nats", False, 2.5, 40),
    )
    fields: dict[str, Any] = {
        "key": f"{selector}{seed}",
        "status": "done",
        "axes": Axes("toy", "files", selector, "none", "tiny", 10, "documents", seed),
        "metrics": metrics,
        "stages": (StageCost("selection", "s", 0.5, 10.0, "cpu"),),
        "selection": {"size": 10, "unique": 9},
        "config": {"seed": seed, "selector": {"epsilon": 0.1}},
    }
    return Record(**{**fields, **changes})


def offline() -> WandbLogger:
    return WandbLogger(project="shortlist", entity=None, mode="auto", tags=None)


def read_log(directory: Path) -> list[Any]:
    """Returns the messages of an offline run once its end is on disk.

    wandb's service writes the file after `finish` has returned, a tenth of a second later.
    """
    deadline = time.monotonic() + 20
    messages = parse_log(directory)
    while not any(message.HasField("exit") for message in messages):
        assert time.monotonic() < deadline, messages
        time.sleep(0.02)
        messages = parse_log(directory)
    return messages


def parse_log(directory: Path) -> list[Any]:
    """Returns the messages so far: 32 KiB blocks of framed protobuf after a header."""
    from wandb.proto.wandb_internal_pb2 import Record as Message  # pyright: ignore[reportAttributeAccessIssue]

    (path,) = directory.glob("wandb/offline-run-*/run-*.wandb")
    raw = path.read_bytes()
    assert raw[:4] in (b":W&B", b"")
    messages, parts, place = [], b"", 7
    while place + 7 <= len(raw):
        left = 32768 - place % 32768
        if left < 7:  # a frame's header never crosses the end of a block; what is left is padding
            place += left
            continue
        length, kind = int.from_bytes(raw[place + 4 : place + 6], "little"), raw[place + 6]
        parts += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if len(raw) < place:
            break  # it is being written
        if kind in (1, 4):  # whole, or the last part
            messages.append(Message.FromString(parts))
            parts = b""
    return messages


def items(message: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in message}


def test_a_cell_is_a_run_whose_config_and_summary_are_the_record(tmp_path: Path) -> None:
    offline().log_cell(record("gotd", 1), "sweep", tmp_path)
    messages = read_log(tmp_path)
    (run,) = [m.run for m in messages if m.HasField("run")][:1]
    assert (run.run_id, run.run_group, run.job_type) == (run_id("sweep", "gotd1"), "sweep", "cell")
    config = items(run.config.update)
    assert config["axes"]["seed"] == 1
    assert config["selector"] == {"epsilon": 0.1}
    summary: dict[str, Any] = {}
    for message in messages:
        if message.HasField("summary"):
            summary |= items(message.summary.update)
    assert summary["accuracy"] == 0.5 + 1 / 8 + 4 / 64
    assert summary["mlm_loss_after"] == 2.5
    assert summary["status"] == "done"
    assert summary["selection/unique"] == 9


def test_the_table_in_the_table_run_is_the_comparison_table(tmp_path: Path) -> None:
    records = [record(selector, seed) for selector in ("gotd", "random") for seed in (0, 1)]
    records.append(record("dsir", 0, status="failed", reason="no memory", metrics=(), stages=()))
    (table,) = build(records)
    offline().log_table([table], "sweep", tmp_path)
    (file,) = tmp_path.glob("wandb/offline-run-*/files/media/table/**/*.table.json")
    headings, rows = wide(table)
    stored = json.loads(file.read_text())
    assert stored["columns"] == headings
    assert stored["data"] == rows
    messages = read_log(tmp_path)
    (run,) = [m.run for m in messages if m.HasField("run")][:1]
    assert (run.job_type, run.run_group) == ("table", "sweep")
    history = [items(m.history.item) for m in messages if m.HasField("history")]
    (logged,) = [line for line in history if any("table/toy-files" in key for key in line)]
    nested = logged.get("table/toy-files") or {
        key.rsplit("/", 1)[1]: value for key, value in logged.items() if key.startswith("table/")
    }
    assert nested["nrows"] == len(rows)
    assert file.name in nested["path"]
    assert {m.history.step.num for m in messages if m.HasField("history")} == {0}


def test_a_sweep_logged_twice_is_the_same_runs_with_the_same_rows(tmp_path: Path) -> None:
    records = [record(selector, seed) for selector in ("gotd", "dsir", "random") for seed in (0, 1)]
    tables = build(records)
    found = []
    for place in ("first", "second"):
        offline().log_table(tables, "sweep", tmp_path / place)
        messages = read_log(tmp_path / place)
        runs = {m.run.run_id for m in messages if m.HasField("run")}
        (file,) = (tmp_path / place).glob("wandb/offline-run-*/files/media/table/**/*.table.json")
        found.append((runs, json.loads(file.read_text()), file.name))
    assert found[0] == found[1]  # run, step, key and content are equal: a second sync adds nothing
    assert found[0][0] == {run_id("sweep", "table")}


def test_the_plots_stand_beside_the_table(tmp_path: Path) -> None:
    records = [record(selector, seed) for selector in ("gotd", "dsir", "random") for seed in (0, 1)]
    offline().log_table(build(records), "sweep", tmp_path)
    read_log(tmp_path)
    (plot,) = tmp_path.glob("wandb/offline-run-*/files/media/html/**/*.html")
    text = plot.read_text()
    assert "plot/toy-files" in str(plot) and "<svg" in text
    assert "--series-0: #" in text  # the colours that the drawing names
    assert "http" not in text.replace("http://www.w3.org", "")


def test_a_cell_logged_twice_has_one_id_and_another_sweep_another() -> None:
    assert run_id("sweep", "key") == run_id("sweep", "key")
    assert len({run_id("sweep", "key"), run_id("sweep", "other"), run_id("other", "key")}) == 3


def test_the_mode_follows_the_key_and_is_said_in_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.INFO, "shortlist"):
        assert offline()._mode() == "offline"
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        assert offline()._mode() == "online"
    assert [line.split(" (")[0] for line in caplog.messages] == ["wandb: offline", "wandb: online"]


def test_a_key_in_netrc_is_found_and_a_broken_netrc_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "home" / ".netrc"
    file.parent.mkdir()
    file.write_text("machine api.wandb.ai login user password secret\n")
    file.chmod(0o600)
    assert key_source() == str(file)
    file.write_text("machine\n")
    assert key_source() is None


def test_an_unknown_mode_names_the_near_ones() -> None:
    with pytest.raises(InvalidInput, match="did you mean `offline`"):
        WandbLogger("p", None, "ofline", None)._mode()


def test_without_the_package_the_error_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(Missing, match=r"pip install 'shortlist\[wandb\]'"):
        offline().log_cell(record("gotd", 0), "sweep", tmp_path)
