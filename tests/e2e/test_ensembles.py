"""An ensemble is the mean of the predictions of stored cells, a row beside them."""

from __future__ import annotations

from pathlib import Path

import cells
import numpy as np
import pytest

from shortlist.cli import main
from shortlist.core import unpack_item_scores
from shortlist.leaderboard.build import build
from shortlist.leaderboard.submission import problems
from shortlist.store.records import read_records

pytestmark = pytest.mark.whole


@pytest.mark.slow  # three cells in a process of their own
def test_seeds_are_averaged_to_a_row_that_is_compared_in_pairs(
    small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    swept = (*small, "selector=random", "finetune.learning_rate=0.005")
    assert cells.command("-m", *swept, "seed=0,1,2").code == 0
    singles = sorted(read_records(results), key=lambda record: record.axes.seed)
    places = [text for text in small if text.startswith("paths.")]
    capsys.readouterr()
    assert main(["ensemble", "--", *places]) == 0
    assert "against the mean of its cells" in capsys.readouterr().out
    (made,) = [record for record in read_records(results) if "ensemble" in record.config]
    stored = [
        np.load(tmp_path / "cache/evaluate" / stage.key / "predictions.npy")
        for record in singles
        for stage in record.stages
        if stage.stage == "evaluate"
    ]
    assert len(stored) == 3
    primary = next(metric for metric in made.metrics if metric.primary)
    gain = made.metric(f"{primary.name}_gain_of_ensemble")
    known = [record.metric(primary.name) for record in singles]
    assert gain is not None and all(known)
    mean = np.mean([one.value for one in known if one])
    assert gain.value == pytest.approx(primary.value - mean, abs=1e-8)  # scores of 9 decimals
    items = unpack_item_scores(made.item_scores[gain.name], gain.n)
    assert gain.stderr == pytest.approx(items.std(ddof=1) / len(items) ** 0.5, rel=0.01, abs=1e-6)
    assert np.abs(np.mean(stored, 0) - stored[0]).max() > 1e-4  # the seeds differ
    rules = [
        text for text in problems(made) if "path of the machine" not in text
    ]  # of the toy model
    assert rules == []
    (table,) = build(read_records(results))
    assert len([row for row in table.rows if row.record_keys]) == 2
    assert main(["ensemble", "--", *places]) == 0  # of the cells alone, again
    assert len(read_records(results)) == 4
    for path in (tmp_path / "cache/evaluate").glob("*/predictions.npy"):
        path.unlink()
    assert main(["ensemble", "--", *places]) == 1
    assert "run its cell again" in capsys.readouterr().err


@pytest.mark.slow  # six cells in a process of their own
def test_folds_are_averaged_on_the_own_test_split_alone(
    small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = (*small, "selector=random", "task.folds=2", "fold=0,1")
    own = "task.cross_validation.test=own"
    places = [text for text in small if text.startswith("paths.")]
    assert cells.command("-m", *folds, own).code == 0
    capsys.readouterr()
    assert main(["ensemble", "--over", "fold", "--", *places]) == 0
    assert "folds 0, 1" in capsys.readouterr().out
    (made,) = [
        record for record in read_records(tmp_path / "results") if "ensemble" in record.config
    ]
    assert made.config["ensemble"] == {"folds": [0, 1]} and "fold" not in made.config
    primary = next(metric for metric in made.metrics if metric.primary)
    assert primary.n == 20 and made.metric(f"{primary.name}_gain_of_ensemble") is not None
    (table,) = build(read_records(tmp_path / "results"))
    assert len([row for row in table.rows if row.record_keys]) == 2  # the folds, and their mean
    assert main(["ensemble", "--", *places]) == 1  # no seeds
    assert "differ in the seed alone" in capsys.readouterr().err
    others = f"paths.results={tmp_path / 'others'}"
    assert cells.command("-m", *folds, others).code == 0
    capsys.readouterr()
    assert main(["ensemble", "--over", "fold", "--", *places, others]) == 1
    assert "test 2 sets; set -- task.cross_validation.test=own" in capsys.readouterr().err
