"""Perplexity against closed forms and a loop; what is asked, cut and hashed."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from shortlist.data.readers import Columns
from shortlist.data.sources import TaskFiles
from shortlist.errors import InvalidInput, Missing
from shortlist.evaluation.perplexity import windows
from shortlist.models import checkpoint
from shortlist.store.cache import executions

TEXTS = [*toy.sentences("sailing", 5), "x", "a tide " * 20, "zz"]
CHANGES: list[dict[str, Any]] = [
    {"context": 40}, {"stride": 7, "context": 40}, {"bos": False}, {"average": "tokens"},
    {"documents": 4}, {"documents": 4, "seed": 1}, {"column": "title"}, {"path": "other.jsonl"},
]  # fmt: skip


@pytest.fixture
def measure(evaluator: Any, context: Any, tmp_path: Path) -> Any:
    """A function from settings to what the evaluator finds on TEXTS."""
    toy.write_jsonl(tmp_path / "x.jsonl", [{"text": t, "title": t[:6]} for t in TEXTS])
    toy.write_jsonl(tmp_path / "other.jsonl", [{"text": text} for text in TEXTS[:3]])

    def found(where: dict[str, Any] | None = None, **settings: Any) -> Any:
        return evaluator("perplexity", **{"path": "x.jsonl", **settings}).evaluate(
            context(**(where or {}))
        )

    return found


def changed_model(directory: Path, name: str, change: Any) -> Path:
    """A copy of the model in `directory` whose weights `change` has touched."""
    model, words = checkpoint.causal_lm(directory), checkpoint.tokenizer(directory)
    with torch.no_grad():
        change(model)
    checkpoint.save(directory.parent / name, model, words)
    return directory.parent / name


@pytest.mark.parametrize("settings", [{}, {"average": "tokens"}, {"context": 9, "stride": 4}])
def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large(
    measure: Any, tiny_gpt2: Path, settings: dict[str, Any]
) -> None:
    blank = changed_model(tiny_gpt2, "blank", lambda model: [p.zero_() for p in model.parameters()])
    (metric,) = measure({"model": blank}, **settings).metrics
    assert metric.value == pytest.approx(257, rel=1e-5)
    assert metric.stderr == pytest.approx(0, abs=1e-3)
    assert (metric.name, metric.unit, metric.higher_is_better) == (
        "perplexity",
        "perplexity",
        False,
    )


def test_a_model_of_pairs_has_the_perplexity_of_its_table(measure: Any, tiny_gpt2: Path) -> None:
    # Without blocks and positions GPT-2 is a bigram table: softmax(norm(E_i) E^T).
    def only_pairs(model: Any) -> None:
        model.transformer.wpe.weight.zero_()
        for block in model.transformer.h:
            for layer in (block.attn.c_proj, block.mlp.c_proj):
                layer.weight.zero_()
                layer.bias.zero_()
        model.transformer.wte.weight.mul_(30)

    pairs = changed_model(tiny_gpt2, "pairs", only_pairs)
    embedded = checkpoint.causal_lm(pairs).transformer.wte.weight.detach().double().numpy()
    centred = embedded - embedded.mean(1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    logits = normed @ embedded.T
    table = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    words = checkpoint.tokenizer(pairs)
    each = []
    for text in TEXTS:
        ids = [words.eos_token_id, *words(text)["input_ids"]][:128]
        each.append(math.exp(-np.mean([table[a, b] for a, b in itertools.pairwise(ids)])))
    found = measure({"model": pairs})
    (metric,) = found.metrics
    assert metric.value == pytest.approx(np.mean(each), rel=1e-4)
    assert metric.stderr == pytest.approx(np.std(each, ddof=1) / len(each) ** 0.5, rel=1e-4)
    assert_allclose(np.sort(found.item_scores["perplexity"]), np.sort(each), rtol=1e-4)
    assert found.counts["texts_cut"] == 1 and metric.n == len(TEXTS)


@pytest.mark.parametrize("bos", [True, False])
def test_windows_that_move_equal_a_loop_that_asks_one_token_at_a_time(
    measure: Any, tiny_gpt2: Path, bos: bool
) -> None:
    context, stride = 12, 5
    model, words = checkpoint.causal_lm(tiny_gpt2).eval(), checkpoint.tokenizer(tiny_gpt2)
    losses: list[list[float]] = []
    for text in TEXTS:
        ids = [words.eos_token_id] * bos + words(text)["input_ids"]
        losses.append([])
        for place in range(1, len(ids)):
            # The window in which the token is first reached starts at a multiple of the stride.
            start = stride * max(0, math.ceil((place + 1 - context) / stride))
            with torch.no_grad():
                logits = model(torch.tensor([ids[start:place]])).logits[0, -1]
            losses[-1].append(-float(torch.log_softmax(logits.double(), 0)[ids[place]]))
    whole = [loss for text in losses for loss in text]
    found = measure(context=context, stride=stride, bos=bos, average="tokens")
    assert found.metrics[0].value == pytest.approx(math.exp(np.mean(whole)), rel=1e-5)
    assert found.item_scores["perplexity"].mean() == pytest.approx(found.metrics[0].value)
    assert found.counts["texts_cut"] == 0
    unasked = found.counts["texts_without_a_prediction"]
    assert unasked == sum(not text for text in losses) == (0 if bos else 1)
    by_text = measure(context=context, stride=stride, bos=bos).metrics[0]
    each = [math.exp(np.mean(text)) for text in losses if text]
    assert by_text.value == pytest.approx(np.mean(each), rel=1e-5) and by_text.n == len(each)


@given(st.integers(0, 60), st.integers(2, 20), st.integers(1, 19))
def test_every_token_but_the_first_is_predicted_once_with_something_before_it(
    length: int, context: int, stride: int
) -> None:
    if stride >= context:
        return
    asked = []
    for start, stop, first in windows(length, context, stride):
        assert stop - start <= context and first > start
        asked += range(first, stop)
    assert asked == list(range(1, length))


def test_how_many_are_asked_at_once_changes_nothing(measure: Any, machine: Any) -> None:
    one, many = (
        measure({"runtime": replace(machine, inference_tokens=size)}, context=size_of)
        for size, size_of in ((1, 50), (100_000, 50))
    )
    assert_allclose(one.item_scores["perplexity"], many.item_scores["perplexity"], rtol=1e-5)


def test_every_setting_is_in_the_hash_of_the_protocol(measure: Any) -> None:
    plain = measure().metrics[0].protocol
    found = [measure(**change).metrics[0].protocol for change in CHANGES]
    assert len({plain, *found}) == 1 + len(CHANGES)
    assert measure(context=128).metrics[0].protocol == plain  # what null came to
    assert measure(metric="other").metrics[0].protocol == plain


def test_another_vocabulary_is_another_protocol(evaluator: Any) -> None:
    facts = {"context": 9, "texts": "t", "vocabulary": "v"}
    asked = evaluator("perplexity", path="x.jsonl")
    others = [asked.protocol({**facts, name: "other"}) for name in facts]
    assert len({asked.protocol(facts), *others}) == 4


def test_the_losses_are_stored_once_for_both_averages(measure: Any, tmp_path: Path) -> None:
    measure(), measure(average="tokens"), measure()
    stages = [stage for stage, _ in executions(tmp_path / "cache")]
    assert sorted(stages) == ["perplexity", "texts"]


def test_another_file_of_one_commit_and_another_column_are_read_anew(
    evaluator: Any, context: Any, tmp_path: Path
) -> None:
    for name in "ab":
        rows = [{"text": f"{name} {text}", "other": text} for text in TEXTS]
        toy.write_jsonl(tmp_path / f"{name}.jsonl", rows)

    class Hub:
        def text_files(self, what: str, path: Any, hub: Any) -> TaskFiles:
            files = {"texts": (tmp_path / hub["files"]["texts"],)}
            return TaskFiles(files, "commit", Columns(**hub["columns"]))

    found = []
    for name, column in (("a", "text"), ("b", "text"), ("a", "other")):
        hub = {"files": {"texts": f"{name}.jsonl"}, "columns": {"text": column}}
        here = replace(context(), source=Hub())
        found.append(evaluator("perplexity", hub=hub).evaluate(here).metrics[0])
    assert len({metric.value for metric in found}) == 3
    assert len({metric.protocol for metric in found}) == 3


def test_what_is_left_out_is_counted(evaluator: Any, context: Any, tmp_path: Path) -> None:
    rows = [{"text": "a tide"}, {"text": "a tide"}, {"text": None}, {"text": "a"}, {"text": "bb"}]
    toy.write_jsonl(tmp_path / "rows.jsonl", rows)
    found = evaluator("perplexity", path="rows.jsonl", documents=2).evaluate(context())
    assert {name: found.counts[name] for name in ("not_sampled", "quarantined", "copies")} == {
        "not_sampled": 1,
        "quarantined": 1,
        "copies": 1,
    }


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"average": "words"}, "texts or tokens, found 'words'"),
        ({"context": 8, "stride": 8}, "stride must be at least 1 and below the context"),
        ({"stride": 128}, "stride must be below the model's 128 positions"),
        ({"context": 200}, "perplexity context=200 exceeds the model's 128 positions"),
        ({"documents": 0}, "documents must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    measure: Any, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        measure(**settings)


def test_missing_texts_and_masked_models_are_refused_by_name(
    evaluator: Any, measure: Any, context: Any, machine: Any, tiny_model: Path
) -> None:
    with pytest.raises(Missing, match=r"expected the file .*nowhere\.jsonl, found none"):
        evaluator("perplexity", path="nowhere.jsonl").check(context().source, machine)
    with pytest.raises(InvalidInput, match="predicts the next token was expected, found a masked"):
        measure({"model": tiny_model})
