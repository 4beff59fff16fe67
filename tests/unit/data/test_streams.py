"""Laws of streams: the sample of today's functions, exactly, without a text outside it in memory."""

from __future__ import annotations

import gzip
import json
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core import Corpus, document_id
from shortlist.data.pools import Domains, chunks
from shortlist.data.readers import silent
from shortlist.data.sources import TaskFiles
from shortlist.data.splits import sample_rows
from shortlist.data.streams import Copies, Distinct, sample_texts
from shortlist.errors import InvalidInput

texts_of = st.lists(st.sampled_from([f"text {n}" for n in range(25)]) | st.text(max_size=2))


@given(texts_of, st.none() | st.integers(0, 12), st.integers(0, 3), st.integers(1, 9))
def test_a_sample_of_a_stream_is_that_of_the_distinct_texts_in_memory(
    texts: list[str], size: int | None, seed: int, held: int
) -> None:
    distinct = list(dict.fromkeys(texts))
    rows = sample_rows(Corpus.build(distinct).ids, size, seed)
    found = sample_texts(iter(texts), size, seed, held)
    assert found.texts == [distinct[row] for row in rows]
    assert found.copies == len(texts) - len(distinct)
    assert found.left_out == len(distinct) - len(rows)


@given(texts_of, st.integers(1, 9))
def test_copies_are_found_exactly_in_memory_and_on_disk(texts: list[str], held: int) -> None:
    ids = Copies(held)
    for text in texts:
        ids.add(document_id(text))
    seen, repeats = set[str](), list[int]()
    for row, text in enumerate(texts):
        repeats += [row] if text in seen else []
        seen.add(text)
    assert sorted(row for rows in ids.repeats() for row in rows.tolist()) == repeats
    assert list(Distinct(texts, held).of(texts)) == list(dict.fromkeys(texts))


class Text(str):
    """A text that can be counted while it lives."""


def test_no_text_outside_the_sample_stays_in_memory() -> None:
    alive, most = weakref.WeakSet[Text](), 0

    def stream() -> Iterator[str]:
        nonlocal most
        for n in range(5000):
            text = Text(n % 4000)
            alive.add(text)
            most = max(most, sum(1 for _ in alive) if n % 50 == 0 else 0)
            yield text

    found = sample_texts(stream(), 20, seed=0, held=64)
    assert (len(found.texts), found.copies, found.left_out) == (20, 1000, 3980)
    assert 20 <= most <= 23  # the sample, one that leaves it, the one being read, the one before


def test_a_negative_sample_is_refused() -> None:
    with pytest.raises(InvalidInput, match="0 or more, found -1"):
        sample_texts([], -1, 0)


class _Hub:
    """A source of one domain, in files as C4 has them: a JSON object a line under `.json.gz`."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths

    def pool_names(self, hub: object, files: object) -> tuple[str, ...]:
        return ("news",)

    def pool_files(self, name: str, hub: object, files: object) -> TaskFiles:
        return TaskFiles({"pool": self.paths}, revision="0" * 40)


@pytest.mark.parametrize("chunk", [None, 30])
def test_a_domain_of_many_gzip_members_is_sampled_while_it_is_read(
    tmp_path: Path, chunk: int | None
) -> None:
    rows = [{"text": f"News {n % 60} of the day."} for n in range(90)]
    member = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)
    paths = (tmp_path / "c4-train.0.json.gz", tmp_path / "c4-train.1.json.gz")
    paths[0].write_bytes(member * 7)
    paths[1].write_bytes(member)
    source: object = _Hub(paths)
    loaded = Domains(None, 10, 3, chunk=chunk).load(source, silent)  # type: ignore[arg-type]
    whole = list(dict.fromkeys(str(row["text"]) for row in rows))
    whole = whole if chunk is None else list(dict.fromkeys(chunks(whole, chunk)))
    corpus = Corpus.build(whole, "news")
    expected = corpus.take(sample_rows(corpus.ids, 10, 3)).canonical()
    assert loaded.corpus.fingerprint == expected.fingerprint
    counts = Counter(loaded.counts)
    assert counts["rows_read"] == 8 * 90 and counts["exact_copies"] == 8 * 90 - 60
    assert counts["kept"] == 10 and counts["not_sampled"] == len(whole) - 10


def test_every_suffix_of_the_papers_pool_is_readable() -> None:
    from omegaconf import OmegaConf

    from shortlist.data.files import is_readable

    conf = Path(__file__).parents[3] / "conf" / "pool"
    for name in ("paper_domains", "openwebtext"):
        for domain in OmegaConf.to_object(OmegaConf.load(conf / f"{name}.yaml").hub).values():
            assert is_readable(domain["files"]["pool"].replace("*", "x"))
