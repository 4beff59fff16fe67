"""What vectors need before or after they are computed: heads, labels, warm-ups, whitening."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.store.cache import executions

pytestmark = pytest.mark.whole

KNN = ("selector=soft_knn", "until=select")
SHORT = ("featurizer.max_length=32", "featurizer.precision=32")
INNER = ("featurizer.inner.max_length=32", "featurizer.inner.precision=32")
GRADIENTS = (
    "selector=less",
    "until=select",
    "featurizer=gradients_adam",
    "featurizer.max_length=32",
    "featurizer.columns=32",
    "featurizer.warmup.documents=20",
    "featurizer.warmup.epochs=2",
)


def ran(home: Path, since: int = 0) -> dict[str, int]:
    return dict(Counter(stage for stage, _ in executions(home / "cache")[since:]))


def vectors(record: Any, home: Path) -> list[np.ndarray]:
    """Vectors of pool and target, as the method saw them."""
    keys = [stage.key for stage in record.stages if stage.stage == "features"][-2:]
    return [np.load(home / "cache" / "features" / key / "values.npy") for key in keys]


def test_whitening_is_learned_from_the_pool_and_changes_the_target_alike(
    run: Any, tmp_path: Path
) -> None:
    plain, _ = run(*KNN, *SHORT)
    count = len(executions(tmp_path / "cache"))
    settings = ("featurizer=whitened", "featurizer.shrinkage=0", "featurizer.normalise=false")
    record, _ = run(*KNN, *settings, *INNER)
    assert ran(tmp_path, count) == {
        "whitening": 1,
        "features": 2,
        "fit": 1,
        "scores": 1,
        "selection": 1,
        "advice": 1,
    }
    pool, target = vectors(record, tmp_path)
    rank = record.selection["whitening"]["rank"]
    spectrum = np.linalg.eigvalsh(np.cov(pool.astype(np.float64).T, bias=True))[::-1]
    np.testing.assert_allclose(spectrum[:rank], 1, atol=1e-3)  # of float32 vectors of length 1
    np.testing.assert_allclose(spectrum[rank:], 0, atol=1e-3)
    raw_pool, raw_target = (one.astype(np.float64) for one in vectors(plain, tmp_path))
    mixed, *_ = np.linalg.lstsq(raw_pool - raw_pool.mean(0), pool, rcond=1e-10)
    np.testing.assert_allclose((raw_target - raw_pool.mean(0)) @ mixed, target, atol=1e-2)


def test_a_tuned_encoder_learns_the_labels_once_for_all_seeds(run: Any, tmp_path: Path) -> None:
    tuned = (*KNN, *SHORT, "featurizer=tuned", "featurizer.tuning.epochs=1")
    tuned = (*tuned, "featurizer.tuning.precision=32", "featurizer.tuning.max_length=32")
    plain, _ = run(*KNN, *SHORT)
    count = len(executions(tmp_path / "cache"))
    record, _ = run(*tuned)
    assert ran(tmp_path, count) == {
        "tuned": 1,
        "features": 2,
        "fit": 1,
        "scores": 1,
        "selection": 1,
        "advice": 1,
    }
    for own, other in zip(vectors(record, tmp_path), vectors(plain, tmp_path), strict=True):
        assert np.abs(own - other).max() > 1e-3
    count = len(executions(tmp_path / "cache"))
    again, _ = run(*tuned, "seed=1")
    assert again.status == "done"
    assert not {"tuned", "features"} & set(ran(tmp_path, count))


def test_a_tuned_encoder_does_not_see_the_labels_of_the_test_split(
    run: Any, tmp_path: Path, data: Path
) -> None:
    tuned = (*KNN, *SHORT, "featurizer=tuned", "featurizer.tuning.epochs=1")
    first, _ = run(*tuned)
    copy = tmp_path / "other"
    shutil.copytree(data, copy)
    test = copy / "tasks" / "citation_intent" / "test.jsonl"
    swap = {"sailing": "baking", "baking": "sailing"}
    rows = [json.loads(line) for line in test.read_text().splitlines()]
    test.write_text("".join(json.dumps({**r, "label": swap[r["label"]]}) + "\n" for r in rows))
    second, _ = run(*tuned, f"paths.data={copy}")
    keys = [{s.key for s in one.stages if s.stage == "features"} for one in (first, second)]
    assert keys[0] == keys[1]


def test_an_adapted_encoder_reads_the_targets_texts_with_a_head_of_its_own(
    run: Any, tmp_path: Path, data: Path
) -> None:
    text = next((data / "pools").iterdir())
    task = ("task=own", f"task.train={text}", "task.label=null", "until=select")
    adapted = (*KNN, *SHORT, *task, "featurizer=adapted", "featurizer.tuning.precision=32")
    plain, _ = run(*KNN, *SHORT, *task)
    count = len(executions(tmp_path / "cache"))
    record, _ = run(*adapted, "featurizer.tuning.learning_rate=1e-2")
    assert record.status == "done"
    found = ran(tmp_path, count)
    assert (found["head"], found["tuned"]) == (1, 1)
    for own, other in zip(vectors(record, tmp_path), vectors(plain, tmp_path), strict=True):
        assert np.abs(own - other).max() > 1e-3


def test_tuning_needs_labels(run: Any, tmp_path: Path, data: Path) -> None:
    text = next((data / "pools").iterdir())
    record, _ = run(
        *KNN, *SHORT, "featurizer=tuned", "task=own", f"task.train={text}", "task.label=null"
    )
    assert record.status == "failed"
    assert "needs a target with labels" in record.reason


@pytest.mark.parametrize("name", ["gradients", "model_loss"])
def test_a_head_that_is_missing_is_the_one_that_the_warm_up_trains(
    run: Any, tmp_path: Path, name: str
) -> None:
    only = ("featurizer.columns=32",) if name == "gradients" else ()
    record, _ = run("selector=soft_knn", f"featurizer={name}", "featurizer.max_length=32", *only)
    assert (record.status, record.reason) == ("done", "")
    assert ran(tmp_path)["head"] == 1
    pool, target = vectors(record, tmp_path)
    assert pool.shape[1] == target.shape[1] == (32 if name == "gradients" else 1)


def test_gradients_are_taken_at_the_checkpoints_of_one_warm_up_on_the_pool(
    run: Any, tmp_path: Path
) -> None:
    record, _ = run(*GRADIENTS)
    assert (record.status, record.reason) == ("done", "")
    assert ran(tmp_path)["learned"] == 1
    assert record.counts["learned_warmup_documents"] == 20
    found = vectors(record, tmp_path)
    for rows in found:
        assert rows.shape[1] == 2 * 2 * 32  # steps and gradients, at two checkpoints
        for half in np.hsplit(rows, 2):
            np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-5)
    # LESS: the steps of the pool against the gradients of the target, whose one domain is its mean.
    pool, target = (np.hsplit(rows.astype(float), 2)[side] for side, rows in enumerate(found))
    key = next(stage.key for stage in record.stages if stage.stage == "scores")
    scores = np.load(tmp_path / "cache" / "scores" / key / "scores.npy")
    np.testing.assert_allclose(scores, pool @ target.mean(0), atol=1e-5)


def test_the_warm_up_of_gradients_does_not_read_texts_that_are_measured_on(
    run: Any, tmp_path: Path, data: Path
) -> None:
    copy = tmp_path / "leaky"
    shutil.copytree(data, copy)
    test = (copy / "tasks" / "citation_intent" / "test.jsonl").read_text().splitlines()
    with (copy / "pools" / "near.jsonl").open("a") as pool:
        pool.writelines(json.dumps({"text": json.loads(line)["text"]}) + "\n" for line in test)
    record, _ = run(*GRADIENTS, "featurizer.warmup.documents=1000", f"paths.data={copy}")
    documents, _ = vectors(record, tmp_path)
    assert record.counts["leaked"] == len(test)
    assert record.counts["learned_warmup_documents"] == len(documents) - len(test)
