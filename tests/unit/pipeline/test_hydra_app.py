"""What is typed: names that cannot collide, and one line for whatever is refused."""

from __future__ import annotations

import io
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hypothesis import given
from hypothesis import strategies as st
from omegaconf.errors import ConfigAttributeError

from shortlist.config import folder
from shortlist.core import Axes, Record
from shortlist.errors import InvalidInput, Missing, near
from shortlist.pipeline import hydra_app, hydra_setup
from shortlist.pipeline.arguments import describe, name_sizes, sweep_group_settings
from shortlist.pipeline.hydra_app import cell_name, check, guard, read_run
from shortlist.pipeline.hydra_setup import sweep_name
from shortlist.pipeline.sweeps import one_at_a_time

SELECTORS = len(list((folder() / "selector").glob("*.yaml")))


@pytest.fixture(autouse=True)
def as_typed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The process of `python run.py`, and an environment that `guard` may change."""
    monkeypatch.setattr(sys, "argv", [str(request.config.rootpath / "run.py")])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "x")
    monkeypatch.delenv("HYDRA_FULL_ERROR")


def test_sweeps_that_start_in_the_same_second_have_different_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = hydra_setup.time.gmtime(0)
    monkeypatch.setattr(hydra_setup.time, "gmtime", lambda: now)
    assert len({sweep_name() for _ in range(100)}) == 100


def test_what_the_program_refuses_is_one_line_on_stderr_with_code_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        raise InvalidInput("expected this,\n   found that")

    with pytest.raises(SystemExit) as ended:
        guard(main)
    assert ended.value.code == 1
    assert tuple(capsys.readouterr()) == ("", "error: expected this, found that\n")


def test_an_interrupt_says_that_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        guard(main)
    assert ended.value.code == 130
    assert (
        capsys.readouterr().err
        == "error: stopped by SIGINT; the same command continues where it stopped\n"
    )


def test_a_bug_of_the_program_is_not_dressed_up_as_bad_input() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guard(main)


def test_who_asks_for_tracebacks_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def main() -> None:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        guard(main)


@pytest.mark.parametrize("value", ["0", "", "false"])
def test_tracebacks_are_asked_for_by_1_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", value)

    def main() -> None:
        raise InvalidInput("no")

    with pytest.raises(SystemExit):
        guard(main)
    assert capsys.readouterr().err == "error: no\n"


def test_a_pickled_job_is_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    sys.argv += ["--experimental-rerun", "job.pickle"]
    with pytest.raises(SystemExit):
        guard(lambda: pytest.fail("Hydra read it"))
    assert "--experimental-rerun reads a pickle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("task.train=/a b/x=1 (2).jsonl", "/a b/x=1 (2).jsonl"),
        ("task.train=~/é [1].jsonl", "~/é [1].jsonl"),
        ('task.train=/it\'s "here".jsonl', '/it\'s "here".jsonl'),
        ("pool.paths=[/a (1).jsonl, b=2.jsonl]", ["/a (1).jsonl", "b=2.jsonl"]),
    ],
)
def test_an_override_that_needs_quotes_is_shown_with_those_that_work(
    typed: str, value: Any
) -> None:
    parser = OverridesParser.create()
    with pytest.raises(OverrideParseException) as refused:
        parser.parse_overrides([typed])
    line = describe(refused.value, ["selector=random", typed])
    assert typed in line and line.count("\n") == 0
    (offered,) = shlex.split(line.rpartition("; write ")[2])  # as a shell reads it
    assert parser.parse_override(offered).value() == value


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_a_terminal_cannot_encode_is_replaced(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    guard(lambda: print("n ≥ 2 → ü"))
    sys.stdout.flush()
    told = raw.getvalue().decode(encoding)
    assert told.startswith("n \\u2265 2 ") and told.isprintable() is False  # ends with the line


def test_a_refusal_shows_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        hydra_app.refuse("domain \x1b[2Jx")
    assert capsys.readouterr().err == "error: domain \\u001b[2Jx\n"


def test_guard_keeps_hydra_from_printing_on_its_own() -> None:
    guard(lambda: None)
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def refusal(composed: Any, *overrides: str) -> str:
    with pytest.raises(Exception) as refused:
        composed(*overrides)
    return describe(refused.value, overrides)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("selector=gotdd", "selector has no option `gotdd`; did you mean `gotd`"),
        ("budgt=5", "there is no setting `budgt`; did you mean `budget`"),
        ("~paths.cache", "paths.cache cannot be left out; set paths.cache=VALUE"),
        ("~budgt", "there is no setting `budgt`; did you mean `budget`"),
        ("budget=many", "budget cannot be `many`: "),
        ("budget=1.5", "budget cannot be `1.5`: "),
        ("budget=", "budget cannot be ``: "),
        ("until=later", "until cannot be `later`: "),
        (
            "runtime.threds=2",
            "there is no setting `runtime.threds`; did you mean `runtime.threads`",
        ),
        ("budget=[", "an override is not readable: "),
        ("trainer@head=mlm", "there is no setting `trainer@head`; did you mean `trainer@"),
        ("leaks=null", "leaks cannot be `null`: "),
    ],
)
def test_explains(composed: Any, override: str, line: str) -> None:
    assert refusal(composed, override).startswith(line)


@pytest.mark.parametrize(
    ("typed", "composed"),
    [
        ("-m selector=gotd,dsir selector.cost=cosine", "-m selector=gotd,dsir selector.cost=choice(cosine)"),
        ("selector=gotd selector.cost=cosine", "selector=gotd selector.cost=cosine"),
        ("-m selector=a,b task.name=x", "-m selector=a,b task.name=x"),
        ("-m selector=a,b +selector.x=[1]", "-m selector=a,b +selector.x=choice([1])"),
        ("-m selector=a,b selector.x=1,2", "-m selector=a,b selector.x=1,2"),
    ],
)  # fmt: skip
def test_what_belongs_to_a_swept_group_is_swept_with_it(typed: str, composed: str) -> None:
    assert sweep_group_settings(typed.split()) == composed.split()


@pytest.mark.parametrize(
    ("typed", "composed"),
    [
        ("experiment=a size=mini seed=0", "experiment=a_mini seed=0"),
        ("-m size=mini experiment=a,b", "-m experiment=a_mini,b_mini"),
        ("experiment=a size=full", "experiment=a"),
        ("experiment=a size=mini size=full", "experiment=a"),
        ("experiment=a task.size=mini", "experiment=a task.size=mini"),
    ],
)
def test_a_size_is_part_of_the_experiments_option(typed: str, composed: str) -> None:
    assert name_sizes(typed.split()) == composed.split()


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            "selector=null",
            f"error: selector must be one of its options, found null; {SELECTORS} are known",
        ),
        ("logger=null", "error: logger must be one of its options, found null; ~logger leaves it"),
        (
            "protocol=null",
            "error: protocol must be one of its options, found null; ~protocol leaves",
        ),
        ("~task", "error: task cannot be left out; 28 are known"),
        ("~runtime", "error: runtime cannot be left out; known: default"),
        ("~trainer@warmup", "error: trainer@warmup cannot be left out; known: classify, clm, mlm"),
        ("featurizer=1", "error: featurizer must be one of its options, found 1; "),
        ("trainer@warmup=[]", "error: trainer@warmup must be one of its options, found []; "),
        ("selector={}", "error: selector must be one of its options, found {}; "),
        ("protocol={a: 1}", "error: protocol must be one of its options, found {a: 1}; ~protocol"),
        ("calibration={a: 1}", "error: calibration must be one of its options, found {a: 1}; "),
        ("task=[own]", "error: task must be one of its options, found [own]; "),
        ("selector=[dsir,gotd]", "error: selector must be one of its options, found [dsir,gotd]; "),
        ("task=1e5", "error: task must be one of its options, found 1e5; "),
        ("logger=1_000", "error: logger must be one of its options, found 1_000; "),
    ],
)
def test_a_group_whose_value_is_no_option_is_refused(
    capsys: pytest.CaptureFixture[str], typed: str, line: str
) -> None:
    sys.argv.append(typed)
    with pytest.raises(SystemExit):
        guard(lambda: pytest.fail("the cell was run"))
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("advice=${budget}", "advice must be a section of settings of its own, found 500; "),
        (
            "leaks=${check}",
            "leaks must be a section of settings of its own, found the settings of another section",
        ),
        ("task.split=${seed}", "task.split must be a section of settings of its own, found 0; "),
        ("sizes={a: 1}", "sizes cannot be `{a:1}`: it is null, and takes no mapping"),
    ],
)
def test_what_stands_in_place_of_a_section_of_settings_is_refused(
    composed: Any, typed: str, line: str
) -> None:
    assert refusal(composed, typed).startswith(line)


def test_a_setting_that_every_cell_needs_cannot_be_left_out() -> None:
    line = describe(ConfigAttributeError("Key 'budget' not in 'Config'"), ["~budget"])
    assert line == "budget cannot be left out; set budget=VALUE"


def test_a_size_without_an_experiment_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    sys.argv += ["size=mini", "selector=gotd"]
    with pytest.raises(SystemExit):
        guard(lambda: None)
    assert "size=mini is the size of an experiment, found none" in capsys.readouterr().err


def test_a_setting_inside_one_that_is_null_is_refused_by_both_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sys.argv += ["advice=null", "advice.budgets=3"]

    def main() -> None:
        raise AssertionError("Unexpected type for root: NoneType")

    with pytest.raises(SystemExit):
        guard(main)
    assert "advice is null, so advice.budgets cannot be set" in capsys.readouterr().err


def test_a_setting_inside_one_that_is_null_by_default_is_refused(composed: Any) -> None:
    line = refusal(composed, "+protocol.own=1")
    assert line.startswith("protocol is null, so protocol.own cannot be set")


def test_a_setting_that_the_chosen_option_lacks_is_not_offered_again(composed: Any) -> None:
    line = refusal(composed, "selector=random", "featurizer.precision=16")
    what, _, offered = line.partition("; ")
    assert what == "there is no setting `featurizer.precision` with featurizer=none"
    assert "did you mean" in offered and "featurizer.precision" not in offered


def test_a_misspelt_setting_of_the_chosen_option_is_found(composed: Any) -> None:
    line = refusal(composed, "selector=dsir", "selector.smothing=2")
    assert "with selector=dsir; did you mean `selector.smoothing`" in line


def test_a_near_name_is_offered_and_the_known_are_listed() -> None:
    assert near("gotdd", ["gotd", "dsir"]) == "did you mean `gotd`? known: dsir, gotd"


def test_of_many_names_only_the_near_are_listed() -> None:
    names = [f"setting{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    assert len(near("settinga", names).split("`")) == 7  # three names
    assert near("x", names) == "26 are known, none of them near"


AXES = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=4)


def grid(axes: list[list[int]]) -> list[list[str]]:
    import itertools

    names = [f"axis{number}" for number in range(len(axes))]
    return [
        [f"{name}={value}" for name, value in zip(names, cell, strict=True)]
        for cell in itertools.product(*axes)
    ]


@given(AXES)
def test_the_cells_that_are_checked_hold_every_value_of_every_axis(axes: list[list[int]]) -> None:
    checked = one_at_a_time(grid(axes))
    assert {item for cell in checked for item in cell} == {i for cell in grid(axes) for i in cell}


@given(AXES)
def test_as_many_cells_are_checked_as_the_axes_have_values_and_not_their_product(
    axes: list[list[int]],
) -> None:
    assert len(one_at_a_time(grid(axes))) <= max(1, sum(len(axis) for axis in axes))


def test_one_cell_without_overrides_is_not_checked_twice() -> None:
    assert len(one_at_a_time([[]])) <= 1


def record(budget: int) -> Record:
    return Record("k", "done", Axes("t", "p", "s", "f", "m", budget, "documents", 0))


def test_records_of_a_sweep_are_read_in_the_order_of_its_cells(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "record.json").write_text(record(number + 1).to_json())
    assert [one.axes.budget for one in read_run(tmp_path)[0].values()] == [1, 3, 11]


def test_a_run_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="found none; look at its log files"):
        read_run(tmp_path)


def test_a_cell_is_named_in_the_words_of_the_command_line() -> None:
    assert cell_name(record(5)) == "task=t selector=s budget=5 seed=0"


def test_an_input_that_is_not_there_is_found_before_anything_is_computed(
    composed: Any, tmp_path: Path
) -> None:
    config = composed(
        "task=own", "task.train=/nowhere.jsonl", "selector=random", f"paths.cache={tmp_path}/cache"
    )
    with pytest.raises(Missing, match=r"/nowhere\.jsonl"):
        check(config)
    assert list(tmp_path.iterdir()) == []
