"""`shortlist score`: the rows of its files, rows that cannot be read, bounded blocks, refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import toy

from shortlist.cli import main
from shortlist.core import Corpus, document_id
from shortlist.data.readers import Document
from shortlist.distil.base import Description, Scorer
from shortlist.distil.distillation import distil
from shortlist.distil.files import open_scorer
from shortlist.distil.linear import Linear
from shortlist.distil.pools import BLOCK, score_documents

TEXTS = [text for topic in toy.TOPICS for text in toy.sentences(topic, 20, seed=9)]


@pytest.fixture(scope="module")
def scorer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scorer") / "s.safetensors"
    corpus = Corpus.build(TEXTS)
    scores = np.array([len(text) for text in corpus.texts]) + np.linspace(0, 0.5, len(TEXTS))
    distil(Linear(1, 1024, 500, 0.1), corpus, scores, path, made={"method": "length"})
    return path


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv"])
def test_every_document_has_its_row_in_order_and_bad_rows_are_said(
    scorer_file: Path, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, out = tmp_path / "pool.jsonl", tmp_path / f"scores{ending}"
    rows: list[dict[str, Any]] = [{"body": text} for text in (*TEXTS, TEXTS[0])]
    toy.write_jsonl(pool, [*rows[:3], {"body": 5}, *rows[3:]])
    arguments = ["score", str(pool), "--scorer", str(scorer_file), "-c", "body", "-o", str(out)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "101 documents scored, 1 rows rejected" in said and "entry 4" in said
    assert "linear of method length" in said and "held-out documents" in said
    if ending == ".parquet":
        found = pq.read_table(out).to_pylist()
    elif ending == ".jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        with out.open(newline="") as file:
            found = list(csv.DictReader(file))
    assert [row["id"] for row in found] == [document_id(row["body"]) for row in rows]
    expected = open_scorer(scorer_file).score([row["body"] for row in rows])
    np.testing.assert_allclose([float(row["score"]) for row in found], expected)
    shares = np.array([float(row["percentile"]) for row in found])
    assert ((shares >= 0) & (shares <= 1)).all() and shares.std() > 0.1
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["pool.jsonl", out.name]


@dataclass(frozen=True)
class Counting(Scorer):
    """Refuses a block in which a document has not been read just before."""

    read: list[int]

    def score(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        assert len(texts) <= BLOCK and self.read[0] - int(texts[0]) <= BLOCK
        return np.array([float(text) for text in texts])

    def write(self, path: Path) -> None:
        raise NotImplementedError


def test_no_more_than_a_block_is_held_and_unknown_percentiles_are_null(tmp_path: Path) -> None:
    read, size = [0], 2 * BLOCK + 7

    def documents() -> Iterator[Document]:
        for number in range(size):
            read[0] += 1
            yield Document(str(number))

    out = tmp_path / "scores.parquet"
    scorer = Counting(Description("counting", {}), read)
    assert score_documents(scorer, documents(), out, lambda done: None) == size
    table = pq.read_table(out)
    assert table["score"].to_pylist() == list(range(size))
    assert table["percentile"].null_count == size


def test_a_failure_leaves_no_file(scorer_file: Path, tmp_path: Path) -> None:
    def documents() -> Iterator[Document]:
        yield Document("a")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        score_documents(
            open_scorer(scorer_file), documents(), tmp_path / "s.csv", lambda done: None
        )
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"-o": "scores.txt"}, "expected a name that ends in"),
        ({"--scorer": "absent.safetensors"}, "expected a scorer file, found no file"),
        ({"-c": "absent"}, "absent"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(
    scorer_file: Path, tmp_path: Path, changed: dict[str, str], reason: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    toy.write_jsonl(tmp_path / "pool.jsonl", [{"text": "a"}])
    options = {"--scorer": str(scorer_file), "-o": "s.parquet", "-c": "text", **changed}
    assert main(["score", "pool.jsonl", *(part for pair in options.items() for part in pair)]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error:") and reason in error and "\n" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["pool.jsonl"]
