"""Times fine-tuning against transformers.Trainer as it comes, and frozen lower layers against none.

Runs take turns; a ratio is one of neighbouring runs. Both sides have the same weights, texts, batch
size, learning rate, schedule and fused AdamW. Ours sorts texts by length into batches and, for the
decoder, packs them into blocks; Trainer draws batches at random and pads them, which is its default.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from training import (
    MINILM,
    SETTINGS,
    Clocked,
    Epoch,
    examples,
    ours,
    ratios,
    shown,
    theirs,
    trainer_epoch,
    write,
)
from transformers import DataCollatorForLanguageModeling, LlamaConfig, LlamaForCausalLM

from shortlist.core import Corpus
from shortlist.models import checkpoint
from shortlist.models.heads.labels import SingleLabel
from shortlist.models.pretrained import ScratchModel
from shortlist.runtime import Runtime
from shortlist.trainers.language_model import CausalLM
from shortlist.trainers.pretraining import Pretraining

BLOCK, BATCH = 128, 4  # tokens of a block, blocks of a step: about as many tokens as 8 documents
LLAMA: dict[str, Any] = {
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}


class ClockedLM(CausalLM):
    """The product's causal trainer, timed from before its first step until after its last."""

    epoch: Epoch

    def on_train_start(self) -> None:
        """Starts the clocks."""
        super().on_train_start()
        self.epoch.begin()

    def on_train_epoch_end(self) -> None:
        """Stops the clocks."""
        self.epoch.end()


def write_llama(texts: list[str], directory: Path) -> None:
    """Writes a Llama of random weights with a tokenizer of `texts`."""
    common: dict[str, Any] = {
        name: value for name, value in SETTINGS.items() if name not in ("batch_size", "max_length")
    }
    trainer = Pretraining(
        block=BLOCK, matrix_rate=None, epochs=1, batch_size=BATCH, max_length=BLOCK,
        precision="32", **common,
    )  # fmt: skip
    ScratchModel(
        vocabulary=4096, layers=1, heads=1, width=8, positions=BLOCK, dropout=0.0, documents=None,
        seed=0, pretraining=trainer,
    ).initialise(texts, directory)  # fmt: skip
    words = checkpoint.tokenizer(directory)
    torch.manual_seed(0)
    end = words.eos_token_id
    config = LlamaConfig(
        vocab_size=len(words), max_position_embeddings=BLOCK, tie_word_embeddings=True,
        bos_token_id=end, eos_token_id=end, **LLAMA,
    )  # fmt: skip
    checkpoint.save(directory, LlamaForCausalLM(config), words)


def decoder(corpus: Corpus, start: Path) -> Epoch:
    """Returns the cost of one epoch of the product's causal training on packed documents."""
    settings = {**SETTINGS, "batch_size": BATCH, "max_length": BLOCK}
    trainer = ClockedLM(block=BLOCK, epochs=1, precision="32", **settings)
    trainer.epoch = Epoch()
    with tempfile.TemporaryDirectory() as folder:
        machine = Runtime(accelerator="cpu", progress=False)
        trainer.train_on(start, corpus, Path(folder), 0, machine)
    trainer.epoch.steps = len(trainer.losses)
    return trainer.epoch


def decoder_of_trainer(corpus: Corpus, start: Path, documents: int) -> Epoch:
    """Returns the cost of one epoch of transformers.Trainer on padded batches of `documents`."""
    words = checkpoint.tokenizer(start)
    rows = [{"input_ids": words(text)["input_ids"]} for text in corpus.texts]
    collator = DataCollatorForLanguageModeling(words, mlm=False)
    settings = {**SETTINGS, "batch_size": documents}
    return trainer_epoch(checkpoint.causal_lm(start), rows, collator, "random", settings)


def frozen(corpus: Corpus, labels: list[str], layers: int, epochs: int) -> Epoch:
    """Returns the cost of a whole fine-tuning, loading and storing the model included."""
    trainer = Clocked(
        keep="last", patience=None, epochs=epochs, precision="32", frozen_layers=layers, **SETTINGS
    )
    trainer.epoch, whole = Epoch(), Epoch()
    machine = Runtime(accelerator="cpu", progress=False)
    with tempfile.TemporaryDirectory() as folder:
        whole.begin()
        trainer.train_on(
            MINILM.directory(), corpus, None, SingleLabel(labels), Path(folder), 0, machine
        )
        whole.end()
    whole.steps = len(trainer.losses)
    return whole


def documents_of(corpus: Corpus, words: Any, blocks: int | None) -> tuple[Corpus, int]:
    """Returns the documents that are shorter than a block, the first ones that fill `blocks` of them,
    and the number of their tokens.
    """
    lengths = [len(words(text)["input_ids"]) for text in corpus.texts]
    kept: list[int] = []
    tokens = 0
    for row, length in enumerate(lengths):
        if length < BLOCK and (blocks is None or tokens + len(kept) < blocks * BLOCK):
            kept.append(row)
            tokens += length
    return corpus.take(kept), tokens


def compared(
    name: str, first: Callable[[], Epoch], second: Callable[[], Epoch], repeats: int
) -> dict[str, Any]:
    """Returns the ratios of seconds, second to first, of runs that take turns."""
    pairs: list[tuple[Epoch, Epoch]] = []
    for _ in range(repeats):
        pairs.append((first(), second()))
        print(name, [round(one.wall, 1) for one in pairs[-1]], flush=True)
    row = {
        "name": name,
        "steps": [pairs[0][0].steps, pairs[0][1].steps],
        "seconds": [
            statistics.median(one.wall for one in side) for side in zip(*pairs, strict=True)
        ],
        **ratios(pairs),
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Runs all comparisons and writes results/benchmarks/finetune_speed.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder laid out like paths.data"
    )
    parser.add_argument("--task", default="chemprot")
    parser.add_argument("--examples", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--decoder",
        type=Path,
        help="directory of a causal model, as `shortlist fetch smollm2` prints it; by default a small "
        "Llama of random weights",
    )
    parser.add_argument(
        "--blocks", type=int, help=f"blocks of {BLOCK} tokens that the decoder learns; default: all"
    )
    parser.add_argument(
        "--only",
        default="",
        help="the comparisons whose name holds this; they are printed, not written",
    )
    chosen = parser.parse_args()
    load = os.getloadavg()[0]
    corpus = examples(chosen.data, chosen.task, chosen.examples)
    labels = sorted(set(corpus.labels or ()))
    with tempfile.TemporaryDirectory() as folder:
        start = chosen.decoder or Path(folder)
        if chosen.decoder is None:
            write_llama(list(corpus.texts), start)
        short, tokens = documents_of(corpus, checkpoint.tokenizer(start), chosen.blocks)
        documents = max(1, round(BLOCK * BATCH / (tokens / len(short) + 1)))
        size = sum(weight.numel() for weight in checkpoint.causal_lm(start).parameters())
        comparisons: dict[str, tuple[Callable[[], Epoch], Callable[[], Epoch]]] = {
            "MiniLM, Trainer / ours": (
                lambda: ours(corpus, labels),
                lambda: theirs(corpus, labels, "random"),
            ),
            f"decoder of {size / 1e6:.1f} million parameters, all trained, Trainer / ours": (
                lambda: decoder(short, start),
                lambda: decoder_of_trainer(short, start, documents),
            ),
            "MiniLM, 3 epochs, all layers / upper half (3 of 6 frozen)": (
                lambda: frozen(corpus, labels, 3, 3),
                lambda: frozen(corpus, labels, 0, 3),
            ),
        }
        rows = [
            compared(name, *pair, chosen.repeats)
            for name, pair in comparisons.items()
            if chosen.only in name
        ]
    if chosen.only:
        return
    lines = [
        "# Fine-tuning against transformers.Trainer as it comes",
        "",
        "Written by `benchmarks/finetune_speed.py`; do not edit. float32, fused AdamW on both sides. A",
        "ratio above 1: the second took longer for the same documents. Trainer draws its batches at",
        "random and pads them (its default); ours are of like length, the decoder's packed. `load` is the",
        "machine's at the start and at the end: above the number of cores, other work shared them.",
        "",
        "| comparison | seconds (first, second) | median ratio | of processor time | each |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row['name']} | {row['seconds'][0]:.2f}, {row['seconds'][1]:.2f} | {shown(row)}"
            for row in rows
        ),
    ]
    write(
        "finetune_speed",
        rows,
        lines,
        load=[round(load, 1), round(os.getloadavg()[0], 1)],
        task=chosen.task,
        examples={"MiniLM": len(corpus), "decoder": len(short)},
        decoder_tokens=tokens,
        documents_a_step_of_the_decoder=documents,
        repeats=chosen.repeats,
    )


if __name__ == "__main__":
    main()
