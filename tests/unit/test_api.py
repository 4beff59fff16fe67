"""The Python interface: the same ids whatever form the input has, and nothing heavy before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy

import shortlist
from shortlist import cli
from shortlist.errors import InvalidInput, Missing, ShortlistError

ROOT = Path(__file__).parents[2]
PLAIN = {"runtime.report": False, "runtime.progress": False}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def pool() -> list[str]:
    """Texts on sailing and on music, one of them twice."""
    texts = toy.sentences("sailing", 15) + toy.sentences("music", 15)
    return [*texts, texts[3]]


@pytest.fixture(scope="module")
def target() -> list[str]:
    """Texts on sailing."""
    return toy.sentences("sailing", 30, seed=5)[20:]


def forms(pool: list[str], place: Path) -> dict[str, Any]:
    """The pool in every form in which it may be given, under the column `body`."""
    import pandas
    from datasets import Dataset, load_from_disk

    table = pa.table({"body": pool, "n": range(len(pool))})
    rows = [{"body": text} for text in pool]
    toy.write_jsonl(place / "pool.jsonl", rows)
    pq.write_table(table, place / "pool.parquet")
    toy.write_jsonl(place / "part-1.jsonl", rows[:9])
    toy.write_jsonl(place / "part-2.jsonl", rows[9:])
    Dataset(table).save_to_disk(str(place / "saved"))
    shuffled = Dataset(table).shuffle(seed=0)
    found: dict[str, Any] = {
        "texts": pool,
        "iterator": iter(pool),
        "numpy": np.array(pool),
        "rows": rows,
        "arrow": table,
        "pandas": pandas.DataFrame({"body": pool}),
        "series": pandas.Series(pool),
        "datasets": shuffled,
        "file": "pool.jsonl",
        "path": place / "pool.parquet",
        "pattern": "part-*.jsonl",
        "files": [place / "part-2.jsonl", place / "part-1.jsonl"],
        "saved": "saved",
    }
    assert len(load_from_disk(str(place / "saved"))) == len(pool)
    if find_spec("polars"):
        found["polars"] = import_module("polars").DataFrame({"body": pool})
    return found


def test_every_form_of_an_input_is_read_as_the_same_texts(place: Path, pool: list[str]) -> None:
    from shortlist.data.inputs import given
    from shortlist.data.pools import Files
    from shortlist.data.readers import silent
    from shortlist.data.sources import LocalSource

    for name, data in forms(pool, place).items():
        found = given(data, place / "inputs", "pool", ["body"])
        corpus = Files(found.paths, text="body").load(LocalSource(None), silent).corpus
        assert sorted(corpus.texts) == sorted(set(pool)), name
        assert (found.table is None) == (name in ("file", "path", "pattern", "files", "saved"))
    again = given(pool, place / "inputs", "pool", ["body"])
    assert again.paths == given(list(pool), place / "inputs", "pool", ["body"]).paths


def test_the_ids_are_the_same_for_lists_tables_and_the_command_line(
    place: Path, pool: list[str], target: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    toy.write_jsonl(place / "pool.jsonl", [{"body": text} for text in pool])
    toy.write_jsonl(place / "target.jsonl", [{"body": text} for text in target])
    first = shortlist.select(pool, target, 6, "dsir", settings=PLAIN)
    table = pa.table({"body": pool[::-1]})
    other = shortlist.select(table, target, 6, "dsir", text_column="body", settings=PLAIN)
    assert len(first) == 6 and first.scores.tolist() == sorted(first.scores, reverse=True)
    assert other.ids == first.ids
    np.testing.assert_array_equal(other.scores, first.scores)
    # Rows lead back to what was given, whatever its order; of copies to the first.
    assert [pool[row] for row in first.rows] == list(first.texts) and 30 not in first.rows
    assert [pool[::-1][row] for row in other.rows] == list(other.texts)
    words = ["select", "pool.jsonl", "-t", "target.jsonl", "-n", "6", "-m", "dsir", "-c", "body"]
    words += ["-q", "-o", "typed.jsonl", "--", "runtime.report=false"]
    assert cli.main(words) == 0, capsys.readouterr().err
    typed = [json.loads(line) for line in (place / "typed.jsonl").read_text().splitlines()]
    assert tuple(row["id"] for row in typed) == first.ids
    assert [row["score"] for row in typed] == first.scores.tolist()


def test_a_selection_is_exported_whole(place: Path, pool: list[str], target: list[str]) -> None:
    texts = [*pool[:20], 'a "quoted", comma\r\nand\rlines', "nul\x00 and \u2028 inside"]
    picks = shortlist.select(texts, target, 20, "random", settings=PLAIN)
    table = picks.to_arrow()
    assert table.column_names == ["id", "rank", "score", "domain", "text"]
    assert table["rank"].to_pylist() == list(range(1, 21))
    assert set(table["domain"].to_pylist()) == {"pool"}
    assert picks.to_dataset().to_list() == table.to_pylist()
    assert pq.read_table(picks.save("picks.parquet")).equals(table)
    rows = [json.loads(line) for line in picks.save("p.jsonl").read_text().split("\n")[:-1]]
    assert rows == table.to_pylist()
    import csv

    with picks.save("p.csv").open(encoding="utf-8", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == list(picks.texts)
    with pytest.raises(InvalidInput, match=r"p\.xls: expected a name that ends in"):
        picks.save("p.xls")
    with pytest.raises(InvalidInput, match="expected the folder nowhere"):
        picks.save("nowhere/p.csv")
    with pytest.raises(Missing, match=r"set runtime\.report=true"):
        picks.report("page.html")


def test_a_notebook_shows_texts_as_texts(place: Path, target: list[str]) -> None:
    picks = shortlist.select(["<script>alert(1)</script>"], target, 1, "random", settings=PLAIN)
    shown = picks._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "1 documents" in shown


@pytest.mark.whole
def test_the_datasheet_is_copied_as_a_page_or_as_text(
    place: Path, pool: list[str], target: list[str]
) -> None:
    picks = shortlist.select(pool, target, 3, "random", command="picks = select(...)")
    assert "<!doctype html>" in picks.report("page.html").read_text()[:99].lower()
    assert picks.report("page.md").read_text().startswith("# ")
    assert "picks = select(...)" in picks.report().read_text()


@pytest.mark.whole
def test_rank_orders_the_whole_pool_as_select_does(
    place: Path, pool: list[str], target: list[str]
) -> None:
    ranking = shortlist.rank(pool, target, "dsir", settings=PLAIN)
    assert len(ranking) == 30 and set(ranking.texts) == set(pool)
    assert ranking.scores.tolist() == sorted(ranking.scores, reverse=True)
    assert [pool[row] for row in ranking.rows] == list(ranking.texts)
    bm25 = shortlist.rank(pool, target, "bm25", settings=PLAIN)
    picks = shortlist.select(pool, target, 7, "bm25", settings=PLAIN)
    assert bm25.ids[:7] == picks.ids
    np.testing.assert_array_equal(bm25.scores[:7], picks.scores)


@pytest.mark.whole
def test_a_whole_cell_gives_metrics(place: Path, tiny_model: Path) -> None:
    rows = [
        {"text": text, "label": topic}
        for topic in ("sailing", "music")
        for text in toy.sentences(topic, 40)
    ]
    small = {
        "model": "local", "model.path": str(tiny_model), "runtime.accelerator": "cpu", **PLAIN,
        "model.head": {"documents": 30, "epochs": 1, "learning_rate": 0.01, "batch_size": 64,
                       "max_length": 32},
        "warmup.max_length": 32, "finetune.max_length": 32, "finetune.epochs": 1,
        "warmup.precision": 32, "finetune.precision": 32,
    }  # fmt: skip
    done = shortlist.evaluate(toy.sentences("sailing", 20), rows, 5, "random", settings=small)
    assert set(done.metrics) >= {"macro_f1", "accuracy", "mlm_loss_after"}
    assert 0 <= done.metrics["accuracy"] <= 1 and len(done.picks) == 5
    assert done.record.axes.task == "own" and (place / "outputs/results/records").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], ["t"]), "pool: expected documents, found an empty list"),
        ((["p", 3], ["t"]), "expected a list of texts, found int at row 1"),
        (([["p"], ["q"]], ["t"]), "found list at row 0"),
        ((7, ["t"]), "found int"),
        ((["a.jsonl", "b.jsonl"], ["t"]), "a list of files is a list of pathlib.Path"),
        (
            (pa.table({"body": ["p"]}), ["t"]),
            "expected the column 'text', found the columns: 'body'",
        ),
        ((["p"], pa.table({"txt": ["t"]})), "target: expected the column 'text'"),
        ((["p"], ["t"], 1, "dsirr"), "no method `dsirr`; did you mean `dsir`"),
        ((["p"], ["t"], 0, "random"), "budget must be at least 1"),
        ((["p"], "nowhere.jsonl", 1, "random"), "nowhere.jsonl: expected a file, found none"),
        ((["p"], [Path("a.jsonl"), Path("b.jsonl")], 1, "random"), "target: expected one file"),
        ((["bad \ud800"], ["t"], 1, "random"), "no UTF-8"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    place: Path, arguments: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(ShortlistError) as refused:
        shortlist.select(*arguments, settings=PLAIN)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.whole
def test_a_refused_selection_leaves_no_run_and_nothing_on_the_terminal(
    place: Path, target: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ShortlistError, match="more than the pool's 2"):
        shortlist.select(["a", "b"], target, 3, "random", settings=PLAIN)
    assert capsys.readouterr().err == "" and not (place / "outputs").exists()
    # A directory that was asked for keeps the reason, and nothing of earlier runs is touched.
    done = shortlist.select(["a", "b"], target, 2, "random", settings=PLAIN)
    kept = {path: path.read_bytes() for path in place.glob("outputs/**/*") if path.is_file()}
    for directory in (None, place / "refused"):
        with pytest.raises(ShortlistError, match="more than the pool's 2"):
            shortlist.select(["a", "b"], target, 3, "random", settings=PLAIN, directory=directory)
    assert (
        "more than the pool's 2"
        in json.loads((place / "refused/record.json").read_text())["reason"]
    )
    assert done.directory.is_dir() and all(path.read_bytes() == kept[path] for path in kept)


def test_a_fault_keeps_its_traceback(
    place: Path, target: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("shortlist.pipeline.cell.load_data", fails)
    with pytest.raises(ShortlistError, match="ZeroDivisionError: planted"):
        shortlist.select(["a", "b"], target, 1, "random", settings=PLAIN)
    (trace,) = place.glob("outputs/*/traceback.txt")
    assert "planted" in trace.read_text()


def test_a_file_that_cannot_be_read_leaves_the_folder_as_it_was(
    place: Path, target: list[str]
) -> None:
    toy.write_jsonl(place / "target.jsonl", [{"text": text} for text in target])
    (place / "pool.csv").write_text("id,body\n1,some text\n")
    for column in ("bodi", "title"):
        with pytest.raises(ShortlistError, match=f"pool.csv: expected the column '{column}'"):
            shortlist.select("pool.csv", "target.jsonl", 1, text_column=column)
    assert sorted(path.name for path in place.iterdir()) == ["pool.csv", "target.jsonl"]


@pytest.mark.parametrize(
    "form",
    ["jsonl", "arrow"]
    + [
        pytest.param(form, marks=pytest.mark.whole)
        for form in ("csv", "parquet", "rows", "pandas", "datasets")
    ],
)
def test_a_target_without_the_column_of_the_pool_is_read_from_text_and_that_is_said(
    place: Path, pool: list[str], target: list[str], caplog: pytest.LogCaptureFixture, form: str
) -> None:
    from datasets import Dataset

    rows = [{"title": "no text", "text": text} for text in target]
    table = pa.Table.from_pylist(rows)
    toy.write_jsonl(place / "t.jsonl", rows)
    pq.write_table(table, place / "t.parquet")
    table.to_pandas().to_csv(place / "t.csv", index=False)
    given_as: dict[str, Any] = {
        "rows": rows, "arrow": table, "pandas": table.to_pandas(), "datasets": Dataset(table),
    }  # fmt: skip
    of_pool = pa.table({"body": pool})
    picks = shortlist.select(
        of_pool, given_as.get(form, f"t.{form}"), 6, "dsir", text_column="body", settings=PLAIN
    )
    assert picks.ids == shortlist.select(pool, target, 6, "dsir", settings=PLAIN).ids
    assert picks.record.config["task"]["text"] == "text"
    assert "the target has no column 'body': its column 'text' is read" in caplog.messages


@pytest.mark.whole
def test_a_column_that_is_asked_for_or_is_there_is_never_replaced(
    place: Path, pool: list[str], target: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    of_pool = pa.table({"body": pool})
    both = [{"text": "another"}, *({"body": text, "text": "another"} for text in target)]
    toy.write_jsonl(place / "both.jsonl", both)
    arguments: dict[str, Any] = {"text_column": "body", "settings": PLAIN}
    picks = shortlist.select(of_pool, "both.jsonl", 6, "dsir", **arguments)
    assert picks.ids == shortlist.select(pool, target, 6, "dsir", settings=PLAIN).ids
    toy.write_jsonl(place / "text.jsonl", [{"text": text} for text in target])
    with pytest.raises(ShortlistError, match="expected the column 'body'"):
        shortlist.select(of_pool, "text.jsonl", 6, target_column="body", **arguments)
    assert not [text for text in caplog.messages if "is read" in text]


@pytest.mark.whole
def test_a_set_of_splits_is_refused_by_name(place: Path, target: list[str]) -> None:
    from datasets import Dataset, DatasetDict

    splits = DatasetDict({"train": Dataset.from_dict({"text": ["p"]})})
    splits.save_to_disk(str(place / "splits"))
    for given_as in (splits, "splits"):
        with pytest.raises(InvalidInput, match="found the splits train"):
            shortlist.select(given_as, target, 1, "random", settings=PLAIN)
    assert len(shortlist.select("splits/train", target, 1, "random", settings=PLAIN)) == 1


def test_state_of_hydra_survives_a_selection(place: Path, target: list[str]) -> None:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        shortlist.select(["a", "b"], target, 1, "random", settings=PLAIN)
        assert GlobalHydra.instance().hydra is before


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ("hydra", "omegaconf", "torch", "numpy", "pyarrow", "rich", "transformers", "datasets")
    code = (
        f"import sys, shortlist\nassert not [n for n in {heavy} if n in sys.modules]\n"
        "assert {'select', 'rank', 'evaluate', 'transport'} <= set(dir(shortlist))\n"
        "from shortlist import ShortlistError\n"
        "shortlist.select\n"
        "print([n for n in ('torch', 'transformers', 'datasets', 'hydra') if n in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.stdout == "[]\n", told.stderr
    with pytest.raises(AttributeError, match="nothing"):
        _ = shortlist.nothing  # pyright: ignore[reportAttributeAccessIssue]


def test_the_package_is_typed() -> None:
    assert (ROOT / "src/shortlist/py.typed").is_file()
