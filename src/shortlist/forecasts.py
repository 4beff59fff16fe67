"""`shortlist plan` for a sweep: its cells, the machine, and the table of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shortlist.overrides import all_cells, composed, path_of
from shortlist.pipeline.build import build
from shortlist.pipeline.machines import Machine, named_machine, this_machine
from shortlist.pipeline.workload import Stage, planned
from shortlist.runtime import Runtime

MODEL = "model=minilm"  # whose passes and steps are measured


@dataclass(frozen=True)
class SweepForecast:
    """What a sweep would take.

    Attributes:
        cells: number of cells.
        seeds: number of seeds, each in every cell.
        machine: where it would run.
        stages: its stages.
        known: whether the sizes of all inputs were read from files.
    """

    cells: int
    seeds: int
    machine: Machine
    stages: dict[str, Stage]
    known: bool

    @property
    def seconds(self) -> float:
        """Time of all stages, one after the other."""
        return sum(stage.seconds for stage in self.stages.values())

    @property
    def gpu_hours(self) -> float:
        """Hours of the accelerator; 0 where there is none."""
        on = self.machine.gpu
        return sum(stage.seconds for stage in self.stages.values() if stage.gpu and on) / 3600

    def facts(self) -> dict[str, Any]:
        """Returns the forecast as plain data."""
        stages = {name: asdict(stage) for name, stage in self.stages.items()}
        return {
            "cells": self.cells, "machine": asdict(self.machine), "stages": stages,
            "seconds": self.seconds, "gpu_hours": self.gpu_hours,
            "rates": "estimated" if self.machine.estimated else "measured",
            "sizes": "read" if self.known else "published",
        }  # fmt: skip


def forecast_run(typed: Sequence[str], on: str | None) -> SweepForecast:
    """Returns what the cells of a command would take.

    Args:
        typed: overrides, axes included; an experiment brings its own.
        on: name of a machine; None for this one, whose rates are measured.

    Raises:
        DoesNotFit: a stage or the artifacts do not fit.
        ShortlistError: a setting is wrong, or an input is missing.
    """
    machine = named_machine(on) if on else None
    cells, seeds = all_cells(typed)
    found: list[Any] = []
    for cell in cells:
        with composed(cell) as config:
            name = ", ".join(text.partition("=")[2] for text in cell[:3])
            found.append((name, config, dict(config.hydra.runtime.choices)))
    if machine is None:
        with composed([MODEL]) as config:
            home = build(config.model, "model", None).directory()
        first = found[0][1]
        runtime = Runtime(first.runtime.accelerator.name, first.runtime.threads, progress=False)
        runtime.settle()
        machine = this_machine(path_of(first, "cache"), home, runtime)
    stages, known = planned(found, seeds, machine)
    return SweepForecast(len(cells) * seeds, seeds, machine, stages, known)


def render(found: SweepForecast) -> str:
    """Returns the forecast as a table, with what its numbers rest on."""
    head = (
        f"{'stage':<22}{'computed':>9}{'hits':>7}{'minutes':>11}{'GiB memory':>12}{'GiB disk':>10}"
    )
    lines = [head]
    for name, stage in found.stages.items():
        lines.append(
            f"{name:<22}{stage.computed:>9,}{stage.hits:>7,}{stage.seconds / 60:>11,.1f}"
            f"{stage.memory / 2**30:>12,.1f}{stage.disk / 2**30:>10,.1f}"
        )
    stages = found.stages.values()
    memory, disk = max(s.memory for s in stages), sum(s.disk for s in stages)
    computed, hits = sum(s.computed for s in stages), sum(s.hits for s in stages)
    lines.append(
        f"{'all':<22}{computed:>9,}{hits:>7,}{found.seconds / 60:>11,.1f}{memory / 2**30:>12,.1f}"
        f"{disk / 2**30:>10,.1f}"
    )
    machine = found.machine
    gpu = f", {found.gpu_hours:,.1f} GPU hours" if machine.gpu else ""
    lines.append(f"{found.cells:,} cells on {machine.name or 'this machine'}{gpu}")
    lines.append(
        f"rates: {machine.source}{'; an estimate, not measured' if machine.estimated else ''}"
    )
    sizes = "read from the files" if found.known else "published, an estimate (published.yaml)"
    lines.append(f"sizes: {sizes}; diagnostics and downloads are not in it")
    return "\n".join(lines)
