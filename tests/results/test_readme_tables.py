"""The tables of results/README.md say what the records say."""

from __future__ import annotations

import csv
import functools
import shutil
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import pytest

from shortlist.leaderboard import publish
from shortlist.store.records import read_records

RESULTS = Path(__file__).parents[2] / "results"
TASKS = ("citation_intent", "sciie_relation", "csabstruct", "cola", "rte")
PROBED = ("csabstruct", "amazon_helpfulness", "sst2", "pubmedqa_sections", "citation_intent")
GAINS = {
    "primary": "Gains in the metric of the probe",
    "probe_log_loss": "Gains in the log loss of the probe",
    "mlm_loss_drop": "Gains in the masked-LM loss",
}
TOXICITY = ("emt_toxic", "emt_toxic_second", "tp_toxic", "tp_toxic_second", "emt_nontoxic")


@functools.cache
def values() -> dict[tuple[str, str, int, str], list[float]]:
    """Returns metrics over seeds by task, selector, budget and name."""
    found: dict[tuple[str, str, int, str], list[float]] = defaultdict(list)
    for record in read_records(RESULTS):
        axes, metrics = record.axes, {metric.name: metric for metric in record.metrics}
        place = (axes.task, axes.selector, axes.budget)
        for name, metric in metrics.items():
            found[(*place, name)].append(metric.value)
            if metric.primary:
                found[(*place, "primary")].append(metric.value)
    return found


def lines(title: str) -> list[list[str]]:
    """Returns the cells of the rows of the table under a title."""
    _, _, rest = (RESULTS / "README.md").read_text(encoding="utf-8").partition(f"### {title}\n")
    rows = [line for line in rest.partition("\n### ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def table(title: str) -> dict[str, list[str]]:
    """Returns the cells of the table under a title, by the first of each row."""
    return {row[0]: row[1:] for row in lines(title)}


def plain(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def spread(seeds: list[float]) -> str:
    return f"{plain(mean(seeds))} ± {plain(stdev(seeds))}"


SELECTORS = (
    "vanilla",
    "random",
    "random_domain",
    "tapt",
    "tapt_curated",
    "dsir",
    "soft_knn",
    "gotd",
)


@pytest.mark.parametrize("selector", SELECTORS)
def test_the_controls(selector: str) -> None:
    found = values()
    of = {task: (task, selector, 300) for task in TASKS}
    expected = [spread(found[(*of[task], "primary")]) for task in TASKS]
    falls = [mean(found[(*of[task], "mlm_loss_drop")]) for task in TASKS]
    nothing = selector == "vanilla"
    expected.append("0" if nothing else " ".join(plain(fall, 2) for fall in falls))
    assert table("The controls")[selector] == expected


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The rows of the leaderboard of `results/probe`."""
    place = tmp_path_factory.mktemp("probe")
    shutil.copytree(RESULTS / "probe/records", place / "records")
    publish(place)
    with (place / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["task"] in PROBED]


@pytest.mark.parametrize("selector", SELECTORS)
def test_the_controls_by_a_probe(selector: str, probed: list[dict[str, str]]) -> None:
    seeds = {
        row["task"]: [float(value) for value in row["values"].split()]
        for row in probed
        if (row["selector"], row["primary"]) == (selector, "true")
    }
    assert table("The controls by a probe")[selector] == [spread(seeds[task]) for task in PROBED]


@pytest.mark.parametrize("measure", GAINS)
@pytest.mark.parametrize("selector", [name for name in SELECTORS if "random" not in name])
def test_the_gains_of_the_controls_by_a_probe(
    selector: str, measure: str, probed: list[dict[str, str]]
) -> None:
    rows = {
        row["task"]: row
        for row in probed
        if row["selector"] == selector
        and (row["primary"] == "true" if measure == "primary" else row["column"] == measure)
    }
    assert table(GAINS[measure])[selector] == [gain(rows[task]) for task in PROBED]


def gain(row: dict[str, str]) -> str:
    """Returns a gain and its interval, in bold where it is significant after the correction."""
    if not row["gain"]:
        return "not compared"
    value, low, high = (signed(float(row[name])) for name in ("gain", "gain_low", "gain_high"))
    text = f"{value} [{low}, {high}]"
    return f"**{text}**" if row["verdict"] in ("better", "worse") else text


@pytest.mark.parametrize(
    "selector", ["vanilla", "random", "dsir", "gotd_clean", "gotd_contrast", "least_toxic"]
)
def test_detoxification(selector: str) -> None:
    found = values()
    seeds = [found[("detox", selector, 2000, name)] for name in TOXICITY]
    expected = [spread(one) for one in seeds[:2]] + [plain(mean(one)) for one in seeds[2:]]
    expected.append(plain(mean(found[("detox", selector, 2000, "emt_nontoxic_second")])))
    expected.append(f"{mean(found[('detox', selector, 2000, 'perplexity')]):.1f}")
    with (RESULTS / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        (row,) = [
            row
            for row in csv.DictReader(file)
            if (row["task"], row["selector"], row["column"]) == ("detox", selector, "emt_toxic")
        ]
    if selector != "random":
        low, high = (signed(float(row[end])) for end in ("gain_low", "gain_high"))
        expected.append(f"{signed(float(row['gain']))} [{low}, {high}]")
    assert table("Detoxification")[selector] == [*expected, *([""] * (selector == "random"))]


def signed(value: float) -> str:
    return ("+" if value >= 0 else "\N{MINUS SIGN}") + plain(abs(value))
