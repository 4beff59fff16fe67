"""Agreement of the toxicity scorers of a table, prompt by prompt and on the order of methods."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from shortlist.core import Record, unpack_item_scores
from shortlist.errors import InvalidInput
from shortlist.leaderboard.decisions import LEAST
from shortlist.leaderboard.table import ComparisonTable
from shortlist.rendering.tables import TextCell, TextTable
from shortlist.stats.datamodel import rank_correlation
from shortlist.stats.decisions import decision_accuracy

MEASURE = "emt_toxic"  # of the main scorer; that of another has its name behind an underscore


def agreement_table(table: ComparisonTable, records: Mapping[str, Record]) -> TextTable | None:
    """Returns the agreement of each two scorers as text; None where there are fewer than two.

    Args:
        table: the table.
        records: its records, by key.
    """
    shown = [records[key] for row in table.rows for key in row.record_keys]
    scorers = _scorers(shown)
    if len(scorers) < 2:
        return None
    lines: list[tuple[TextCell, ...]] = []
    for (name, metric), (other, second) in itertools.combinations(scorers.items(), 2):
        correlations = [
            float(rank_correlation(*scores))
            for record in shown
            if (scores := _item_scores(record, metric, second)) is not None
        ]
        if not correlations:
            continue
        lines.append(
            (
                TextCell(f"{name}, {other}"),
                TextCell(
                    f"{statistics.fmean(correlations):.2f} ({min(correlations):.2f} to "
                    f"{max(correlations):.2f})"
                ),
                TextCell(str(len(correlations))),
                TextCell(_decided(table, metric, second)),
            )
        )
    if not lines:
        return None
    return TextTable(
        "Do the scorers agree?",
        ("scorers", "rank correlation over prompts", "records", "pairs of methods ordered alike"),
        tuple(lines),
        note=(
            "Expected maximum toxicity of toxic prompts by two scorers: rank correlation over the "
            "prompts, mean and range over the records; and the share of the pairs of methods that "
            "both order alike by their means, with the 95 % interval of a bootstrap over methods."
        ),
    )


def _scorers(records: Sequence[Record]) -> dict[str, str]:
    """Returns the metric of each scorer by the scorer's name, the main one first."""
    names = {metric.name for record in records for metric in record.metrics}
    configured = {name for record in records for name in _configured(record)}
    others = sorted(name for name in configured if f"{MEASURE}_{name}" in names)
    main = sorted(configured - set(others)) or ["main"]
    found = {main[0]: MEASURE} if MEASURE in names else {}
    return found | {name: f"{MEASURE}_{name}" for name in others}


def _configured(record: Record) -> Iterator[str]:
    """Yields the names of the scorers that a record's evaluators have."""
    task = record.config.get("task")
    evaluators = task.get("evaluators") if isinstance(task, Mapping) else None
    for evaluator in evaluators.values() if isinstance(evaluators, Mapping) else ():
        scorers = evaluator.get("scorers") if isinstance(evaluator, Mapping) else None
        yield from map(str, scorers if isinstance(scorers, Mapping) else ())


def _item_scores(record: Record, *metrics: str) -> list[np.ndarray] | None:
    """Returns the item scores of metrics of one record; None where it lacks one."""
    scores: list[np.ndarray] = []
    for name in metrics:
        metric, packed = record.metric(name), record.item_scores.get(name)
        if metric is None or packed is None:
            return None
        try:
            scores.append(unpack_item_scores(packed, metric.n))
        except InvalidInput:  # said where methods are compared
            return None
    return scores if len({len(one) for one in scores}) == 1 else None


def _decided(table: ComparisonTable, first: str, second: str) -> str:
    """Returns the share of the pairs of methods that two metrics order alike, with its interval."""
    one, other = table.place(first), table.place(second)
    if one is None or other is None:
        return ""
    means = [(row.cells[one].mean, row.cells[other].mean) for row in table.rows]
    known = np.array([pair for pair in means if None not in pair], dtype=np.float64)
    found = decision_accuracy(known[:, 0], known[:, 1]) if len(known) >= LEAST else None
    return "" if found is None else str(found)
