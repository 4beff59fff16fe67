"""Laws of a streamed selection: the ids of the pool in memory, the same bytes however it is cut."""

from __future__ import annotations

import json
import re
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from shortlist import api, cli
from shortlist.core import Corpus, Features
from shortlist.data.splits import sample_rows
from shortlist.errors import InvalidInput
from shortlist.featurizers.transformer import Static
from shortlist.models.pretrained import LocalModel
from shortlist.pipeline import streaming
from shortlist.pipeline.shards import Best
from shortlist.selectors.gotd import GOTD
from shortlist.stats.sampling import order
from shortlist.store.cache import executions

QUIET = ("runtime.report=false", "runtime.progress=false", "advice=null")
Rows = list[dict[str, str]]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; batches are small enough that a file has several."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shortlist.pipeline.shards.BATCH_ROWS", 16)
    toy.write_jsonl(tmp_path / "target.jsonl", [{"text": t} for t in TARGET])
    return tmp_path


TARGET = toy.sentences("sailing", 12, seed=5)
TOPICS = sorted(toy.TOPICS)


def rows_of_pool() -> Rows:
    """Returns 30 texts of each topic; some repeat, one of them in another domain that comes first."""
    rows = [{"text": t, "of": topic} for topic in TOPICS for t in toy.sentences(topic, 30)]
    rows += [{**row, "of": "another"} for row in rows[::7]] + rows[::11]
    order = np.random.default_rng(0).permutation(len(rows))
    return [rows[row] for row in order]


def cut(folder: Path, rows: Rows, parts: int) -> list[Path]:
    """Writes the rows to as many files, of unequal size, and returns their paths."""
    ends = [len(rows) * n * n // (parts * parts) for n in range(parts + 1)]
    folder.mkdir()
    return [
        toy.write_jsonl(folder / f"{n}.jsonl", rows[start:end])
        for n, (start, end) in enumerate(pairwise(ends))
    ]


def streamed(paths: list[Path], method: str, *more: str, **arguments: Any) -> Any:
    return api.stream(
        paths, Path("target.jsonl"), 40, method, domain_column="of",
        settings=[*QUIET, *more], **arguments,
    )  # fmt: skip


def bytes_of(found: Any) -> bytes:
    return (found.directory / "shortlist.jsonl").read_bytes()


@pytest.mark.parametrize("parts", [1, 3, 7])
@pytest.mark.parametrize("method", ["dsir", "random"])
@pytest.mark.whole
def test_the_picks_are_those_of_the_pool_in_memory(place: Path, method: str, parts: int) -> None:
    paths = cut(place / "pool", rows_of_pool(), parts)
    found = streamed(paths, method, seed=3)
    whole = api.select(
        paths, Path("target.jsonl"), 40, method, domain_column="of", seed=3, settings=list(QUIET)
    )
    assert found.selection.ids == whole.ids
    assert found.selection.sha256 == whole.record.selection["sha256"]
    np.testing.assert_array_equal(found.selection.scores, whole.scores)
    assert tuple(found.documents.domains) == whole.domains
    counts = found.facts["counts"]
    assert counts["rows_read"] == whole.record.counts["pool_rows_read"]
    if method == "dsir":
        assert counts["exact_copies"] == whole.record.counts["pool_exact_copies"] > 0


@pytest.mark.whole
@pytest.mark.parametrize("sample", [50, 10_000])
def test_gotd_ranks_as_the_fit_on_the_same_sample_ranks_the_pool_in_memory(
    place: Path, static: tuple[str, ...], tiny_model: Path, machine: Any, sample: int
) -> None:
    rows = [{**row, "of": row["text"].split()[0]} for row in rows_of_pool()]
    found = [
        streamed(cut(place / f"pool{parts}", rows, parts), "gotd", *static, sample=sample)
        for parts in (1, 3, 7)
    ]
    assert len({bytes_of(one) for one in found}) == 1
    featurizer = Static(LocalModel(str(tiny_model)), 256, True)

    def vectors(texts: list[str]) -> Features:
        corpus = Corpus.build(texts).canonical()
        made = [featurizer.reader(machine).rows(corpus, lambda done: None)[0]]
        return Features(made[0], corpus.fingerprint, "", corpus)

    pool = vectors(list({row["text"] for row in rows}))
    assert pool.documents is not None
    drawn = pool.documents.take(sample_rows(pool.documents.ids, sample, 0))
    gotd = GOTD("sqeuclidean", 0.01, 1e-2, 12, False, "documents", None, None, None)
    gotd.fit(vectors(TARGET), vectors(drawn.texts))
    scores = gotd.score_all(pool, machine)
    best = order(scores, pool.documents.id_bits())[:40]
    assert found[0].selection.ids == tuple(pool.documents.ids[row] for row in best)
    np.testing.assert_allclose(found[0].selection.scores, scores[best], rtol=1e-5)  # float32


@pytest.fixture
def static(tiny_model: Path) -> tuple[str, ...]:
    """Settings of static vectors by a small model."""
    return (
        "featurizer=static", "model=local", f"model.path={tiny_model}",
        "selector.sensitivity=false",
    )  # fmt: skip


@pytest.mark.whole
def test_vectors_of_a_file_give_the_picks_of_the_pool_in_memory_and_leave_no_file(
    place: Path,
) -> None:
    rows = rows_of_pool()
    texts = sorted({row["text"] for row in rows} | set(TARGET))
    drawn = np.random.default_rng(1).normal(size=(len(texts), 4)).astype(np.float32)
    table = pa.table({"text": texts, "vector": list(drawn)})
    pq.write_table(table, place / "vectors.parquet")
    paths = cut(place / "pool", rows, 3)
    asked = ("featurizer=precomputed", f"featurizer.paths=[{place}/vectors.parquet]")
    asked = (*asked, "selector.sensitivity=false")
    before = {path.name for path in place.iterdir()}
    found = streamed(paths, "gotd", *asked, sample=10_000)
    assert {path.name for path in place.iterdir()} - before <= {".cache", "outputs"}
    whole = api.select(
        paths, Path("target.jsonl"), 40, "gotd", domain_column="of", settings=[*QUIET, *asked]
    )
    assert found.selection.ids == whole.ids


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # jobs that end
@pytest.mark.parametrize("backend", ["processes", "submitit", "ray"])
@pytest.mark.parametrize("method", ["dsir", "gotd"])
def test_every_backend_gives_the_same_bytes(
    place: Path, static: tuple[str, ...], method: str, backend: str, socket_enabled: None
) -> None:
    if find_spec(backend) is None and backend == "ray":
        pytest.skip("ray is an extra")
    paths = cut(place / "pool", rows_of_pool(), 3)
    more = static if method == "gotd" else ()
    local = {"submitit": ("backend.cluster=local", "backend.memory_gb=1")}.get(backend, ())
    elsewhere = streamed(
        paths, method, *more, f"backend={backend}", *local, f"paths.cache={place / 'other'}"
    )
    assert bytes_of(elsewhere) == bytes_of(streamed(paths, method, *more))


@pytest.mark.whole
def test_a_file_that_changes_between_the_passes_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of_pool()
    (path,) = cut(place / "pool", rows, 1)
    for changed in ([*rows, {"text": "one more text", "of": "x"}], rows[::-1]):
        fitted = streaming._fitted

        def change(*arguments: Any, changed: Rows = changed, fitted: Any = fitted) -> Any:
            found = fitted(*arguments)
            toy.write_jsonl(path, changed)
            return found

        with monkeypatch.context() as patched, pytest.raises(InvalidInput, match="do not change"):
            patched.setattr(streaming, "_fitted", change)
            streamed([path], "dsir")
        toy.write_jsonl(path, rows)


@pytest.mark.whole
def test_only_a_file_whose_bytes_changed_is_read_again(place: Path) -> None:
    rows = rows_of_pool()
    paths = cut(place / "pool", rows, 3)
    first = streamed(paths, "dsir")
    done = executions(place / ".cache/shortlist")
    again = streamed(paths, "dsir")
    assert bytes_of(again) == bytes_of(first) and again.facts["reused"] == 3
    assert executions(place / ".cache/shortlist") == done
    toy.write_jsonl(paths[0], [*rows[:5], {"text": "a new text of the pool", "of": "x"}])
    assert streamed(paths, "random").facts["counts"]["documents"] != len(rows)
    streamed(paths, "dsir")
    new = executions(place / ".cache/shortlist")[len(done) :]
    assert [stage for stage, _ in new].count("stream_first") == 1


@pytest.mark.whole
def test_leaks_are_not_selected_and_rejected_rows_are_listed(place: Path) -> None:
    rows = rows_of_pool()
    (path,) = cut(place / "pool", rows, 1)
    before = streamed([path], "dsir")
    protected = before.documents.texts[:3]
    toy.write_jsonl(place / "test.jsonl", [{"text": t, "label": "x"} for t in protected])
    with path.open("a") as file:
        file.write("{broken\n")
    after = streamed([path], "dsir", f"task.test={place / 'test.jsonl'}")
    assert not set(protected) & set(after.documents.texts)
    assert after.facts["leaks"] == {"action": "drop", "among_the_best": 3}
    assert after.facts["counts"]["quarantined"] == 1
    assert "broken JSON" in (after.directory / "pool_quarantine.txt").read_text()
    kept = streamed([path], "dsir", f"task.test={place / 'test.jsonl'}", "leaks.action=report")
    assert kept.selection.ids == before.selection.ids
    with pytest.raises(InvalidInput, match=r"leaks\.action=refuse\), found 3"):
        streamed([path], "dsir", f"task.test={place / 'test.jsonl'}", "leaks.action=refuse")


@pytest.mark.whole
@pytest.mark.parametrize("empty", ["a.jsonl", "z.jsonl"])
@pytest.mark.parametrize("method", ["dsir", "random", "soft_knn"])
def test_a_file_without_a_row_changes_no_pick(
    place: Path, static: tuple[str, ...], method: str, empty: str
) -> None:
    paths = cut(place / "pool", rows_of_pool(), 2)
    more = static[:3] if method == "soft_knn" else ()
    before = streamed(paths, method, *more)
    (place / "pool" / empty).touch()
    after = streamed([*paths, place / "pool" / empty], method, *more)
    assert bytes_of(after) == bytes_of(before) and after.facts["shards"] == 3


@pytest.mark.parametrize("sample", [0, -5])
def test_a_sample_without_a_document_is_refused(place: Path, sample: int) -> None:
    paths = cut(place / "pool", rows_of_pool(), 1)
    with pytest.raises(
        InvalidInput, match=f"--sample: expected 1 document or more, found {sample}"
    ):
        streamed(paths, "random", sample=sample)


@pytest.mark.parametrize(
    ("method", "more", "reason"),
    [
        ("herding", (), "selector=herding, as it is set, needs the vectors of all documents"),
        ("ensemble", (), "selector=ensemble is made of others"),
        ("dsir", ("selector.minimum_length=5",), "needs the vectors of all documents"),
        ("gotd", ("selector.masses=clusters",), "needs the vectors of all documents"),
        ("dsir", ("budget_unit=tokens",), "budget_unit=tokens"),
        ("dsir", ("pool.prepare=web",), "pool.prepare looks at the whole pool"),
        ("gotd", ("featurizer=tuned",), "something to learn first"),
        ("dsir", ("budget=4000",), "budget=4,000 documents is more than the pool's"),
    ],
)
@pytest.mark.whole
def test_what_needs_the_pool_as_a_whole_is_refused(
    place: Path, method: str, more: tuple[str, ...], reason: str
) -> None:
    paths = cut(place / "pool", rows_of_pool(), 1)
    with pytest.raises(InvalidInput, match=reason):
        streamed(paths, method, *more)


@pytest.mark.whole
def test_texts_of_the_target_are_leaks_where_that_is_asked_for(place: Path) -> None:
    rows = [*rows_of_pool(), *({"text": text, "of": "x"} for text in TARGET)]
    (path,) = cut(place / "pool", rows, 1)
    assert set(TARGET) & set(streamed([path], "dsir").documents.texts)
    assert not set(TARGET) & set(streamed([path], "dsir", "leaks.targets=true").documents.texts)


def test_the_guide_lists_the_methods_that_select_from_a_stream() -> None:
    root = Path(__file__).parents[3]
    guide = (root / "docs/guides/large-pools.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| .* \| (\w+) \|$", guide, re.MULTILINE))
    found: dict[str, str] = {}
    for path in (root / "conf/selector").glob("*.yaml"):
        target = OmegaConf.load(path).get("_target_", "shortlist.selectors.base.Selector")
        module, _, name = target.rpartition(".")
        reads = getattr(import_module(module), name).traits.reads_pool
        found |= {path.stem: reads} if reads != "vectors" else {}
    assert listed == found


@pytest.mark.whole
def test_the_command_writes_the_picks(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut(place / "pool", rows_of_pool(), 2)
    typed = ["select", "pool/*.jsonl", "-t", "target.jsonl", "-n", "5", "-m", "dsir", "--stream"]
    assert cli.main([*typed, "--json", "-o", "picks.parquet", "--", *QUIET]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["size"] == 5 and facts["picks"] == "picks.parquet" and facts["shards"] == 2


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=40), st.integers(1, 9))
def test_the_best_of_parts_are_the_best_of_all(rows: list[tuple[int, int]], size: int) -> None:
    texts = [f"text {text}" for text, _ in rows]
    scores = np.array([float(-(text % 5)) for text, _ in rows])  # copies have equal scores
    best = Best(size, by_domain=True)
    for text, (_, domain), score in zip(texts, rows, scores, strict=True):
        best.add(Corpus.build([text], str(domain)), np.array([score]))
    documents, ranked = best.ranked()
    distinct: dict[str, tuple[float, str, str]] = {}
    for text, (_, domain), score in zip(texts, rows, scores.tolist(), strict=True):
        key = Corpus.build([text]).ids[0]
        distinct[key] = min(
            distinct.get(key, (-score, key, str(domain))), (-score, key, str(domain))
        )
    expected = sorted(distinct.values())[:size]
    assert [
        (-s, k, d) for s, k, d in zip(ranked, documents.ids, documents.domains, strict=True)
    ] == expected
