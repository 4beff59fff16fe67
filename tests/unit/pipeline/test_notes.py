"""What stages note, and the fields of the record that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shortlist.core import Metric
from shortlist.pipeline.recorder import record_fields
from shortlist.pipeline.stage import Notes, Stage


def stage(name: str, role: Any, key: str = "k", seconds: float = 1.0) -> Stage:
    return Stage(
        stage=name,
        key=key,
        path=Path(),
        facts={},
        seconds=seconds,
        peak_mib=0.0,
        device="cpu",
        digest="",
        hit=False,
        role=role,
    )


def metric(name: str) -> Metric:
    return Metric(name=name, unit="fraction", higher_is_better=True, value=0.5, n=1)


def test_notes_are_joined_in_order_and_the_later_value_of_a_name_stands() -> None:
    first = Notes(counts={"a": 1, "b": 1}, warnings=("x",), selection={"fit": {"gap": 0.0}})
    second = Notes(counts={"b": 2}, warnings=("y",), inputs={"pool": "f"})
    joined = first + second
    assert joined.counts == {"a": 1, "b": 2} and joined.warnings == ("x", "y")
    assert joined.selection == {"fit": {"gap": 0.0}} and joined.inputs == {"pool": "f"}
    assert first.counts == {"a": 1, "b": 1}  # nothing is changed in place


def test_a_shared_stage_is_charged_once_to_the_role_that_used_it_first() -> None:
    notes = Notes(
        stages=(stage("features", "selection"), stage("features", "diagnostics"))
    ) + Notes(stages=(stage("features", "diagnostics", key="other"),))
    costs = record_fields(notes)["stages"]
    assert [(cost.key, cost.role) for cost in costs] == [
        ("k", "selection"),
        ("other", "diagnostics"),
    ]


def test_metrics_of_the_evaluation_stand_before_the_losses_and_warnings_are_kept_once() -> None:
    fields = record_fields(
        Notes(metrics=(metric("loss"),), warnings=("w",)),
        Notes(metrics=(metric("accuracy"),), warnings=("w", "v")),
    )
    assert [one.name for one in fields["metrics"]] == ["accuracy", "loss"]
    assert fields["warnings"] == ("w", "v") and fields["status"] == "done"
