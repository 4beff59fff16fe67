"""Published numbers: which are comparable, which are reproduced, and which settings differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from shortlist.core import Metric, Record
from shortlist.errors import InvalidInput
from shortlist.leaderboard.__main__ import main
from shortlist.leaderboard.published import FIELDS, PublishedTable, read_published
from shortlist.leaderboard.reproduction import reproductions, summary
from shortlist.store.records import write_record

Maker = Callable[..., Record]
DESCRIPTION = """
title = "A table"
deviations = ["the pool"]
[protocol]
"warmup.learning_rate" = 1e-4
"finetune.epochs" = 10
"task.max_train" = "none"
"pool.per_domain" = 9
[selector.gotd]
"pool.prefilter.keep" = "unset"
[task.imdb]
"finetune.epochs" = 3
[metric.loss]
"finetune.batch_size" = 64
[names]
gotd = ["gotd_paper", "gotd"]
"""
ROWS = [
    "P,1,GOT-D,chemprot,gotd,bert_base,1000,micro_f1,fraction,0.82,0.01,sd of 5 seeds,",
    "P,1,GOT-D,imdb,gotd,bert_base,1000,macro_f1,fraction,0.93,0.01,sd of 5 seeds,",
    "P,1,vanilla,chemprot,vanilla,bert_base,0,micro_f1,fraction,0.79,0.01,sd of 5 seeds,",
    "P,1,GOT-D,mean,gotd,bert_base,1000,f1,fraction,0.85,,,inconsistent: does not match its row",
]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "toy_table1.csv").write_text("\n".join([",".join(FIELDS), *ROWS]) + "\n")
    (folder / "toy_table1.toml").write_text(DESCRIPTION)
    return folder


def config(seed: int, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "seed": seed,
        "warmup": {"learning_rate": 1e-4},
        "finetune": {"epochs": 10},
        "task": {"max_train": None},
        "pool": {"per_domain": 9},
    }
    for path, value in changes.items():
        group, name = path.split("__")
        made[group][name] = value
    return made


def runs(
    maker: Maker, values: list[float], metric: str = "micro_f1", **changes: Any
) -> list[Record]:
    settings = {k: changes.pop(k) for k in list(changes) if "__" in k}
    axes = {"task": "chemprot", "selector": "gotd", "model": "bert_base", "budget": 1000, **changes}
    return [
        maker(
            seed=seed,
            key=f"{axes['task']}{axes['selector']}{seed}{settings}",
            metrics=(Metric(metric, "fraction", True, value, 90, 0.02, primary=True),),
            config=config(seed, **settings),
            **axes,
        )
        for seed, value in enumerate(values)
    ]


def outcomes(published: Path, records: list[Record]) -> list[str]:
    return [
        cell.verdict for cell in reproductions(read_published(published, "toy_table1"), records)
    ]


def test_without_records_nothing_is_run_and_an_inconsistent_number_is_no_target(
    published: Path,
) -> None:
    assert outcomes(published, []) == ["not run", "not run", "not run", "no target"]


def test_a_near_number_is_reproduced_and_a_distant_one_is_not(
    published: Path, record: Maker
) -> None:
    assert outcomes(published, runs(record, [0.815, 0.83, 0.81]))[0] == "reproduced"
    assert outcomes(published, runs(record, [0.715, 0.73, 0.71]))[0] == "not reproduced"


def test_the_interval_is_that_of_welch(published: Path, record: Maker) -> None:
    ours = [0.80, 0.83, 0.81, 0.82]
    cell = reproductions(read_published(published, "toy_table1"), runs(record, ours))[0]
    theirs = stats.norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    theirs = 0.82 + 0.01 * (theirs - theirs.mean()) / theirs.std(ddof=1)
    interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert cell.mean is not None and cell.high is not None and cell.low is not None
    assert cell.high - cell.low == pytest.approx(interval.high - interval.low)
    assert cell.n == 4


def test_one_measured_seed_is_compared_with_k_published_ones_by_students_t(
    published: Path, record: Maker
) -> None:
    # One more draw from what k gave a mean and an sd of: the prediction interval, k - 1 df.
    cell = reproductions(read_published(published, "toy_table1"), runs(record, [0.81]))[0]
    half = stats.t.ppf(0.975, 4) * 0.01 * (1 + 1 / 5) ** 0.5
    assert (cell.low, cell.high) == pytest.approx((0.81 - half, 0.81 + half))


def test_of_runs_with_equally_many_differences_the_closest_method_counts(
    published: Path, record: Maker
) -> None:
    both = [*runs(record, [0.80, 0.81, 0.82]), *runs(record, [0.70], selector="gotd_paper")]
    for records in (both, both[::-1]):
        cell = reproductions(read_published(published, "toy_table1"), records)[0]
        assert (cell.mean, cell.n) == (pytest.approx(0.70), 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"warmup__learning_rate": 2e-4}, "warmup.learning_rate 0.0002 (paper: 0.0001)"),
        ({"finetune__epochs": 3}, "finetune.epochs 3 (paper: 10)"),
        ({"task__max_train": 5000}, "task.max_train 5000 (paper: none)"),
        ({"model": "minilm"}, "model minilm (paper: bert_base)"),
        ({"budget": 500}, "budget 500 (paper: 1000)"),
        ({"budget_unit": "tokens"}, "budget_unit tokens (paper: documents)"),
        ({"pool__per_domain": 3}, "pool.per_domain 3 (paper: 9)"),
        ({"pool__prefilter": {"keep": 2}}, "pool.prefilter.keep 2 (paper: unset)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_one_setting_away_from_the_papers_is_not_comparable_and_named(
    published: Path, record: Maker, change: dict[str, Any], reason: str
) -> None:
    found = reproductions(
        read_published(published, "toy_table1"), runs(record, [0.82, 0.81], **change)
    )
    assert (found[0].verdict, found[0].reason) == ("not comparable", reason)
    assert found[0].mean == pytest.approx(0.815)  # it is shown all the same


def test_a_setting_that_a_record_does_not_have_is_named_too(published: Path, record: Maker) -> None:
    (run,) = runs(record, [0.82])
    lame = replace(run, config={**run.config, "finetune": {}})
    cell = reproductions(read_published(published, "toy_table1"), [lame])[0]
    assert cell.reason == "finetune.epochs unset (paper: 10)"


def test_of_several_runs_the_comparable_one_counts(published: Path, record: Maker) -> None:
    other = runs(record, [0.5, 0.5, 0.5], finetune__epochs=3)
    exact = runs(record, [0.82], selector="gotd_paper")
    cell = reproductions(read_published(published, "toy_table1"), [*other, *exact])[0]
    assert (cell.verdict, cell.n, cell.mean) == ("reproduced", 1, 0.82)


def test_a_row_that_reads_nothing_may_have_any_warm_up_pool_and_budget(
    published: Path, record: Maker
) -> None:
    other = {"warmup__learning_rate": 0.5, "pool__per_domain": 3, "budget": 77}
    assert outcomes(published, runs(record, [0.79], selector="vanilla", **other))[2] == "reproduced"


def test_selectors_tasks_and_metrics_have_settings_of_their_own(published: Path) -> None:
    table = read_published(published, "toy_table1")
    chemprot, imdb, vanilla = table.numbers[:3]
    assert table.settings(chemprot)["finetune.epochs"] == 10
    assert table.settings(imdb)["finetune.epochs"] == 3
    assert table.settings(chemprot)["pool.prefilter.keep"] == "unset"
    assert "finetune.batch_size" not in table.settings(chemprot)
    loss = replace(vanilla, metric="loss")
    assert table.settings(loss)["finetune.batch_size"] == 64


@pytest.fixture
def averaged(published: Path) -> PublishedTable:
    """The toy table with an average over the two tasks of its first row."""
    table = read_published(published, "toy_table1")
    mean = replace(table.numbers[3], value=0.875, note="")
    return replace(table, numbers=(*table.numbers[:3], mean))


def imdb_runs(maker: Maker, values: list[float], **changes: Any) -> list[Record]:
    changes = {"finetune__epochs": 3, **changes}
    return runs(maker, values, metric="macro_f1", task="imdb", **changes)


def test_an_average_is_made_of_the_cells_of_its_row(
    averaged: PublishedTable, record: Maker
) -> None:
    chemprot, imdb = runs(record, [0.82, 0.81]), imdb_runs(record, [0.92, 0.95, 0.93])
    *cells, mean = reproductions(averaged, [*chemprot, *imdb])
    assert (mean.verdict, mean.n) == ("reproduced", 2)
    assert mean.mean == pytest.approx((0.815 + 2.8 / 3) / 2)
    assert mean.record_keys == cells[0].record_keys + cells[1].record_keys
    far = reproductions(averaged, [*runs(record, [0.72, 0.71]), *imdb])[-1]
    assert far.verdict == "not reproduced"


def test_the_interval_of_an_average_adds_the_variances_of_its_cells(
    averaged: PublishedTable, record: Maker
) -> None:
    records = [*runs(record, [0.82, 0.81]), *imdb_runs(record, [0.92, 0.95, 0.93])]
    *cells, mean = reproductions(averaged, records)
    errors = [error for cell in cells[:2] for error in cell.variances]
    total = sum(variance for variance, _ in errors)
    df = total**2 / sum(variance**2 / own for variance, own in errors)  # the 1 / k^2 cancels
    assert mean.high is not None and mean.mean is not None
    half = stats.t.ppf(0.975, df) * total**0.5 / 2
    assert mean.high - mean.mean == pytest.approx(half)


def test_an_average_needs_every_task_of_its_row_and_names_the_missing(
    averaged: PublishedTable, record: Maker
) -> None:
    nothing = reproductions(averaged, [])[-1]
    assert (nothing.verdict, nothing.reason) == ("not run", "")
    half = reproductions(averaged, runs(record, [0.82]))[-1]
    assert (half.verdict, half.reason) == ("not run", "its row has no run of imdb")


def test_an_average_with_a_task_that_is_not_comparable_is_not_either(
    averaged: PublishedTable, record: Maker
) -> None:
    other = imdb_runs(record, [0.93], finetune__epochs=9)
    mean = reproductions(averaged, [*runs(record, [0.82]), *other])[-1]
    assert (mean.verdict, mean.reason) == ("not comparable", "its row differs in imdb")
    assert mean.mean == pytest.approx(0.875)


def test_failed_and_early_cells_are_not_runs(published: Path, record: Maker) -> None:
    (run,) = runs(record, [0.82])
    assert outcomes(published, [replace(run, status="failed")])[0] == "not run"
    assert outcomes(published, [replace(run, until="warmup")])[0] == "not run"


def test_the_command_prints_the_verdicts_and_writes_them(
    published: Path, record: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in runs(record, [0.82, 0.81]):
        write_record(tmp_path, run)
    arguments = ["toy_table1", "--results", str(tmp_path), "--published", str(published)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "1 reproduced, 2 not run, 1 no target" in shown
    assert "known deviation: the pool" in shown
    written = (tmp_path / "verdicts" / "toy_table1.md").read_text()
    assert "| 0.8150 |" in written and "inconsistent: does not match its row" in written
    assert main(arguments) == 0
    assert (tmp_path / "verdicts" / "toy_table1.md").read_text() == written


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("csv", "0.82,", "82,", "line 2: 82.0 is not a fraction"),
        ("csv", "0.82,", "x,", "line 2"),
        ("csv", "paper,", "papers,", "expected the columns"),
        ("toml", "[protocol]", "[protocl]", "unknown entry `protocl`; did you mean `protocol`"),
        ("toml", 'title = "A table"', "", "expected a title"),
    ],
)
def test_a_broken_table_is_refused_by_name(
    published: Path, file: str, old: str, new: str, message: str
) -> None:
    path = published / f"toy_table1.{file}"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InvalidInput, match=message) as error:
        read_published(published, "toy_table1")
    assert str(path) in str(error.value)


def test_an_unknown_table_names_the_near_ones(published: Path) -> None:
    with pytest.raises(InvalidInput, match="did you mean `toy_table1`"):
        read_published(published, "toy_tabel1")


def test_a_summary_counts_every_verdict(published: Path, record: Maker) -> None:
    found = reproductions(read_published(published, "toy_table1"), runs(record, [0.82, 0.81]))
    assert summary(found) == "1 reproduced, 2 not run, 1 no target"
