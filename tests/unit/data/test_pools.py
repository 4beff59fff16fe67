"""Laws of the pools: the same documents give the same pool, and whatever is left out is counted."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from shortlist.core import Corpus
from shortlist.data.pools import Domains, Files, chunks
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.errors import InvalidInput, Missing

Write = Callable[..., Path]


ROWS: list[dict[str, object]] = [
    {"text": f"Document {n} of the pool.", "domain": "ab"[n % 2]} for n in range(60)
]
NOWHERE = LocalSource(None)
CONF = Path(__file__).parents[3] / "conf" / "pool"


def files(folder: Path) -> Files:
    return Files([f"{folder}/*"], domain="domain")


def test_permuted_and_resharded_files_give_the_same_pool(write: Write, tmp_path: Path) -> None:
    write("one/all.jsonl", ROWS)
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    write("many/x.parquet", shuffled[:7])
    write("many/y.csv.gz", shuffled[7:40])
    write("many/z.jsonl.zst", shuffled[40:])
    one, many = (files(tmp_path / name).load(NOWHERE, silent) for name in ("one", "many"))
    assert one.corpus.fingerprint == many.corpus.fingerprint


def test_copies_across_files_are_dropped_and_counted(write: Write, tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(f"{name}.jsonl", [{"text": "same"}, {"text": f"only {name}"}])
    loaded = Files([f"{tmp_path}/*.jsonl"]).load(NOWHERE, silent)
    assert loaded.counts["rows_read"] == 4
    assert loaded.counts["exact_copies"] == 1
    assert dict(zip(loaded.corpus.texts, loaded.corpus.domains, strict=True))["same"] == "a"


def test_the_identity_of_files_ignores_where_they_stand(write: Write, tmp_path: Path) -> None:
    for folder in ("here", "there"):
        write(f"{folder}/a.jsonl", ROWS)
    here, there = (files(tmp_path / folder).identity(NOWHERE) for folder in ("here", "there"))
    assert here == there
    write("there/a.jsonl", ROWS[1:])
    assert files(tmp_path / "there").identity(NOWHERE) != here


def test_a_pattern_that_matches_nothing_is_missing(write: Write, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"\*\.jsonl"):
        Files([f"{tmp_path}/*.jsonl"]).load(NOWHERE, silent)


def test_no_pattern_at_all_says_what_to_set() -> None:
    with pytest.raises(InvalidInput, match=r"pool\.paths="):
        Files([]).load(NOWHERE, silent)


@pytest.fixture
def source(write: Write, tmp_path: Path) -> LocalSource:
    """Returns a local source with two domains, of 40 and 20 documents, one of them in both."""
    write("pools/news.jsonl.gz", [{"text": f"News {n}."} for n in range(39)] + [{"text": "Both."}])
    write("pools/books.jsonl", [{"text": f"Book {n}."} for n in range(19)] + [{"text": "Both."}])
    return LocalSource(str(tmp_path))


def test_a_sample_of_a_domain_does_not_depend_on_the_order_of_rows(
    write: Write, tmp_path: Path, source: LocalSource
) -> None:
    before = Domains(None, 10, seed=3).load(source, silent)
    write(
        "pools/news.jsonl.gz",
        [{"text": "Both."}, *({"text": f"News {n}."} for n in range(38, -1, -1))],
    )
    after = Domains(None, 10, seed=3).load(source, silent)
    assert before.corpus.fingerprint == after.corpus.fingerprint


def test_what_a_sample_leaves_out_is_counted(source: LocalSource) -> None:
    counts = Domains(None, 10, seed=0).load(source, silent).counts
    fates = ("kept", "quarantined", "exact_copies", "not_sampled")
    assert counts["rows_read"] == 60 == sum(counts[fate] for fate in fates)
    assert counts["not_sampled"] == 40


def test_a_smaller_sample_lies_within_a_larger_one(source: LocalSource) -> None:
    small, large = (Domains(["news"], size, 0).load(source, silent).corpus for size in (5, 20))
    assert set(small.ids) < set(large.ids)


def test_another_seed_is_another_sample(source: LocalSource) -> None:
    one, two = (Domains(["news"], 10, seed).load(source, silent).corpus for seed in (0, 1))
    assert one.fingerprint != two.fingerprint


def test_only_the_asked_for_domains_are_read(source: LocalSource) -> None:
    loaded = Domains(["books"], None, 0).load(source, silent)
    assert set(loaded.corpus.domains) == {"books"}
    assert list(Domains(["books"], None, 0).identity(source)) == ["books"]


def test_an_unknown_domain_names_the_near_ones(source: LocalSource) -> None:
    with pytest.raises(Missing, match="did you mean `books`"):
        Domains(["bookz"], None, 0).load(source, silent)


def test_an_empty_list_of_domains_is_refused(source: LocalSource) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        Domains([], None, 0).load(source, silent)


def test_progress_ends_at_the_total(source: LocalSource) -> None:
    seen: list[tuple[int, int]] = []
    Domains(None, None, 0).load(source, lambda done, total, what: seen.append((done, total)))
    assert seen[-1] == (2, 2)


@pytest.mark.local_data
@pytest.mark.skipif("SHORTLIST_DATA" not in os.environ, reason="SHORTLIST_DATA is not set")
def test_every_domain_of_the_benchmark_loads() -> None:
    source = LocalSource(os.environ["SHORTLIST_DATA"])
    loaded = Domains(None, 50, 0).load(source, silent)
    assert loaded.counts["quarantined"] == 0
    assert set(loaded.corpus.domains) == set(source.pool_names())
    assert len(source.pool_names()) == 13


NAMED = [("domains", Domains), ("web", Domains), ("openwebtext", Domains), ("files", Files)]


@pytest.mark.parametrize(("name", "kind"), NAMED)
def test_a_configured_pool_says_what_it_is_and_touches_no_file(name: str, kind: type) -> None:
    assert (CONF / f"{name}.yaml").read_text().startswith("# ")
    assert isinstance(instantiate(OmegaConf.load(CONF / f"{name}.yaml"), _convert_="all"), kind)


def test_chunks_are_passages_of_one_domain_counted_like_any_document(source: LocalSource) -> None:
    whole = Domains(["news"], None, 0).load(source, silent).corpus
    cut = Domains(["news"], None, 0, chunk=40).load(source, silent)
    assert max(map(len, cut.corpus.texts)) <= 40
    assert sorted("".join("".join(cut.corpus.texts).split())) == sorted(
        "".join("".join(whole.texts).split())
    )
    assert set(cut.corpus.domains) == {"news"}
    assert cut.counts["kept"] == len(cut.corpus)


def test_a_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"pool\.chunk must be 1"):
        Domains(None, None, 0, chunk=0)


@pytest.fixture
def labelled(write: Write, source: LocalSource) -> LocalSource:
    """The local source with a file outside `pools`: 12 rows of three kinds, one kind of them long."""
    rows = [
        {"text": f"Post {n} " + "very " * n + "rude.", "kind": "abc"[n % 3], "label": "toxic"}
        for n in range(12)
    ]
    write("toxicity/labelled/train.jsonl.gz", rows)
    return source


def posts(**said: object) -> dict[str, object]:
    return {"posts": {"path": "toxicity/labelled/train", **said}}


def test_a_domain_may_be_some_rows_of_a_file_elsewhere(labelled: LocalSource) -> None:
    pool = Domains(["news", "posts"], None, 0, files=posts(only={"kind": ["a", "c"]}))
    loaded = pool.load(labelled, silent)
    texts = dict(zip(loaded.corpus.texts, loaded.corpus.domains, strict=True))
    found = {int(text.split()[1]) for text, domain in texts.items() if domain == "posts"}
    assert found == {n for n in range(12) if n % 3 != 1}
    assert loaded.corpus.labels is None
    fates = ("kept", "quarantined", "exact_copies", "not_sampled", "filtered")
    assert loaded.counts["rows_read"] == 52 == sum(loaded.counts[fate] for fate in fates)
    assert loaded.counts["filtered"] == 4
    assert sorted(pool.identity(labelled)) == ["news", "posts"]


def test_the_domains_of_files_are_known_by_name(labelled: LocalSource) -> None:
    everything = Domains(None, None, 0, files=posts())
    assert set(everything.load(labelled, silent).corpus.domains) == {"books", "news", "posts"}
    with pytest.raises(Missing, match="did you mean `posts`"):
        Domains(["post"], None, 0, files=posts()).load(labelled, silent)


def test_short_texts_are_left_out_and_long_ones_cut_and_both_are_counted(
    labelled: LocalSource,
) -> None:
    whole = Domains(["posts"], None, 0, files=posts()).load(labelled, silent).corpus.texts
    loaded = Domains(["posts"], None, 0, min_chars=20, max_chars=40, files=posts()).load(
        labelled, silent
    )
    expected = {text[:40] for text in whole if len(text) >= 20}
    assert set(loaded.corpus.texts) == expected
    assert loaded.counts["too_short"] == sum(len(text) < 20 for text in whole) > 0
    assert loaded.counts["cut"] == sum(len(text) > 40 for text in whole) > 0
    fates = ("kept", "quarantined", "exact_copies", "not_sampled", "too_short")
    assert loaded.counts["rows_read"] == 12 == sum(loaded.counts[fate] for fate in fates)


def test_texts_that_the_cut_makes_equal_are_copies(write: Write, tmp_path: Path) -> None:
    write("pools/one.jsonl", [{"text": "the same beginning, " + end} for end in ("a", "b")])
    loaded = Domains(["one"], None, 0, max_chars=19).load(LocalSource(str(tmp_path)), silent)
    assert loaded.corpus.texts == ["the same beginning,"]
    assert (loaded.counts["exact_copies"], loaded.counts["cut"]) == (1, 2)


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        (
            posts(only={"kind": ["a", "d"]}),
            InvalidInput,
            r"whose 'kind' is 'd', found none; .*a, b",
        ),
        (posts(only={"sort": ["a"]}), InvalidInput, r"the column 'sort' .*kind, label, text"),
        (posts(path="toxicity/labelled/trial"), Missing, r"found none; there: train\.jsonl\.gz"),
        (posts(path=None), InvalidInput, r"pool\.files\.posts: expected \{path: FILE"),
        (posts(but={}), InvalidInput, r"unknown key 'but'"),
    ],
)
def test_a_file_elsewhere_is_refused_by_what_is_wrong_with_it(
    labelled: LocalSource, files: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        Domains(["posts"], None, 0, files=files).load(labelled, silent)
    assert "\n" not in str(refused.value)


def test_two_ways_to_cut_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"pool\.chunk=10 and pool\.max_chars=20 both cut"):
        Domains(None, None, 0, chunk=10, max_chars=20)
    with pytest.raises(InvalidInput, match=r"pool\.min_chars must be 1"):
        Domains(None, None, 0, min_chars=0)


def test_the_pool_of_the_small_language_models_leaves_sources_to_the_scorers() -> None:
    web = OmegaConf.to_container(OmegaConf.load(CONF / "web.yaml"))
    assert isinstance(web, dict)
    assert not {"jigsaw", "olid", "toxigen_seed"} & set(web["files"]["forums"]["only"]["source"])


TEXTS = st.lists(st.text(alphabet="ab \n", max_size=60), max_size=8)


def letters(texts: list[str]) -> str:
    return "".join("".join(texts).split())


@given(TEXTS, st.integers(1, 40))
def test_no_letter_is_lost_and_no_passage_is_longer_or_empty(texts: list[str], size: int) -> None:
    passages = list(chunks(texts, size))
    assert letters(passages) == letters(texts)
    assert all(0 < len(passage) <= size for passage in passages)


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=9), max_size=12), st.integers(9, 30))
def test_short_texts_are_joined_as_long_as_the_next_one_fits(texts: list[str], size: int) -> None:
    passages = list(chunks(texts, size))
    assert [line for passage in passages for line in passage.split("\n")] == texts
    for passage, following in pairwise(passages):
        assert len(passage) + 1 + len(following.split("\n")[0]) > size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three", ["one two", "three"]),  # seven letters fit exactly
        ("one twoo three", ["one", "twoo", "three"]),
        ("abcdefghij", ["abcdefg", "hij"]),
    ],
)
def test_long_texts_are_cut_at_white_space_where_there_is_some(
    text: str, expected: list[str]
) -> None:
    assert list(chunks([text], 7)) == expected


WEIGHTED = [{"text": f"text {row}", "weight": row + 0.5} for row in range(20)]


def by_text(corpus: Corpus) -> dict[str, float]:
    assert corpus.masses is not None
    return dict(zip(corpus.texts, corpus.masses.tolist(), strict=True))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_pools_masses_follow_their_documents(suffix: str, write: Write) -> None:
    pool = Files([str(write(f"p.{suffix}", WEIGHTED))], mass="weight")
    corpus = pool.load(NOWHERE, silent).corpus
    assert by_text(corpus) == {row["text"]: row["weight"] for row in WEIGHTED}
    assert by_text(corpus.take([7, 3])) == {
        text: by_text(corpus)[text] for text in (corpus.texts[7], corpus.texts[3])
    }


def test_masses_of_copies_add_up_however_files_are_cut(write: Write, tmp_path: Path) -> None:
    rows = [*WEIGHTED, *[{"text": "text 3", "weight": 0.1 * k} for k in range(7)]]
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
    path = str(write("p.jsonl", WEIGHTED))
    with_, without = (
        Files([path], mass=mass).load(NOWHERE, silent).corpus for mass in ("weight", None)
    )
    assert without.masses is None and with_.ids == without.ids
    doubled = [row | {"weight": 2 * row["weight"]} for row in WEIGHTED]
    other = Files([str(write("q.jsonl", doubled))], mass="weight")
    assert (
        len(
            {with_.fingerprint, without.fingerprint, other.load(NOWHERE, silent).corpus.fingerprint}
        )
        == 3
    )


@pytest.mark.parametrize("bad", [-1.0, "heavy", None, True, float("nan"), 1e39, 1e-50, 10**400])
def test_a_mass_that_is_none_is_set_aside_by_line(bad: object, write: Write) -> None:
    path = write("p.jsonl", [*WEIGHTED, {"text": "odd", "weight": bad}])
    loaded = Files([str(path)], mass="weight").load(NOWHERE, silent)
    assert loaded.counts["quarantined"] == 1 and loaded.quarantined[0].line == 21
    expected = "mass 'weight': expected a number of 0, or from 1.18e-38 to 3.4e+38 (float32)"
    assert expected in loaded.quarantined[0].reason


def test_masses_whose_sum_no_float32_holds_are_refused(write: Write) -> None:
    path = write("p.jsonl", [{"text": "twice", "weight": 3e38}] * 2)
    with pytest.raises(
        InvalidInput, match=r"found 6e\+38 over the 2 copies of .*; scale the masses"
    ):
        Files([str(path)], mass="weight").load(NOWHERE, silent)


def test_a_column_that_is_not_there_is_named(write: Write) -> None:
    path = str(write("p.jsonl", [{"text": "one"}, {"text": "two"}]))
    with pytest.raises(InvalidInput, match="'weight'"):
        Files([path], mass="weight").load(NOWHERE, silent)


def test_a_domain_column_that_is_not_there_is_refused(write: Write) -> None:
    path = str(write("p.jsonl", [{"text": "a", "source": "x"}]))
    with pytest.raises(InvalidInput, match=r"'sorce', found the columns: 'text', 'source'"):
        Files([path], domain="sorce").load(NOWHERE, silent)
    numbers: Any = 0
    named = Files([str(write("q.jsonl", [{"0": "a"}]))], text=numbers)
    assert named.load(NOWHERE, silent).corpus.texts == ["a"]
