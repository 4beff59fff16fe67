"""What a run would read is listed whole, without a network, each thing with what gets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from shortlist.doctor import check_run
from shortlist.errors import InvalidInput
from shortlist.models.pretrained import FETCHED
from shortlist.needs import Need
from shortlist.overrides import cells_of
from shortlist.pipeline.needs import is_pinned, needs

CONF = Path(__file__).parents[3] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def named(node: Any, key: str, beside: str) -> set[str]:
    """The values of `key` in mappings that have `beside` too, found by text alone."""
    if isinstance(node, list):
        return set().union(*(named(item, key, beside) for item in node))
    if not isinstance(node, dict):
        return set()
    own = {str(node[key])} if node.get(key) and node.get(beside) else set()
    return own.union(*(named(item, key, beside) for item in node.values()))


def check(config: Any) -> tuple[Need, ...]:
    found = needs(config)
    plain = {
        name: OmegaConf.to_container(config[name], resolve=True)
        for name in ("task", "pool", "model", "featurizer")
    }
    if config.source.name == "hub":
        wanted = named([plain["task"], plain["pool"]], "dataset", "files")
        assert wanted and wanted <= {need.name for need in found if need.kind == "data set"}
    wanted = named([plain["model"], plain["featurizer"]], "name", "revision")
    assert wanted <= {need.name for need in found if need.kind == "model"}
    for need in found:
        assert need.present or need.command, need
        assert need.kind not in ("model", "data set") or (need.revision and need.licence), need
        assert not need.present or need.kind in ("package", "file", "memory", "disk"), need
    return found


@pytest.mark.parametrize(
    "name", ["gotd_table3", pytest.param("gotd_table7", marks=pytest.mark.whole)]
)
def test_an_experiment_names_each_data_set_and_model_of_its_first_cell(
    composed: Any, name: str
) -> None:
    check(composed(*cells_of([f"experiment={name}"])[0]))


@pytest.mark.whole
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_cell_of_an_experiment_is_looked_through_without_a_network(
    composed: Any, name: str
) -> None:
    first = check(composed(*cells_of([f"experiment={name}"])[0]))
    whole = check_run([f"experiment={name}"])
    axes = composed(f"experiment={name}").hydra.sweeper.params
    if "task" not in axes and "model" not in axes and "featurizer" not in axes:
        assert {need.name for need in first} <= {need.name for need in whole}
    else:
        assert len(whole) >= len(str(axes.get("task", "")).split(","))


def test_a_model_that_is_fetched_is_present_with_its_size_and_without_weights_it_is_not(
    composed: Any, tmp_path: Path
) -> None:
    config = composed("model=bert_base")

    def model() -> Need:
        return next(need for need in needs(config) if need.name == "google-bert/bert-base-uncased")

    missing = model()
    assert not missing.present and is_pinned(missing) and missing.licence == "apache-2.0"
    assert missing.command.startswith("hf download google-bert/bert-base-uncased --revision 86b5e")
    assert all(pattern in missing.command for pattern in FETCHED)
    folder = (
        tmp_path / "hub" / "models--google-bert--bert-base-uncased" / "snapshots" / missing.revision
    )
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert not model().present
    (folder / "model.safetensors").write_bytes(bytes(500))
    found = model()
    assert found.present and found.bytes == 502 and not found.command


def test_files_of_a_data_folder_are_named_one_by_one(composed: Any, tmp_path: Path) -> None:
    import toy

    data = toy.write_data(tmp_path / "data")
    typed = ("task=citation_intent", "pool=domains", f"paths.data={data}", "selector=random")
    files = {Path(need.name) for need in needs(composed(*typed)) if need.kind == "file"}
    assert files == {*data.glob("tasks/citation_intent/*.jsonl"), *data.glob("pools/*.jsonl")}
    (data / "tasks" / "citation_intent" / "test.jsonl").unlink()
    reason = [need.found for need in needs(composed(*typed)) if not need.present]
    assert len(reason) == 1 and "test.jsonl" in reason[0]


def test_axes_are_taken_one_at_a_time_and_seeds_once() -> None:
    typed = ["task=rte,cola", "selector=gotd,dsir,random", "seed=0,1,2", "leaks.action=drop"]
    cells = cells_of(typed, apart=("seed",))
    assert [cell[:3] for cell in cells] == [
        ["task=rte", "selector=gotd", "seed=0"],
        ["task=rte", "selector=dsir", "seed=0"],
        ["task=rte", "selector=random", "seed=0"],
        ["task=cola", "selector=gotd", "seed=0"],
    ]
    with pytest.raises(InvalidInput, match="selector has no option `gtod`"):
        check_run(["selector=gtod"])


def test_the_command_prints_json_and_ends_with_1_where_something_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from shortlist.cli import main

    assert main(["doctor", "model=bert_base", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    missing = [need["name"] for need in found if not need["present"]]
    assert missing[0] == "google-bert/bert-base-uncased"
    assert [need["kind"] for need in found[-2:]] == ["memory", "disk"]
    weights = 16 * 108e6  # with gradients and the two moments of AdamW
    assert weights < found[-2]["bytes"] < 4 * weights  # activations of 16 texts of 256 tokens
    assert main(["doctor"]) in (0, 1) and "free memory" in capsys.readouterr().out


def test_files_that_are_not_set_are_missing_and_references_are_followed(
    composed: Any, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n')
    typed = ["experiment=date_lm", "selector=gotd", f"paths.data={tmp_path}"]
    unset = {need.name for need in needs(composed(*cells_of(typed)[0])) if not need.present}
    assert unset == {"task (not set)", "pool (not set)"}
    typed += ["pool.paths=[${paths.data}/t.jsonl]", "task.train=${paths.data}/t.jsonl"]
    found = needs(composed(*cells_of(typed)[0]))
    assert all(need.present for need in found)
    assert str(tmp_path / "t.jsonl") in {need.name for need in found}


def test_what_any_part_of_a_cell_reads_is_named_by_its_class(composed: Any) -> None:
    def missing(*typed: str) -> set[str]:
        return {need.name for need in needs(composed(*typed)) if not need.present}

    usual = missing("task=multi_label", "task.train=/a.jsonl", "task.test=/b.jsonl")
    assert {"/a.jsonl", "/b.jsonl"} <= usual  # a task that derives from one of files
    base = missing()
    for typed, name in (
        (("distil=static", "model@distil.model=bert_base"), "google-bert/bert-base-uncased"),
        (
            ("leaks.semantic=0.9", "model@leaks.vectors.model=bert_base"),
            "google-bert/bert-base-uncased",
        ),
        (
            ("selector=least_toxic", "scorer@featurizer.scorer=minilm_toxicity",
             "featurizer.scorer.labelled=/toxic.csv"),
            "/toxic.csv",
        ),
    ):  # fmt: skip
        assert missing(*typed) - base == {name}, typed
    assert "ray" in {need.name for need in needs(composed("backend=ray"))}
