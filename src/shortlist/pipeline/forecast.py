"""What a selection would compute: its stages, which of them are stored, and how long the others
take.

Pool and target are read, because every key depends on their content; nothing else is computed, but
the vectors of a sample, whose time is measured.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from shortlist.errors import Missing
from shortlist.pipeline.candidates import choose_from
from shortlist.pipeline.cascade import reason_against
from shortlist.pipeline.diagnostics import (
    advise_budget,
    check_assumption,
    check_sensitivity,
    compare_with_baseline,
    draw_map,
    explain_selection,
    explainers_of,
    find_near_copies,
    trace_front,
)
from shortlist.pipeline.loading import load_data
from shortlist.pipeline.prefilter import prefilter
from shortlist.pipeline.scoring import (
    featurize,
    fit,
    methods_of,
    ready,
    score,
    targets_of,
    vectors,
)
from shortlist.pipeline.selection import rank, select
from shortlist.pipeline.stage import Notes

if TYPE_CHECKING:
    from shortlist.core import Corpus
    from shortlist.featurizers.base import Featurizer
    from shortlist.pipeline.candidates import Candidates, CellData
    from shortlist.pipeline.data import TaskSplits
    from shortlist.pipeline.scoring import Method
    from shortlist.pipeline.stage import Cell

SAMPLE = 64  # documents whose vectors are computed, after as many to open and warm up the model


@dataclass(frozen=True)
class Step:
    """A stage of the plan.

    Attributes:
        stage: its name, and what it works on.
        state: `stored`, `read` (pool and target are always read for a plan), `to compute`, or
            `waiting`: its key depends on a stage that is to be computed.
        seconds: expected wall-clock time, NaN where it is not known.
        bytes: expected memory or room on disk, NaN likewise.
        note: what the numbers are for.
    """

    stage: str
    state: Literal["stored", "read", "to compute", "waiting"]
    seconds: float = math.nan
    bytes: float = math.nan
    note: str = ""


def forecast_selection(cell: Cell) -> tuple[Step, ...]:
    """Returns the stages of a selection in their order.

    Raises:
        ShortlistError: pool or target cannot be read, or the work would not fit into memory.
    """
    return tuple(_steps(cell))


def _steps(cell: Cell) -> Iterator[Step]:
    begin = time.perf_counter()
    data = load_data(cell)
    pool, target = len(data.pool.corpus), {n: len(t.target) for n, t in data.targets.items()}
    yield Step(
        "pool, target, leaks",
        "read",
        time.perf_counter() - begin,
        note=f"{pool:,} documents; {', '.join(f'{n}: {k:,} texts' for n, k in target.items())}",
    )
    stored = cell.only_stored()
    documents = _if_stored(lambda: prefilter(stored, data))
    found = None if documents is None else _if_stored(lambda: choose_from(stored, data, documents))
    if documents is None or found is None:
        yield Step("prefilter", "to compute", note="everything else waits for it")
        return
    parts, complete = cell.parts, True
    methods = methods_of(
        parts.selector, parts.featurizer, cell.settings["selector"], cell.settings["featurizer"]
    )
    for name in targets_of(parts.target_spec, parts.selector).weights:
        for member, method in methods.items():
            steps, done = _method_steps(stored, data, found, method, data.targets[name])
            for step in steps:
                yield replace(step, stage=f"{step.stage}{f' ({member})' if member else ''}")
            complete = complete and done
    ranking = chosen = None
    if complete:
        ranking = _if_stored(
            lambda: rank(stored, data, found, parts.selector, cell.settings["selector"])
        )
        chosen = ranking and _if_stored(lambda: select(stored, ranking))
    yield Step("selection", "stored" if chosen else "to compute" if complete else "waiting")
    if parts.check.assumption:
        yield from _steps_of("assumption", lambda: check_assumption(stored, documents, data.task))
    yield from _diagnostic_steps(stored, data, found, methods, ranking, chosen)


def _diagnostic_steps(
    cell: Cell,
    data: CellData,
    candidates: Candidates,
    methods: Mapping[str, Method],
    ranking: Any,
    selected: Any,
) -> Iterator[Step]:
    """Yields what `diagnostics.diagnose` and `diagnostics.describe_selection` compute; `ranking`
    and `selected` are None where they are not stored.
    """
    parts, report = cell.parts, cell.parts.runtime.report
    spec = targets_of(parts.target_spec, parts.selector)
    toward = parts.selector.traits.target_aware and bool(spec.toward)
    if report:
        yield from _steps_of("near copies", lambda: find_near_copies(cell, candidates))

    def explained() -> Any:
        copies = find_near_copies(cell, candidates)
        return explain_selection(cell, explainers_of(ranking), ranking, selected, copies)

    def drawn() -> Any:
        explainers = explainers_of(ranking)
        return draw_map(cell, explainers, ranking, selected) if explainers else Notes()

    others: dict[str, tuple[bool, Callable[[], Any]]] = {
        "sensitivity": (
            any(method.selector.has_sensitivity for method in methods.values()),
            lambda: check_sensitivity(cell, ranking),
        ),
        "Pareto front": (len(spec.weights) == 2, lambda: trace_front(cell, ranking, selected)),
        f"baseline ({parts.ablation.name})" if parts.ablation else "baseline": (
            parts.ablation is not None,
            lambda: compare_with_baseline(cell, data, ranking, selected),
        ),
        "recommended budget": (
            parts.advice is not None and toward,
            lambda: advise_budget(cell, ranking),
        ),
        "reasons": (report, explained),
        "map": (report and toward, drawn),
    }
    for name, (applies, stage) in others.items():
        if applies and selected is None:
            yield Step(name, "waiting")
        elif applies:
            yield from _steps_of(name, stage)
    if report:
        yield Step("datasheet", "to compute", note="written anew from the above")


def _steps_of(name: str, stage: Callable[[], Any]) -> Iterator[Step]:
    """Yields the state of a diagnostic; nothing where it turns out not to apply."""
    found = _if_stored(stage)
    if found is None:
        yield Step(name, "to compute")
    elif not isinstance(found, Notes) or found.stages:
        yield Step(name, "stored")


def _method_steps(
    cell: Cell, data: CellData, candidates: Candidates, method: Method, target: TaskSplits
) -> tuple[list[Step], bool]:
    """Returns the steps of one method for one target, and whether all of them are stored."""
    prepared = _if_stored(lambda: ready(cell, data, candidates, method, target))
    if prepared is None:
        steps = [
            Step("model", "to compute", note="training or learning that the vectors need first"),
            *(Step(stage, "waiting") for stage in ("features", "fit", "scores")),
        ]
        return steps, False
    unprepared, method = method, prepared[0]
    steps, stored = list[Step](), list[Any]()
    corpora = {
        "pool": (candidates.corpus, candidates.documents.fingerprint),
        "target": (target.target, target.fingerprint("target")),
    }
    rate: tuple[float, float, int] | None = None
    columns = 0
    cascade, both = cell.parts.cascade, None
    if cascade is not None and reason_against(cell, len(candidates.corpus)) is not None:
        cascade = None
    for what, (corpus, fingerprint) in corpora.items():
        documents, part = len(corpus), ""
        if cascade is not None and what == "pool":
            both = found = _if_stored(
                lambda: vectors(cell, data, candidates, unprepared, target, "target")
            )
            most = cascade.sample + int(cascade.factor * cell.parts.budget.amount)
            documents, part = min(documents, most), f"at most, of {documents:,} (cascade), "
        else:
            found = _if_stored(
                lambda c=corpus, f=fingerprint: featurize(cell, method, c, f, "pool")
            )
        if found is not None:
            stored.append(found[0])
            columns = _columns(found[0].features.values)
            steps.append(Step(f"features of the {what}", "stored"))
            continue
        rate = rate or _measured(method.featurizer, candidates.corpus, cell)
        opening, speed, columns = rate
        steps.append(
            Step(
                f"features of the {what}",
                "to compute",
                documents / speed + (opening if what == "pool" else 0),
                4.0 * len(corpus) * columns,
                f"{documents:,} documents {part}at {speed:,.0f} a second, measured on {SAMPLE}; "
                f"{columns:,} columns on disk"
                if columns
                else "the method reads none",
            )
        )
    if both is not None:  # the target's vectors have one dimension more, too
        stored = list(both[:2])
    solve = method.selector.forecast(len(candidates.corpus), len(target.target), columns)
    seconds, memory = (solve.seconds, float(solve.bytes)) if solve else (math.nan, math.nan)
    note = solve.sentence if solve else ""
    if len(stored) < 2:
        return [
            *steps,
            Step("fit", "waiting", seconds, memory, note),
            Step("scores", "waiting"),
        ], False
    fitted = _if_stored(lambda: fit(cell, method, stored[1], stored[0]))
    if fitted is None:
        return [
            *steps, Step("fit", "to compute", seconds, memory, note), Step("scores", "waiting"),
        ], False  # fmt: skip
    scored = _if_stored(lambda: score(cell, method, fitted, stored[0]))
    state = "to compute" if scored is None else "stored"
    return [*steps, Step("fit", "stored"), Step("scores", state)], scored is not None


def _if_stored(stage: Callable[[], Any]) -> Any:
    """Returns what `stage` returns, or None where the store lacks an artifact that it needs."""
    try:
        return stage()
    except Missing:
        return None


def _columns(values: Any) -> int:
    return int(values.shape[1])


def _measured(featurizer: Featurizer, corpus: Corpus, cell: Cell) -> tuple[float, float, int]:
    """Returns the seconds to open the featurizer, documents a second, and columns of a vector."""
    runtime = replace(cell.parts.runtime, progress=False)
    rows = np.unique(np.linspace(0, len(corpus) - 1, SAMPLE).astype(np.int64))
    sample = corpus.take(rows)
    seconds: list[float] = []
    columns = 0
    for _ in range(2):
        with tempfile.TemporaryDirectory() as directory:
            begin = time.perf_counter()
            folder = Path(directory) / "features"
            folder.mkdir()
            values, _ = featurizer.compute(sample, folder, runtime)
            seconds.append(time.perf_counter() - begin)
            columns = _columns(values)
            del values
    return max(seconds[0] - seconds[1], 0.0), len(rows) / max(seconds[1], 1e-6), columns
