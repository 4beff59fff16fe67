"""A warm-up by two processes is that of one: same selection, same losses, same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
import toy
from safetensors.numpy import load_file

TYPED = (
    "warmup.hidden_dropout=0.0", "warmup.attention_dropout=0.0", "warmup.epochs=3",
    "warmup.batch_size=3", "budget=11",
)  # fmt: skip


def warmed(home: Path, model: Path, *typed: str) -> tuple[dict[str, Any], Any, Any]:
    """The record of a cell until its warm-up, its losses, and the weights after it."""
    data = toy.write_data(home / "data")
    settings = (*cells.settings(home, data, model), *cells.GOTD, "until=warmup", *typed)
    ended = cells.command(*settings)
    assert ended.code == 0, ended.err[-3000:]
    record = json.loads(next((home / "runs").glob("*/record.json")).read_text())
    folder = next((home / "cache" / "warmup").iterdir())
    losses = np.array(json.loads((folder / "curve.json").read_text())["losses"])
    return record, losses, load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> tuple[dict[str, Any], Any, Any]:
    """The warm-up by one process."""
    return warmed(tmp_path_factory.mktemp("alone"), tiny_model, *TYPED)


@pytest.mark.whole
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_select_and_learn_what_one_does(
    tmp_path: Path, tiny_model: Path, alone: tuple[dict[str, Any], Any, Any], strategy: str
) -> None:
    one, losses, weights = alone
    shared = ("runtime.processes=2", f"runtime.strategy={strategy}")
    two, others, parts = warmed(tmp_path, tiny_model, *TYPED, *shared)
    assert one["key"] == two["key"]
    assert one["selection"]["sha256"] == two["selection"]["sha256"]
    assert len(losses) == 12 and np.ptp(losses) > 0.01
    assert len(others) == 12
    # Sums of float32 in another order, over twelve steps of AdamW.
    np.testing.assert_allclose(others, losses, rtol=1e-4)
    assert weights.keys() == parts.keys()
    for name, weight in weights.items():
        np.testing.assert_allclose(parts[name], weight, atol=1e-4, err_msg=name)


@pytest.mark.whole
def test_a_rate_that_is_to_be_found_needs_one_process(tmp_path: Path, tiny_model: Path) -> None:
    typed = ("warmup.learning_rate=find", "runtime.processes=2", "until=warmup", "selector=random")
    data = toy.write_data(tmp_path / "data")
    ended = cells.command(*cells.settings(tmp_path, data, tiny_model), *typed)
    assert ended.code == 1 and "find it with one process first" in ended.err
