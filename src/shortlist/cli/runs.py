"""The commands on cells and their records: `run`, `sweep`, `explain`, `plan`, `search`,
`leaderboard`, `power`, `datamodel`, `ensemble`, `report`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from shortlist.cli.terminal import DONE, REFUSED, console, shown
from shortlist.errors import Missing

if TYPE_CHECKING:
    from shortlist.pipeline.stage import Cell


def run(options: argparse.Namespace) -> None:
    """Runs one cell."""
    _hydra([*options.overrides, *options.hydra])


def sweep(options: argparse.Namespace) -> None:
    """Runs the cells of a grid."""
    _hydra(["--multirun", *options.overrides, *options.hydra])


def explain(options: argparse.Namespace) -> None:
    """Prints which file set each option and value."""
    _hydra(["--explain", *options.overrides, *options.hydra])


def _hydra(arguments: Sequence[str]) -> None:
    """Runs `run.py` with these arguments."""
    from shortlist.pipeline.hydra_app import main as run_app

    sys.argv = ["shortlist", *arguments]
    run_app()


def leaderboard(options: argparse.Namespace) -> int:
    """Returns the exit code of the leaderboard's own command line."""
    from shortlist.leaderboard.__main__ import main as leaderboard

    return leaderboard([*options.arguments, *options.hydra])


def power(options: argparse.Namespace) -> None:
    """Prints the smallest differences that an experiment can show."""
    from shortlist.leaderboard.power import powers
    from shortlist.overrides import composed, without_axes
    from shortlist.pipeline.sweeps import designs
    from shortlist.store.records import read_records

    typed = [*options.overrides, *options.hydra]
    with composed(without_axes(typed)) as config:
        planned = designs(config, typed)
    results = options.results or Path("results")
    records = read_records(results, [design.task for design in planned])
    for design in planned:
        found = powers(records, design, options.difference)
        print(design)
        if not found:
            print(
                f"  {results}/records has no two methods with two seeds on this task: run "
                "seed=0,1 of two methods first"
            )
        for one in found:
            needed = "more than 1,000" if one.seeds_needed is None else f"{one.seeds_needed:,}"
            print(
                f"  {one}; {options.difference:g} needs {needed} seeds ({one.records} records, "
                f"{one.items:,} test items)"
            )


def datamodel(options: argparse.Namespace) -> None:
    """Prints and writes whether the scores of methods predict the benefit of random subsets."""
    import tempfile

    from shortlist.overrides import composed
    from shortlist.pipeline.cell import open_cell
    from shortlist.pipeline.datamodel import markdown, measure_subsets, plain, score_method
    from shortlist.store.atomic import write_text

    typed = [*options.overrides, *options.hydra]
    named = [text.removeprefix("selector=") for text in typed if text.startswith("selector=")]
    methods = (named[-1] if named else "gotd,random").split(",")
    given = {text.partition("=")[0] for text in typed}
    common = [text for text in typed if not text.startswith("selector=")]
    for name, value in (("until", "warmup"), ("check.probe", "true"), ("advice", "null")):
        common += [] if name in given else [f"{name}={value}"]

    def progress(done: int) -> None:
        print(f"subset {done} of {options.subsets}", file=sys.stderr)

    with tempfile.TemporaryDirectory() as directory:

        def opened(method: str) -> Cell:
            with composed([*common, f"selector={method}"]) as config:
                return open_cell(config, dict(config.hydra.runtime.choices), Path(directory))

        cell = opened("random")
        subsets = measure_subsets(cell, options.subsets, progress)
        scored = [score_method(opened(method), subsets, method) for method in methods]
    page = markdown(cell, subsets, scored)
    if options.out is not None:
        write_text(options.out, page)
        numbers = json.dumps(plain(cell, subsets, scored), indent=2)
        write_text(options.out.with_suffix(".json"), f"{numbers}\n")
    print(page)


def report(options: argparse.Namespace) -> None:
    """Prints the datasheet of a run."""
    run = options.run
    if run is None:
        runs = sorted(Path("outputs").glob("*/report.md"), key=lambda path: path.stat().st_mtime)
        if not runs:
            raise Missing("report: expected a run in outputs/, found none; name its directory")
        run = runs[-1].parent
    page = run / "report.md" if run.is_dir() else run.with_name("report.md")
    if not page.is_file():
        raise Missing(f"report: expected {page}, found none; name the directory of a run")
    text = page.read_text(encoding="utf-8")
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        console(sys.stdout).print(Markdown(text))
    else:
        print(text)
    print(shown(page.with_name("report.html").absolute()), file=sys.stderr)


def plan(options: argparse.Namespace) -> None:
    """Prints what a sweep would take on a machine; of one cell, its trainings batch by batch."""
    import tempfile

    from shortlist.overrides import composed, without_axes

    typed = [*options.overrides, *options.hydra]
    typed = [text if "=" in text or text[:1] in "~+" else f"experiment={text}" for text in typed]
    swept = len(without_axes(typed)) < len(typed)
    if options.on or swept or any(text.startswith("experiment=") for text in typed):
        from shortlist.forecasts import forecast_run, render

        found = forecast_run(typed, options.on)
        print(json.dumps(found.facts(), indent=1) if options.json else render(found))
        return
    from shortlist.pipeline.cell import open_cell
    from shortlist.pipeline.training_plan import training_plans

    with composed(typed) as config, tempfile.TemporaryDirectory() as directory:
        choices = dict(config.hydra.runtime.choices)
        plans = list(training_plans(open_cell(config, choices, Path(directory))))
    if options.json:
        print(json.dumps([{**asdict(plan), "measured_on": note} for plan, note in plans], indent=1))
        return
    for plan, note in plans:
        print(f"{plan.what}, {note}", *plan.lines(), sep="\n  ")


def search(options: argparse.Namespace) -> int:
    """Runs the trials that are missing and the cell of the best one; returns the exit code."""
    from shortlist.search import search as run_search
    from shortlist.trials import Trial

    def report(trial: Trial, best: Trial | None, metric: str) -> None:
        told = {
            "finished": f"{metric} {trial.value or 0:.4f} after {trial.epochs} epochs",
            "pruned": f"ended after epoch {trial.epochs} with {metric} {trial.value or 0:.4f}",
            "failed": f"failed: {trial.reason}",
        }[trial.state]
        known = f" (best: {best.value or 0:.4f}, trial {best.number})" if best else ""
        print(f"trial {trial.number}: {' '.join(trial.settings)}: {told}{known}", file=sys.stderr)

    found = run_search([*options.overrides, *options.hydra], report)
    facts, record = found.facts, found.record
    print(
        f"{facts['trials']} trials: {facts['finished']} finished, {facts['pruned']} ended early, "
        f"{facts['failed']} failed; best: trial {facts['best_trial']}, validation {facts['metric']} "
        f"{facts['best_validation']:.4f}"
    )
    if record.status != "done":
        print(f"failed: {record.reason}", file=sys.stderr)
    for metric in record.metrics:
        if metric.split == "test" and metric.primary:
            print(f"test {metric.name} {metric.value:.4f} over {metric.n:,} items")
    print(shown(found.directory / "record.json"))
    print(found.command)
    return DONE if record.status == "done" else REFUSED


def ensemble(options: argparse.Namespace) -> None:
    """Writes the records of ensembles and prints their gains."""
    from shortlist.overrides import composed, path_of
    from shortlist.pipeline.ensembling import GAIN, ensembles
    from shortlist.stats.intervals import normal_interval
    from shortlist.store.records import write_record

    with composed(options.hydra) as config:
        results = options.results or path_of(config, "results")
    for record in ensembles(results, options.hydra, composed, options.over):
        path = write_record(results, record)
        ((over, numbers),) = record.config["ensemble"].items()
        axes, members = record.axes, ", ".join(map(str, numbers))
        print(f"{axes.task}, {axes.selector}, {axes.budget:,} {axes.budget_unit}, {over} {members}")
        for metric in record.metrics:
            gain = record.metric(f"{metric.name}_{GAIN}")
            if gain is not None:
                low, high = normal_interval(gain.value, gain.stderr or 0.0)
                print(
                    f"  {metric.name:<12} {metric.value:.4f}, {gain.value:+.4f} against the mean of its "
                    f"cells (95 %: {low:+.4f} to {high:+.4f}, paired over {gain.n:,} items)"
                )
        print(f"  {shown(path.absolute())}")
