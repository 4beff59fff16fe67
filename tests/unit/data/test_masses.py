"""How much a document counts: a column of a person's own files, carried to the corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from shortlist.core import Corpus
from shortlist.data.pools import Files
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.errors import InvalidInput
from shortlist.tasks.files import FromFiles

Write = Callable[[str, Sequence[dict[str, object]]], Path]
NOWHERE = LocalSource("/nowhere")
CONF = Path(__file__).parents[3] / "conf" / "task"
ROWS = [{"text": f"text {row}", "weight": row + 0.5} for row in range(20)]


def own(**settings: Any) -> FromFiles:
    written: Any = yaml.safe_load((CONF / "own.yaml").read_text(encoding="utf-8"))
    del written["_target_"]
    return FromFiles(**{**written, **settings})


def by_text(corpus: Corpus) -> dict[str, float]:
    assert corpus.masses is not None
    return dict(zip(corpus.texts, corpus.masses.tolist(), strict=True))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_pools_masses_follow_their_documents(suffix: str, write: Write) -> None:
    pool = Files([str(write(f"p.{suffix}", ROWS))], mass="weight")
    corpus = pool.load(NOWHERE, silent).corpus
    assert by_text(corpus) == {row["text"]: row["weight"] for row in ROWS}
    assert by_text(corpus.take([7, 3])) == {
        text: by_text(corpus)[text] for text in (corpus.texts[7], corpus.texts[3])
    }


def test_masses_of_copies_add_up_however_files_are_cut(write: Write, tmp_path: Path) -> None:
    rows = [*ROWS, *[{"text": "text 3", "weight": 0.1 * k} for k in range(7)]]
    write("one/a.jsonl", rows)
    for number, row in enumerate(reversed(rows)):
        write(f"many/{number}.jsonl", [row])
    one, many = (
        Files([f"{tmp_path}/{name}/*"], mass="weight").load(NOWHERE, silent)
        for name in ("one", "many")
    )
    assert one.corpus.fingerprint != ""
    assert by_text(one.corpus) == by_text(many.corpus)
    assert by_text(one.corpus)["text 3"] == pytest.approx(3.5 + 2.1)
    assert one.counts["exact_copies"] == many.counts["exact_copies"] == 7


def test_other_masses_are_another_corpus_and_none_is_the_corpus_it_was(write: Write) -> None:
    path = str(write("p.jsonl", ROWS))
    with_, without = (
        Files([path], mass=mass).load(NOWHERE, silent).corpus for mass in ("weight", None)
    )
    assert without.masses is None and with_.ids == without.ids
    doubled = [row | {"weight": 2 * row["weight"]} for row in ROWS]
    other = Files([str(write("q.jsonl", doubled))], domain="d", mass="weight")
    assert (
        len(
            {with_.fingerprint, without.fingerprint, other.load(NOWHERE, silent).corpus.fingerprint}
        )
        == 3
    )


@pytest.mark.parametrize("bad", [-1.0, "heavy", None, True, float("nan")])
def test_a_mass_that_is_none_is_set_aside_by_line(bad: object, write: Write) -> None:
    path = write("p.jsonl", [*ROWS, {"text": "odd", "weight": bad}])
    loaded = Files([str(path)], mass="weight").load(NOWHERE, silent)
    assert loaded.counts["quarantined"] == 1 and loaded.quarantined[0].line == 21
    assert "mass 'weight': expected a number of 0 or more" in loaded.quarantined[0].reason


def test_a_column_that_is_not_there_is_named(write: Write) -> None:
    path = str(write("p.jsonl", [{"text": "one"}, {"text": "two"}]))
    with pytest.raises(InvalidInput, match="'weight'"):
        Files([path], mass="weight").load(NOWHERE, silent)


def test_equal_texts_of_a_target_count_together(write: Write) -> None:
    rows = [*ROWS, {"text": "text 3", "weight": 4.0}]
    task = own(train=str(write("t.jsonl", rows)), mass="weight", holdout=0.0)
    target = task.load(NOWHERE, silent).target
    assert len(target) == 20 and by_text(target)["text 3"] == 7.5
    labelled = [row | {"label": "ab"[k % 2]} for k, row in enumerate(ROWS * 3)]
    for row, k in zip(labelled, range(60), strict=True):
        row["text"] = f"{row['text']} {k}"
    other = own(train=str(write("l.jsonl", labelled)), label="label", mass="weight")
    found = other.load(NOWHERE, silent).target
    masses = {row["text"]: row["weight"] for row in labelled}
    np.testing.assert_allclose(found.masses, [masses[text] for text in found.texts])
