"""An interrupted featurizing goes on where it stopped, with the bits of an undisturbed one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.core import Corpus
from shortlist.featurizers import transformer
from shortlist.featurizers.base import ShardedFeaturizer
from shortlist.featurizers.transformer import Transformer
from shortlist.models.pretrained import LocalModel
from shortlist.runtime import Runtime
from shortlist.store.cache import Artifact, Store
from shortlist.store.formats import load_features, save_features

CORPUS = Corpus.build(toy.sentences("sailing", 23))


class Lengths(ShardedFeaturizer):
    """Three numbers a document; dies, or is interrupted, before a shard."""

    shard = 5
    columns = 3

    def __init__(self, log: Path, dies_at: int = -1, interrupted_at: int = -1) -> None:
        self.log, self.dies_at, self.interrupted_at, self.read = log, dies_at, interrupted_at, 0

    def reader(self, runtime: Runtime) -> Lengths:
        return self

    def rows(self, documents: Corpus, report: Any) -> tuple[np.ndarray, dict[str, int]]:
        if self.read == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.read == self.interrupted_at:
            raise KeyboardInterrupt
        self.read += 1
        with self.log.open("a") as log:
            log.write(json.dumps(documents.texts) + "\n")
        report(len(documents))
        words = documents.id_bits()[:, None] >> np.array([1, 20, 40], dtype=np.uint64)
        return words.astype(np.float32), {"letters": sum(map(len, documents.texts))}


def stage(
    root: Path, featurizer: ShardedFeaturizer, machine: Runtime, corpus: Corpus = CORPUS
) -> Artifact:
    def compute(directory: Path) -> dict[str, Any]:
        values, facts = featurizer.compute(corpus, directory, machine)
        save_features(directory, corpus.fingerprint, values)
        return facts

    return Store(root).stage("features", 1, {}, {"corpus": corpus.fingerprint}, compute)


def hidden(root: Path) -> list[str]:
    return [path.name for path in (root / "features").iterdir() if path.name.startswith(".")]


def killed(root: Path, featurizer: ShardedFeaturizer, machine: Runtime) -> int:
    child = multiprocessing.get_context("fork").Process(
        target=stage, args=(root, featurizer, machine)
    )
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


@pytest.mark.parametrize("shards_done", [0, 1, 3])
def test_after_kill_9_only_what_was_not_done_is_computed_and_the_bits_are_the_same(
    tmp_path: Path, machine: Any, shards_done: int
) -> None:
    log = tmp_path / "log"
    assert killed(tmp_path / "a", Lengths(log, shards_done), machine) == -signal.SIGKILL
    resumed = stage(tmp_path / "a", Lengths(log), machine)
    whole = stage(tmp_path / "b", Lengths(tmp_path / "other"), machine)
    assert resumed.digest == whole.digest
    assert resumed.facts == whole.facts == {"letters": sum(map(len, CORPUS.texts))}
    read = [text for line in log.read_text().splitlines() for text in json.loads(line)]
    assert read == CORPUS.texts  # each document once, over both processes
    assert hidden(tmp_path / "a") == []


def test_an_interrupted_computation_is_not_an_artifact(tmp_path: Path, machine: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path, Lengths(tmp_path / "log", interrupted_at=2), machine)
    assert [name.rpartition(".")[2] for name in hidden(tmp_path)] == ["unfinished"]
    assert list((tmp_path / "features").glob("*/manifest.json")) == []
    with pytest.raises(KeyboardInterrupt):  # a second time, in another place
        stage(tmp_path, Lengths(tmp_path / "log", interrupted_at=1), machine)
    made = stage(tmp_path, Lengths(tmp_path / "log"), machine)
    assert len((tmp_path / "log").read_text().splitlines()) == 5
    expected = Lengths(tmp_path / "other").rows(CORPUS, lambda done: None)[0]
    np.testing.assert_array_equal(load_features(made.path).values, expected)


@pytest.mark.parametrize("spoil", ["values", "empty", "short", "archive", "mark", "no mark", "bit"])
def test_rows_that_are_not_what_the_marks_say_are_computed_again(
    tmp_path: Path, machine: Any, spoil: str
) -> None:
    work, log = tmp_path / "work", tmp_path / "log"
    work.mkdir()
    with pytest.raises(KeyboardInterrupt):
        Lengths(log, interrupted_at=3).compute(CORPUS, work, machine)
    folder = tmp_path / "work.unfinished"
    if spoil == "values":
        (folder / "values.npy").unlink()
    elif spoil in ("empty", "short"):  # a full disk, or a kill, while the file was made
        os.truncate(folder / "values.npy", 0 if spoil == "empty" else 20)
    elif spoil == "archive":
        (folder / "values.npy").write_bytes(b"PK\3\4" + bytes(60))
    elif spoil == "bit":  # of the last number of the second shard
        rows = np.load(folder / "values.npy", mmap_mode="r+")
        shard = Lengths.shard
        rows.view(np.int32)[2 * shard - 1, -1] ^= 1
        rows.flush()
    elif spoil == "no mark":
        sorted(folder.glob("*.json"))[0].write_bytes(b"\xff[")
    else:  # of other documents
        mark = sorted(folder.glob("*.json"))[1]
        mark.write_text(json.dumps({"documents": "others", "counts": {"letters": 9}}))
    again = Lengths(log)
    values, facts = again.compute(CORPUS, work, machine)
    assert again.read == (3 if spoil in ("mark", "no mark", "bit") else 5)
    np.testing.assert_array_equal(
        values, Lengths(tmp_path / "other").rows(CORPUS, lambda done: None)[0]
    )
    assert facts == {"letters": sum(map(len, CORPUS.texts))}


def test_a_transformer_goes_on_with_the_same_bits(
    tiny_model: Path, tmp_path: Path, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"max_length": 8, "pooling": "mean", "layer": -1, "normalise": True}
    made = Transformer(LocalModel(str(tiny_model)), precision="32", tuning=None, **settings)
    made.shard = 6
    whole = stage(tmp_path / "a", made, machine)
    rows, read = transformer.Encoding.rows, []

    def interrupted(self: Any, documents: Corpus, report: Any) -> Any:
        read.extend(documents.texts)
        if len(read) == 18:
            raise KeyboardInterrupt
        return rows(self, documents, report)

    monkeypatch.setattr(transformer.Encoding, "rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path / "b", made, machine)
    resumed = stage(tmp_path / "b", made, machine)
    assert resumed.digest == whole.digest
    assert read == CORPUS.texts[:18] + CORPUS.texts[12:]
    assert resumed.facts == whole.facts
    assert resumed.facts["truncated"] > 0
