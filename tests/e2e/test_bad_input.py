"""What cannot run is refused in one line that says what it was and what to do; never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import pytest
import toy

pytestmark = pytest.mark.whole

CHEAP = ("selector=random", "until=select")


@pytest.fixture
def refused(small: tuple[str, ...], tmp_path: Path) -> Callable[..., str]:
    """A function from overrides to the one line that refuses them."""

    def run(*typed: str) -> str:
        flags = [item for item in typed if item == "-m"]
        ended = cells.command(*flags, *small, *CHEAP, *typed[len(flags) :])
        assert ended.code == 1, ended
        assert "Traceback" not in ended.out + ended.err
        told = [line for line in (ended.out + ended.err).splitlines() if "error:" in line]
        assert len(told) == 1, ended
        return told[0]

    return run


def target_of(tmp_path: Path, rows: list[dict[str, Any]]) -> str:
    return f"task.train={toy.write_jsonl(tmp_path / 'own.jsonl', rows)}"


SAILING = [{"text": text} for text in toy.sentences("sailing", 40)]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["selector=gotdd"], ["selector has no option `gotdd`", "`gotd`"]),
        (["task=chemprt"], ["task has no option `chemprt`", "`chemprot`"]),
        (["budgets=5"], ["there is no setting `budgets`", "`budget`"]),
        (["warmup.epoch=5"], ["there is no setting `warmup.epoch`", "`warmup.epochs`"]),
        (["+warmup.epoch=5"], ["warmup has no setting `epoch`", "`epochs`"]),
        (["budget=many"], ["budget", "many", "Integer"]),
        (["until=selection"], ["until", "selection", "warmup"]),
        (["runtime.cache=none"], ["runtime.cache", "none", "refresh"]),
        (["budget=0"], ["budget must be at least 1 document", "found 0", "budget=N"]),
        (["budget=-1"], ["budget must be at least 1 document", "found -1", "budget=N"]),
        (["budget=51"], ["budget=51", "more than the pool's 50", "budget=50 or less"]),
        (["task=own", "task.train=absent.jsonl"], ["absent.jsonl"]),
        (["task=own"], ["task.train=FILE"]),
        (["pool=files", "pool.paths=[nowhere/*.jsonl]"], ["nowhere/*.jsonl", "pool.paths"]),
        (["pool=files"], ["pool.paths=[FILE,...]"]),
        (["pool=files", "pool.paths=[s3://b/*.parquet]"], ["s3://b/*.parquet", "only local files"]),
        (["pool=files", "pool.paths=[caf\udce9.jsonl]"], ["caf\\xe9.jsonl", "in UTF-8", "pattern"]),
        (["pool=files", "pool.paths=[/dev/zero]"], ["/dev/zero", ".jsonl"]),
        (["pool.domains=[nera]"], ["nera", "`near`"]),
        (["paths.data=null"], ["paths.data=DIR"]),
        (["paths.data=/nowhere"], ["/nowhere", "paths.data=DIR"]),
        (["task=chemprot"], ["chemprot", "citation_intent"]),
        (["model.path=/nowhere"], ["/nowhere", "config.json", "model.path=DIR"]),
        (["task.primary=acuracy"], ["acuracy", "macro_f1"]),
        (["-m", "selector=glob(absent*)"], ["empty"]),
        (["-m", "budget=5,-1"], ["found -1"]),
        (["-m", "selector=random,gotdd"], ["gotdd", "`gotd`"]),
    ],
    ids=lambda value: " ".join(value) if value and "=" in value[0] + value[-1] else None,
)
def test_is_refused_in_one_line(
    refused: Callable[..., str], typed: list[str], says: list[str]
) -> None:
    line = refused(*typed)
    assert [word for word in says if word not in line] == [], line


@pytest.mark.parametrize("setting", ["paths.cache", "paths.results", "paths.runs"])
def test_a_directory_that_cannot_be_written_to_is_refused_by_its_setting(
    refused: Callable[..., str], tmp_path: Path, setting: str
) -> None:
    (tmp_path / "file").write_text("")
    line = refused(f"{setting}={tmp_path}/file/below")
    assert f"found {tmp_path}/file/below" in line and f"set {setting}=DIR" in line


def test_an_empty_target_is_refused_by_name(refused: Callable[..., str], tmp_path: Path) -> None:
    line = refused("task=own", target_of(tmp_path, []))
    assert "own.jsonl" in line and "found none" in line


def test_an_absent_text_column_is_refused_with_those_that_are_there(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    line = refused("task=own", target_of(tmp_path, SAILING), "task.text=body")
    assert "body" in line and "`text`" in line.replace("'", "`") and "own.jsonl" in line


def test_texts_without_labels_cannot_be_fine_tuned_on(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    line = refused("task=own", target_of(tmp_path, SAILING), "until=evaluate")
    assert "no labels to fine-tune on" in line and "until=warmup" in line


def test_a_warm_up_beyond_the_steps_of_the_fine_tuning_is_refused_before_the_selection(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    line = refused("until=evaluate", "finetune.warmup_fraction=0", "finetune.warmup_steps=500")
    assert "finetune.warmup_steps must be below the" in line and "found 500" in line
    assert not (tmp_path / "cache" / "selection").exists()


def test_a_miss_in_a_cache_that_is_only_read_is_refused(refused: Callable[..., str]) -> None:
    assert "set runtime.cache=reuse" in refused("runtime.cache=only")


def test_a_broken_line_is_set_aside_with_file_line_and_reason_and_the_cell_goes_on(
    small: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(data, tmp_path / "data")
    file = copied / "pools" / "near.jsonl"
    lines = file.read_text().splitlines()
    lines[3] = lines[3][:-5]
    file.write_text("\n".join(lines) + "\n")
    ended = cells.command(*small, *CHEAP, f"paths.data={copied}")
    assert (ended.code, ended.refusals) == (0, [])
    (told,) = [line for line in (ended.out + ended.err).splitlines() if "near.jsonl:4:" in line]
    assert "1 rows rejected" in told
    (kept,) = (tmp_path / "cache" / "pool").glob("*/quarantine.txt")
    assert kept.read_text().startswith(f"{file}:4: ")
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "results").rglob("*.json"))
    assert record["counts"]["pool_quarantined"] == 1
    assert record["counts"]["pool_kept"] == 49


def test_a_cell_that_had_started_keeps_its_traceback_and_a_failed_record(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    refused("budget=51")
    (kept,) = (tmp_path / "runs").rglob("traceback.txt")
    assert "Traceback" in kept.read_text() and "InvalidInput" in kept.read_text()
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "results").rglob("*.json"))
    assert record["status"] == "failed" and "budget=51" in record["reason"]


def test_what_is_refused_before_a_cell_starts_leaves_no_record(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    refused("budget=0")
    assert list((tmp_path / "results").rglob("*.json")) == []


@pytest.mark.parametrize(
    ("typed", "says"),
    [("selector=gotdd", "`gotd`"), ("budgets=5", "`budget`"), ("budget=many", "`many`")],
)
def test_the_command_itself_refuses_in_one_line_and_nothing_else(
    tmp_path: Path, typed: str, says: str
) -> None:
    ended = cells.process(typed, at=tmp_path)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (1, "", 1)
    assert ended.err.startswith("error: ") and says in ended.err
