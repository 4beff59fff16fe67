"""Forecasts of sweeps: what is counted once, what grows with what, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import toy

from shortlist.errors import DoesNotFit, InvalidInput
from shortlist.forecasts import SweepForecast, forecast_run, render
from shortlist.pipeline.machines import Shape, named_machine
from shortlist.pipeline.workload import shape_of

HUB = ("source=hub", "pool=paper_domains", "protocol=gotd_glue", "pool.prefilter.keep=2")


def forecast(*typed: str, on: str = "h200") -> SweepForecast:
    return forecast_run([*HUB, "task=rte", *typed], on)


def test_a_stage_is_computed_once_for_the_cells_that_share_it_and_seeds_train_anew() -> None:
    found = forecast("selector=gotd,dsir,vanilla", "budget=1000", "seed=0,1,2")
    assert found.cells == 9 and found.seeds == 3
    counts = {name: (stage.computed, stage.hits) for name, stage in found.stages.items()}
    assert counts["pool"] == (1, 8)
    assert counts["features"] == (2, 4)  # vectors and n-grams; vanilla reads none
    assert counts["warm-up"] == (6, 0)
    assert counts["tuning of the vectors"] == (1, 2)  # once for all seeds
    assert counts["fine-tuning"] == counts["evaluation"] == (9, 0)
    assert "9 cells on h200" in render(found) and "an estimate, not measured" in render(found)
    assert found.gpu_hours == pytest.approx(
        sum(stage.seconds for stage in found.stages.values() if stage.gpu) / 3600
    )


def test_time_grows_with_the_budget_and_not_the_memory() -> None:
    small, large = (
        forecast("selector=dsir", f"budget={n}").stages["warm-up"] for n in (10**5, 10**6)
    )
    assert large.seconds / small.seconds == pytest.approx(10, rel=0.02)
    assert large.memory == small.memory


@pytest.mark.whole
def test_on_this_machine_rates_are_measured_and_sizes_are_those_of_the_files(
    tmp_path: Path,
) -> None:
    data = toy.write_data(tmp_path / "data")
    places = [f"paths.{name}={tmp_path / name}" for name in ("cache", "results", "runs")]
    typed = ["task=citation_intent", "pool=domains", f"paths.data={data}", *places, "budget=10"]
    found = forecast_run([*typed, "selector=random,dsir", "runtime.accelerator=cpu"], None)
    assert (
        found.cells == 2 and found.known and not found.machine.estimated and not found.machine.gpu
    )
    assert found.machine.training > 1e9 and found.gpu_hours == 0
    assert found.stages["warm-up"].computed == 2 and "read from the files" in render(found)


def test_a_model_that_does_not_fit_is_refused_by_name() -> None:
    typed = ["experiment=gotd_table18_controls", "selector=dsir"]
    assert (
        forecast_run(typed, "h200").stages["warm-up"].memory > 43e9
    )  # weights, gradients, moments
    with pytest.raises(DoesNotFit, match=r"warm-up needs about .* GiB, a6000 has"):
        forecast_run(typed, "a6000")
    with pytest.raises(InvalidInput, match="--on h20: there is no such machine"):
        named_machine("h20")


@pytest.mark.parametrize(
    ("name", "millions"),
    [("bert_base", 110), ("distilbert", 66), ("gpt2", 124), ("gpt2_xl", 1558), ("gpt_neo", 2650)],
)
def test_published_sizes_give_the_number_of_weights(
    composed: Any, name: str, millions: int
) -> None:
    node = {"name": composed(f"model={name}").model.name}
    assert shape_of(node).parameters / 1e6 == pytest.approx(millions, rel=0.04)


def test_a_pass_counts_twice_the_weights_of_its_layers_and_attention() -> None:
    shape = Shape(768, 12, 30522)
    assert shape.flops(0, 0) == 2 * 12 * 12 * 768**2
    assert shape.flops(100, 1) - shape.flops(100, 0) == 2 * 30522 * 768


def test_the_command_takes_the_name_of_an_experiment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shortlist import forecasts
    from shortlist.cli import main

    asked: list[tuple[Sequence[str], str | None]] = []

    def recorded(typed: Sequence[str], on: str | None) -> SweepForecast:
        asked.append((typed, on))
        raise InvalidInput("enough")

    monkeypatch.setattr(forecasts, "forecast_run", recorded)
    assert main(["plan", "gotd_table3", "--on", "h200"]) == 1
    assert asked == [(["experiment=gotd_table3"], "h200")]
    assert "enough" in capsys.readouterr().err
