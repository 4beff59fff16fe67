"""What `docs/generate.py` makes of YAML files, docstrings and links."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytest.importorskip("griffe", reason="the extra `docs` is not installed")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


YAML = """\
# @package _global_
# What it is.
# Second line.
defaults:
  - gotd
_target_: some.Class   # the class
rate: 1.0e-4           # peak
                       # rate
names: [a, "b # c"]    # in order
hub: {x: 1, y: {z: 2}} # flow
block:
  inner: null
  text: "a # b"
last: 3
"""


def test_every_value_of_a_yaml_file_has_its_text_and_the_comment_beside_it(
    generate: ModuleType,
) -> None:
    found = {one.name: (one.default, one.comment) for one in generate.settings_in(YAML)}
    assert found == {
        "_target_": ("some.Class", "the class"),
        "rate": ("1.0e-4", "peak rate"),
        "names": ('[a, "b # c"]', "in order"),
        "hub": ("{x: 1, y: {z: 2}}", "flow"),
        "block.inner": ("null", ""),
        "block.text": ('"a # b"', ""),
        "last": ("3", ""),
    }
    assert generate.header(YAML) == "What it is.\nSecond line."


def test_the_values_read_with_their_comments_are_those_that_yaml_reads(
    generate: ModuleType,
) -> None:
    for path in sorted((ROOT / "conf").glob("*/*.yaml")):
        text = path.read_text(encoding="utf-8")
        whole = yaml.safe_load(text)
        for setting in generate.settings_in(text):
            expected: Any = whole
            for name in setting.name.split("."):
                expected = expected[name]
            assert yaml.safe_load(setting.default) == expected, (path.name, setting.name)


def test_an_option_replaces_values_of_the_option_that_it_extends(generate: ModuleType) -> None:
    clean, contrast = (
        generate.option("selector", name) for name in ("gotd_clean", "gotd_contrast")
    )
    base = generate.option("selector", "gotd")
    assert clean.settings == contrast.settings == base.settings
    assert (base.chosen["featurizer"], clean.chosen["featurizer"]) == ("transformer", "minilm")
    assert contrast.chosen == clean.chosen and contrast.target == base.target
    adapted = generate.option("featurizer", "adapted")
    assert adapted.settings["tuning"].default == "trainer=mlm"
    assert generate.option("featurizer", "position_weighted").settings["pooling"].default == (
        "position_weighted"
    )


def test_links_lead_to_pages_and_files_without_a_page_are_named_without_a_link(
    generate: ModuleType,
) -> None:
    def relink(text: str, source: str = "docs/decisions/0001.md") -> str:
        return generate.relink(text, source, source.removeprefix("docs/"))

    assert relink("[a](0002.md#x)") == "[a](0002.md#x)"
    assert relink("[a](../../CONTRIBUTING.md#b)") == "[a](../contributing.md#b)"
    assert relink("[c](../../src/shortlist/pipeline/cell.py)") == "[c][shortlist.pipeline.cell]"
    assert relink("[c](../../src/shortlist/ot/__init__.py)") == "[c][shortlist.ot]"
    assert relink("see [the file](../../Makefile).") == "see the file."
    assert relink("![p](../../results/report.png)") == "![p](../results/report.png)"
    assert relink("[w](https://arxiv.org/abs/1) [h](#x)") == "[w](https://arxiv.org/abs/1) [h](#x)"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("int | None", "int | None"),
        ("Literal['a', \"b\", 3] | None", '"a" | "b" | 3 | None'),
        ("Annotated[int, Range(1)]", "int >= 1"),
        ("Annotated[float, Range(0, above=True)] | None", "float > 0 | None"),
        ("Annotated[float, Range(0, 1)]", "float from 0 to 1"),
        ("Annotated[float, Range(0, 1, below=True)]", "float >= 0, < 1"),
        ("Sequence[Annotated[int, Range(0)]]", "Sequence[int >= 0]"),
    ],
)
def test_types_show_the_choices_and_ranges_that_they_allow(
    generate: ModuleType, written: str, shown: str
) -> None:
    assert generate.spelled(written, generate.griffe.Module("empty")) == shown


def test_cells_of_tables_keep_their_bars(generate: ModuleType) -> None:
    assert generate.cell("a | b `c | d`\n e") == "a \\| b `c | d` e"
    assert generate.table(("x", "y"), [["1", "2"]], right=(1,)) == (
        "| x | y |\n| --- | ---: |\n| 1 | 2 |\n"
    )


def test_the_parts_of_an_experiment_are_read_from_its_header(generate: ModuleType) -> None:
    for one in generate.options("experiment"):
        said = generate.experiment_fields(one.comment)
        assert said["What"] and set(generate.FIELDS) == set(said) - {"What"}, one.name
        assert re.search(rf"^python run\.py experiment={one.name}\b", said["Command"], re.MULTILINE)


def test_a_page_cannot_name_a_block_that_does_not_exist(generate: ModuleType) -> None:
    with pytest.raises(KeyError, match="nothing"):
        generate.expand("<!-- generated: nothing -->")
    pages = sorted((ROOT / "docs").rglob("*.md"))
    used = {name for page in pages for name in re.findall(r"<!-- generated: (.+?) -->",
                                                          page.read_text("utf-8"))}  # fmt: skip
    assert used == set(generate.BLOCKS)


def test_a_method_is_better_or_worse_where_the_leaderboard_tested_it(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = ["better", "better", "worse", "no significant difference", "not compared"]
    rows = [
        {"selector": "gotd", "column": "drop", "task": str(number), "mean": "1", "gain_over": "random",
         "verdict": verdict}
        for number, verdict in enumerate(verdicts)
    ]  # fmt: skip
    rows.append(rows[0] | {"task": "all tasks"})
    rows.append(rows[0] | {"selector": "random", "gain_over": "", "verdict": ""})
    monkeypatch.setattr(generate, "leaderboard", lambda: rows)
    assert generate.verdicts("gotd", "drop")[0] == "2 better, 1 worse of 4"
    assert generate.verdicts("random", "drop")[0] == generate.NOT_MEASURED


def test_every_method_has_one_family(generate: ModuleType) -> None:
    named = [name for names in generate.families().values() for name in names]
    assert sorted(named) == sorted(path.stem for path in (ROOT / "conf/selector").glob("*.yaml"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ('<script src="https://unpkg.com/x.js"></script>', "https://unpkg.com/x.js"),
        ("<link rel=stylesheet href=//fonts.example/css>", "//fonts.example/css"),
        ("@import 'http://fonts.example/a.css';", "http://fonts.example/a.css"),
        ("a { background: url(https://example/p.png) }", "https://example/p.png"),
        ('<img alt="" src="http://example/p.png">', "http://example/p.png"),
        ('<a href="https://arxiv.org/abs/1">', ""),
        ('<link rel="canonical" href="https://example/">', ""),
        ('<script src="../assets/x.js"></script><img src="p.png">', ""),
        ("a { background: url(data:image/png;base64,//8=) }", ""),
    ],
)
def test_what_a_page_loads_from_another_machine_is_found(
    generate: ModuleType, text: str, address: str
) -> None:
    assert generate.outside_request(text) == address


def test_a_metric_of_a_method_stands_beside_the_cost_of_the_same_records(
    generate: ModuleType,
) -> None:
    rows = [row for row in generate.leaderboard() if row["mean"] and row["task"] != "all tasks"]
    metrics = {(row["records"], row["selector"]): row for row in rows if row["primary"] == "true"}
    for selector in sorted({row["selector"] for row in rows}):
        own = [row for row in rows if row["selector"] == selector]
        costs = [row for row in own if row["column"] == "selection_seconds"]
        lines = generate.evidence_table(selector).splitlines()[2:]
        for row, line in zip(costs, lines, strict=True):
            assert line.startswith(f"| {row['task']}") and row["settings"] in line
            metric = metrics.get((row["records"], selector))
            expected = "not measured" if metric is None else f"{float(metric['mean']):.3f}"
            assert expected in line
