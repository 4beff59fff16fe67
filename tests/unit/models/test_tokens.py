"""Texts as token ids and batches: nothing lost, nothing padded that was not asked for."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shortlist.models import checkpoint
from shortlist.models.tokens import (
    Buckets,
    Tokens,
    WordTokens,
    batch,
    by_length,
    pad,
    run_reader,
    tokenize,
)

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=80).map(np.array)


@pytest.fixture(scope="module")
def words(tiny_model: Any) -> Any:
    return checkpoint.tokenizer(tiny_model)


def tokens_of(lengths: np.ndarray) -> Tokens:
    ids = [np.arange(1, n + 1) for n in lengths]
    return Tokens(ids, [np.zeros(n, dtype=np.int64) for n in lengths], lengths, 0)


def test_a_tokenizer_file_that_pads_and_cuts_does_neither(words: Any) -> None:
    long = "anchor " * 40
    assert tokenize(words, ["boat", long], None, None).lengths.tolist() == [3, 42]


def test_a_limit_cuts_to_its_length_and_counts_what_it_cut(words: Any) -> None:
    tokens = tokenize(words, ["boat", "anchor " * 40, "mast " * 8], None, 10)
    assert tokens.lengths.tolist() == [3, 10, 10]
    assert tokens.truncated == 1


def test_a_limit_is_gone_after_the_call(words: Any) -> None:
    tokenize(words, ["anchor " * 40], None, 5)
    assert tokenize(words, ["anchor " * 40], None, None).lengths.tolist() == [42]


PIECES = st.sampled_from(
    ["boat", "anchor", "Stars", "unboat", "bo at", "x" * 120, " ", "  ", "\t", "\n", "\x1c", "\x00", "\xa0",
     "\u200b", "[SEP]", "[MASK]", "[sep]", "a[CLS]b", "é", "e\u0301", "\u0301", "ΑΣ", "İ", "中文", "-", "."]
)  # fmt: skip
ANY_TEXT = st.lists(PIECES | st.text(max_size=6), max_size=12).map("".join)


@given(
    batches=st.lists(st.lists(ANY_TEXT, min_size=1, max_size=5), min_size=1, max_size=3),
    limit=st.integers(2, 12),
    kept=st.integers(0, 40),
)
def test_ids_word_by_word_are_those_of_the_whole_text(
    words: Any, batches: list[list[str]], limit: int, kept: int
) -> None:
    by_words = WordTokens(words, limit, kept)
    for texts in batches:
        whole, found = tokenize(words, texts, None, limit), by_words(texts)
        assert found.ids.tolist() == np.concatenate([ids[1:-1] for ids in whole.ids]).tolist()
        assert found.lengths.tolist() == (whole.lengths - 2).tolist()
        assert found.truncated == whole.truncated


def test_texts_without_spaces_do_not_pile_up(words: Any) -> None:
    by_words = WordTokens(words, 8, kept=100)
    for number in range(20):
        by_words([f"{number}" + "中" * 80, "boat mast"])
        assert by_words.characters <= 100 + 82 + 8


def test_only_the_tokenizer_of_bert_is_read_word_by_word(words: Any, tiny_gpt2: Any) -> None:
    assert isinstance(run_reader(words, 8), WordTokens)
    other = checkpoint.tokenizer(tiny_gpt2)
    runs, whole = (
        run_reader(other, 8)(["boat mast", ""]),
        tokenize(other, ["boat mast", ""], None, 8),
    )
    assert runs.ids.tolist() == np.concatenate(whole.ids).tolist()
    assert runs.lengths.tolist() == whole.lengths.tolist()


def test_a_token_with_a_space_in_it_needs_the_whole_text(tiny_model: Any) -> None:
    with_name = checkpoint.tokenizer(tiny_model)
    with_name.add_tokens(["boat mast"])
    runs = run_reader(with_name, 8)(["a boat mast"])
    assert with_name.convert_tokens_to_ids("boat mast") in runs.ids


def test_a_pair_is_told_apart_by_its_types(words: Any) -> None:
    tokens = tokenize(words, ["boat mast"], ["sail"], None)
    assert tokens.types[0].tolist() == [0, 0, 0, 0, 1, 1]


def test_a_pair_too_long_loses_words_of_the_longer_text(words: Any) -> None:
    tokens = tokenize(words, ["boat"], ["anchor " * 40], 10)
    assert tokens.types[0].tolist() == [0] * 3 + [1] * 7


def test_a_report_adds_up_to_the_documents(words: Any) -> None:
    done: list[int] = []
    tokenize(words, ["boat"] * 2500, None, None, done.append)
    assert sum(done) == 2500
    assert len(done) > 1


def test_the_setting_for_threads_is_as_it_was(words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    tokenize(words, ["boat"], None, None)
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"


def test_padding_stands_on_the_right() -> None:
    assert pad([np.array([1, 2]), np.array([3])], 9).tolist() == [[1, 2], [3, 9]]


@given(LENGTHS)
def test_the_mask_is_one_exactly_where_a_token_is(lengths: np.ndarray) -> None:
    inputs = batch(tokens_of(lengths), range(len(lengths)), 0, types=True)
    assert inputs["attention_mask"].sum(1).tolist() == lengths.tolist()
    assert torch.equal(inputs["attention_mask"].bool(), inputs["input_ids"] != 0)
    assert inputs["token_type_ids"].shape == inputs["input_ids"].shape


@given(LENGTHS, st.integers(1, 200))
def test_batches_by_length_hold_each_row_once_within_the_bound(
    lengths: np.ndarray, bound: int
) -> None:
    batches = list(by_length(lengths, bound))
    assert sorted(row for rows in batches for row in rows.tolist()) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= bound


@given(LENGTHS)
def test_batches_by_length_begin_with_the_longest(lengths: np.ndarray) -> None:
    longest = [lengths[rows].max() for rows in by_length(lengths, 50)]
    assert longest == sorted(longest, reverse=True)


def buckets(lengths: np.ndarray, size: int, seed: int = 0) -> Buckets:
    return Buckets(lengths, size, torch.Generator().manual_seed(seed))


@given(LENGTHS, st.integers(1, 9))
def test_an_epoch_holds_every_document_once(lengths: np.ndarray, size: int) -> None:
    loader = buckets(lengths, size)
    epoch = list(loader)
    assert sorted(row for rows in epoch for row in rows) == list(range(len(lengths)))
    assert len(epoch) == len(loader)
    assert max(map(len, epoch)) <= size


def test_an_epoch_longer_than_one_stretch_holds_every_document_once() -> None:
    loader = buckets(np.arange(1, 334), 2)
    epoch = list(loader)
    assert sorted(row for rows in epoch for row in rows) == list(range(333))
    assert len(epoch) == len(loader)


def test_the_same_seed_gives_the_same_batches_and_the_next_epoch_others() -> None:
    one, other = buckets(np.arange(1, 41), 4), buckets(np.arange(1, 41), 4)
    first = list(one)
    assert first == list(other)
    assert first != list(one)


def test_batches_for_training_are_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 400)
    spread = [np.ptp(lengths[rows]) for rows in buckets(lengths, 8)]
    # 400 sorted lengths of up to 200 in batches of 8: 4 on average; without buckets it would be 150.
    assert np.mean(spread) < 10
