"""Vectors that somebody else computed are joined by document, never by position."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from shortlist.core import Budget, Corpus, Features
from shortlist.errors import ForeignFeatures, InvalidInput, Missing
from shortlist.featurizers import precomputed
from shortlist.featurizers.precomputed import Precomputed
from shortlist.selectors.base import ScoredPool, score_pool
from shortlist.selectors.gotd import GOTD

TEXTS = ["one", "two", "three", "four"]
CORPUS = Corpus.build(TEXTS)
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
BACKWARDS = [3, 2, 1, 0]  # no file lists its rows as the corpus does


def parquet(path: Path, key: str, names: list[str], vectors: np.ndarray) -> Path:
    pq.write_table(pa.table({key: names, "vector": list(vectors)}), path)
    return path


def numpy_pair(path: Path, names: list[str], vectors: np.ndarray) -> Path:
    np.save(path, vectors)
    path.with_suffix(".ids.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


def written(form: str, folder: Path) -> Path:
    ids, texts = ([column[row] for row in BACKWARDS] for column in (CORPUS.ids, TEXTS))
    vectors = VECTORS[BACKWARDS]
    match form:
        case "parquet by id":
            return parquet(folder / "v.parquet", "id", ids, vectors)
        case "parquet by text":
            return parquet(folder / "v.parquet", "text", texts, vectors)
        case "numpy by id":
            return numpy_pair(folder / "v.npy", ids, vectors)
        case _:
            return numpy_pair(folder / "v.npy", texts, vectors)


FORMS = ["parquet by id", "parquet by text", "numpy by id", "numpy by text"]


@pytest.mark.parametrize("form", FORMS)
def test_a_vector_is_found_by_document_whatever_the_order_of_the_file(
    form: str, tmp_path: Path, machine: object
) -> None:
    values, facts = Precomputed([str(written(form, tmp_path))]).compute(CORPUS, tmp_path, machine)
    np.testing.assert_array_equal(values, VECTORS)
    assert facts == {"vectors_ignored": 0, "vectors_repeated": 0}


def test_files_add_up_and_strangers_are_counted(tmp_path: Path, machine: object) -> None:
    first = parquet(tmp_path / "a.parquet", "text", ["four", "one", "five"], VECTORS[[3, 0, 1]])
    second = numpy_pair(tmp_path / "b.npy", ["two", "three"], VECTORS[[1, 2]])
    values, facts = Precomputed([str(first), str(second)]).compute(CORPUS, tmp_path, machine)
    np.testing.assert_array_equal(values, VECTORS)
    assert facts == {"vectors_ignored": 1, "vectors_repeated": 0}


def test_a_document_without_a_vector_is_refused_by_id(tmp_path: Path, machine: object) -> None:
    path = parquet(tmp_path / "v.parquet", "id", CORPUS.ids[:2], VECTORS[:2])
    with pytest.raises(ForeignFeatures, match=f"none for 2 of 4, the first {CORPUS.ids[2]}"):
        Precomputed([str(path)]).compute(CORPUS, tmp_path, machine)


def test_files_of_two_dimensions_are_refused(tmp_path: Path, machine: object) -> None:
    first = parquet(tmp_path / "a.parquet", "text", ["one", "two"], VECTORS[:2])
    second = parquet(tmp_path / "b.parquet", "text", ["three", "four"], VECTORS[2:, :2])
    with pytest.raises(InvalidInput, match=r"expected vectors of 3 numbers, found 2"):
        Precomputed([str(first), str(second)]).compute(CORPUS, tmp_path, machine)


def test_a_name_too_few_is_refused(tmp_path: Path, machine: object) -> None:
    path = numpy_pair(tmp_path / "v.npy", TEXTS[:3], VECTORS)
    with pytest.raises(InvalidInput, match=r"a row of numbers for each line of"):
        Precomputed([str(path)]).compute(CORPUS, tmp_path, machine)


def test_the_identity_is_that_of_the_bytes_names_included(tmp_path: Path, machine: object) -> None:
    path = numpy_pair(tmp_path / "v.npy", TEXTS, VECTORS)
    before = Precomputed([str(path)]).identity(machine)
    assert Precomputed([str(path)]).identity(machine) == before
    numpy_pair(path, TEXTS[::-1], VECTORS)
    assert Precomputed([str(path)]).identity(machine) != before
    with pytest.raises(Missing, match=r"no .*x\.npy"):
        Precomputed([str(tmp_path / "x.npy")]).identity(machine)


def test_images_of_one_digit_are_selected_from_all(tmp_path: Path, machine: object) -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    names = [f"digit-{row}.png" for row in range(len(images))]
    file = parquet(tmp_path / "pixels.parquet", "text", names, images.astype(np.float32))
    wanted = np.flatnonzero(labels == 3)[:40]  # the target; the pool holds none of these images
    others = np.setdiff1d(np.arange(len(images)), wanted)
    target = Corpus.build([names[row] for row in wanted]).canonical()
    pool = Corpus.build([names[row] for row in others]).canonical()

    def vectors(corpus: Corpus, name: str) -> Features:
        folder = tmp_path / name
        folder.mkdir()
        values, _ = Precomputed([str(file)]).compute(corpus, folder, machine)
        return Features(values, corpus.fingerprint, "precomputed")

    of_target, of_pool = vectors(target, "target"), vectors(pool, "pool")
    selector = GOTD("sqeuclidean", 0.02, 1e-2, 12, False, "documents", None, None, None)
    selector.fit(of_target, of_pool)
    scored = ScoredPool(score_pool(selector, of_pool, machine), pool.id_bits())
    choice = selector.select(scored, Budget(100), torch.Generator())
    chosen = [pool.texts[row] for row in choice.rows]
    digits = labels[[int(name[len("digit-") : -len(".png")]) for name in chosen]]
    assert len(set(chosen)) == 100
    assert (digits == 3).mean() > 0.8  # one image in twelve of the pool is a three


def test_vectors_of_several_lengths_are_refused_by_file(tmp_path: Path, machine: object) -> None:
    path = tmp_path / "ragged.parquet"
    pq.write_table(pa.table({"text": TEXTS, "vector": [[1.0], [1.0, 2.0], [1.0], [1.0]]}), path)
    with pytest.raises(InvalidInput, match=r"ragged\.parquet"):
        Precomputed([str(path)]).compute(CORPUS, tmp_path, machine)


@pytest.mark.parametrize("block", [1, 2, 8192])
def test_a_document_may_be_listed_twice_with_one_vector_but_not_with_two(
    block: int, tmp_path: Path, machine: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precomputed, "BLOCK", block)
    rows = [0, 1, 2, 3, 1, 1]
    names, vectors = [TEXTS[row] for row in rows], VECTORS[rows]
    agree = numpy_pair(tmp_path / "agree.npy", names, vectors)
    values, facts = Precomputed([str(agree)]).compute(CORPUS, tmp_path, machine)
    np.testing.assert_array_equal(values, VECTORS)
    assert facts == {"vectors_ignored": 0, "vectors_repeated": 2}
    vectors[4, 2] += 1
    differ = parquet(tmp_path / "differ.parquet", "text", names, vectors)
    with pytest.raises(InvalidInput, match=r"differ\.parquet: .*another one for 'two'"):
        Precomputed([str(differ)]).compute(CORPUS, tmp_path, machine)
    with pytest.raises(InvalidInput, match=r"differ\.parquet: .*another one for 'two'"):
        Precomputed([str(agree), str(differ)]).compute(CORPUS, tmp_path, machine)


def test_a_large_array_is_never_whole_in_memory(tmp_path: Path, machine: object) -> None:
    wide = np.lib.format.open_memmap(
        tmp_path / "v.npy", mode="w+", dtype=np.float16, shape=(40000, 256)
    )
    wide[:4, :3] = VECTORS
    del wide
    names = TEXTS + [f"other {row}" for row in range(39996)]
    (tmp_path / "v.ids.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    tracemalloc.start()
    values, facts = Precomputed([str(tmp_path / "v.npy")]).compute(CORPUS, tmp_path, machine)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(values[:, :3], VECTORS)
    assert facts["vectors_ignored"] == 39996
    # A block of 8,192 rows in float32, twice; the array is 20 MiB as it lies, 40 in float32.
    assert peak < 2**25 - 2**23


def test_names_that_are_not_there_are_missing_in_compute_too(
    tmp_path: Path, machine: object
) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    with pytest.raises(Missing, match=r"found no .*v\.ids\.txt"):
        Precomputed([str(tmp_path / "v.npy")]).compute(CORPUS, tmp_path, machine)


@pytest.mark.parametrize("vector", [[[1.0], [None], [1.0], [1.0]], [["a"]] * 4, [[]] * 4])
def test_vectors_that_are_no_numbers_are_refused(
    vector: list, tmp_path: Path, machine: object
) -> None:
    pq.write_table(pa.table({"text": TEXTS, "vector": vector}), tmp_path / "odd.parquet")
    with pytest.raises(InvalidInput, match=r"all numbers, were expected in .*odd\.parquet"):
        Precomputed([str(tmp_path / "odd.parquet")]).compute(CORPUS, tmp_path, machine)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
@pytest.mark.parametrize("form", FORMS)
def test_a_vector_that_is_not_finite_is_named_by_file_row_and_document(
    form: str, bad: float, tmp_path: Path, machine: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precomputed, "BLOCK", 3)
    monkeypatch.setitem(globals(), "VECTORS", np.where(VECTORS == 0, np.float32(bad), VECTORS))
    path = written(form, tmp_path)  # backwards: document 0 is in row 3, the first of a second block
    with pytest.raises(
        InvalidInput, match=rf"{path}: .*found another one in row 3 .*{CORPUS.ids[0]}"
    ):
        Precomputed([str(path)]).compute(CORPUS, tmp_path, machine)


def test_an_id_column_of_the_users_own_is_said_not_to_be_the_documents_ids(
    tmp_path: Path, machine: object, caplog: pytest.LogCaptureFixture
) -> None:
    table = pa.table({"id": [7, 8, 9, 10], "text": TEXTS, "vector": list(VECTORS)})
    pq.write_table(table, tmp_path / "own.parquet")
    values, _ = Precomputed([str(tmp_path / "own.parquet")]).compute(CORPUS, tmp_path, machine)
    np.testing.assert_array_equal(values, VECTORS)
    Precomputed([str(tmp_path / "own.parquet")]).compute(CORPUS, tmp_path, machine)
    (line,) = caplog.messages  # of both readings: pool and target
    assert "`id` holds 7, no document id" in line and "looked up by `text`" in line


def test_what_the_file_calls_its_documents_is_said_where_none_is_found(
    tmp_path: Path, machine: object
) -> None:
    path = parquet(tmp_path / "v.parquet", "id", ["doc-1", "doc-2", "doc-3", "doc-4"], VECTORS)
    with pytest.raises(ForeignFeatures, match=r"v\.parquet names documents as 'doc-1'"):
        Precomputed([str(path)]).compute(CORPUS, tmp_path, machine)


def test_a_text_that_is_null_is_no_document_called_none(tmp_path: Path, machine: object) -> None:
    table = pa.table({"text": [*TEXTS, None], "vector": [*VECTORS, VECTORS[0] + 1]})
    pq.write_table(table, tmp_path / "v.parquet")
    corpus = Corpus.build([*TEXTS, "None"])
    with pytest.raises(ForeignFeatures, match="none for 1 of 5"):
        Precomputed([str(tmp_path / "v.parquet")]).compute(corpus, tmp_path, machine)


@pytest.mark.parametrize(
    ("vector", "row"), [([[1.0], [2.0], None, [1.0]], 2), ([[1.0], [2.0], [1.0], [None]], 3)]
)
def test_a_vector_that_is_not_there_is_named_by_row(
    vector: list, row: int, tmp_path: Path, machine: object
) -> None:
    pq.write_table(pa.table({"text": TEXTS, "vector": vector}), tmp_path / "v.parquet")
    with pytest.raises(InvalidInput, match=rf"v\.parquet, .*in row {row}"):
        Precomputed([str(tmp_path / "v.parquet")]).compute(CORPUS, tmp_path, machine)


@pytest.mark.parametrize("kept", [0, 3, 40, -9])
@pytest.mark.parametrize("form", ["parquet by id", "numpy by id"])
def test_a_broken_file_is_named(form: str, kept: int, tmp_path: Path, machine: object) -> None:
    path = written(form, tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InvalidInput, match=rf"{path.name}"):
        Precomputed([str(path)]).compute(CORPUS, tmp_path, machine)


def test_an_archive_of_arrays_and_ids_that_are_no_text_are_named(
    tmp_path: Path, machine: object
) -> None:
    path = numpy_pair(tmp_path / "v.npy", TEXTS, VECTORS)
    path.with_suffix(".ids.txt").write_bytes(b"\xff\n" * 4)
    with pytest.raises(InvalidInput, match=r"v\.ids\.txt: expected ids or texts in UTF-8"):
        Precomputed([str(path)]).compute(CORPUS, tmp_path, machine)
    with path.open("wb") as stream:
        np.savez(stream, VECTORS)
    numpy_names = path.with_suffix(".ids.txt")
    numpy_names.write_text("\n".join(TEXTS) + "\n")
    with pytest.raises(
        InvalidInput, match=r"v\.npy: expected one array of numbers, found an archive"
    ):
        Precomputed([str(path)]).compute(CORPUS, tmp_path, machine)


def test_an_address_of_another_file_system_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"featurizer\.paths: .*only local files"):
        Precomputed(["s3://bucket/v.parquet"])
