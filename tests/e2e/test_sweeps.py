"""What many cells share, and what is left when some of them fail."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cells
import pytest

from shortlist.store.cache import executions
from shortlist.store.records import read_records

pytestmark = pytest.mark.whole


def ran(home: Path, since: int = 0) -> dict[str, int]:
    return dict(Counter(stage for stage, _ in executions(home / "cache")[since:]))


def test_a_sweep_over_budgets_fits_once_and_its_second_run_computes_nothing(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    typed = ("-m", *small, "selector=random", "budget=5,10", "seed=0,1", "finetune.batch_size=32")
    first = cells.command(*typed)
    assert (first.code, first.refusals) == (0, [])
    shared = {
        "pool": 1, "task": 1, "leaks": 1, "features": 2, "fit": 1, "scores": 1, "head": 1,
        "selection": 4, "warmup": 4, "held_out": 5, "finetune": 4, "evaluate": 4,
    }  # fmt: skip
    assert ran(tmp_path) == shared
    assert "citation_intent" in first.out
    last = first.out.splitlines()[-1]
    assert last.startswith("4 runs in ") and len(list(Path(last[10:]).glob("*/record.json"))) == 4
    published = [tmp_path / "results" / f"leaderboard.{kind}" for kind in ("md", "csv", "html")]
    before = [path.read_bytes() for path in published]
    second = cells.command(*typed)
    assert (second.code, ran(tmp_path)) == (0, shared)
    assert [path.read_bytes() for path in published] == before


def test_a_sweep_over_methods_reads_pool_and_task_once(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    ended = cells.command("-m", *small, "until=select", "selector=gotd,dsir,random")
    assert (ended.code, ended.refusals) == (0, [])
    assert "citation_intent: 3 methods, 1 seeds: macro_f1: shows nothing: one seed" in ended.err
    assert {record.axes.selector for record in read_records(tmp_path / "results")} == {
        "gotd", "dsir", "random",
    }  # fmt: skip
    assert {stage: n for stage, n in ran(tmp_path).items() if stage in {"pool", "task", "leaks"}} == {
        "pool": 1, "task": 1, "leaks": 1,
    }  # fmt: skip


def test_three_failing_cells_of_eight_leave_five_results_and_are_all_that_runs_again(
    small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, plan = {6, 9, 12}, tmp_path / "failing.json"
    plan.write_text(json.dumps(sorted(failing)))
    typed = ("-m", *small, "selector=random", "selector._target_=planted.Planted", "until=select",
             "runtime.extensions=[planted]")  # fmt: skip
    typed = (*typed, "budget=" + ",".join(map(str, range(5, 13))))
    monkeypatch.setenv("PLANTED", str(plan))

    first = cells.command(*typed)
    records = read_records(tmp_path / "results")
    assert first.code == 1, first.err
    assert {r.axes.budget for r in records if r.status == "done"} == set(range(5, 13)) - failing
    assert {r.axes.budget for r in records if r.status == "failed"} == failing
    assert len([line for line in first.refusals if line.startswith("failed:")]) == 3
    assert "3 of 8 cells failed; the same command runs only these again" in first.err
    assert "Traceback" not in first.out + first.err
    kept = list((tmp_path / "runs").rglob("traceback.txt"))
    assert len(kept) == 3 and all("planted failure" in path.read_text() for path in kept)
    assert ran(tmp_path)["selection"] == 5

    before = len(executions(tmp_path / "cache"))
    plan.write_text("[]")
    second = cells.command(*typed)
    assert (second.code, second.refusals) == (0, []), second.err
    assert ran(tmp_path, before) == {"selection": 3}
    assert {r.status for r in read_records(tmp_path / "results")} == {"done"}


def test_a_cell_that_fails_later_does_not_take_the_place_of_its_result(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    typed = (*small, "selector=random", "until=select")
    assert cells.command(*typed).code == 0
    (result,) = read_records(tmp_path / "results")
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    assert cells.command(*typed, "runtime.cache=only").code == 1
    assert read_records(tmp_path / "results") == [result]
