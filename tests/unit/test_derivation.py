"""What a record's overrides and inputs determine, on committed records with one field changed and the
key and the digest made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist.core import Record
from shortlist.derivation import composes, derivation_problems
from shortlist.leaderboard.submission import CELL_VERSION, problems
from shortlist.store.keys import key as make_key
from shortlist.store.records import read_file

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "results/records"


def record(task: str, selector: str) -> Record:
    """The first record of a task and a selector."""
    return read_file(sorted((RECORDS / task / selector).glob("*.json"))[0])


NEW = record("amazon_helpfulness", "dsir")  # no name of a setting has changed since
OLD = record("cola", "gotd")


def edited(given: Record, edit: Callable[[dict[str, Any]], None]) -> Record:
    """Returns the record after an edit, with its key and digest made again as a forger would."""
    raw = json.loads(given.to_json())
    edit(raw)
    reads = {name: value for name, value in raw["inputs"].items() if name.startswith("read.")}
    raw["key"], raw["digest"] = make_key("cell", CELL_VERSION, raw["config"], reads), ""
    return Record.from_json(json.dumps(raw)).sealed()


def stage(raw: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in raw["stages"] if one["stage"] == name)


def other_key(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda raw: stage(raw, name).update(key="0123456789abcdef")


def both(raw: dict[str, Any]) -> None:
    """Another featurizer in the axes and in the configuration."""
    raw["axes"]["featurizer"] = "unigrams"
    raw["config"]["featurizer"]["max_n"] = 1


@pytest.mark.parametrize("given", [NEW, OLD], ids=["new", "old"])
def test_a_committed_record_has_no_problem(given: Record) -> None:
    assert composes(ROOT / "conf") and not composes(ROOT / "src")
    assert list(problems(given, ROOT / "conf", derivation_problems)) == []


@pytest.mark.parametrize(
    ("given", "edit", "message"),
    [
        (NEW, both, "featurizer.max_n is 1, but its overrides and conf/ give 2"),
        (NEW, lambda r: r["axes"].update(model="distilbert"), "model is distilbert"),
        (NEW, lambda r: r["config"]["warmup"].update(epochs=9), "warmup.epochs is 9"),
        (NEW, lambda r: r["config"].pop("leaks"), "leaks is null, but its overrides"),
        (NEW, lambda r: r["config"].update(more={"a": 1}), "more is"),
        (NEW, lambda r: r.update(overrides=r["overrides"][:1]), "but its overrides and conf/ give"),
        (NEW, lambda r: r.update(overrides=[*r["overrides"], "selector=nothing"]), "compose to no"),
        (NEW, other_key("pool"), "stage pool has the key 0123456789abcdef"),
        (NEW, other_key("task"), "stage task has the key"),
        (NEW, other_key("leaks"), "stage leaks has the key"),
        (NEW, other_key("fit"), "stage fit has the key"),
        (NEW, other_key("scores"), "stage scores has the key"),
        (NEW, other_key("selection"), "stage selection has the key"),
        (NEW, other_key("warmup"), "stage warmup has the key"),
        (NEW, other_key("held_out"), "stage held_out has the key"),
        (OLD, other_key("scores"), "stage scores has the key"),
        (OLD, lambda r: r["inputs"].update(task_test="0" * 24), "stage leaks has the key"),
        (NEW, lambda r: r["selection"].update(sha256="0" * 64), "stage warmup has the key"),
        (NEW, lambda r: r["metrics"][1].update(stderr=r["metrics"][1]["stderr"] * 1.01),
         "metric accuracy has the standard error"),
        (NEW, lambda r: r.update(selection={}), "it lacks selection.sha256"),
        (NEW, lambda r: r["inputs"].pop("task_test"), "it lacks the fingerprint inputs.task_test"),
        (NEW, lambda r: r["inputs"].update(task_test="odd"), "it lacks the fingerprint inputs.task_t"),
        (NEW, lambda r: r["inputs"].pop("task_validation"), "the fingerprint inputs.task_validation"),
        (NEW, lambda r: r["counts"].pop("warmup_documents"), "it lacks counts.warmup_documents"),
        (NEW, lambda r: r["config"].pop("warmup"), "warmup is null, but its overrides"),
        (NEW, lambda r: r["config"].update(task=7), "task is 7, but its overrides"),
        (NEW, lambda r: r.update(config={}), "but its overrides and conf/ give"),
        (NEW, lambda r: r["counts"].update(warmup_steps=1), "the warm-up took 1 steps"),
        (NEW, lambda r: r["counts"].update(held_out_not_measured=1), "texts were measured and 1 not"),
    ],
)  # fmt: skip
def test_what_the_overrides_and_inputs_contradict_is_named(
    given: Record, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    found = list(derivation_problems(edited(given, edit)))
    assert any(message in one for one in found), found
    assert all("\n" not in one and len(one) < 500 for one in found)


def test_the_seed_is_that_of_the_overrides_or_the_default() -> None:
    def other(raw: dict[str, Any]) -> None:
        raw["axes"]["seed"] = raw["config"]["seed"] = 7

    def unset(raw: dict[str, Any]) -> None:
        raw["overrides"] = [one for one in raw["overrides"] if not one.startswith("seed=")]

    assert NEW.axes.seed != 0
    found = list(derivation_problems(edited(NEW, other)))
    assert any("seed is 7, but its overrides set seed=" in one for one in found)
    assert any("stage warmup has the key" in one for one in found)
    found = list(derivation_problems(edited(NEW, unset)))
    assert found[0].startswith(f"seed is {NEW.axes.seed}, but its overrides and conf/ give 0")
