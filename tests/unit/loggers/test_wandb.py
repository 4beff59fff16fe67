"""The W&B logger: what it wrote offline is read back from disk, and sent to a server on this machine.

wandb talks to its own local service through a Unix socket; these tests let Unix sockets through and
nothing else, so a connection to any host would fail. Those that need a server run wandb in another
process, which is told of that server alone.
"""

import json
import logging
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from wandb_server import Server, serving

from shortlist.core import Axes, Metric, Record, StageCost
from shortlist.errors import InvalidInput, Missing
from shortlist.leaderboard import build
from shortlist.leaderboard.text import method_rows
from shortlist.loggers import CellReport
from shortlist.loggers.wandb import WandbLogger, key_source, run_id, selection_artifact
from shortlist.settings import construct
from shortlist.store.atomic import write_jsonl
from shortlist.trainers.curves import Curve

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
        "stages": (StageCost("selection", "s", 0.5, 10.0, "cpu", "selection"),),
        "selection": {"size": 10, "unique": 9},
        "config": {"seed": seed, "selector": {"epsilon": 0.1}},
    }
    return Record(**{**fields, **changes})


def offline() -> WandbLogger:
    return WandbLogger(
        project="shortlist", entity=None, mode="auto", tags=None, texts=False, timeout=30.0
    )


def read_log(directory: Path, run: str = "*") -> list[Any]:
    """Returns the messages of an offline run once its end is on disk.

    wandb's service writes the file after `finish` has returned, a tenth of a second later.
    """
    deadline = time.monotonic() + 20
    messages = parse_log(directory, run)
    while not any(message.HasField("exit") for message in messages):
        assert time.monotonic() < deadline, messages
        time.sleep(0.02)
        messages = parse_log(directory, run)
    return messages


def parse_log(directory: Path, run: str) -> list[Any]:
    """Returns the messages so far: 32 KiB blocks of framed protobuf after a header."""
    from wandb.proto.wandb_internal_pb2 import Record as Message  # pyright: ignore[reportAttributeAccessIssue]

    (path,) = directory.glob(f"wandb/offline-run-*/run-{run}.wandb")
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


def summarized(messages: list[Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for message in messages:
        if message.HasField("summary"):
            summary |= items(message.summary.update)
    return summary


def test_a_cell_is_a_run_whose_config_and_summary_are_the_record(tmp_path: Path) -> None:
    offline().log_cell(CellReport(record("gotd", 1), "sweep", tmp_path))
    messages = read_log(tmp_path)
    (run,) = [m.run for m in messages if m.HasField("run")][:1]
    assert (run.run_id, run.run_group, run.job_type) == (run_id("sweep", "gotd1"), "sweep", "cell")
    config = items(run.config.update)
    assert config["axes"]["seed"] == 1
    assert config["selector"] == {"epsilon": 0.1}
    summary = summarized(messages)
    assert summary["accuracy"] == 0.5 + 1 / 8 + 4 / 64
    assert summary["mlm_loss_after"] == 2.5
    assert summary["status"] == "done"
    assert summary["selection/unique"] == 9


def test_losses_of_trainings_are_history_over_their_own_steps(tmp_path: Path) -> None:
    curves = {
        "warmup": Curve([3.0, 2.0, 1.0], 3),
        "finetune": Curve([1.0, 0.5], 1, [0.9, None], [0.25, 0.5], 2),
    }
    report = CellReport(record("gotd", 1), "sweep", tmp_path, curves=curves)
    offline().log_cell(report)
    messages = read_log(tmp_path)
    rows = [items(message.history.item) for message in messages if message.HasField("history")]
    rows = [{name: one for name, one in row.items() if name[0] != "_"} for row in rows]
    assert rows == [
        {"warmup/step": 1, "warmup/loss": 3.0},
        {"warmup/step": 2, "warmup/loss": 2.0},
        {"warmup/step": 3, "warmup/loss": 1.0},
        {"finetune/step": 1, "finetune/loss": 1.0},
        {"finetune/step": 2, "finetune/loss": 0.5},
        {
            "finetune/epoch": 1,
            "finetune/validation_metric": 0.25,
            "finetune/validation_loss": 0.9,
        },
        {"finetune/epoch": 2, "finetune/validation_metric": 0.5},
    ]
    assert summarized(messages)["status"] == "done"


PICKS = [
    {"id": key, "rank": rank, "score": 1 / rank, "domain": "sea", "text": f"text {key}"}
    for rank, key in enumerate(("b", "a"), start=1)
]


def selected(place: Path, **changes: Any) -> tuple[Record, Path]:
    """A record of a selection of two documents, and its file."""
    facts = {"size": 2, "unique": 2, "domains": {"sea": 2}, "sha256": "f" * 64}
    config = {"task": {"name": "toy"}}
    inputs = {"pool_fingerprint": "1234"}
    made = record("gotd", 1, selection=facts, config=config, inputs=inputs, **changes)
    return made, write_jsonl(place / "shortlist.jsonl", PICKS)


@pytest.mark.parametrize("texts", [False, True])
def test_the_artifact_of_a_selection_holds_its_table_and_card_and_texts_if_asked(
    tmp_path: Path, texts: bool
) -> None:
    made, picks = selected(tmp_path)
    report = CellReport(made, "sweep", tmp_path, picks, "shortlist select a.jsonl")
    artifact = selection_artifact(report, picks, texts)
    assert (artifact.type, artifact.name.split(":")[0]) == ("selection", "selection-toy-gotd-gotd1")
    assert artifact.metadata["inputs"] == {"pool_fingerprint": "1234"}
    assert all(
        Path(entry.local_path).is_relative_to(tmp_path)
        for entry in artifact.manifest.entries.values()
    )
    paths = {name: Path(entry.local_path) for name, entry in artifact.manifest.entries.items()}
    assert paths.keys() == {"README.md", "data/selection.parquet"}
    rows = pq.read_table(paths["data/selection.parquet"]).to_pylist()
    assert rows == [
        {name: value for name, value in row.items() if texts or name != "text"} for row in PICKS
    ]
    card = paths["README.md"].read_text()
    assert "shortlist select a.jsonl" in card and "1234" in card
    assert ("`text`" in card) is texts
    again = selection_artifact(report, picks, texts)
    assert again.digest == artifact.digest


def test_a_cell_with_a_selection_logs_it_as_an_artifact_of_its_run(tmp_path: Path) -> None:
    made, picks = selected(tmp_path)
    offline().log_cell(CellReport(made, "sweep", tmp_path, picks, "shortlist select a.jsonl"))
    messages = read_log(tmp_path)
    (found,) = [message.artifact for message in messages if message.HasField("artifact")]
    assert (found.type, found.name) == ("selection", "selection-toy-gotd-gotd1")
    assert json.loads(found.metadata)["sha256"] == "f" * 64


def test_the_table_in_the_table_run_is_the_comparison_table(tmp_path: Path) -> None:
    records = [record(selector, seed) for selector in ("gotd", "random") for seed in (0, 1)]
    records.append(record("dsir", 0, status="failed", reason="no memory", metrics=(), stages=()))
    (table,) = build(records)
    offline().log_table([table], "sweep", tmp_path)
    (file,) = tmp_path.glob("wandb/offline-run-*/files/media/table/**/*.table.json")
    rows = method_rows(table)
    stored = json.loads(file.read_text())
    assert stored["columns"] == list(rows[0])
    assert stored["data"] == [list(row.values()) for row in rows]
    messages = read_log(tmp_path)
    (run,) = [m.run for m in messages if m.HasField("run")][:1]
    assert (run.job_type, run.run_group) == ("table", "sweep")
    logged = summarized(messages)["table/toy-files"]
    assert logged["nrows"] == len(rows)
    assert file.name in logged["path"]
    assert not any(m.HasField("history") for m in messages)  # a second sync would repeat its rows


def test_a_table_logged_twice_is_the_same_run_with_the_same_file(tmp_path: Path) -> None:
    records = [record(selector, seed) for selector in ("gotd", "dsir", "random") for seed in (0, 1)]
    tables = build(records)
    found = []
    for place in ("first", "second"):
        offline().log_table(tables, "sweep", tmp_path / place)
        messages = read_log(tmp_path / place)
        runs = {m.run.run_id for m in messages if m.HasField("run")}
        (file,) = (tmp_path / place).glob("wandb/offline-run-*/files/media/table/**/*.table.json")
        found.append((runs, json.loads(file.read_text()), file.name))
    assert found[0] == found[1]
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


def test_the_mode_follows_the_key_and_is_logged_in_one_line(
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


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    settings = {
        "project": "p",
        "entity": None,
        "mode": "ofline",
        "tags": None,
        "texts": False,
        "timeout": 30.0,
    }
    with pytest.raises(InvalidInput, match=r"logger\.wandb\.mode must be one of auto, online, off"):
        construct(WandbLogger, settings, "logger.wandb")


def test_without_the_package_the_error_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(Missing, match=r"pip install 'shortlist\[wandb\]'"):
        offline().log_cell(CellReport(record("gotd", 0), "sweep", tmp_path))


@pytest.fixture
def server(alone: None, socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A W&B server that other processes find, by no proxy, and have a key for."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving() as server:
        yield server


def told(server: Server) -> dict[str, str]:
    return {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40}


def sync(server: Server, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | told(server), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not server.unknown, done.stderr  # what fails after the run is set up leaves the code 0


def log_sweep(place: Path, records: list[Record]) -> Path:
    for each in records:
        offline().log_cell(CellReport(each, "sweep", place))
    offline().log_table(build(records), "sweep", place)
    for key in [*(each.key for each in records), "table"]:
        read_log(place, run_id("sweep", key))
    return place / "wandb"


@pytest.mark.slow
def test_a_sweep_synced_again_adds_nothing(server: Server, tmp_path: Path) -> None:
    records = [record(selector, 0) for selector in ("gotd", "dsir", "random")]
    (table,) = build(records)
    rows = method_rows(table)
    first = log_sweep(tmp_path / "first", records)
    sync(server, first)
    facts = server.facts()

    cells = {run_id("sweep", each.key): each for each in records}
    assert facts.keys() == {*cells, run_id("sweep", "table")}
    assert {run["group"] for run in facts.values()} == {"sweep"}
    assert {run["exit_code"] for run in facts.values()} == {0}
    for run, each in cells.items():
        assert facts[run]["job_type"] == "cell"
        assert facts[run]["config"]["key"] == each.key
        assert facts[run]["config"]["axes"]["selector"] == each.axes.selector
        assert facts[run]["config"]["selector"] == {"epsilon": 0.1}
        (summary,) = facts[run]["summary"]
        assert summary["status"] == "done"
        assert summary["accuracy"] == each.metrics[0].value
    run = facts[run_id("sweep", "table")]
    assert run["job_type"] == "table"
    (summary,) = run["summary"]
    stored = json.loads(run["media"][summary["table/toy-files"]["path"]])
    assert stored["columns"] == list(rows[0])
    assert stored["data"] == [list(row.values()) for row in rows]
    (plot,) = [entry for key, entry in summary.items() if key.startswith("plot/toy-files/")]
    assert b"<svg" in run["media"][plot["path"]]
    assert len(run["media"]) == 2
    (versions,) = server.artifacts.values()

    sync(server, "--include-synced", first, log_sweep(tmp_path / "second", records))
    assert server.facts() == facts
    (version,) = versions.values()
    assert version.committed
    assert not any(run["history"] for run in facts.values())


@pytest.mark.slow
def test_a_synced_selection_is_one_version_however_often_it_is_sent(
    server: Server, tmp_path: Path
) -> None:
    made, picks = selected(tmp_path)
    for place in (tmp_path / "first", tmp_path / "second"):
        offline().log_cell(CellReport(made, "sweep", place, picks, "command"))
        read_log(place)
        sync(server, place / "wandb")
    (version,) = server.artifacts["selection-toy-gotd-gotd1"].values()
    assert version.committed
    assert b"command" in version.files["README.md"] and "data/selection.parquet" in version.files


def report(reports: list[list[Record]], place: Path) -> None:
    logger = WandbLogger(
        project="shortlist", entity=None, mode="online", tags=None, texts=False, timeout=30.0
    )
    for records in reports:
        logger.log_cell(CellReport(records[0], "sweep", place))
        logger.log_table(build(records), "sweep", place)


@pytest.mark.slow
def test_online_a_second_report_replaces_the_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told(server).items():
        monkeypatch.setenv(name, value)
    failed = record("gotd", 0, status="failed", reason="no memory", metrics=(), stages=())
    reports = [[record("gotd", 0)], [failed, record("random", 0)]]
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=report, args=(reports, tmp_path))
    process.start()
    process.join(60)
    assert (process.exitcode, server.unknown) == (0, [])
    facts = server.facts()
    assert facts.keys() == {run_id("sweep", "gotd0"), run_id("sweep", "table")}
    (summary,) = facts[run_id("sweep", "gotd0")]["summary"]
    assert summary["reason"] == "no memory"
    assert "accuracy" not in summary
    run = facts[run_id("sweep", "table")]
    (summary,) = run["summary"]
    (table,) = build(reports[-1])
    assert json.loads(run["media"][summary["table/toy-files"]["path"]])["data"] == [
        list(row.values()) for row in method_rows(table)
    ]
    assert not run["history"]


@pytest.mark.slow
def test_without_an_answer_of_the_server_the_cells_are_kept_after_one_time_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    hasty = WandbLogger(
        project="shortlist", entity=None, mode="auto", tags=None, texts=False, timeout=1.0
    )
    for seed in (0, 1):
        hasty.log_cell(CellReport(record("gotd", seed), "sweep", tmp_path))
    for seed in (0, 1):
        messages = read_log(tmp_path, run_id("sweep", f"gotd{seed}"))
        assert summarized(messages)["status"] == "done"
    told = [line for line in caplog.messages if "the server cannot be used" in line]
    assert len(told) == 1 and "wandb sync" in told[0]
