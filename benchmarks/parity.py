"""Agreement of methods with their authors' code on the same vectors, through the peers' adapters.

Each `--NAME PYTHON CHECKOUT` names the interpreter of a peer's environment (requirements in
`baselines/peers/NAME`) and the folder of its code; `--ott PYTHON` needs none, and `--packages PYTHON`
an environment of `dsir`, `bm25s` and `submodlib` together. docs/parity.md makes all of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import shortlist  # noqa: F401  (before torch: threads that wait must not spin)

import numpy as np  # isort: skip
import torch  # isort: skip
import report  # isort: skip
from scipy.stats import spearmanr  # isort: skip

from shortlist.core import Corpus, Features
from shortlist.overrides import composed
from shortlist.pipeline.compose import build_component
from shortlist.runtime import Runtime
from shortlist.selectors.peer import Peer
from shortlist.store.provenance import commit

COLUMNS = ("method", "peer", "agreement", "budget", "size", "load", "commit")
WORD_ENDS = ("all", "and", "ate", "ear", "eed", "ent", "ick", "ile", "ing", "ook", "ore", "ush")
MACHINE = Runtime(accelerator="cpu", progress=False)
ROOT = Path(__file__).resolve().parent.parent


def clustered(documents: int, targets: int, unit: bool) -> tuple[Features, Features]:
    """Returns pool and target vectors of 20 clusters in 64 dimensions, the target's of six."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 64))

    def near(of: np.ndarray[Any, Any], name: str) -> Features:
        values = (centres[of] + 0.7 * rng.normal(size=(len(of), 64))).astype(np.float32)
        if unit:
            values /= np.linalg.norm(values, axis=1, keepdims=True)
        corpus = Corpus.build([f"{name} {row}" for row in range(len(of))], name)
        return Features(values, corpus.fingerprint, "", corpus)

    pool = near(rng.integers(0, 20, documents), "pool")
    return pool, near(rng.integers(0, 6, targets), "target")


def fitted(name: str, pool: Features, target: Features, **settings: Any) -> tuple[Any, Any]:
    """Returns the scores of a method after fitting, and its facts."""
    overrides = [
        f"selector={name}",
        *(f"selector.{key}={value}" for key, value in settings.items()),
    ]
    with composed(overrides) as config:
        selector = build_component(config, "selector")
    facts = selector.fit(target, pool)
    return selector.score_all(pool, MACHINE), facts


def peer(name: str, given: list[str], pool: Features, target: Features, **arguments: Any) -> Any:
    """Returns what the peer of this name scores, and its facts."""
    settings = {"python": given[0], **({"checkout": given[1]} if len(given) > 1 else {})}
    settings |= {f"arguments.{key}": value for key, value in arguments.items()}
    return fitted(f"peer_{name}", pool, target, **settings)


def package(name: str, given: list[str], pool: Features, target: Features, **arguments: Any) -> Any:
    """Returns what a package scores with settings that no YAML names, and its facts."""
    adapter, checkout = f"baselines/peers/{name}/adapter.py", given[1] if len(given) > 1 else None
    selector = Peer(given[0], adapter, checkout, False, name == "submodlib", arguments, 600)
    facts = selector.fit(target, pool)
    return selector.score_all(pool, MACHINE), facts


def at(repository: str, found: Any) -> str:
    """Returns the repository with the commit of the checkout that the peer ran from."""
    head, plus, changes = found["checkout"].partition("+")
    return f"{repository} {head[:7]}{plus}{changes}"


def best(scores: Any, count: int) -> set[int]:
    """Returns the rows of the largest scores."""
    return set(np.argsort(-scores, kind="stable")[:count].tolist())


def of_tsds(given: list[str], documents: int, targets: int) -> dict[str, Any]:
    """Compares the probabilities of a draw with the frequencies of 100,000 released draws."""
    pool, target = clustered(documents, targets, unit=True)
    mine, facts = fitted("tsds", pool, target, neighbours=documents // 10)
    counts, found = peer("tsds", given, pool, target, sample_size=100_000)
    theirs = np.maximum(counts, 0) / 100_000
    return {
        "method": "tsds",
        "peer": at("ZifanL/TSDS", found),
        "agreement": f"total variation {0.5 * np.abs(mine - theirs).sum():.3f} over draws, correlation "
        f"{np.corrcoef(mine, theirs)[0, 1]:.4f}",
        "budget": f"{facts['reached']} reached, {found['distinct']} drawn",
    }


def of_tarot(given: list[str], documents: int, targets: int, released: bool) -> dict[str, Any]:
    """Compares picks of a fixed size and the recommended documents."""
    pool, target = clustered(documents, targets, unit=False)
    mine, facts = fitted("tarot", pool, target, released=str(released).lower())
    fixed, _ = peer(
        "tarot", given, pool, target, selection_method="fixed_size", selection_ratio=0.05
    )
    otm, found = peer("tarot", given, pool, target, selection_method="otm")
    size, own, their = documents // 20, facts["recommended_budget"], found["recommended_budget"]
    both = best(mine, own), best(otm, their)
    return {
        "method": f"tarot, released={str(released).lower()}",
        "peer": at("vita-epfl/TAROT", found),
        "agreement": f"{len(best(mine, size) & best(fixed, size)) / size:.2f} of {size} picks, "
        f"{len(both[0] & both[1]) / len(both[0] | both[1]):.2f} of the recommended (Jaccard)",
        "budget": f"{own} recommended, {their} by the peer",
    }


def of_ott(given: list[str], documents: int, targets: int) -> dict[str, Any]:
    """Compares the ranking of converged transport."""
    pool, target = clustered(documents, targets, unit=True)
    mine, _ = fitted("gotd", pool, target, relative_epsilon=0.01, sensitivity="false")
    theirs, found = peer("ott", given[:1], pool, target, relative_epsilon=0.01)
    size = documents // 20
    return {
        "method": "gotd",
        "peer": f"ott-jax {found['version']}",
        "agreement": f"Spearman {spearmanr(mine, theirs)[0]:.5f}, "
        f"{len(best(mine, size) & best(theirs, size)) / size:.2f} of {size} picks",
        "budget": f"peer converged: {found['converged']}, {found['iterations']} iterations",
    }


def toy_model(folder: str) -> None:
    """Writes a GPT-2 of random weights, with the tokenizer of MiniLM, whose vectors spread."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    with composed(["model=minilm"]) as config:
        names = AutoTokenizer.from_pretrained(str(build_component(config, "model").directory()))
    torch.manual_seed(0)
    settings = GPT2Config(vocab_size=len(names), n_positions=2048, n_embd=128, n_layer=4, n_head=4)
    settings.update({"initializer_range": 0.2, "bos_token_id": None, "eos_token_id": None})
    GPT2LMHeadModel(settings).save_pretrained(folder)
    names.save_pretrained(folder)


def passages(count: int, seed: int) -> Corpus:
    """Returns texts of 20 to 150 words, each from a vocabulary of its topic, one of ten."""
    rng = np.random.default_rng(seed)
    words = np.array([f"{first}{last}" for first in "bdfgklmnprst" for last in WORD_ENDS])
    topics = np.random.default_rng(0).choice(words, (10, 60))
    rows = (
        topics[rng.integers(10), rng.integers(0, 60, rng.integers(20, 150))] for _ in range(count)
    )
    return Corpus.build([" ".join(row) for row in rows], "passages")


def encoded(documents: Corpus, before: str, *overrides: str) -> Features:
    """Returns the vectors of each text after `before`, by the featurizer of the overrides."""
    texts = Corpus.build([before + text.strip() for text in documents.texts])
    with composed(overrides) as config:
        featurizer = build_component(config, "featurizer")
    with tempfile.TemporaryDirectory() as folder:
        values, _ = featurizer.compute(texts, Path(folder), MACHINE)
        kept = np.array(values) if isinstance(values, np.ndarray) else values
        return Features(kept, documents.fingerprint, "", documents)


def of_packages(python: str, documents: int, targets: int) -> list[dict[str, Any]]:
    """Compares DSIR, BM25 and the greedy orders with packages of one environment."""
    pool, target = passages(documents, 0), passages(targets, 1)
    grams = [encoded(one, "", "featurizer=ngrams") for one in (pool, target)]
    theirs, found = peer("dsir", [python], *grams)
    source = f"data-selection {found['version']}"
    mine, _ = fitted("dsir", *grams)
    rows = [row_of("dsir", source, mine, theirs)]
    _, found = peer("dsir", [python], *grams, min_example_length=100)
    mine, facts = fitted("dsir", *grams, smoothing=0.0, floor=1e-8, minimum_length=100)
    short = f"{facts['too_short']} are too short, {found['not_ranked']} for the peer"
    name = "dsir, smoothing=0 floor=1e-8 minimum_length=100"
    rows.append(row_of(name, source, mine, theirs) | {"budget": short})
    terms = [encoded(one, "", "featurizer=unigrams") for one in (pool, target)]
    theirs, found = package("bm25s", [python], *terms, k1=1.5, b=0.75)
    mine, _ = fitted("bm25", *terms)
    # Their lucene form leaves out the factor k1 + 1.
    rows.append(row_of("bm25", f"bm25s {found['version']}", mine, 2.5 * theirs))
    vectors = clustered(documents, targets, unit=True)
    limit = documents // 20
    for function in ("facility_location", "concave_over_modular", "graph_cut"):
        wanted = {"relevance": 1.0, "limit": limit}
        theirs, found = package("submodlib", [python], *vectors, function=function, **wanted)
        settings = {**wanted, "neighbours": documents}
        if function == "facility_location":
            name = function
        else:
            name, settings["information"] = "submodular", function
        mine, facts = fitted(name, *vectors, **settings)
        orders = [np.argsort(-one, kind="stable")[:limit] for one in (mine, theirs)]
        rows.append(
            {
                "method": name if name == function else f"{name}, {function}",
                "peer": f"submodlib-py {found['version']}",
                "agreement": f"{len(best(mine, limit) & best(theirs, limit)) / limit:.2f} of "
                f"{limit} picks, {(orders[0] == orders[1]).mean():.2f} in the same place",
                "budget": f"value {facts['value']:.6g}, {found['value']:.6g} by the peer",
            }
        )
    return rows


def of_dsir_head(given: list[str], documents: int, targets: int) -> dict[str, Any]:
    """Compares default DSIR with the smoothing of the target that the package's release lacks."""
    pool, target = passages(documents, 0), passages(targets, 1)
    grams = [encoded(one, "", "featurizer=ngrams") for one in (pool, target)]
    settings = {"ngrams": 2, "num_buckets": 10_000, "min_example_length": 0, "num_proc": 2}
    theirs, found = package("dsir", given, *grams, target_laplace_smoothing=1.0, **settings)
    mine, _ = fitted("dsir", *grams)
    source = f"{at('p-lambda/dsir', found)}, target_laplace_smoothing=1"
    return row_of("dsir, against the repository's head", source, mine, theirs)


def of_less(given: list[str], documents: int, targets: int) -> dict[str, Any]:
    """Compares the influence of vectors at two checkpoints, the target as one sub-task."""
    pool, target = clustered(documents, targets, unit=False)
    rates = "[0.75,0.25]"  # 32 columns each
    theirs, found = peer("less", given, pool, target, checkpoint_weights=rates)
    mine, _ = fitted("less", pool, target, weights=rates, halves="false")
    return row_of("less", at("princeton-nlp/LESS", found), mine, theirs)


def row_of(name: str, source: str, mine: Any, theirs: Any) -> dict[str, Any]:
    """Returns how far scores agree: difference, ranks and the largest 5 %."""
    size = len(mine) // 20
    return {
        "method": name,
        "peer": source,
        "agreement": f"scores within {np.abs(mine - theirs).max():.1e}, Spearman "
        f"{spearmanr(mine, theirs)[0]:.5f}, {len(best(mine, size) & best(theirs, size)) / size:.2f} "
        f"of {size} picks",
    }


def of_rds_plus(given: list[str], documents: int, targets: int) -> list[dict[str, Any]]:
    """Compares cosines and the round robin, with the peer's chat wrapper and without."""
    pool, target = passages(documents, 0), passages(targets, 1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as model:
        toy_model(model)
        empty = [
            Features(np.zeros((len(one), 1), np.float32), one.fingerprint, "", one)
            for one in (pool, target)
        ]
        theirs, found = peer("rds_plus", given, *empty, model_name=model)
        cosines, _ = peer("rds_plus", given, *empty, model_name=model, rank="best")
        for before, name in (("<|user|>\n", "rds_plus, texts in their wrapper"), ("", "rds_plus")):
            reading = ["featurizer=position_weighted", "model=local", f"model.path={model}"]
            reading += ["featurizer.max_length=2048", "featurizer.precision=32"]
            vectors = encoded(pool, before, *reading), encoded(target, before, *reading)
            mine, facts = fitted("rds_plus", *vectors, neighbours=documents)
            largest, _ = fitted("rds_plus", *vectors, by="best")
            size = documents // 20
            rows.append(
                {
                    "method": name,
                    "peer": at("hamishivi/automated-instruction-selection", found),
                    "agreement": f"largest cosines within {np.abs(largest - cosines).max():.1e}, "
                    f"Spearman {spearmanr(largest, cosines)[0]:.5f}; "
                    f"{len(best(mine, size) & best(theirs, size)) / size:.2f} of {size} picks of "
                    "the round robin",
                    "budget": f"{facts['distinct']} ranked, {found['targets']} targets",
                }
            )
    return rows


def main() -> None:
    """Compares the peers that are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("tsds", "tarot", "dsir-head", "less", "rds-plus"):
        parser.add_argument(f"--{name}", nargs=2, metavar=("PYTHON", "CHECKOUT"))
    for name in ("ott", "packages"):
        parser.add_argument(f"--{name}", nargs=1, metavar="PYTHON")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    given = parser.parse_args()
    size = (given.documents, given.targets)
    rows: list[dict[str, Any]] = []
    if given.tsds:
        rows.append(of_tsds(given.tsds, *size))
    if given.tarot:
        rows += [of_tarot(given.tarot, *size, released=released) for released in (True, False)]
    if given.ott:
        rows.append(of_ott(given.ott, *size))
    if given.packages:
        rows += of_packages(given.packages[0], *size)
    if given.dsir_head:
        rows.append(of_dsir_head(given.dsir_head, *size))
    if given.less:
        rows.append(of_less(given.less, *size))
    if given.rds_plus:
        rows += of_rds_plus(given.rds_plus, *size)
    notes = (
        "`size`: documents x targets, clustered vectors of 64 dimensions or texts of 20 to 150 words "
        "of ten topics; `load` as the script began; picks are the largest 5 %. A row that was not run "
        "again stays. Peers run through `baselines/peers`; deviations: the methods' pages."
    )
    kept = given.out / "parity.json"
    before = json.loads(kept.read_text())["rows"] if kept.exists() else []
    fresh = {row["method"] for row in rows}
    taken = {
        "size": f"{given.documents} x {given.targets}",
        "load": report.MACHINE["load_before"],
        "commit": commit(ROOT)[:12],
    }
    rows = [row for row in before if row["method"] not in fresh] + [row | taken for row in rows]
    # The table takes its columns as they come; JSON keeps them by name.
    rows = [{name: row[name] for name in COLUMNS if name in row} for row in rows]
    report.write(given.out, "parity", "Agreement with the authors' code", notes, rows)


if __name__ == "__main__":
    main()
