"""Toy records: everything a table is made from, without anything having been run."""

from collections.abc import Callable
from typing import Any

import pytest

from shortlist.core import Axes, Metric, Record, StageCost

AXES = {
    "task": "toy",
    "pool": "files",
    "selector": "gotd",
    "featurizer": "minilm",
    "model": "tiny",
    "budget": 100,
    "budget_unit": "documents",
    "seed": 0,
}


def make(accuracy: float = 0.5, **changes: Any) -> Record:
    """Returns a record; `changes` go to its axes or its fields, whichever has the name."""
    axes = {**AXES, **{name: value for name, value in changes.items() if name in AXES}}
    metrics = (
        Metric("mlm_loss_after", "nats", False, 3.0 - accuracy, 40, split="validation"),
        Metric("accuracy", "fraction", True, accuracy, 80, 0.01, protocol="aaaa1111", primary=True),
    )
    fields = {
        "key": "-".join(str(axes[name]) for name in ("task", "pool", "selector", "budget", "seed")),
        "status": "done",
        "metrics": metrics,
        "stages": (
            StageCost("pool", "p", 2.0, 90.0, "cpu", "preparation"),
            StageCost("features", "f", 3.0, 100.0, "cpu", "selection"),
            StageCost("selection", "s", 1.0, 100.0, "cpu", "selection"),
            StageCost("head", "h", 50.0, 100.0, "cpu", "training"),
            StageCost("warmup", "w", 20.0, 100.0, "cpu", "training"),
            StageCost("finetune", "t", 10.0, 100.0, "cpu", "training"),
            StageCost("evaluate", "e", 5.0, 100.0, "cpu", "evaluation"),
        ),
        "selection": {"size": 100, "unique": 90, "domains": {"news": 90}},
        "config": {"selector": {"epsilon": 0.1}, "seed": axes["seed"]},
        "overrides": (f"selector={axes['selector']}",),
    }
    if changes.get("status", "done") != "done":
        fields |= {"metrics": (), "stages": (), "selection": {}}
    fields |= {name: value for name, value in changes.items() if name not in AXES}
    return Record(axes=Axes(**axes), **fields)


@pytest.fixture
def record() -> Callable[..., Record]:
    """The maker of records."""
    return make
