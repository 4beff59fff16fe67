"""Preparation of pools and tasks in whole cells: applied, counted, cached once, absent by default."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import pyarrow.parquet as pq
import pytest
import yaml
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from shortlist.core import Record
from shortlist.errors import InvalidInput
from shortlist.pipeline.identity import cell_key
from shortlist.pipeline.preparation import with_preparation
from shortlist.store.formats import load_corpus

pytestmark = pytest.mark.whole

CHEAP = ("selector=random", "until=select", "advice=null")
SHORT = [{"repair_text": {}}, {"length": {"min_words": 1, "max_words": 40}}, "exact_duplicates"]


@pytest.fixture
def record(
    small: tuple[str, ...], tmp_path: Path, composed: Callable[..., Any]
) -> Callable[..., Record]:
    """A function from values of settings to the record of a small cell."""

    def run(**values: Any) -> Record:
        config = copy.deepcopy(composed(*small, *CHEAP))
        for name, value in values.items():
            OmegaConf.update(config, name.replace("__", "."), value, force_add=True)
        with initialize_config_dir(str(cells.ROOT / "conf"), version_base="1.3"):
            return cells.execute(config, tmp_path / "runs" / "one")

    return run


def stage_keys(record: Record, *names: str) -> list[str]:
    return [stage.key for stage in record.stages if stage.stage in names]


def test_a_prepared_pool_is_made_once_and_every_row_is_counted(
    record: Callable[..., Record], tmp_path: Path
) -> None:
    plain = record()
    first = record(pool__prepare=SHORT)
    again = record(pool__prepare=SHORT, seed=1)
    assert (plain.status, first.status, again.status) == ("done",) * 3, first.reason
    assert not stage_keys(plain, "prepare")
    assert stage_keys(first, "prepare") == stage_keys(again, "prepare") != []
    assert stage_keys(first, "pool") == stage_keys(plain, "pool")
    counts = first.counts
    kept = counts["pool_prepare_kept"]
    assert counts["pool_prepare_rows_read"] == kept + counts["pool_prepare_dropped"]
    assert counts["pool_prepare_rows_read"] == counts["pool_kept"]
    (key,) = stage_keys(first, "prepare")
    folder = tmp_path / "cache" / "prepare" / key
    verdicts = pq.read_table(folder / "verdicts.parquet")
    assert len(verdicts) == counts["pool_kept"]
    assert len(load_corpus(folder / "corpus.arrow")) == kept - counts["pool_prepare_copies_joined"]


def test_rows_are_dropped_from_train_alone(record: Callable[..., Record]) -> None:
    plain = record()
    prepared = record(task__prepare=[{"length": {"max_chars": 60}}])
    assert prepared.status == "done", prepared.reason
    counts = prepared.counts
    assert counts["task_prepare_train_dropped"] > 0
    for split in ("validation", "test"):
        assert prepared.inputs[f"task_{split}"] == plain.inputs[f"task_{split}"]
        assert counts[f"task_prepare_failing_{split}"] >= 0
    assert prepared.inputs["task_train"] != plain.inputs["task_train"]


def test_a_preparation_that_leaves_nothing_or_loses_a_class_is_refused(
    record: Callable[..., Record],
) -> None:
    nothing = record(pool__prepare={"length": {"min_chars": 100_000}})
    assert nothing.status == "failed" and "expected documents that pass its rules" in nothing.reason
    lost = record(task__prepare={"length": {"min_chars": 100_000}})
    assert lost.status == "failed" and "none left" in lost.reason


@pytest.mark.parametrize("value", ["none", None, ["none"]])
def test_no_preparation_moves_no_key(composed: Callable[..., Any], value: Any) -> None:
    plain = composed("task=own")
    config = copy.deepcopy(plain)
    config.pool.prepare = config.task.prepare = value
    with initialize_config_dir(str(cells.ROOT / "conf"), version_base="1.3"):
        config = with_preparation(config)
    settings = OmegaConf.to_container(plain)
    assert isinstance(settings, dict) and settings["pool"]["prepare"] is None
    assert cell_key(config, {}) == cell_key(plain, {})


def test_the_order_of_operations_enters_the_key(composed: Callable[..., Any]) -> None:
    keys: set[str] = set()
    for order in (["whitespace", "length"], ["length", "whitespace"]):
        config = copy.deepcopy(composed("task=own"))
        config.pool.prepare = order
        with initialize_config_dir(str(cells.ROOT / "conf"), version_base="1.3"):
            keys.add(cell_key(with_preparation(config), {}))
    assert len(keys) == 2


def test_the_folds_of_a_task_are_stages_that_test_every_row_once(
    record: Callable[..., Record], tmp_path: Path
) -> None:
    tested: list[str] = []
    rows = 0
    for fold in range(3):
        made = record(task__folds=3, fold=fold)
        assert made.status == "done", made.reason
        (key,) = stage_keys(made, "fold")
        folder = tmp_path / "cache" / "fold" / key
        tested += load_corpus(folder / "test.arrow").texts
        splits = ("train", "validation", "test")
        rows = sum(made.counts[f"task_fold_{split}"] for split in splits)
        assert made.config["fold"] == fold
    assert len(tested) == rows
    refused = record(task__folds=3)
    assert refused.status == "failed" and "task.folds and fold belong together" in refused.reason
    beyond = record(task__folds=3, fold=3)
    assert (
        beyond.status == "failed" and "expected a fold from 0 to 2, found fold=3" in beyond.reason
    )


def test_augmentation_grows_train_alone_and_leaves_the_target(
    record: Callable[..., Record],
) -> None:
    plain, grown = record(), record(task__augment="words")
    assert grown.status == "done", grown.reason
    assert grown.counts["task_augment_copies"] > 0
    assert grown.inputs["task_train"] != plain.inputs["task_train"]
    for split in ("validation", "test", "target"):
        assert grown.inputs[f"task_{split}"] == plain.inputs[f"task_{split}"]
    wrong = record(task__augment={"words": {"rate": 2.0}})
    assert wrong.status == "failed" and "a rate between 0 and 1" in wrong.reason


@pytest.mark.parametrize("preset", ["web", "papers"])
def test_presets_that_remove_shared_lines_refuse_pairs_in_one_line(
    preset: str, small: tuple[str, ...], composed: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [
        {
            "text": f"the claim number {n} of a series",
            "b": f"an answer to {n}",
            "label": "ab"[n % 2],
        }
        for n in range(60)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    own = (f"task.train={path}", "task.text_b=b", "task.label=label", f"task.prepare={preset}")
    config = composed(*small, *CHEAP, "task=own", *own)
    with initialize_config_dir(str(cells.ROOT / "conf"), version_base="1.3"):
        refused = cells.execute(config, tmp_path / "runs" / "one")
    assert refused.status == "failed" and "\n" not in refused.reason
    assert "found boilerplate_lines, which edits what many documents share" in refused.reason
    assert "name the operations one by one without it" in refused.reason


def test_substitution_asks_a_masked_lm_whose_head_is_trained_once(
    record: Callable[..., Record], tiny_model: Path
) -> None:
    model = {"local": {"path": str(tiny_model), "head": yaml.safe_load(cells.HEAD)}}
    how = {"masked_lm": {"model": model, "max_length": 64, "agreement": False}}
    grown = record(task__augment=how, until="finetune")
    assert grown.status == "done", grown.reason
    made = grown.counts["task_augment_made_substitution"]
    assert (
        made == grown.counts["task_augment_copies"] == grown.counts["task_augment_label_unchecked"]
    )
    assert made > 0 and grown.inputs["read.augment.weights"] == grown.inputs["read.model.weights"]
    assert len(stage_keys(grown, "head")) == 1  # that of the cell's own model
    again = record(task__augment=how, until="finetune")
    assert stage_keys(again, "augment") == stage_keys(grown, "augment")
    wrong = record(task__augment={"masked_lm": {"model": "gpt2_mini"}})
    assert wrong.status == "failed"
    assert "expected a model whose weights exist, found ScratchModel" in wrong.reason
    with pytest.raises(InvalidInput, match="there is no option `minilmm`; did you mean `minilm`"):
        record(task__augment={"masked_lm": {"model": "minilmm"}})
    with pytest.raises(
        InvalidInput, match=r"task\.augment: expected one option, found words, masked_lm"
    ):
        record(task__augment={"words": {}, "masked_lm": {}})


def test_the_rows_of_a_users_file_are_split_by_time_or_by_the_groups_of_a_column(
    small: tuple[str, ...], composed: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [
        {
            "text": f"report number {n} about topic {n % 5}",
            "label": "ab"[n % 2],
            "day": f"2024-01-{1 + n % 28:02}",
            "author": n % 9,
        }
        for n in range(90)
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    own = (*small, *CHEAP, "task=own", f"task.train={path}", "task.label=label")

    def run(*settings: str) -> Record:
        config = composed(*own, *settings)
        with initialize_config_dir(str(cells.ROOT / "conf"), version_base="1.3"):
            return cells.execute(config, tmp_path / "runs" / "one")

    def values(made: Record, stage: str, column: str) -> list[set[Any]]:
        (key,) = stage_keys(made, stage)
        of = {row["text"]: row[column] for row in rows}
        folder = tmp_path / "cache" / stage / key
        return [
            {of[text] for text in load_corpus(folder / f"{split}.arrow").texts}
            for split in ("train", "validation", "test")
        ]

    by_day = run("task.split.by=time", "task.split.column=day")
    assert by_day.status == "done", by_day.reason
    early, middle, late = values(by_day, "split", "day")
    assert max(early) < min(middle) and max(middle) < min(late)
    sizes = [by_day.counts[f"task_split_{split}"] for split in ("train", "validation", "test")]
    assert sum(sizes) == 90 and abs(sizes[2] / 90 - 0.2) <= 0.1

    made = run("task.folds=3", "fold=1", "task.cross_validation.group=column",
               "task.cross_validation.column=author")  # fmt: skip
    assert made.status == "done", made.reason
    train, validation, test = values(made, "fold", "author")
    assert test and not test & (train | validation)

    for settings, message in (
        (("task.split.by=time", "task.split.column=date"), "expected the column 'date'"),
        (("task.split.column=day",), "set task.split.by"),
        (("task.split.by=text", "task.folds=3", "fold=0"), "found both"),
    ):
        refused = run(*settings)
        assert refused.status == "failed" and message in refused.reason, refused.reason
