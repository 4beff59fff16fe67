"""Every experiment at full size starts, reads and ends, on a stand-in of the hub and of the data folder.

Architectures, file names, columns, splits and all settings are those of the experiment; models and
files are small, and so is the budget. `make rehearse` runs the first cell of each experiment, `make
rehearse METHODS=all` that of each of its methods.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rehearsal import local

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
FEW = ("gotd_controls_tokens", "gotd_table18")  # of `make test-whole`
# Axes of which every value is run.
WHOLE = (
    ("selector", "featurizer", "model", "practice") if os.environ.get("METHODS") == "all" else ()
)
ONE_METRIC = {"toxicity", "label_likelihood"}  # evaluators whose metrics have other names
ROOM = ("memory", "disk")  # of the real models, whatever this machine has
# What a toy of the size asks for, and what the experiment's command says that must be typed.
TYPED: dict[str, tuple[str, ...]] = {
    "demo": ("pool.per_package=4", "pool.max_files=4", "task.max_files=4", "model.head.epochs=1",
             "task.per_family={train: 4, validation: 2, test: 4}"),
    "detox": ("model.layers=1", "model.width=32", "model.heads=2", "model.vocabulary=300"),
    "practices": ("practice=plain",),
    "gotd_controls_tokens": ("budget=600",),
    "date_lm": ("pool.paths=[${paths.data}/pools/news.jsonl.gz]",
                "task.train=${paths.data}/tasks/sst2/train.jsonl.gz"),
}  # fmt: skip


@dataclass(frozen=True)
class StandIn:
    """A hub, a data folder and a checkpoint, a folder for what is written, and a process that runs
    commands.
    """

    home: Path
    environment: dict[str, str]
    detoxify: tuple[str, str]
    worker: subprocess.Popen[str] | None = None

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Returns how a process of its own ends."""
        return subprocess.run(
            [sys.executable, "-W", "ignore", *arguments], cwd=self.home, env=self.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def ended(self, *command: str) -> dict[str, Any]:
        """Returns code, output and errors of a command in the worker."""
        assert self.worker and self.worker.stdin and self.worker.stdout
        print(json.dumps(command), file=self.worker.stdin, flush=True)
        return json.loads(self.worker.stdout.readline())

    def run(self, name: str, *typed: str) -> dict[str, Any]:
        """Returns how an experiment ends."""
        places = [f"paths.{place}={self.home / place}" for place in ("data", "cache", "results")]
        return self.ended(
            "run.py", f"experiment={name}", *places, f"paths.runs={self.home / name}",
            "runtime.accelerator=cpu", "runtime.progress=false", *typed,
        )  # fmt: skip


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Generator[StandIn]:
    """The stand-in, its hub served by another process."""
    home = tmp_path_factory.mktemp("rehearsal")
    local.write(home / "data")
    tests = str(ROOT / "tests")
    path = os.pathsep.join([tests, str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "0",
                   "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                   "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
    server = started("rehearsal.server", str(home / "models"), environment=environment)
    assert server.stdout is not None
    processes = [server]
    try:
        port = int(server.stdout.readline())
        environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}"}
        made = StandIn(home, environment, ("", "")).python(
            "-m", "rehearsal.detoxify", str(home / "models")
        )
        checkpoint, model = made.stdout.split()
        processes.append(started("rehearsal.worker", environment=environment))
        yield StandIn(home, environment, (checkpoint, model), processes[-1])
    finally:
        for process in processes:
            process.terminate()
            process.communicate()


def started(module: str, *arguments: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Returns a process that runs a module of this folder."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def chosen(config: Any) -> dict[str, str]:
    """Returns the axes of the sweep with their first value, or with all, by what is rehearsed."""
    axes = {str(name): str(values) for name, values in config.hydra.sweeper.params.items()}
    return {
        name: values if name in WHOLE else values.split(",")[0] for name, values in axes.items()
    }


def settings(name: str, config: Any, stand_in: StandIn) -> list[str]:
    axes = chosen(config) | {"budget": "12"}
    typed = [f"{axis}={values}" for axis, values in axes.items()]
    evaluators = config.task.get("evaluators") or {}
    if "perplexity" in evaluators:  # its texts are some of the pool's, which are left out then
        typed.append("task.evaluators.perplexity.documents=6")
    scorers = evaluators.get("toxicity", {}).get("scorers", {})
    for scorer, node in scorers.items():
        if node["_target_"].endswith("DetoxifyScorer"):
            place = f"task.evaluators.toxicity.scorers.{scorer}"
            checkpoint, model = stand_in.detoxify
            typed += [f"{place}.checkpoint={checkpoint}", f"{place}.model={model}"]
    later = TYPED.get(name, ())
    replaced = {text.partition("=")[0] for text in later}
    return [*(text for text in typed if text.partition("=")[0] not in replaced), *later]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.whole if name in FEW else pytest.mark.rehearse)
        for name in NAMES
    ],
)
def test_the_first_cell_of_an_experiment_runs_to_its_end(
    composed: Any, stand_in: StandIn, name: str
) -> None:
    config = composed(f"experiment={name}")
    typed = settings(name, config, stand_in)
    ended = stand_in.run(name, *typed)
    told = f"{' '.join(typed)}\n{ended['out'][-2000:]}\n{ended['err'][-4000:]}"
    assert ended["code"] == 0 and "Traceback" not in ended["err"], told
    records = [
        json.loads(path.read_text()) for path in (stand_in.home / name).glob("*/*/record.json")
    ]
    wanted = 1
    for text in typed:
        wanted *= len(text.split(",")) if text.partition("=")[0] in WHOLE else 1
    assert len(records) == wanted, told
    for record in records:
        assert record["status"] == "done", record["reason"]
        measured = {metric["name"] for metric in record["metrics"]}
        evaluators = record["config"]["task"].get("evaluators") or {}
        assert evaluators.keys() <= {one.partition("_")[0] for one in measured} | ONE_METRIC, (
            measured
        )
        assert not any("not measured" in warning for warning in record["warnings"]), record
    data = f"paths.data={stand_in.home / 'data'}"
    listed = stand_in.ended("shortlist", "doctor", f"experiment={name}", *typed, data, "--json")
    found = [need for need in json.loads(listed["out"]) if need["kind"] not in ROOM]
    assert found and all(need["present"] for need in found), found


@pytest.mark.whole
def test_the_commands_of_the_doctor_bring_all_that_it_misses(
    stand_in: StandIn, tmp_path: Path
) -> None:
    fresh = {**stand_in.environment, "HF_HOME": str(tmp_path / "hf")}

    def doctor() -> list[dict[str, Any]]:
        dead = {**fresh, "HF_ENDPOINT": "http://127.0.0.1:9"}  # it asks no network
        alone = StandIn(stand_in.home, dead, ("", ""))
        command = ("doctor", "experiment=gotd_table18", "budget=12", "--json")
        found = json.loads(alone.python("-m", "shortlist", *command).stdout)
        return [need for need in found if need["kind"] not in ROOM]

    missing = [need for need in doctor() if not need["present"]]
    assert {need["kind"] for need in missing} == {"model", "data set"} and len(missing) > 8
    for need in missing:
        ended = subprocess.run(
            [str(Path(sys.executable).with_name("hf")), *shlex.split(need["command"])[1:]],
            env=fresh, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
    found = doctor()
    assert all(need["present"] and need["bytes"] for need in found)
    revisions = {need["revision"] for need in found}
    assert "e24fa291132763e59f4a5422741b424fb5d59056" in revisions and "main" in revisions


@pytest.mark.whole
def test_every_task_pool_and_text_of_the_hub_is_read_without_a_rejected_row(
    stand_in: StandIn,
) -> None:
    ended = stand_in.python("-m", "rehearsal.readers")
    assert ended.returncode == 0, ended.stderr[-3000:]
    report = json.loads(ended.stdout)
    assert len(report) > 20
    for name, found in report.items():
        assert "error" not in found, (name, found)
        # Perspective has no score of some halves of RealToxicityPrompts.
        expected = (
            ["the prompt has no toxicity from 0 to 1, found 'None'"] if name == "task=detox" else []
        )
        assert found.get("rejected", []) == expected, name
        assert found.get("pool", found.get("train", 1)) > 0 and found.get("test", 1) > 0, name
    assert len(report["pool=paper_domains"]["domains"]) == 7
