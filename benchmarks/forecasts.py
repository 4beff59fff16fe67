"""Forecasts of vectors and warm-ups by `shortlist plan` beside what they took, on five sizes.

    OMP_NUM_THREADS=1 python benchmarks/forecasts.py

The model is MiniLM, the texts are words of this file. Rates are measured once, at the start. Times are
those of the process on one core, so that other processes of the machine count less.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from report import write

from shortlist.core import Corpus
from shortlist.featurizers.transformer import Transformer
from shortlist.models import checkpoint
from shortlist.models.pretrained import PackagedModel
from shortlist.overrides import composed
from shortlist.pipeline import machines, workload
from shortlist.pipeline.build import build, plain
from shortlist.runtime import Runtime
from shortlist.trainers.language_model import MaskedLM

TITLE = "Forecasts beside what was taken"
NOTES = (
    "`forecast` and `taken`: seconds of one core for the vectors of the texts and a warm-up of one epoch on "
    "them; `features`, `warmup`: forecast over taken of each, `ratio`: of both. `load`: processes that "
    "waited for a core; the forecast's rates are of this machine as it was at the start."
)
SIZES = ((32, 24, 8), (64, 24, 8), (64, 48, 8), (128, 48, 16), (96, 96, 8))  # texts, tokens, batch
WORDS = sorted({word for word in NOTES.lower().split() if word.isalpha() and len(word) < 7})


def row(
    size: tuple[int, int, int], machine: machines.Machine, start: Path, model: PackagedModel
) -> Any:
    """Returns the forecast of one size, what was taken, and their ratios."""
    count, tokens, batch = size
    rng, runtime = random.Random(0), Runtime("cpu", progress=False, checkpoint_seconds=None)
    texts = Corpus.build(
        [" ".join(rng.choices(WORDS, k=2 * tokens)) for _ in range(count)]
    ).canonical()
    with composed([f"warmup.max_length={tokens}", f"warmup.batch_size={batch}"]) as config:
        settings = plain(config.warmup)
    shape = workload.shape_of({"width": 384, "layers": 6, "vocabulary": 30_522})
    reader = Transformer(model, tokens, "mean", -1, True, "auto", None).reader(runtime)
    passes = count * tokens * shape.flops(tokens, 0) / machine.passes
    training = workload.training_work(
        "warm-up", settings, shape, (count, tokens), 0, machine
    ).seconds
    begin = time.process_time()
    reader.rows(texts, lambda done: None)
    encoded = time.process_time() - begin
    given = {name: value for name, value in settings.items() if name != "_target_"}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        MaskedLM(**given).train_on(start, texts, Path(folder), 0, runtime)
        trained = time.process_time() - begin
    return {
        "texts": count, "tokens": tokens, "batch": batch, "forecast": passes + training,
        "taken": encoded + trained, "features": passes / encoded, "warmup": training / trained,
        "ratio": (passes + training) / (encoded + trained), "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    """Writes results/benchmarks/forecasts.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    with composed(["model=minilm"]) as config:
        model = build(config.model, "model", PackagedModel)
    home = model.directory()
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        start.mkdir()
        checkpoint.save(
            start, checkpoint.masked_lm(home, new_head=True), checkpoint.tokenizer(home)
        )
        machine = machines.this_machine(
            Path.cwd(), home, Runtime("cpu", progress=False), clock=time.process_time
        )
        row((8, 24, 8), machine, start, model)  # libraries load at the first call
        rows: list[dict[str, Any]] = []
        for size in SIZES:
            rows.append(row(size, machine, start, model))
            print(rows[-1], flush=True)
    write(given.out, "forecasts", TITLE, NOTES, rows)


if __name__ == "__main__":
    main()
