"""The committed results: every record is whole, stands where it says, and gives the tables beside it."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist.config import HASHED
from shortlist.core import UNITS, Record
from shortlist.leaderboard import publish
from shortlist.leaderboard.published import read_published
from shortlist.leaderboard.reproduction import reproduction_markdown, reproductions
from shortlist.leaderboard.significance import NOISE_FILE, read_noise_floors
from shortlist.leaderboard.submission import problems
from shortlist.store.keys import key
from shortlist.store.records import read_record, read_records, record_path

RESULTS = Path(__file__).parents[2] / "results"
# Studies stand apart whose rows are not methods, or whose cells end with the warm-up.
DIRECTORIES = (RESULTS, RESULTS / "practices", RESULTS / "probe")
PATHS = sorted(path for place in DIRECTORIES for path in place.glob("records/**/*.json"))


def test_there_are_records() -> None:
    assert len(PATHS) > 100  # the laws below hold of none at all, too


@functools.cache
def read(path: Path) -> Record:
    return Record.from_json(path.read_text(encoding="utf-8"))


def of_every_record(law: Callable[[Path], None]) -> Callable[[], None]:
    """A test that holds all records against a law, and fails with each that breaks it."""

    def test() -> None:
        broken = []
        for path in PATHS:
            try:
                law(path)
            except Exception as error:
                broken.append(f"{path.relative_to(RESULTS)}: {type(error).__name__}: {error}")
        if broken:
            told = [f"{len(broken)} of {len(PATHS)} records break this law:", *broken]
            pytest.fail("\n".join(told), pytrace=False)

    return test


@of_every_record
def test_a_record_stands_where_its_contents_say(path: Path) -> None:
    place = path.parents[3]
    assert record_path(place, read_record(place, path)) == path


@of_every_record
def test_a_record_is_written_as_the_program_writes_it(path: Path) -> None:
    record = read(path)
    assert record.to_json() == path.read_text(encoding="utf-8")


@of_every_record
def test_the_key_of_a_record_is_that_of_its_configuration(path: Path) -> None:
    record = read(path)
    assert key("cell", 2, record.config, record.reads) == record.key


@of_every_record
def test_a_record_holds_the_hashed_groups_and_no_others(path: Path) -> None:
    record = read(path)
    # A group that came later is absent from earlier records; one that left is not hashed any more.
    assert set(record.config) <= set(HASHED)
    assert {"task", "pool", "selector", "model", "budget", "seed"} <= set(record.config)


@of_every_record
def test_the_axes_of_a_record_agree_with_its_configuration(path: Path) -> None:
    record = read(path)
    axes, config = record.axes, record.config
    assert (axes.budget, axes.budget_unit, axes.seed, record.until) == (
        config["budget"], config["budget_unit"], config["seed"], config["until"],
    )  # fmt: skip


@of_every_record
def test_a_done_record_has_one_primary_metric_and_another_says_why_not(path: Path) -> None:
    record = read(path)
    if record.status == "done" and record.until == "evaluate":
        assert len([metric for metric in record.metrics if metric.primary]) == 1
    elif record.status != "done":
        assert record.reason


@of_every_record
def test_every_number_is_in_the_range_of_its_unit(path: Path) -> None:
    record = read(path)
    for metric in record.metrics:
        low, high = UNITS[metric.unit]
        assert low <= metric.value <= high, metric
        assert metric.n > 0 and metric.protocol, metric


@of_every_record
def test_no_metric_of_a_record_stands_there_twice(path: Path) -> None:
    record = read(path)
    names = [(metric.name, metric.split) for metric in record.metrics]
    assert len(names) == len(set(names))


@of_every_record
def test_a_selection_has_the_size_of_its_budget_and_domains_that_add_up(path: Path) -> None:
    record = read(path)
    if record.status == "done":
        selection = record.selection
        assert sum(selection["domains"].values()) == selection["size"]
        if record.axes.budget_unit == "documents":
            # `vanilla` reads nothing, whatever the budget of the methods beside it.
            nothing = record.axes.selector == "vanilla"
            assert selection["size"] == (0 if nothing else record.axes.budget)


@of_every_record
def test_no_record_contains_a_path_of_its_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "/home/" not in text and "/root/" not in text and "/tmp/" not in text


def test_every_file_among_the_records_is_a_record() -> None:
    for place in DIRECTORIES:
        files = {path for path in (place / "records").rglob("*") if path.is_file()}
        assert files == set(place.glob("records/*/*/*.json"))


@of_every_record
def test_a_record_keeps_every_rule_of_a_submission(path: Path) -> None:
    record = read(path)
    assert list(problems(record)) == []


@pytest.mark.whole
@pytest.mark.skipif(not PATHS, reason="no records yet")
def test_the_leaderboard_is_that_of_the_records_byte_for_byte(tmp_path: Path) -> None:
    for part in ("records", "reports"):
        if (RESULTS / part).is_dir():
            shutil.copytree(RESULTS / part, tmp_path / part)
    if (RESULTS / NOISE_FILE).exists():
        shutil.copy(RESULTS / NOISE_FILE, tmp_path)
    for made in publish(tmp_path):
        assert made.read_bytes() == (RESULTS / made.name).read_bytes(), made.name


def test_the_verdicts_are_those_of_the_records_byte_for_byte() -> None:
    records = read_records(RESULTS)
    for path in sorted(RESULTS.glob("verdicts/*.md")):
        table = read_published(RESULTS.parent / "baselines" / "published", path.stem)
        assert path.read_text(encoding="utf-8") == reproduction_markdown(
            table, reproductions(table, records)
        )


def test_the_noise_floors_are_of_metrics_that_were_measured() -> None:
    names = {metric.name for record in read_records(RESULTS) for metric in record.metrics}
    assert {metric for _, metric in read_noise_floors(RESULTS)} <= names


def git(*arguments: str) -> str | None:
    """What git says, or None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=RESULTS, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


@pytest.fixture(scope="module")
def base() -> str:
    """The commit at which this branch left the main one."""
    for branch in ("origin/main", "main", "origin/master", "master"):
        found = git("merge-base", "HEAD", branch)
        if found:
            return found.strip()
    pytest.skip("no main branch to compare with: a checkout without history")


def test_no_record_vanished_and_no_value_moved_since_the_merge_base(base: str) -> None:
    places = [f"{place.relative_to(RESULTS.parent)}/records" for place in DIRECTORIES]
    listed = git("ls-tree", "-r", "--name-only", "--full-tree", base, "--", *places)
    assert listed is not None
    current = {identity(json.loads(path.read_text(encoding="utf-8"))): path for path in PATHS}
    for name in listed.split():
        before = git("show", f"{base}:{name}")
        assert before is not None
        old = json.loads(before)
        if old["schema"] == 1:  # no longer read: deleted with the step to schema 3
            continue
        path = current.get(identity(old))
        assert path is not None, f"{name} vanished since {base[:10]}"
        new = json.loads(path.read_text(encoding="utf-8"))
        parts = ["status", "axes", "metrics", "selection"]
        if new["schema"] == old["schema"] and path == RESULTS.parent / name:
            parts += ["key", "config", "inputs"]
        for part in parts:
            assert new[part] == old[part], f"{part} of {name} moved since {base[:10]}"


def identity(raw: dict[str, Any]) -> str:
    """What names a record whatever its key: a migration renames settings and changes keys."""
    return json.dumps([raw["axes"], raw["until"], raw["started"], raw["metrics"]], sort_keys=True)
