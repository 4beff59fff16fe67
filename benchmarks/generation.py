"""Times continuations of prompts against transformers' own `model.generate`, on a CPU.

Same weights, prompts, batches and settings: 25 continuations a prompt, up to 20 tokens, nucleus 0.9.
The runs take turns.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import write

from shortlist.core import Corpus
from shortlist.models import checkpoint
from shortlist.models.generation import Sampling, Writer, nucleus, uniforms

ROOT = Path(__file__).parents[1]
SAMPLING = Sampling(continuations=25, tokens=20, top_p=0.9, temperature=1.0)
NOTES = (
    "GPT-2's architecture, 192 wide, 4 layers, float32, random weights; the head's size decides how\n"
    "peaked the next token's distribution is (`nucleus`: mean number of tokens in it, of 8,192). Prompts of\n"
    "5 to 20 tokens, batches of prompts of similar length. Continuations a second of\n"
    "processor time, so that what else the machine does counts for less; a ratio above 1: `generate` took\n"
    "longer."
)

REAL = (
    "SmolLM2-135M-Instruct, 4-bit weights converted to float32 (`model=smollm2`); prompts of\n"
    "RealToxicityPrompts, the longest first, up to 20 tokens a continuation. Ours reads a prompt once and\n"
    "repeats its keys and values; `generate` reads it once a continuation. Continuations a second of\n"
    "processor time; a ratio above 1: `generate` took longer. The first batch of each warms up."
)


def model_in(folder: Path, spread: float) -> Path:
    """Returns a directory with a model of 5 million parameters, and a tokenizer of 8,192 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    size = 8192
    vocabulary = {f"w{number}": number for number in range(size - 1)} | {"<end>": size - 1}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=size,
        n_positions=128,
        n_embd=192,
        n_layer=4,
        n_head=4,
        bos_token_id=size - 1,
        eos_token_id=size - 1,
        tie_word_embeddings=False,  # random and tied, a token would be followed by itself
    )
    model = GPT2LMHeadModel(config)
    torch.nn.init.normal_(model.lm_head.weight, std=spread)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<end>", bos_token="<end>", unk_token="<end>"
    )
    checkpoint.save(folder, model, tokenizer)
    return folder


def prompts(amount: int) -> Corpus:
    """Returns prompts of 5 to 20 random words."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 8000, rng.integers(5, 21)) for _ in range(amount)]
    return Corpus.build([" ".join(f"w{word}" for word in row) for row in rows]).canonical()


def real_prompts(file: Path, amount: int) -> Corpus:
    """Returns the first prompts by id of a file of RealToxicityPrompts."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        corpus = Corpus.build([json.loads(line)["prompt"] for line in lines]).canonical()
    return corpus.take(np.arange(amount))


def theirs(model: Any, batch: list[Any], end: int, sampling: Sampling) -> int:
    """Returns how many tokens `generate` made for one batch, padded on the left."""
    width = max(map(len, batch))
    ids = torch.full((len(batch), width), end)
    for row, tokens in enumerate(batch):
        ids[row, width - len(tokens) :] = torch.from_numpy(tokens)
    made = model.generate(
        input_ids=ids,
        attention_mask=(ids != end).long(),
        do_sample=True,
        top_p=sampling.top_p,
        top_k=0,
        temperature=1.0,
        num_return_sequences=sampling.continuations,
        max_new_tokens=sampling.tokens,
        pad_token_id=end,
    )
    return int((made[:, width:] != end).sum())


def measured(
    directory: Path, asked: Corpus, sampling: Sampling, size: int, spread: float | None
) -> dict[str, Any]:
    """Returns what one model's batches cost, ours and theirs in turns."""
    writer = Writer(directory, sampling, "32", torch.device("cpu"))
    model = checkpoint.causal_lm(directory).eval()
    amount = len(asked)
    ids, _ = writer.read(asked)
    order = np.argsort([-len(row) for row in ids], kind="stable")
    many = sampling.continuations
    drawn = uniforms(asked.id_bits(), many, sampling.tokens, writer.levels, 0)
    seconds: dict[str, list[float]] = {"ours": [], "generate": []}
    tokens = dict.fromkeys(seconds, 0)
    for turn, start in enumerate(range(0, amount, size)):
        rows = order[start : start + size]
        batch = [ids[row] for row in rows]
        for name in ("ours", "generate") if turn % 2 else ("generate", "ours"):
            began = time.process_time()
            if name == "ours":
                tokens[name] += int((writer.write(batch, drawn[rows]) != writer.end).sum())
            else:
                tokens[name] += theirs(model, batch, writer.end, sampling)
            seconds[name].append(time.process_time() - began)
    with torch.inference_mode():
        shares = model(torch.from_numpy(ids[order[0]])[None]).logits[0].softmax(1)
    rows_a_batch = size * many
    # The first batch of each warms up.
    speed = {name: rows_a_batch / statistics.median(taken[1:]) for name, taken in seconds.items()}
    ratios = [b / a for a, b in zip(seconds["ours"][1:], seconds["generate"][1:], strict=True)]
    return {
        "prompts": amount,
        "batch": size,
        "continuations": many,
        "spread": spread,
        "nucleus": round(float(nucleus(shares, shares.double().sum(1), 0.9).sum(1).float().mean())),
        "ours_per_second": round(speed["ours"], 1),
        "generate_per_second": round(speed["generate"], 1),
        "median_ratio": round(statistics.median(ratios), 2),
        "lowest_ratio": round(min(ratios), 2),
        "highest_ratio": round(max(ratios), 2),
        "tokens_a_continuation_ours": round(tokens["ours"] / amount / many, 2),
        "tokens_a_continuation_generate": round(tokens["generate"] / amount / many, 2),
    }


def main() -> None:
    """Runs both in turns and writes results/benchmarks/generation.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--model", type=Path, help="directory of a model, measured alone")
    parser.add_argument("--texts", type=Path, help="its prompts, as RealToxicityPrompts has them")
    parser.add_argument("--continuations", type=int, default=25)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    chosen = parser.parse_args()
    sampling = replace(SAMPLING, continuations=chosen.continuations)
    title = "Continuations of prompts against transformers' `generate`"
    if chosen.model is not None:
        asked = real_prompts(chosen.texts, chosen.prompts)
        rows = [measured(chosen.model, asked, sampling, chosen.batch, None)]
        write(chosen.out, "generation_smollm2", f"{title}, SmolLM2", REAL, rows, "generation")
        return
    rows = []
    for spread in (0.3, 0.1):
        with tempfile.TemporaryDirectory() as folder:
            directory = model_in(Path(folder), spread)
            asked = prompts(chosen.prompts)
            rows.append(measured(directory, asked, sampling, chosen.batch, spread))
    write(chosen.out, "generation", title, NOTES, rows)


if __name__ == "__main__":
    main()
