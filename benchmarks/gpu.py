"""One GPU in under ten minutes: the same numbers as the CPU, and how fast.

    python benchmarks/gpu.py                                  on a machine with a GPU
    python benchmarks/gpu.py --device cpu --size tiny         the course of it, without one

Parity: solve, featurize, train and generate on the CPU and on the device, in float32, each within its
tolerance; the exit code is 1 where one is not. Speed: a solve of 5,000,000 x 384 x 5,000 beside the
roofline of the device, and documents a second of MiniLM in bfloat16. `pytest -m gpu` runs it.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import write
from transport_gpu import gpu

from shortlist import ot
from shortlist.core import Corpus
from shortlist.featurizers.transformer import Transformer
from shortlist.models import checkpoint, generation
from shortlist.models.pretrained import PackagedModel, ScratchModel
from shortlist.overrides import composed
from shortlist.pipeline.build import build
from shortlist.runtime import Runtime
from shortlist.trainers.curves import CURVE
from shortlist.trainers.language_model import MaskedLM

TITLE = "One GPU: parity with the CPU, and speed"
NOTES = (
    "`difference`: the largest relative difference of potentials (solve), 1 minus the least cosine of two "
    "vectors of a text (featurize), the largest relative difference of a step's loss (train), the share of "
    "continuations that differ (generate). Tolerances are those of float32 sums in another order; a "
    "continuation differs from its first other token on. `of_roofline`: the time that the passes of the "
    "solve take at least, by the copy rate and the product rate measured on the device, over the time "
    "taken."
)
TOLERANCES = {"solve": 1e-3, "featurize": 1e-5, "train": 1e-3, "generate": 0.01}
WORDS = sorted(set(NOTES.split()))  # of which the texts are made


@dataclass(frozen=True)
class Size:
    """How much each part does."""

    candidates: int
    targets: int
    texts: int
    epochs: int
    prompts: int
    large: tuple[int, int]
    encoded: int


SIZES = {
    "full": Size(50_000, 1_000, 512, 8, 200, (5_000_000, 5_000), 50_000),
    "tiny": Size(600, 40, 24, 2, 4, (3_000, 50), 48),
}


def texts(count: int, words: int = 60) -> list[str]:
    """Returns different texts of so many words."""
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=words)) + f" {number}" for number in range(count)]


def minilm() -> PackagedModel:
    """Returns MiniLM as the configuration describes it."""
    with composed(["model=minilm"]) as config:
        return build(config.model, "model", PackagedModel)


def solved(size: Size, device: torch.device) -> np.ndarray[Any, Any]:
    """Returns the pool's potentials."""
    rng = np.random.default_rng(0)
    pool, target = (
        rng.standard_normal((rows, 64)).astype(np.float32)
        for rows in (size.candidates, size.targets)
    )
    return ot.solve(pool, target, epsilon=0.05, tolerance=1e-4, device=device).g.cpu().numpy()


def encoded(size: Size, runtime: Runtime, precision: str = "32", count: int = 0) -> Any:
    """Returns the vectors of texts and the seconds that they took, the opening left out."""
    featurizer = Transformer(minilm(), 128, "mean", -1, True, precision, None)  # type: ignore[arg-type]
    reader = featurizer.reader(runtime)
    corpus = Corpus.build(texts(count or size.texts))
    reader.rows(corpus.take(np.arange(min(64, len(corpus)))), lambda done: None)
    begin = time.perf_counter()
    values, _ = reader.rows(corpus, lambda done: None)
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()
    return values, time.perf_counter() - begin


def trained(size: Size, runtime: Runtime) -> np.ndarray[Any, Any]:
    """Returns the losses of a warm-up without dropout."""
    trainer = MaskedLM(
        0.15, epochs=size.epochs, learning_rate=1e-4, batch_size=16, max_length=64, weight_decay=0.01,
        warmup_fraction=0.06, clip=1.0, precision="32", betas=(0.9, 0.999), eps=1e-8,
        hidden_dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        home, start, end = minilm().directory(), Path(folder) / "start", Path(folder) / "model"
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = checkpoint.masked_lm(home, new_head=True)
        start.mkdir()
        end.mkdir()
        checkpoint.save(start, model, checkpoint.tokenizer(home))
        trainer.train_on(start, Corpus.build(texts(size.texts)).canonical(), end, 0, runtime)
        return np.array(json.loads((end / CURVE).read_text())["losses"])


def written(size: Size, runtime: Runtime) -> list[str]:
    """Returns continuations by a small GPT-2 of random weights."""
    shape: dict[str, Any] = {
        "vocabulary": 400,
        "layers": 4,
        "heads": 4,
        "width": 192,
        "positions": 128,
    }
    model = ScratchModel(**shape, dropout=0.0, documents=None, seed=0, pretraining=None)
    with tempfile.TemporaryDirectory() as folder:
        home, stage = Path(folder) / "gpt2", Path(folder) / "stage"
        home.mkdir()
        stage.mkdir()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.initialise(texts(64), home)
        sampling = generation.Sampling(4, 20, 0.9, 1.0)
        writer = generation.Writer(home, sampling, "32", runtime.device)
        prompts = Corpus.build(texts(size.prompts, 12))
        generation.generate(writer, prompts, 0, 8, stage, runtime)
        return [text for of_prompt in generation.load(stage).texts for text in of_prompt]


def parity(size: Size, cpu: Runtime, device: Runtime) -> list[dict[str, Any]]:
    """Returns a row a part: how far the device is from the CPU."""

    def relative(one: Any, other: Any) -> float:
        return float(np.abs(one - other).max() / max(np.abs(one).max(), 1e-12))

    def angles(one: Any, other: Any) -> float:
        return float(1 - (one[0] * other[0]).sum(axis=1).min())

    def unlike(one: list[str], other: list[str]) -> float:
        return sum(a != b for a, b in zip(one, other, strict=True)) / len(one)

    parts: dict[str, Any] = {
        "solve": (lambda runtime: solved(size, runtime.device), relative),
        "featurize": (lambda runtime: encoded(size, runtime), angles),
        "train": (lambda runtime: trained(size, runtime), relative),
        "generate": (lambda runtime: written(size, runtime), unlike),
    }
    rows: list[dict[str, Any]] = []
    for name, (work, difference) in parts.items():
        seconds: list[float] = []
        results: list[Any] = []
        for runtime in (cpu, device):
            begin = time.perf_counter()
            results.append(work(runtime))
            seconds.append(time.perf_counter() - begin)
        found = difference(*results)
        rows.append({
            "part": name, "difference": found, "tolerance": TOLERANCES[name],
            "within": found <= TOLERANCES[name], "cpu_seconds": seconds[0], "seconds": seconds[1],
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    given = parser.parse_args(arguments)
    size = SIZES[given.size]
    if given.device == "cuda" and not torch.cuda.is_available():
        print(f"error: a CUDA device was expected, found none (torch {torch.__version__})")
        return 1
    begin = time.perf_counter()
    tokens = 32768 if given.device == "cuda" else 2048
    cpu = Runtime("cpu", progress=False, checkpoint_seconds=None)
    device = replace(cpu, accelerator=given.device, inference_tokens=tokens)
    rows = parity(size, cpu, device)
    failed = [row["part"] for row in rows if not row["within"]]
    for row in gpu(*size.large, kind=given.device):
        rows.append({"part": "solve, large", **row})
    _, seconds = encoded(size, device, "bf16", size.encoded)
    rows.append({"part": "MiniLM, bf16", "texts": size.encoded, "seconds": seconds,
                 "documents_a_second": size.encoded / seconds})  # fmt: skip
    rows.append({"part": "all", "seconds": time.perf_counter() - begin})
    if given.size == "full":
        write(given.out, "gpu", TITLE, NOTES, rows)
    for row in rows:
        print(row)
    print(f"outside of the tolerance: {', '.join(failed)}" if failed else "all within tolerance")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
