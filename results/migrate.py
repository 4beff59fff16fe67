"""Rewrites `results/records` to the current schema and to the current names.

    python results/migrate.py            rewrite the records in place; run twice, the second changes nothing
    python results/migrate.py --check    compare each record with what its overrides compose to today

Measured numbers, selections, costs and fingerprints are kept as they are. What changes:

- schema 2 becomes schema 3: every stage gets its role, `outcomes` becomes `item_scores`;
- classes, settings, stages, inputs, counts and overrides get their current names, by the tables below;
- the key is recomputed from the renamed configuration and inputs; the record and the page of its
  selection are renamed after it;
- a record without a digest of its contents gets one.

A table maps every old name to the current one. When a name changes again, change the right-hand
side of its line and add a line for the name in between: names are looked up once, not in a chain.
`--check` imports every class and prints each setting whose value differs from the composed one, so
that an incomplete table shows.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from shortlist.core import Record, Role
from shortlist.store.atomic import make_directory, write_text
from shortlist.store.keys import key as make_key
from shortlist.store.records import record_path, report_path

RESULTS = Path(__file__).parent
CONF = RESULTS.parent / "conf"
CELL_VERSION = 2  # of `pipeline.identity.cell_key`

# Dotted names of classes in `_target_`: old -> current.
CLASSES = {
    "shortlist.examinations.perplexity.Perplexity": "shortlist.evaluation.perplexity.Perplexity",
    "shortlist.examinations.toxicity.Toxicity": "shortlist.evaluation.toxicity.Toxicity",
    "shortlist.scorers.linear.LinearScorer": "shortlist.evaluation.scorers.linear.LinearScorer",
    "shortlist.models.scratch.ScratchModel": "shortlist.models.pretrained.ScratchModel",
    "shortlist.data.pools.InstalledDocs": "shortlist.data.pools.PackageDocs",
    "shortlist.featurizers.none.NoFeatures": "shortlist.featurizers.base.NoFeatures",
    "shortlist.featurizers.static.Static": "shortlist.featurizers.transformer.Static",
    "shortlist.selectors.least_toxic.LeastToxic": "shortlist.selectors.model_scores.LeastToxic",
    "shortlist.selectors.random.Random": "shortlist.selectors.controls.Random",
    "shortlist.selectors.random_domain.RandomDomain": (
        "shortlist.selectors.matched_controls.RandomDomain"
    ),
    "shortlist.selectors.soft_knn.SoftKNN": "shortlist.selectors.gotd.SoftKNN",
    "shortlist.selectors.tapt.TAPT": "shortlist.selectors.controls.TAPT",
    "shortlist.selectors.tapt_curated.TAPTCurated": "shortlist.selectors.similarity.TAPTCurated",
    "shortlist.selectors.vanilla.Vanilla": "shortlist.selectors.controls.Vanilla",
    "shortlist.trainers.causal_lm.CausalLM": "shortlist.trainers.language_model.CausalLM",
    "shortlist.trainers.masked_lm.MaskedLM": "shortlist.trainers.language_model.MaskedLM",
}
# Settings by dotted path in `config` (`*` also matches dots): old path -> current last component.
# The first pattern that matches counts.
SETTINGS: dict[str, str] = {
    "*.examinations": "evaluators",
    "pool.longest": "max_chars",
    "pool.shortest": "min_chars",
    "*.longest": "max_n",
    "*.shortest": "min_n",
}
# Settings that no longer exist, with the only value that their removal leaves without effect.
REMOVED: dict[str, Any] = {"*.grown_from": None}
# Settings that a class has gained: class (current name) -> the values that repeat the old behaviour.
ADDED: dict[str, dict[str, Any]] = {}
# Entries of `inputs`, `counts` and `selection`, stages, overrides: old text -> current text at the
# beginning of the name. An override is replaced as a whole.
INPUTS: dict[str, str] = {"read.examination.": "read.evaluator."}
COUNTS: dict[str, str] = {}
SELECTION: dict[str, str] = {}
STAGES: dict[str, str] = {"taught": "intermediate"}
OVERRIDES: dict[str, list[str]] = {}

# Roles of the stages by name. Stages of a selection after the first `selection` belong to the
# ablation baseline (diagnostics). The diagnostic of GOT-D at half of epsilon was computed inside
# `fit` in schema 2: its seconds cannot be separated and stay in the selection.
ROLES: dict[str, Role] = {
    **dict.fromkeys(("pool", "task", "texts", "leaks"), "preparation"),
    **dict.fromkeys(("divergences", "prefilter", "candidates"), "preparation"),
    **dict.fromkeys(("pretrained", "intermediate", "head"), "preparation"),
    **dict.fromkeys(("tuned", "learned", "features", "whitening"), "selection"),
    **dict.fromkeys(("fit", "scores", "tokens", "selection"), "selection"),
    **dict.fromkeys(("assumption", "pareto", "advice", "sensitivity"), "diagnostics"),
    **dict.fromkeys(("warmup", "finetune"), "training"),
    **dict.fromkeys(("held_out", "evaluate", "generate", "score", "perplexity"), "evaluation"),
    **dict.fromkeys(("label_likelihood", "utility", "forgetting"), "evaluation"),
}


def roles(stages: list[str]) -> Iterator[Role]:
    """Yields the role of each stage of a record, by its name.

    Raises:
        KeyError: a stage has no entry in `ROLES`.
    """
    for place, stage in enumerate(stages):
        role = ROLES[stage]
        yield "diagnostics" if role == "selection" and "selection" in stages[:place] else role


def migrate(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the JSON object of a record under the current schema and names.

    Raises:
        ValueError: the schema is neither 2 nor 3, or a removed setting had an effect.
    """
    new = dict(raw)
    if new["schema"] == 2:
        new["schema"] = 3
        new["item_scores"] = new.pop("outcomes")
    if new["schema"] != 3:
        raise ValueError(f"expected schema 2 or 3, found {new['schema']}")
    names = [STAGES.get(stage["stage"], stage["stage"]) for stage in new["stages"]]
    new["stages"] = [
        {**stage, "stage": name, "role": role}
        for stage, name, role in zip(new["stages"], names, roles(names), strict=True)
    ]
    new["config"] = renamed(new["config"], "")
    new["inputs"] = prefixed(new["inputs"], INPUTS)
    new["counts"] = prefixed(new["counts"], COUNTS)
    new["selection"] = prefixed(new["selection"], SELECTION)
    new["overrides"] = [text for old in new["overrides"] for text in OVERRIDES.get(old, [old])]
    reads = {name: value for name, value in new["inputs"].items() if name.startswith("read.")}
    new["key"] = make_key("cell", CELL_VERSION, new["config"], reads)
    return new


def renamed(node: Any, path: str) -> Any:
    """Returns a node of the configuration under current names; `path` is its old dotted path.

    Raises:
        ValueError: a removed setting had another value than the one in `REMOVED`.
    """
    if isinstance(node, list):
        return [renamed(entry, path) for entry in node]
    if not isinstance(node, dict):
        return node
    new: dict[str, Any] = {}
    for name, value in node.items():
        place = f"{path}.{name}" if path else name
        gone = next((pattern for pattern in REMOVED if fnmatchcase(place, pattern)), None)
        if gone is not None:
            if value != REMOVED[gone]:
                raise ValueError(f"{place} was removed at {REMOVED[gone]!r}, found {value!r}")
            continue
        current = next((to for old, to in SETTINGS.items() if fnmatchcase(place, old)), name)
        new[current] = CLASSES.get(value, value) if name == "_target_" else renamed(value, place)
    return {**ADDED.get(new.get("_target_", ""), {}), **new}


def prefixed(values: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    """Returns the entries with the beginnings of their names replaced."""
    new: dict[str, Any] = {}
    for name, value in values.items():
        old = next((start for start in table if name.startswith(start)), "")
        new[table.get(old, "") + name.removeprefix(old)] = value
    return new


def rewrite(results: Path) -> Counter[str]:
    """Returns how many records were rewritten and how many were current already."""
    counted: Counter[str] = Counter()
    for path in sorted(results.glob("records/*/*/*.json")):
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text)
        new = migrate(raw)
        # A digest is not made again over contents that are not those of the old one.
        kept = {} if new == raw else {"digest": ""}
        record = Record.from_json(json.dumps(new | kept))
        record = record if record.digest else record.sealed()
        place = record_path(results, record)
        if (place, record.to_json()) == (path, text):
            counted["current"] += 1
            continue
        if place != path and place.exists():
            raise ValueError(f"{path} and {place} would become one record")
        page = results / "reports" / path.relative_to(results / "records").with_suffix(".html")
        write_text(make_directory(place.parent, "--results") / place.name, record.to_json())
        if place != path:
            path.unlink()
            if page.exists():
                page.rename(report_path(results, record))
        counted["rewritten"] += 1
    return counted


def check(results: Path) -> Iterator[str]:
    """Yields each setting whose value differs from what the record's overrides compose to, and each
    class that cannot be imported, with the number of records.
    """
    from hydra import compose, initialize_config_dir

    from shortlist import config as schema
    from shortlist.pipeline import hydra_setup  # noqa: F401  (registers the resolvers)
    from shortlist.pipeline.identity import hashed_settings
    from shortlist.pipeline.targets import with_targets

    schema.register(CONF)
    found: Counter[str] = Counter()
    composed: dict[tuple[str, ...], dict[str, Any]] = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for path in sorted(results.glob("records/*/*/*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            overrides = (*record["overrides"], "paths.data=/nowhere")
            try:
                if overrides not in composed:
                    config = compose("config", overrides=list(overrides), return_hydra_config=True)
                    composed[overrides] = hashed_settings(with_targets(config))
            except Exception as error:
                found[f"{' '.join(overrides)}: {' '.join(str(error).split())}"] += 1
                continue
            found.update(differences(record["config"], composed[overrides]))
            found.update(f"cannot import {name}" for name in set(unknown_classes(record["config"])))
    for text, records in sorted(found.items()):
        yield f"{records:4} records: {text}"


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yields one line for each setting that is absent on one side or has another value."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield f"{path}: {json.dumps(old)} in the record, {json.dumps(new)} composed"
        return
    for name in sorted({*old, *new}):
        place = f"{path}.{name}" if path else name
        if name not in new:
            yield f"{place}: only in the record"
        elif name not in old:
            yield f"{place}: only in the composed configuration"
        else:
            yield from differences(old[name], new[name], place)


def unknown_classes(node: Any) -> Iterator[str]:
    """Yields the class of each `_target_` that cannot be imported."""
    values: Iterable[Any] = ()
    if isinstance(node, dict):
        module, _, member = node.get("_target_", "").rpartition(".")
        try:
            if module:
                getattr(importlib.import_module(module), member)
        except (ImportError, AttributeError):
            yield f"{module}.{member}"
        values = node.values()
    elif isinstance(node, list):
        values = node
    for value in values:
        yield from unknown_classes(value)


def main() -> int:
    """Returns the exit code: 0, or 1 if `--check` found a difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--check", action="store_true", help="compare with the current settings")
    options = parser.parse_args()
    if options.check:
        lines = list(check(options.results))
        print("\n".join(lines) or "every record agrees with the current settings")
        return int(bool(lines))
    print(dict(rewrite(options.results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
