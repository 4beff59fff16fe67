"""Tables as flat rows: one a value for data (CSV), one a method for people (W&B)."""

from __future__ import annotations

from shortlist.leaderboard.table import Gain, Table, Value

GAIN = ("gain", "gain_low", "gain_high", "gain_p", "gain_over", "verdict", "seeds_needed")


def _gain(gain: Gain | None) -> dict[str, Value]:
    """Returns the comparison with a random selection as columns; empty ones where there is none."""
    if gain is None:
        return dict.fromkeys(GAIN)
    low, high, p = (_eight_digits(number) for number in (gain.low, gain.high, gain.p))
    values = (gain.value, low, high, p, gain.over, gain.verdict, gain.needed)
    return dict(zip(GAIN, values, strict=True))


def _eight_digits(number: float | None) -> float | None:
    """Returns a number that hangs on quantiles of Student's t as every processor finds it: scipy's
    last digits differ between AMD's and Intel's, and the files must regenerate byte for byte.
    """
    return None if number is None else float(f"{number:.8g}")


def tidy(table: Table) -> list[dict[str, Value]]:
    """Returns one flat row per row and column: the table as data (CSV)."""
    return [
        {
            "task": table.task,
            "pool": table.pool,
            "selector": row.axes.selector,
            "featurizer": row.axes.featurizer,
            "model": row.axes.model,
            "budget": row.axes.budget,
            "budget_unit": row.axes.budget_unit,
            "settings": " ".join(row.axes.settings),
            "column": column.key,
            "unit": column.unit,
            "higher_is_better": {True: "true", False: "false", None: ""}[column.higher_is_better],
            "primary": "true" if column.primary else "false",
            "split": column.split,
            "protocol": column.protocol,
            "status": cell.status,
            "n": cell.n,
            "mean": cell.mean,
            "sd": cell.sd,
            "standing": cell.standing,
            **_gain(cell.gain),
            "seeds": " ".join(map(str, cell.seeds)),
            "values": " ".join(map(repr, cell.values)),
            "reason": cell.reason,
            "device": row.device,
            "records": " ".join(cell.record_keys),
        }
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
    ]


def wide(table: Table) -> tuple[list[str], list[list[Value]]]:
    """Returns headings and flat rows, one per row: the table as people look at it (W&B)."""
    headings = ["task", "pool", "selector", "featurizer", "model", "budget", "budget_unit"]
    headings += ["settings", "seeds"]
    for column in table.columns:
        headings += [column.heading, f"{column.heading} sd", f"{column.heading} n"]
    headings += [*GAIN, "device", "gaps", "warnings"]
    rows: list[list[Value]] = []
    for row in table.rows:
        axes = row.axes
        flat: list[Value] = [table.task, table.pool, axes.selector, axes.featurizer, axes.model]
        flat += [axes.budget, axes.budget_unit, " ".join(axes.settings)]
        flat += [" ".join(map(str, row.seeds))]
        for cell in row.cells:
            flat += [cell.mean, cell.sd, cell.n]
        flat += [*_gain(table.gain(row)).values(), row.device]
        flat += ["; ".join(row.gaps), "; ".join(text for text, _ in row.warnings)]
        rows.append(flat)
    return headings, rows
