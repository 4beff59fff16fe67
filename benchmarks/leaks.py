"""Plants test items in a pool of real text: which are found, what they do to a selection and a score.

    python benchmarks/leaks.py --data DIR [--parts recall clean selection score]

100 items of the test set are planted in 100,000 documents in six forms (see `FORMS`). `recall` asks
the check which it finds; `clean` lists what it finds in the pool without them, for several tasks;
`selection` shows how high selectors rank them, with `leaks.action=report` and `drop`; `score` runs
whole cells on a small pool into which the whole test set of a small task was planted.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from shortlist.core import Corpus
from shortlist.data.decontamination import KINDS, find_leaks
from shortlist.data.near_copies import fold
from shortlist.data.readers import read
from shortlist.data.sources import LocalSource
from shortlist.store.formats import load_corpus

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("recall", "clean", "selection", "score")
Form = Callable[[str, random.Random, list[str]], str]


def verbatim(text: str, rng: random.Random, others: list[str]) -> str:
    """Returns the text."""
    return text


def recased(text: str, rng: random.Random, others: list[str]) -> str:
    """Returns the words in other letters (all capitals, or each with one), without punctuation."""
    words = fold(text)
    return words.upper() if rng.random() < 0.5 else words.title()


def embedded(text: str, rng: random.Random, others: list[str]) -> str:
    """Returns the text between two pieces of a document of the pool."""
    around = rng.choice(others)
    return f"{around[:300]} {text} {around[300:600]}"


def light(text: str, rng: random.Random, others: list[str]) -> str:
    """Returns the text with one word in sixteen left out and one neighbouring pair in sixteen swapped.

    A swap changes two words: about 12 to 19 % of them are touched.
    """
    kept = [word for word in text.split() if rng.random() > 1 / 16]
    place = 0
    while place < len(kept) - 1:
        if rng.random() < 1 / 16:
            kept[place : place + 2] = reversed(kept[place : place + 2])
            place += 1
        place += 1
    return " ".join(kept)


def light_embedded(text: str, rng: random.Random, others: list[str]) -> str:
    """Returns a light paraphrase between two pieces of a document of the pool."""
    return embedded(light(text, rng, others), rng, others)


def heavy(text: str, rng: random.Random, others: list[str]) -> str:
    """Returns the text with a tenth of its words left out, a tenth replaced by words of the pool, a
    tenth of neighbouring pairs swapped, and its halves exchanged.
    """
    vocabulary = " ".join(rng.sample(others, 20)).split()
    kept: list[str] = []
    for word in text.split():
        drawn = rng.random()
        if drawn > 0.1:
            kept.append(rng.choice(vocabulary) if drawn < 0.2 else word)
    place = 0
    while place < len(kept) - 1:
        if rng.random() < 0.1:
            kept[place : place + 2] = reversed(kept[place : place + 2])
            place += 1
        place += 1
    half = len(kept) // 2
    return " ".join(kept[half:] + kept[:half])


FORMS: dict[str, Form] = {
    form.__name__: form for form in (verbatim, recased, embedded, light, light_embedded, heavy)
}


def texts_of(data: Path, task: str, split: str) -> list[str]:
    """Returns the distinct texts of a split of a task, in the order of the file."""
    (file,) = LocalSource(str(data)).task_files(task, None).files[split]
    return list(dict.fromkeys(read(file).corpus.texts))


def real_pool(data: Path, size: int) -> list[str]:
    """Returns `size` documents of all domains: a uniform sample by id."""
    source = LocalSource(str(data))
    files = [
        file for name in source.pool_names(None) for file in source.pool_files(name).files["pool"]
    ]
    whole = Corpus.build([text for file in files for text in read(file).corpus.texts])
    return whole.unlabelled().texts[:size]


def planted(test: list[str], forms: list[str], others: list[str]) -> dict[str, list[str]]:
    """Returns what is planted, by form: each item in each form."""
    return {
        form: [FORMS[form](text, random.Random(f"{form} {text}"), others) for text in test]
        for form in forms
    }


def recall(data: Path, task: str, pool: list[str], items: int) -> dict[str, Any]:
    """Returns how many of the planted items are found, by form and by the kind that was said."""
    test = texts_of(data, task, "test")
    chosen = random.Random(0).sample(test, items)
    forms = planted(chosen, list(FORMS), pool)
    documents = Corpus.build([*pool, *(text for texts in forms.values() for text in texts)])
    begin = time.perf_counter()
    found = {leak.id: leak.kind for leak in find_leaks(documents, Corpus.build(test))}
    seconds = time.perf_counter() - begin
    rows, first = [], len(pool)
    for form, texts in forms.items():
        kinds = Counter(found.get(key) for key in documents.ids[first : first + len(texts)])
        rows.append(
            {
                "form": form,
                "planted": len(texts),
                "found": len(texts) - kinds[None],
                **{kind: kinds[kind] for kind in KINDS},
            }
        )
        first += len(texts)
    return {"rows": rows, "seconds": seconds, "documents": len(documents), "protected": len(test)}


def clean(data: Path, tasks: list[str], pool: list[str]) -> dict[str, Any]:
    """Returns what the check finds in the pool as it is, for each task."""
    rows, listed = [], []
    documents = Corpus.build(pool)
    text = dict(zip(documents.ids, documents.texts, strict=True))
    for task in tasks:
        protected = Corpus.build(texts_of(data, task, "test"))
        owner = dict(zip(protected.ids, protected.texts, strict=True))
        begin = time.perf_counter()
        found = find_leaks(documents, protected)
        kinds = Counter(leak.kind for leak in found)
        rows.append(
            {
                "task": task,
                "protected": len(protected),
                **{kind: kinds[kind] for kind in KINDS},
                "seconds": time.perf_counter() - begin,
            }
        )
        listed += [
            {
                "task": task,
                "kind": leak.kind,
                "share": leak.share,
                "test": owner[leak.where],
                "pool": text[leak.id],
            }
            for leak in found[:10]
        ]
    return {"rows": rows, "listed": listed}


def cell(home: Path, data: Path, *typed: str) -> dict[str, Any]:
    """Returns the record of one cell."""
    before = set((home / "results").rglob("*.json"))
    command = [
        sys.executable, "run.py", *typed, f"paths.data={data}", "logger=none",
        *(f"paths.{name}={home / name}" for name in ("cache", "results", "runs")),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)
    (new,) = set((home / "results").rglob("*.json")) - before
    return json.loads(new.read_text())


def write_pool(file: Path, pool: list[str], forms: dict[str, list[str]]) -> Path:
    """Returns the file after writing the pool and what is planted, the form as the domain."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"text": text, "domain": "pool"} for text in pool]
    rows += [{"text": text, "domain": form} for form, texts in forms.items() for text in texts]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def selection(
    data: Path, task: str, pool: list[str], items: int, budget: int, home: Path
) -> dict[str, Any]:
    """Returns where selectors rank the planted items, and how many they choose."""
    chosen = random.Random(0).sample(texts_of(data, task, "test"), items)
    forms = planted(chosen, list(FORMS), pool)
    file = write_pool(home / "planted.jsonl", pool, forms)
    rows = []
    for method in (
        ("selector=gotd", "featurizer=static"),
        ("selector=dsir",),
        ("selector=random",),
    ):
        for action in ("report", "drop"):
            record = cell(
                home, data, f"task={task}", "pool=files", f"pool.paths=[{file}]",
                "pool.domain=domain", *method, f"budget={budget}", "until=select",
                f"leaks.action={action}",
            )  # fmt: skip
            key = {stage["stage"]: stage["key"] for stage in record["stages"]}
            scores = np.load(home / "cache/scores" / key["scores"] / "scores.npy")
            domains = np.array(
                load_corpus(home / "cache/pool" / key["pool"] / "corpus.arrow").domains
            )
            share = (rankdata(scores) - 0.5) / len(scores)  # equal scores share a rank
            ranks = {form: float(np.median(share[domains == form])) for form in forms}
            rows.append(
                {
                    "selector": method[0].partition("=")[2],
                    "action": action,
                    "chosen": record["selection"]["size"],
                    "planted": len(forms) * items,
                    **{form: record["selection"]["domains"].get(form, 0) for form in forms},
                    "median_rank": ranks,
                }
            )
    return {"rows": rows}


def score(
    data: Path, task: str, pool: list[str], budget: int, seeds: int, home: Path
) -> dict[str, Any]:
    """Returns loss and metric where a whole test set was planted and could be chosen, or was dropped."""
    forms = planted(texts_of(data, task, "test"), ["verbatim"], pool)
    file = write_pool(home / "small.jsonl", pool, forms)
    rows = []
    for action in ("report", "drop"):
        for seed in range(seeds):
            record = cell(
                home, data, f"task={task}", "pool=files", f"pool.paths=[{file}]",
                "pool.domain=domain", "selector=gotd", "featurizer=static", f"budget={budget}",
                f"leaks.action={action}", f"seed={seed}",
            )  # fmt: skip
            metrics = {metric["name"]: metric["value"] for metric in record["metrics"]}
            rows.append(
                {
                    "action": action,
                    "seed": seed,
                    "leaks_chosen": record["selection"]["domains"].get("verbatim", 0),
                    **metrics,
                }
            )
    return {
        "rows": rows,
        "documents": len(pool),
        "planted": len(forms["verbatim"]),
        "budget": budget,
    }


TITLES = {
    "recall": "100 test items planted in each form: how many are found, and as what",
    "clean": "What the check finds in the pool as it is",
    "selection": "How many planted items are chosen, by form (six times 100 of them), and their median rank",
    "score": "A whole test set planted verbatim in a small pool: what it does to the numbers",
}


def page(report: dict[str, Any]) -> str:
    """Returns the report as Markdown."""
    lines = ["# Leaks", "", "Written by `benchmarks/leaks.py`; do not edit. Forms:", ""]
    for form in FORMS.values():
        says = " ".join((form.__doc__ or "").split()).removeprefix("Returns ")
        lines.append(f"- `{form.__name__}`: {says}")
    for part in [name for name in PARTS if name in report]:
        lines += ["", f"## {TITLES[part]}", ""]
        rows = report[part]["rows"]
        flat = [
            {name: value for name, value in row.items() if not isinstance(value, dict)}
            | {f"rank {form}": value for form, value in row.get("median_rank", {}).items()}
            for row in rows
        ]
        names = list(flat[0])
        lines += ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
        for row in flat:
            shown = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
            lines.append("| " + " | ".join(shown) + " |")
        about = {key: value for key, value in report[part].items() if key not in {"rows", "listed"}}
        lines += ["", json.dumps(about)] if about else []
        for one in report[part].get("listed", []):
            lines += [
                "",
                f"- {one['task']}, {one['kind']}, {one['share']:.2f} of the pairs. Test: "
                f"*{one['test'][:300]}* Pool: *{one['pool'][:500]}*",
            ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the parts asked for and puts what they gave beside what was there."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with pools/ and tasks/")
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--task", default="chemprot")
    parser.add_argument(
        "--tasks", nargs="+", help="for `clean`; default: all single-text tasks there"
    )
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--budget", type=int, default=1_000)
    parser.add_argument("--small-task", default="citation_intent")
    parser.add_argument("--small-documents", type=int, default=8_000)
    parser.add_argument("--small-budget", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder of pools and caches; default: temporary")
    given = parser.parse_args()
    pool = real_pool(given.data, given.documents)
    single = ["ag_news", "amazon_helpfulness", "chemprot", "citation_intent", "cola", "csabstruct",
              "hyperpartisan", "imdb", "pubmedqa_sections", "sciie_relation", "sst2"]  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "leaks.json"
    report: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    with tempfile.TemporaryDirectory(prefix="leaks_") as temporary:
        home = given.work or Path(temporary)
        for part in given.parts:
            match part:
                case "recall":
                    found = recall(given.data, given.task, pool, given.items)
                case "clean":
                    found = clean(given.data, given.tasks or single, pool)
                case "selection":
                    found = selection(
                        given.data, given.task, pool, given.items, given.budget, home / part
                    )
                case _:
                    small = pool[: given.small_documents]
                    found = score(
                        given.data, given.small_task, small, given.small_budget, given.seeds,
                        home / part,
                    )  # fmt: skip
            report[part] = found
            kept.write_text(json.dumps(report, indent=1) + "\n")
            (given.out / "leaks.md").write_text(page(report))


if __name__ == "__main__":
    main()
