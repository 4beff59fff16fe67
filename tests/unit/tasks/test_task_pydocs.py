"""The task made of installed documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from shortlist.data import package_docs
from shortlist.data.near_copies import near_copies
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.data.splits import TaskData
from shortlist.errors import InvalidInput, Missing
from shortlist.tasks.pydocs import PydocsFamilies

CONF = Path(__file__).parents[3] / "conf"
NOWHERE = LocalSource(None)
FAMILIES = {
    "cli": ["click"],
    "data": ["fsspec"],
    "markup": ["jinja2"],
    "testing": ["coverage"],
    "web": ["requests", "urllib3"],
}
HELD_OUT = [package for packages in FAMILIES.values() for package in packages]


def small(families: dict[str, list[str]], held_out: list[str]) -> PydocsFamilies:
    return PydocsFamilies(
        "pydocs",
        ["macro_f1"],
        "macro_f1",
        families,
        held_out,
        fractions={"train": 0.4, "validation": 0.2, "test": 0.4},
        per_family={"train": 20, "validation": 8, "test": 20},
        max_files=40,
        min_chars=160,
        max_chars=400,
        seed=1,
    )


@pytest.fixture(scope="module")
def data() -> TaskData:
    """Returns a small task of five families."""
    return small(FAMILIES, HELD_OUT).load(NOWHERE, silent)


def test_five_families_are_the_classes(data: TaskData) -> None:
    assert data.labels == tuple(sorted(FAMILIES))


def test_no_document_lies_in_two_splits(data: TaskData) -> None:
    there = package_docs.installed()
    documents: dict[str, set[str]] = {}
    for name in HELD_OUT:
        found, _ = package_docs.read_package(
            name, there[name], max_files=40, min_chars=160, max_chars=400
        )
        for passage in found:
            documents.setdefault(passage.text, set()).add(passage.document)
    unique = {text: next(iter(names)) for text, names in documents.items() if len(names) == 1}
    splits = [
        {unique[text] for text in data.split(split).texts if text in unique}
        for split in ("train", "validation", "test")
    ]
    assert all(splits)
    assert sum(map(len, splits)) == len(set.union(*splits))


def test_nothing_nearly_repeats_across_splits(data: TaskData) -> None:
    assert not near_copies(data.train.texts, data.test.texts + data.validation.texts)
    assert not near_copies(data.validation.texts, data.test.texts)


def test_no_family_exceeds_its_cap_and_the_rest_is_counted(data: TaskData) -> None:
    labels = data.train.labels or []
    assert max(map(labels.count, FAMILIES)) <= 20
    counts = data.counts
    fates = ["exact_copies", "near_copies_train", "near_copies_validation"]
    fates += [f"not_sampled_{split}" for split in ("train", "validation", "test")]
    assert counts["rows_read"] == sum(
        counts[fate] for fate in [*fates, "train", "validation", "test"]
    )


def test_a_held_out_list_that_differs_from_the_families_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"task\.held_out"):
        small(FAMILIES, HELD_OUT[1:])


def test_a_package_that_is_not_installed_names_the_near_ones() -> None:
    task = small(FAMILIES | {"cli": ["klick"]}, ["klick", *HELD_OUT[1:]])
    with pytest.raises(Missing, match="did you mean `click`"):
        task.identity(NOWHERE)


def test_the_pool_leaves_out_what_the_configured_task_is_made_of() -> None:
    groups = {name: OmegaConf.load(CONF / name / "pydocs.yaml") for name in ("task", "pool")}
    config = OmegaConf.create(groups)
    task, pool = (instantiate(config[name], _convert_="all") for name in ("task", "pool"))
    packages = {package for family in task.families.values() for package in family}
    assert set(pool.held_out) == packages
    assert len(task.families) >= 5


def test_the_pool_holds_everything_beside_another_task() -> None:
    config = OmegaConf.create({"task": {"name": "cola"}, "pool": {}})
    config.pool = OmegaConf.load(CONF / "pool" / "pydocs.yaml")
    assert list(instantiate(config.pool, _convert_="all").held_out) == []
