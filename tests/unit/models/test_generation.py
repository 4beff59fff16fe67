"""A continuation is a function of model, prompt and seed, and of nothing that only runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import toy
from scipy.stats import kstest

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint, generation
from shortlist.models.generation import FILE, Sampling, Writer, generate, load, nucleus, uniforms
from shortlist.runtime import Runtime

TEXTS = [*toy.sentences("sailing", 20), *toy.sentences("stars", 19), "b", "mast " * 30]
PROMPTS = Corpus.build(TEXTS)
SAMPLING = Sampling(continuations=4, tokens=12, top_p=0.9, temperature=1.0)
CPU = torch.device("cpu")


def sharpened(directory: Path) -> Path:
    """A model whose next token depends on all tokens before it, and which ends some texts."""
    toy.write_gpt2(directory)
    model = checkpoint.causal_lm(directory)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() > 1:
                weights *= 20 if name.endswith(("wte.weight", "wpe.weight")) else 4
        model.transformer.wte.weight[-1] *= 2.5
    checkpoint.save(directory, model, checkpoint.tokenizer(directory))
    return directory


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sharpened(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def writer(decoder: Path) -> Writer:
    return Writer(decoder, SAMPLING, "32", CPU)


def made(
    writer: Writer,
    folder: Path,
    prompts: Corpus = PROMPTS,
    *,
    batch: int = 8,
    seed: int = 0,
) -> Path:
    folder.mkdir()
    machine = Runtime(accelerator="cpu", progress=False)
    generate(writer, prompts, seed, batch, folder, machine)
    return folder


def bytes_of(folder: Path) -> bytes:
    return (folder / FILE).read_bytes()


@pytest.mark.parametrize("batch", [7, 32])
def test_another_batch_gives_the_same_file(writer: Writer, tmp_path: Path, batch: int) -> None:
    one_by_one = made(writer, tmp_path / "1", batch=1)
    assert bytes_of(made(writer, tmp_path / "n", batch=batch)) == bytes_of(one_by_one)


def test_another_order_gives_the_same_file(writer: Writer, tmp_path: Path) -> None:
    shuffled = PROMPTS.take(np.random.default_rng(0).permutation(len(PROMPTS)))
    found = made(writer, tmp_path / "shuffled", shuffled)
    assert bytes_of(found) == bytes_of(made(writer, tmp_path / "plain"))


def test_a_prompt_alone_gets_what_it_gets_among_others_and_another_seed_other_texts(
    writer: Writer, tmp_path: Path
) -> None:
    among = load(made(writer, tmp_path / "among"))
    alone = load(made(writer, tmp_path / "alone", PROMPTS.take([3])))
    place = among.prompts.index(PROMPTS.ids[3])
    assert alone.texts == [among.texts[place]]
    other = load(made(writer, tmp_path / "other", PROMPTS.take([3]), seed=1))
    assert not set(other.texts[0]) & set(alone.texts[0])


def test_what_is_stored_is_whole(writer: Writer, decoder: Path, tmp_path: Path) -> None:
    table = pq.read_table(made(writer, tmp_path / "made") / FILE)
    words = checkpoint.tokenizer(decoder)
    assert table["prompt"].to_pylist() == [name for name in sorted(PROMPTS.ids) for _ in range(4)]
    assert table["number"].to_pylist() == [0, 1, 2, 3] * len(PROMPTS)
    tokens, ended = table["tokens"].to_pylist(), table["ended"].to_pylist()
    assert table["text"].to_pylist() == [words.decode(row) for row in tokens]
    assert 0 < sum(ended) < len(ended)
    assert all(words.eos_token_id not in row for row in tokens)
    assert all(len(row) == 12 or end for row, end in zip(tokens, ended, strict=True))
    assert all(len(row) < 12 for row, end in zip(tokens, ended, strict=True) if end)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_that_was_killed_goes_on_and_gives_the_same_file(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    monkeypatch.setattr(generation, "SHARD", 9)
    begun: list[int] = []

    class Dying(Writer):
        left = 99

        def table(self, prompts: Corpus, *rest: Any) -> Any:
            if len(begun) == self.left:
                raise KeyboardInterrupt
            begun.append(len(prompts))
            return super().table(prompts, *rest)

    dying = Dying(decoder, SAMPLING, "32", CPU)
    expected = bytes_of(made(dying, tmp_path / "whole"))
    assert begun == [9, 9, 9, 9, 5]
    begun.clear()
    dying.left = 3
    # The store gives the directory of a run that goes on another name, but for the suffix.
    with pytest.raises(KeyboardInterrupt):
        made(dying, tmp_path / "stage.1")
    begun.clear()
    if damaged:  # one bit of a shard that was done
        shard = tmp_path / "stage.unfinished" / "000000009.parquet"
        raw = bytearray(shard.read_bytes())
        raw[len(raw) // 2] ^= 1
        shard.write_bytes(raw)
    found = made(dying, tmp_path / "stage.2")
    assert begun == ([9, 9, 5] if damaged else [9, 5])
    assert bytes_of(found) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stage.1", "stage.2", "whole"]


def test_the_likeliest_tokens_are_those_of_transformers_own_generation(
    decoder: Path, tmp_path: Path
) -> None:
    words, model = checkpoint.tokenizer(decoder), checkpoint.causal_lm(decoder).eval()
    texts = [text for text in TEXTS if len(text) < 100]
    writer = Writer(decoder, Sampling(2, 10, 1e-9, 1.0), "32", CPU)
    table = pq.read_table(made(writer, tmp_path / "made", Corpus.build(texts)) / FILE)
    rows = table["tokens"].to_pylist()
    found = dict(zip(table["prompt"].to_pylist(), rows, strict=True))
    for name, text in zip(Corpus.build(texts).ids, texts, strict=True):
        asked = words(text, return_tensors="pt")
        given = model.generate(**asked, do_sample=False, max_new_tokens=10)[0]
        new = given[asked["input_ids"].shape[1] :].tolist()
        end = words.eos_token_id
        assert found[name] == (new[: new.index(end)] if end in new else new)
    assert len({tuple(row) for row in rows}) > 1


def test_the_prompts_keys_are_repeated_rightly(decoder: Path, writer: Writer) -> None:
    # Every token lies in the nucleus that one pass over prompt and continuation gives, unpadded.
    model = checkpoint.causal_lm(decoder).eval()
    ids, _ = writer.read(PROMPTS.take([0, 39, 7]))
    written = writer.write(ids, uniforms(PROMPTS.take([0, 39, 7]).id_bits(), 4, 12, 9, 5))
    sizes = []
    for prompt, texts in zip(ids, written, strict=True):
        for text in texts:
            text = text[: int((text != writer.end).cumprod().sum()) + 1]
            whole = torch.from_numpy(np.concatenate([prompt, text]))[None]
            weights = model(whole).logits[0, len(prompt) - 1 : -1].double().softmax(1)
            inside = nucleus(weights, weights.sum(1), 0.9)
            assert inside[torch.arange(len(text)), torch.from_numpy(text)].all()
            sizes.append(inside.float().sum(1).mean().item())
    assert np.mean(sizes) < 100  # of 257: to lie inside is something


def test_first_tokens_come_as_often_as_the_model_says(decoder: Path) -> None:
    writer = Writer(decoder, Sampling(8000, 1, 0.9, 1.0), "32", CPU)
    prompt = PROMPTS.take([5])
    ids, _ = writer.read(prompt)
    found = writer.write(ids, uniforms(prompt.id_bits(), 8000, 1, 9, 0))[0, :, 0]
    weights = checkpoint.causal_lm(decoder).eval()(torch.from_numpy(ids[0])[None]).logits[0, -1:]
    shares = weights.double().softmax(1)
    inside = torch.where(nucleus(shares, shares.sum(1), 0.9), shares, 0.0)[0]
    expected = (inside / inside.sum()).detach().numpy() * 8000
    counts = np.bincount(found, minlength=len(expected))
    assert counts[expected == 0].sum() == 0
    some = expected > 5
    # Pearson's statistic has mean and half variance of its degrees of freedom.
    statistic = ((counts - expected)[some] ** 2 / expected[some]).sum()
    assert some.sum() > 5 and statistic < some.sum() + 4 * np.sqrt(2 * some.sum())


def test_random_numbers_belong_to_prompt_continuation_and_step() -> None:
    words = np.array([3, 2**63 + 11, 77], dtype=np.uint64)
    drawn = uniforms(words, 5, 7, 3, seed=4)
    assert drawn.shape == (3, 5, 7, 3)
    np.testing.assert_array_equal(uniforms(words[1:2], 2, 3, 2, seed=4), drawn[1:2, :2, :3, :2])
    assert len(np.unique(drawn)) == drawn.size
    assert not np.isin(uniforms(words, 5, 7, 3, seed=5), drawn).any()
    many = uniforms(np.arange(50, dtype=np.uint64), 25, 20, 9, seed=0)
    assert kstest(many.ravel(), "uniform").pvalue > 1e-3
    for axis in range(4):  # neighbours know nothing of each other
        one, two = (np.delete(many, place, axis).ravel() for place in (0, -1))
        assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(len(one))


def test_a_long_prompt_is_cut_on_the_left_and_one_without_tokens_begins_a_text(
    decoder: Path, writer: Writer
) -> None:
    long, short = "anchor " * 40, "boat"
    ids, counts = writer.read(Corpus.build([long, short, ""]))
    assert counts == {"cut_prompts": 1, "prompts_without_tokens": 1}
    assert [len(row) for row in ids] == [128 - 12, 4, 1]
    words = checkpoint.tokenizer(decoder)
    assert words.decode(ids[0]) == long[-116:]
    assert ids[2].tolist() == [writer.end]
    assert writer.write(ids, uniforms(np.arange(3, dtype=np.uint64), 4, 12, 9, 0)).shape == (
        3,
        4,
        12,
    )


def test_a_model_that_ends_at_once_leaves_empty_texts(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(decoder, SAMPLING, "32", CPU)
    forward = Writer._forward

    def ending(self: Writer, *inputs: Any) -> Any:
        logits, past = forward(self, *inputs)
        logits[:, self.end] += 100
        return logits, past

    monkeypatch.setattr(Writer, "_forward", ending)
    folder = tmp_path / "made"
    folder.mkdir()
    counts = generate(writer, PROMPTS, 0, 8, folder, Runtime(accelerator="cpu", progress=False))
    assert counts["without_tokens"] == counts["ended"] == counts["continuations"] == 4 * len(TEXTS)
    assert {text for texts in load(folder).texts for text in texts} == {""}


def test_behind_an_end_token_there_are_only_end_tokens(
    decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(decoder, SAMPLING, "32", CPU)
    forward, calls = Writer._forward, iter(range(99))

    def ending(self: Writer, *inputs: Any) -> Any:
        logits, past = forward(self, *inputs)
        at_third = next(calls) == 2
        logits[::2, self.end] += 1000 if at_third else -1000
        return logits, past

    monkeypatch.setattr(Writer, "_forward", ending)
    ids, _ = writer.read(PROMPTS.take(range(5)))
    found = writer.write(ids, uniforms(np.arange(5, dtype=np.uint64), 4, 12, 9, 0)).reshape(20, 12)
    assert (found[::2, 2:] == writer.end).all()
    assert (found[::2, :2] != writer.end).all()
    assert (found[1::2, 2:] != writer.end).any(1).all()


def test_a_gpt_neo_with_its_local_attention_is_batched_alike(tmp_path: Path) -> None:
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    toy.write_gpt2(tmp_path / "neo")
    words = checkpoint.tokenizer(tmp_path / "neo")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPTNeoForCausalLM(
            GPTNeoConfig(
                vocab_size=257,
                max_position_embeddings=128,
                hidden_size=32,
                num_layers=2,
                attention_types=[[["global", "local"], 1]],
                num_heads=2,
                window_size=8,
                initializer_range=0.2,
            )
        )
    checkpoint.save(tmp_path / "neo", model, words)
    writer = Writer(tmp_path / "neo", SAMPLING, "32", CPU)
    one_by_one = made(writer, tmp_path / "1", batch=1)
    assert bytes_of(made(writer, tmp_path / "n", batch=16)) == bytes_of(one_by_one)


def test_what_cannot_work_is_refused(decoder: Path, tiny_model: Path) -> None:
    with pytest.raises(InvalidInput, match="causal language model with an end token"):
        Writer(tiny_model, SAMPLING, "32", CPU)
    with pytest.raises(InvalidInput, match=r"128 positions, expected more than tokens=128"):
        Writer(decoder, Sampling(1, 128, 0.9, 1.0), "32", CPU)
    for settings, said in (
        ((0, 20, 0.9, 1.0), "continuations must be at least 1, found 0"),
        ((25, 0, 0.9, 1.0), "tokens must be at least 1"),
        ((25, 20, 0.0, 1.0), "top_p must lie above 0"),
        ((25, 20, 1.1, 1.0), "top_p must lie above 0"),
        ((25, 20, 0.9, 0.0), "temperature must be above 0"),
    ):
        with pytest.raises(InvalidInput, match=said):
            Sampling(*settings)
    with pytest.raises(InvalidInput, match="auto, 32, bf16 or fp16, found '16'"):
        generation.weight_precision(16, CPU)
    with pytest.raises(InvalidInput, match="fp16 needs a GPU"):
        generation.weight_precision("fp16", CPU)
    assert generation.weight_precision("auto", CPU) == "32"
    broken = Writer(decoder, SAMPLING, "32", CPU)
    with torch.no_grad():
        broken.model.transformer.ln_f.bias += torch.nan
    with pytest.raises(InvalidInput, match="finite logits"):
        broken.write(broken.read(PROMPTS)[0][:1], np.full((1, 4, 12, 9), 0.5))


@pytest.mark.parametrize(
    ("half", "device"),
    [
        ("bf16", "cpu"),
        pytest.param("bf16", "cuda", marks=pytest.mark.gpu),
        pytest.param("fp16", "cuda", marks=pytest.mark.gpu),
    ],
)
def test_half_precision_takes_a_token_that_is_likeliest_up_to_its_rounding(
    decoder: Path, half: str, device: str
) -> None:
    # If no logit is off by more than d, the token with the largest rounded logit is at most 2 d below
    # the largest exact one. d is taken from one unpadded pass in the same precision; the batched and
    # cached pass adds in another order, for which d is doubled.
    rounded = Writer(decoder, Sampling(1, 12, 1e-9, 1.0), half, torch.device(device))
    exact = checkpoint.causal_lm(decoder).eval()
    prompts, _ = rounded.read(PROMPTS)
    drawn = uniforms(PROMPTS.id_bits(), 1, 12, rounded.levels, 0)
    candidates: list[int] = []
    for prompt, (text,) in zip(prompts, rounded.write(prompts, drawn), strict=True):
        text = text[: int((text != rounded.end).cumprod().sum()) + 1]
        whole = torch.from_numpy(np.concatenate([prompt, text]))[None]
        with torch.no_grad():
            found, logits = (
                model(whole.to(model.device)).logits[0, len(prompt) - 1 : -1].double().cpu()
                for model in (rounded.model, exact)
            )
        bound = logits.amax(1) - 4 * (found - logits).abs().amax(1)
        assert (logits[torch.arange(len(text)), torch.from_numpy(text)] >= bound).all()
        candidates += (logits >= bound[:, None]).sum(1).tolist()
    assert np.mean(candidates) < 2  # of 257 tokens: the bound leaves hardly any choice
