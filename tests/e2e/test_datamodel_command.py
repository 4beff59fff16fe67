"""`shortlist datamodel`: subsets are measured once, for every method."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from shortlist import cli
from shortlist.overrides import composed
from shortlist.pipeline.candidates import choose_from
from shortlist.pipeline.cell import open_cell
from shortlist.pipeline.datamodel import measure_subsets, score_method
from shortlist.pipeline.loading import load_data
from shortlist.pipeline.selection import rank
from shortlist.pipeline.stage import Cell
from shortlist.store.cache import executions

pytestmark = pytest.mark.whole


def test_subsets_are_measured_once_for_all_methods(
    small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lds.md"
    typed = ["datamodel", "--subsets", "10", "--out", str(out), *small]
    assert cli.main([*typed, "selector=dsir,random,tapt"]) == 0
    done = Counter(stage for stage, _ in executions(tmp_path / "cache"))
    assert (done["selection"], done["warmup"], done["probe"], done["held_out"]) == (10, 10, 10, 11)
    assert capsys.readouterr().out.strip() == out.read_text().strip()
    found = json.loads(out.with_suffix(".json").read_text())
    names = {"mlm_loss_drop", "probe_macro_f1", "probe_accuracy", "probe_log_loss"}
    assert found["subsets"] == 10 and set(found["benefits"]) == names
    drops = found["benefits"]["mlm_loss_drop"]["values"]
    assert len(set(drops)) == 10  # subsets differ
    for name in ("dsir", "random"):
        for measured in found["methods"][name].values():
            assert -1 <= measured["low"] <= measured["value"] <= measured["high"] <= 1
    assert "other documents" in found["methods"]["tapt"]["reason"]

    assert cli.main([*typed, "selector=dsir,bm25"]) == 0  # another method: no training
    after = Counter(stage for stage, _ in executions(tmp_path / "cache"))
    assert after["warmup"] == 10 and after["scores"] == done["scores"] + 1
    again = json.loads(out.with_suffix(".json").read_text())
    assert again["benefits"] == found["benefits"]
    assert again["methods"]["dsir"] == found["methods"]["dsir"]


def test_too_few_subsets_are_refused(
    small: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["datamodel", *small, "--subsets", "3"]) == 1
    assert "--subsets must be at least 10, found 3" in capsys.readouterr().err


def test_the_scores_are_those_of_summed_scores_computed_apart(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    def opened(method: str) -> Cell:
        typed = (*small, "until=warmup", f"selector={method}", "advice=null")
        with composed(typed) as config:
            return open_cell(config, dict(config.hydra.runtime.choices), tmp_path)

    subsets = measure_subsets(opened("random"), 10, lambda done: None)
    assert list(subsets.benefits) == ["mlm_loss_drop"]  # without check.probe
    cell = opened("dsir")
    scored = score_method(cell, subsets, "dsir")
    data = load_data(cell)
    candidates = choose_from(cell, data, data.pool)
    ranking = rank(cell, data, candidates, cell.parts.selector, cell.settings["selector"])
    values = ranking.combined.total.values
    sums = [sum(values[row] for row in rows) for rows in subsets.rows]
    expected = spearmanr(sums, subsets.benefits["mlm_loss_drop"].values).statistic
    assert scored.scores["mlm_loss_drop"].value == pytest.approx(expected)
