"""Agreement of toxicity scorers against scipy, and what is shown where there is one scorer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr

from shortlist.core import Metric, Record, pack_item_scores, unpack_item_scores
from shortlist.leaderboard import build
from shortlist.leaderboard.page import page
from shortlist.leaderboard.text import markdown

Maker = Callable[..., Record]
N = 60


def judged(record: Maker, name: str, seed: int, scorers: dict[str, np.ndarray]) -> Record:
    metrics = tuple(
        Metric(f"emt_toxic{suffix}", "fraction", False, float(scores.mean()), N, 0.01, protocol=suffix,
               primary=not suffix)
        for suffix, scores in scorers.items()
    )  # fmt: skip
    named = {suffix.lstrip("_") or "linear": {"_target_": "X"} for suffix in scorers}
    return record(
        selector=name,
        seed=seed,
        metrics=metrics,
        item_scores={f"emt_toxic{suffix}": pack_item_scores(s) for suffix, s in scorers.items()},
        config={"seed": seed, "task": {"evaluators": {"toxicity": {"scorers": named}}}},
    )


def test_scorers_are_compared_prompt_by_prompt_and_by_the_order_of_methods(record: Maker) -> None:
    generator = np.random.default_rng(0)
    made: list[Record] = []
    expected: list[float] = []
    for place, name in enumerate(("random", "a", "b")):
        for seed in (0, 1):
            first = np.clip(generator.random(N) - place / 20, 0, 1)
            second = np.clip(first + generator.normal(0, 0.3, N), 0, 1)
            one = judged(record, name, seed, {"": first, "_second": second, "_third": 1 - first})
            made.append(one)
            kept = [
                unpack_item_scores(one.item_scores[f"emt_toxic{s}"], N) for s in ("", "_second")
            ]
            expected.append(float(spearmanr(*kept).statistic))
    (table,) = build(made)
    (found,) = table.further
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in found.rows}
    assert set(rows) == {"linear, second", "linear, third", "second, third"}
    low, high = min(expected), max(expected)
    assert rows["linear, second"][0] == f"{np.mean(expected):.2f} ({low:.2f} to {high:.2f})"
    assert rows["linear, second"][1] == "6"
    assert rows["linear, third"][0] == "-1.00 (-1.00 to -1.00)"
    assert rows["linear, third"][2] == "0.00 [0.00, 0.00]"
    assert found.title in markdown([table]) and "linear, second" in page([table], [])


@pytest.mark.parametrize("config", [{"task": "x"}, {"task": {"evaluators": [1]}}, {}])
def test_one_scorer_or_another_configuration_is_no_comparison(record: Maker, config: dict) -> None:
    scores = np.linspace(0, 1, N)
    one = judged(record, "a", 0, {"": scores})
    assert build([one])[0].further == ()
    assert build([record(config={"seed": 0, **config})])[0].further == ()
