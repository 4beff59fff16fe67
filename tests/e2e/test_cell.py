"""One whole cell: what comes out of it, what is shared between cells, what is never chosen."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cells
import pytest
import toy

from shortlist import cli
from shortlist.leaderboard.submission import problems
from shortlist.store.cache import executions
from shortlist.store.manifest import MANIFEST, write_manifest
from shortlist.store.records import read_records, record_path

pytestmark = pytest.mark.whole

WHOLE = {
    "pool": 1, "task": 1, "leaks": 1, "features": 2, "fit": 2, "scores": 2, "selection": 2,
    "sensitivity": 1, "advice": 1, "head": 1, "warmup": 1, "held_out": 2, "finetune": 1, "evaluate": 1,
}  # fmt: skip


ROLES = {  # which cost column of a table a stage counts toward; the ablation is a diagnostic
    "preparation": {"pool", "task", "leaks", "head"},
    "selection": {"features", "fit", "scores", "selection"},
    "diagnostics": {"sensitivity", "advice", "fit", "scores", "selection"},
    "training": {"warmup", "finetune"},
    "evaluation": {"held_out", "evaluate"},
}


def ran(home: Path, since: int = 0) -> dict[str, int]:
    """How often each stage was computed under this home, the first `since` computations left out."""
    return dict(Counter(stage for stage, _ in executions(home / "cache")[since:]))


def chosen(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "shortlist.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_whole_cell_computes_every_stage_once(run: Any, tmp_path: Path) -> None:
    record, _ = run(*cells.GOTD)
    assert (record.status, record.reason) == ("done", "")
    assert ran(tmp_path) == WHOLE
    roles: dict[str, set[str]] = {}
    for stage in record.stages:
        roles.setdefault(stage.role, set()).add(stage.stage)
    assert roles == ROLES


def test_a_warm_up_by_lora_and_a_full_fine_tuning_run_through_the_whole_pipeline(
    run: Any, tmp_path: Path
) -> None:
    lora = ("selector=random", "peft@warmup.peft=lora", "warmup.peft.rank=2")
    record, _ = run(*lora)
    assert (record.status, record.reason) == ("done", "")
    drop = record.metric("mlm_loss_drop")
    assert drop is not None and drop.value != 0
    total, trained, share, saved = (
        record.counts[f"warmup_{fact}"]
        for fact in (
            "parameters", "trained_parameters", "trained_parts_per_million", "memory_saved_bytes",
        )
    )  # fmt: skip
    assert share == round(1e6 * trained / total) < 100_000 and saved == 12 * (total - trained)
    assert "finetune_trained_parameters" not in record.counts
    found = list(problems(record, Path("conf")))
    assert not [text for text in found if "a path of the machine" not in text]  # model.path
    (warm,) = (tmp_path / "cache" / "warmup").iterdir()
    assert {path.name for path in warm.iterdir()} >= {"model.safetensors", "config.json"}
    assert not (warm / "adapter").exists()


def test_a_rate_that_is_found_is_recorded_and_its_curve_drawn(run: Any) -> None:
    find = ("selector=random", "finetune.learning_rate=find", "runtime.report=true")
    record, directory = run(*find)
    assert (record.status, record.reason) == ("done", "")
    steps = record.counts["finetune_range_test_steps"]
    chosen = record.counts["finetune_learning_rate_parts_per_billion"] / 1e9
    page = (directory / "report.html").read_text()
    assert page.count('<section id="training">') == 1
    assert page.count(f"Range test of {steps} steps; chosen: {chosen:g}.") == 1


def test_the_plan_of_a_cell_names_the_groups_of_both_trainings_and_stores_nothing(
    small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = ("finetune.freeze=[embeddings,'*.layer.0.*']", "finetune.learning_rate=find")
    assert cli.main(["plan", "--json", *small, "selector=random", *lists]) == 0
    warm_up, fine_tuning = json.loads(capsys.readouterr().out)
    assert warm_up["measured_on"] == "the first 10 documents of the pool by id"
    assert "(bert.embeddings.word_embeddings.weight and " in warm_up["groups"][0]
    assert fine_tuning["measured_on"] == "24 labelled examples"
    told = "\n".join(fine_tuning["groups"])
    assert "(bert.encoder.layer.1.attention.self.query.weight and " in told
    assert "at rate 1," not in told and "embeddings" not in told and "layer.0" not in told
    assert not list(tmp_path.glob("cache/*/*/model.safetensors"))


def test_the_record_of_a_cell_says_what_it_measured_and_what_it_read(
    run: Any, tmp_path: Path
) -> None:
    record, directory = run(*cells.GOTD)
    names = [metric.name for metric in record.metrics]
    assert names == ["macro_f1", "accuracy", "mlm_loss_before", "mlm_loss_after", "mlm_loss_drop"]
    assert [metric.name for metric in record.metrics if metric.primary] == ["macro_f1"]
    assert record.selection["size"] == 10 == sum(record.selection["domains"].values())
    assert [stage.stage for stage in record.stages] == [
        "pool", "task", "leaks", "features", "features", "fit", "scores", "selection",
        "sensitivity", "fit", "scores", "selection", "advice",  # of the ablation baseline; budget
        "head", "warmup", "held_out", "held_out", "finetune", "evaluate",
    ]  # fmt: skip
    assert {"pool_fingerprint", "task_target", "read.model.weights"} <= set(record.inputs)
    assert read_records(tmp_path / "results") == [record]
    assert (directory / "record.json").read_text() == record.to_json()
    found = list(problems(record, Path("conf")))
    assert not [text for text in found if "a path of the machine" not in text]  # model.path


def test_a_broken_record_is_replaced_by_the_re_run_of_its_cell(
    run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record, _ = run("selector=random", "until=select")
    path = record_path(tmp_path / "results", record)
    for content in (record.to_json()[:500].encode(), b"[" * 100_000):
        path.write_bytes(content)
        caplog.clear()
        again, _ = run("selector=random", "until=select")
        assert read_records(tmp_path / "results") == [again]
        (message,) = (text for text in caplog.messages if "replaced by the record" in text)
        assert str(path) in message


def test_a_record_keeps_what_was_typed_of_the_hashed_groups_and_no_path_of_the_machine(
    run: Any,
) -> None:
    record, _ = run(*cells.GOTD, "until=select")
    assert "until=select" in record.overrides
    assert not [typed for typed in record.overrides if typed.startswith(("paths.", "runtime."))]


def test_one_command_over_other_data_is_another_record(
    run: Any, tmp_path: Path, data: Path
) -> None:
    first, _ = run("selector=random", "until=select")
    (pool,) = sorted((data / "pools").glob("*"))[:1]
    copy = tmp_path / "other"
    shutil.copytree(data, copy)
    with (copy / "pools" / pool.name).open("a") as file:
        file.write('{"text": "a document that was not there before", "domain": "new"}\n')
    second, _ = run("selector=random", "until=select", f"paths.data={copy}")
    assert first.config == second.config
    assert first.key != second.key


def test_the_drop_of_the_loss_is_before_less_after(run: Any) -> None:
    record, _ = run(*cells.GOTD)
    before, after, drop = (
        record.metric(f"mlm_loss_{name}") for name in ("before", "after", "drop")
    )
    assert drop.value == pytest.approx(before.value - after.value, abs=1e-12)
    assert before.protocol == after.protocol == drop.protocol != ""


def test_until_select_writes_the_shortlist_best_first_and_trains_nothing(
    run: Any, tmp_path: Path, data: Path
) -> None:
    record, directory = run(*cells.GOTD, "until=select")
    rows = chosen(directory)
    assert record.status == "done" and record.selection["size"] == len(rows) == 10
    assert all(sorted(row) == ["domain", "id", "rank", "score", "text"] for row in rows)
    assert [row["rank"] for row in rows] == list(range(1, 11))
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    texts = {
        json.loads(line)["text"]
        for file in (data / "pools").iterdir()
        for line in file.read_text().splitlines()
    }
    assert {row["text"] for row in rows} <= texts
    assert not {"head", "warmup", "finetune"} & set(ran(tmp_path))


def test_until_warmup_measures_the_losses_and_no_labels(run: Any, tmp_path: Path) -> None:
    record, _ = run("selector=random", "until=warmup")
    assert [metric.name for metric in record.metrics] == [
        "mlm_loss_before", "mlm_loss_after", "mlm_loss_drop",
    ]  # fmt: skip
    assert not {"finetune", "evaluate"} & set(ran(tmp_path))


def test_a_cell_that_is_done_computes_nothing_and_leaves_its_record_as_it_is(
    run: Any, tmp_path: Path
) -> None:
    first, _ = run(*cells.GOTD)
    computed, files = ran(tmp_path), list((tmp_path / "results").rglob("*.json"))
    before = [file.read_bytes() for file in files]
    second, _ = run(*cells.GOTD)
    assert ran(tmp_path) == computed
    assert second.metrics == first.metrics
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        ("finetune.learning_rate=1e-3", {"finetune", "evaluate"}),
        ("warmup.learning_rate=1e-3", {"warmup", "held_out", "finetune", "evaluate"}),
        ("budget=11", {"selection", "warmup", "held_out", "finetune", "evaluate"}),
        ("runtime.inference_tokens=100", set()),
        ("runtime.threads=1", set()),
    ],
)
def test_a_changed_setting_computes_only_what_comes_after_it(
    run: Any, tmp_path: Path, typed: str, again: set[str]
) -> None:
    run("selector=random")
    before = len(executions(tmp_path / "cache"))
    run("selector=random", typed)
    assert set(ran(tmp_path, before)) == again


def test_another_seed_of_a_selector_that_draws_nothing_selects_once(
    run: Any, tmp_path: Path
) -> None:
    run(*cells.GOTD, "until=select", "seed=0")
    before = len(executions(tmp_path / "cache"))
    run(*cells.GOTD, "until=select", "seed=1")
    assert ran(tmp_path, before) == {}


def test_a_damaged_artifact_is_computed_again_and_the_cell_ends_as_before(
    run: Any, tmp_path: Path
) -> None:
    first, _ = run(*cells.GOTD, "until=warmup")
    (model,) = (tmp_path / "cache" / "warmup").glob("*/model.safetensors")
    model.write_bytes(model.read_bytes()[:100])
    second, _ = run(*cells.GOTD, "until=warmup")
    assert second.metrics == first.metrics
    assert ran(tmp_path)["warmup"] == 2


def test_vectors_of_another_corpus_in_a_stage_are_refused_under_both_fingerprints(
    run: Any, tmp_path: Path
) -> None:
    first, _ = run(*cells.GOTD, "until=select")
    mine = first.inputs["pool_fingerprint"]
    for file in (tmp_path / "cache" / "features").glob("*/features.json"):
        file.write_text(file.read_text().replace(mine, "f" * len(mine)))
        described = json.loads((file.parent / MANIFEST).read_text())
        for computed in ("files", "digest", "sha256"):
            del described[computed]
        write_manifest(file.parent, described)
    second, _ = run(*cells.GOTD, "until=select", "budget=11")
    assert second.status == "failed"
    assert "features belong to corpus ffffffffffff" in second.reason
    assert f"expected corpus {mine[:12]}" in second.reason


def shards(folder: Path, seed: int, files: int) -> str:
    """The pool of `toy.write_data` in another order, cut into so many files."""
    rows = [
        {"text": text, "domain": topic}
        for topic in toy.TOPICS
        for text in toy.sentences(topic, 10, 4)
    ]
    random.Random(seed).shuffle(rows)
    for number in range(files):
        toy.write_jsonl(folder / f"part-{seed}-{number}.jsonl", rows[number::files])
    return f"pool.paths=[{folder}/part-{seed}-*.jsonl]"


@pytest.mark.parametrize("selector", [cells.GOTD, ("selector=dsir",), ("selector=random",)])
def test_a_permuted_pool_in_other_files_gives_the_same_ids_and_no_further_work(
    run: Any, tmp_path: Path, selector: tuple[str, ...]
) -> None:
    own = (*selector, "until=select", "pool=files", "pool.domain=domain")
    _, first = run(*own, shards(tmp_path / "own", 0, 1))
    before = len(executions(tmp_path / "cache"))
    _, second = run(*own, shards(tmp_path / "own", 1, 3))
    assert chosen(first) == chosen(second)
    assert ran(tmp_path, before) == {"pool": 1}


def test_a_pool_document_that_repeats_a_test_text_is_never_chosen(
    run: Any, tmp_path: Path, data: Path
) -> None:
    copied = shutil.copytree(data, tmp_path / "data")
    test = [
        json.loads(line)["text"]
        for line in (data / "tasks/citation_intent/test.jsonl").read_text().splitlines()
    ]
    pool = copied / "pools" / "far.jsonl"
    rows = [{"id": f"leak-{row}", "text": text} for row, text in enumerate(test)]
    pool.write_text(pool.read_text() + "".join(json.dumps(row) + "\n" for row in rows))
    record, directory = run(*cells.GOTD, "until=select", f"paths.data={copied}")
    assert record.counts["leaked"] == len(test)
    assert not set(test) & {row["text"] for row in chosen(directory)}


def test_a_budget_of_tokens_is_not_exceeded(run: Any, tmp_path: Path) -> None:
    record, directory = run("selector=random", "until=select", "budget=80", "budget_unit=tokens")
    rows = chosen(directory)
    # One token a toy word, and two special ones a document.
    assert 0 < sum(len(row["text"].split()) + 2 for row in rows) <= 80
    assert record.selection["size"] == len(rows)


def test_vanilla_reads_nothing_and_is_the_same_cell_at_every_budget(
    run: Any, tmp_path: Path
) -> None:
    record, directory = run("selector=vanilla")
    assert (record.status, record.reason) == ("done", "")
    assert record.selection["size"] == 0
    assert (directory / "shortlist.jsonl").read_text() == ""
    drop = record.metric("mlm_loss_drop")
    assert drop is not None and drop.value == 0
    computed = ran(tmp_path)
    assert "warmup" not in computed and computed["finetune"] == computed["held_out"] == 1
    before = len(executions(tmp_path / "cache"))
    run("selector=vanilla", "budget=11")
    assert ran(tmp_path, before) == {"selection": 1}


def test_texts_without_labels_serve_until_warmup(run: Any, tmp_path: Path) -> None:
    file = toy.write_jsonl(
        tmp_path / "own.jsonl", [{"text": text} for text in toy.sentences("sailing", 40)]
    )
    record, _ = run("selector=random", "task=own", f"task.train={file}", "until=warmup")
    assert (record.status, record.reason) == ("done", "")
    assert record.metric("mlm_loss_drop") is not None


def test_a_decoder_is_warmed_up_and_fine_tuned(run: Any, tiny_gpt2: Path) -> None:
    record, _ = run(
        "selector=random", f"model.path={tiny_gpt2}", "model.head=null", "trainer@warmup=clm",
        "warmup.block=64", "warmup.max_length=64", "warmup.precision=32", "finetune.max_length=64",
    )  # fmt: skip
    assert (record.status, record.reason) == ("done", "")
    assert record.metric("clm_loss_drop") is not None and record.metric("macro_f1") is not None


def test_a_record_names_every_group_that_was_typed_and_can_be_repeated(run: Any) -> None:
    record, _ = run("selector=random", "practice=layer_decay", "finetune.epochs=1")
    assert "practice=layer_decay" in record.overrides
    assert record.config["finetune"]["layer_decay"] == 0.8
    found = list(problems(record, Path("conf")))
    assert not [text for text in found if "a path of the machine" not in text]  # model.path
