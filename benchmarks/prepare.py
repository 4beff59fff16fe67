"""Speed of data preparation beside datatrove and datasketch, on one core and the same documents.

    python benchmarks/prepare.py --peer /path/to/venv/bin/python [--data DATA] [--documents 2000]

Then the recall and precision of the indexes of near copies on planted pairs, and what semantic
duplicates within clusters save and miss.

The peers' environment needs datatrove, spacy, ftfy, datasketch, rensa and numpy. Documents are those of
the pool `blogs` of a data folder, else generated sentences; each program reads the same file, warms
up on a tenth, and is timed once for the rest. CPU seconds of the process are compared, so that other
work on the machine matters little.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from report import write
from transport import table

PEER = """
import json, sys, time
given = json.load(open(sys.argv[1]))
texts = given["texts"]
from datatrove.data import Document
from datatrove.pipeline.filters import (
    FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter)
from datatrove.pipeline.formatters.ftfy import FTFYFormatter
from datatrove.pipeline.formatters.pii import PIIFormatter
from datasketch import MinHash, MinHashLSH
from rensa import RMinHash, RMinHashLSH

clean, filters = FTFYFormatter(), (GopherQualityFilter(), GopherRepetitionFilter(), FineWebQualityFilter())

def heuristics(texts):
    for text in texts:
        document = Document(text=clean.format(text), id="0")
        for one in filters:
            one.filter(document)

def shingles(text):
    words = text.lower().split()
    return {" ".join(words[i:i + 5]) for i in range(max(len(words) - 4, 1))}

def datasketch(texts):
    lsh = MinHashLSH(num_perm=100, params=(20, 5))
    with lsh.insertion_session() as session:
        for row, text in enumerate(texts):
            sketch = MinHash(num_perm=100)
            sketch.update_batch([one.encode() for one in shingles(text)])
            session.insert(row, sketch)

def rensa(texts):
    lsh = RMinHashLSH(threshold=0.8, num_perm=100, num_bands=20)
    for row, text in enumerate(texts):
        sketch = RMinHash(num_perm=100, seed=1)
        sketch.update(list(shingles(text)))
        lsh.insert(row, sketch)

pii = PIIFormatter()
def personal(texts):
    for text in texts:
        pii.format(text)

rates = {}
for work in (heuristics, datasketch, rensa, personal):
    work(texts[: len(texts) // 10])
    start = time.process_time()
    work(texts)
    rates[work.__name__] = len(texts) / (time.process_time() - start)

def pairs(texts):
    found = {"datasketch": [], "rensa": []}
    lsh = MinHashLSH(num_perm=100, params=(20, 5))
    other = RMinHashLSH(threshold=0.8, num_perm=100, num_bands=20)
    for row, text in enumerate(texts):
        sketch, fast = MinHash(num_perm=100), RMinHash(num_perm=100, seed=1)
        sketch.update_batch([one.encode() for one in shingles(text)])
        fast.update(list(shingles(text)))
        found["datasketch"] += [(int(of), row) for of in lsh.query(sketch)]
        found["rensa"] += [(int(of), row) for of in other.query(fast)]
        lsh.insert(row, sketch)
        other.insert(row, fast)
    return found

print(json.dumps({"rates": rates, "pairs": {key: pairs(own) for key, own in given["planted"].items()}}))
"""


def documents(data: str | None, count: int) -> list[str]:
    """Returns texts of about 800 characters."""
    if data is not None:
        from shortlist.data.readers import read

        texts = read(Path(data) / "pools/blogs.jsonl.gz").corpus.texts
        return [text for text in texts if len(text) > 600][:count]
    rng = random.Random(0)
    common = "the of and to in that was he for it with as his on be at by had not are but from"
    words = common.split()
    words += [
        f"{a}{b}" for a in ("wind", "stone", "garden", "river") for b in ("s", "ed", "ing", "er")
    ]
    sentences = [" ".join(rng.choices(words, k=rng.randint(6, 18))) + "." for _ in range(4000)]
    return [" ".join(rng.choices(sentences, k=13)) for _ in range(count)]


def timed(work: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Returns documents per CPU second, after a tenth of them was worked on."""
    work(texts[: len(texts) // 10])
    start = time.process_time()
    work(texts)
    return len(texts) / (time.process_time() - start)


def ours() -> dict[str, Callable[[Sequence[str]], object]]:
    """Returns what is timed here, by name."""
    from shortlist.config import folder
    from shortlist.pipeline.build import build_plain
    from shortlist.prepare.base import DocumentOperation, Operation, Text, prepare

    def operation(name: str) -> Operation:
        settings = OmegaConf.to_container(OmegaConf.load(folder() / "prepare" / f"{name}.yaml"))
        return build_plain(settings, name, Operation)

    names = ("repair_text", "gopher_quality", "gopher_repetition", "fineweb_quality")
    steps = {name: operation(name) for name in names}
    anonymise, near = operation("anonymise"), operation("near_duplicates")
    assert isinstance(anonymise, DocumentOperation)
    return {
        "heuristics": lambda texts: prepare(texts, steps),
        "near_duplicates": lambda texts: prepare(texts, {"near_duplicates": near}),
        "personal": lambda texts: [anonymise.apply(Text(text)) for text in texts],
    }


def planted(edits: int) -> list[str]:
    """Returns 1,000 texts of 120 random words, then copies of the first 300 with edited words."""
    rng = random.Random(0)
    vocabulary = [f"w{number}" for number in range(3000)]
    texts = [rng.choices(vocabulary, k=120) for _ in range(1000)]
    for number in range(300):
        copy = list(texts[number])
        for place in rng.sample(range(120), edits):
            copy[place] = rng.choice(vocabulary)
        texts.append(copy)
    return [" ".join(words) for words in texts]


def similar(texts: Sequence[str]) -> set[tuple[int, int]]:
    """Returns the planted pairs whose sets of shingles have a Jaccard similarity of 0.8 or more."""
    sets = [
        {tuple(words[at : at + 5]) for at in range(len(words) - 4)}
        for words in (text.split() for text in texts)
    ]
    pairs = [(row - 1000, row) for row in range(1000, len(texts))]
    return {(a, b) for a, b in pairs if len(sets[a] & sets[b]) >= 0.8 * len(sets[a] | sets[b])}


def planted_rows(
    copies: dict[int, list[str]], theirs: dict[str, dict[str, list[list[int]]]]
) -> list[dict[str, Any]]:
    """Returns recall and precision of the pairs found, by edited words and index."""
    from shortlist.data.near_copies import clusters

    rows: list[dict[str, Any]] = []
    for edits, texts in copies.items():
        right = similar(texts)
        labels = clusters(texts).labels.tolist()
        found = {"shortlist": [(of, row) for row, of in enumerate(labels) if of != row]}
        for peer, pairs in theirs.get(str(edits), {}).items():
            found[peer] = [(pair[0], pair[1]) for pair in pairs]
        for name, pairs in found.items():
            hits = len(right.intersection(pairs))
            recall, precision = hits / max(len(right), 1), hits / max(len(pairs), 1)
            row = {"edited words": edits, "right pairs": len(right), "index": name}
            rows.append({**row, "recall": round(recall, 3), "precision": round(precision, 3)})
    return rows


def semantic_rows(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Returns what comparing within clusters saves and misses beside comparing all pairs."""
    from shortlist.data.semantic_copies import repeats_an_earlier, spherical_kmeans

    vectors = static_vectors(texts)
    rows: list[dict[str, Any]] = []
    every = None
    for clusters in (None, 10, 30, 100):
        start = time.process_time()
        labels = None if clusters is None else spherical_kmeans(vectors, clusters).labels
        found = repeats_an_earlier(vectors, 0.97, labels)
        seconds = time.process_time() - start
        every = found if every is None else every
        row = {"documents": len(texts), "clusters": clusters or "all pairs"}
        row |= {"CPU seconds": round(seconds, 2), "dropped": int(found.sum())}
        rows.append({**row, "missed": int((every & ~found).sum())})
    return rows


def static_vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """Returns the means of MiniLM's word embeddings."""
    from shortlist.config import folder
    from shortlist.core import Corpus
    from shortlist.featurizers.transformer import Static
    from shortlist.pipeline.build import build_plain
    from shortlist.runtime import Runtime

    settings = OmegaConf.to_container(OmegaConf.load(folder() / "model" / "minilm.yaml"))
    featurizer = Static(build_plain(settings, "model"), max_length=256, normalise=True)
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Corpus.build(list(dict.fromkeys(texts)))
        values, _ = featurizer.compute(corpus, Path(scratch), Runtime(progress=False))
        return np.array(values, dtype=np.float32)


def main() -> None:
    """Writes `prepare.md` and `prepare.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="Python of the peers' environment")
    parser.add_argument("--data", help="data folder")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    options = parser.parse_args()
    texts = documents(options.data, options.documents)
    mean = sum(map(len, texts)) / len(texts)
    rates = {name: timed(work, texts) for name, work in ours().items()}
    theirs: dict[str, float] = {}
    pairs: dict[str, dict[str, list[list[int]]]] = {}
    copies = {edits: planted(edits) for edits in (1, 2, 3, 4)}
    if options.peer:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "texts.json"
            path.write_text(json.dumps({"texts": texts, "planted": copies}))
            done = subprocess.run(
                [options.peer, "-c", PEER, str(path)], capture_output=True, text=True, check=False
            )
        if done.returncode:
            sys.exit(f"the peers failed: {done.stderr[-2000:]}")
        answer = json.loads(done.stdout.splitlines()[-1])
        theirs, pairs = answer["rates"], answer["pairs"]
    rows: list[dict[str, Any]] = []
    for name, peers in (
        ("heuristics", {"datatrove": "heuristics"}),
        ("near_duplicates", {"datasketch": "datasketch", "rensa": "rensa"}),
        ("personal", {"datatrove (e-mail and IP alone)": "personal"}),
    ):
        rows.append({"work": name, "by": "shortlist", "documents a CPU second": round(rates[name])})
        for peer, key in peers.items():
            if key in theirs:
                row = {"work": name, "by": peer, "documents a CPU second": round(theirs[key])}
                rows.append({**row, "shortlist is faster by": round(rates[name] / theirs[key], 2)})
    notes = [
        f"{len(texts):,} documents of {mean:,.0f} characters on average.",
        "## Planted near copies\n",
        table(planted_rows(copies, pairs)),
        "## Semantic duplicates: all pairs, or within clusters of spherical k-means\n",
        "Means of MiniLM's word embeddings, cosine .97, which hold many close pairs. Seconds of the "
        "comparison alone. Missed: documents whose pairs all lie in two clusters.",
        table(semantic_rows(documents(options.data, 10 * options.documents))),
    ]
    write(options.out, "prepare", "Data preparation", "\n\n".join(notes), rows)


if __name__ == "__main__":
    main()
