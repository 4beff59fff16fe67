"""The target's texts joined and cut for the released GOT-D, and the warning on the pool's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.pipeline.scoring import length_warning, target_texts
from shortlist.selectors.gotd import GOTDPaper, SoftKNN


@given(
    st.lists(st.text("abc de", min_size=1, max_size=40), min_size=1, unique=True),
    st.integers(5, 60),
)
def test_passages_are_exactly_as_long_as_asked_and_in_order(texts: list[str], passage: int) -> None:
    corpus = Corpus.build(texts, "target").canonical()
    found = target_texts(GOTDPaper(1.0, 1.3, 0.1, 2000, passage), corpus)
    joined = " ".join(corpus.texts)
    if len(joined) < passage:
        assert found.texts == [joined]
    else:
        whole = [joined[at : at + passage] for at in range(0, len(joined) - passage + 1, passage)]
        assert sorted(found.texts) == sorted(set(whole))


def test_other_methods_read_the_texts_as_they_are() -> None:
    corpus = Corpus.build(["one", "two"], "target").canonical()
    assert target_texts(SoftKNN("sqeuclidean", 0.02), corpus) is corpus


@pytest.mark.parametrize(("short", "warned"), [(0, False), (10, False), (11, True), (100, True)])
def test_a_pool_of_short_documents_is_warned_of(short: int, warned: bool) -> None:
    texts = [f"{row:03d}" + "x" * (10 if row < short else 97) for row in range(100)]
    found = length_warning(Corpus.build(texts), 100)
    assert bool(found) == warned
    assert not warned or found[0].startswith(f"{short} of 100 documents have fewer than 90 char")
