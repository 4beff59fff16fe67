"""What a run would read: models, data sets, files and packages, present or missing, and the command
that gets each. Nothing is fetched, and nothing large is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from shortlist.data.sources import HubSource, LocalSource, Source
from shortlist.errors import Missing
from shortlist.needs import Need, package_need
from shortlist.pipeline.build import class_of, extensions_of, plain
from shortlist.pipeline.compose import absolute

if TYPE_CHECKING:
    from omegaconf import DictConfig

PUBLISHED = {"model": "models", "data set": "data sets"}  # kinds in published.yaml
# By the extra of this package that brings it: a module, and what it is for.
EXTRAS = {
    "hub": ("datasets", "data sets in memory and of the hub: picks.to_dataset(), push_to_hub"),
    "pydocs": ("sentence_transformers", "the embedded task and pool, for a demonstration"),
    "pool": ("great_tables", "texts of the embedded pool"),
    "eval": ("lm_eval", "zero-shot tasks and the utility of a language model"),
    "toxicity": ("detoxify", "toxicity by Detoxify"),
    "documents": ("pypdf", "text of PDF and HTML files"),
    "gguf": ("gguf", "model=smollm2"),
    "sweep": ("submitit", "sweeps by joblib and on SLURM"),
    "ray": ("ray", "streamed selections by Ray: backend=ray"),
    "onnx": ("onnxscript", "models as ONNX: shortlist export --onnx"),
    "serve": ("fastapi", "predictions over HTTP: shortlist serve"),
    "wandb": ("wandb", "Weights & Biases"),
}


@cache
def published() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Returns what is known of data sets and models of the hub, by kind and name."""
    import yaml

    from shortlist import data

    path = Path(data.__file__).with_name("published.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def needs(config: DictConfig) -> tuple[Need, ...]:
    """Returns what the cell of a composed configuration reads, each thing once.

    Raises:
        InvalidInput: a setting cannot be resolved.
    """
    local = config.source.name == "local"
    source: Source = LocalSource(absolute(config.paths.data)) if local else HubSource(True, None)
    found: dict[tuple[str, ...], Need] = {}
    for place, node in _parts(config):
        for need in _needs_of(place, node, source, ("shortlist", *extensions_of(config))):
            key = (need.kind, need.name, need.revision, *need.files)
            found.setdefault(key, need)
    return tuple(found.values())


def _parts(config: DictConfig) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the nodes that name a class, with their places, of what a cell uses."""
    used = ["task", "pool", "model", "featurizer", "selector", "distil", "compress", "logger"]
    used += ["backend", "targets", "negative_target"]
    used += ["warmup", "finetune"] if config.until.name != "select" else []
    used += ["check.vectors"] if config.check.assumption else []
    used += ["leaks.vectors"] if config.leaks.semantic is not None else []
    pool = plain(config.pool.get("prefilter"), missing=False) or {}
    for name in used:
        node = plain(OmegaConf.select(config, name), missing=False)
        if name == "pool" and isinstance(node, dict) and pool.get("keep") is None:
            node.pop("prefilter", None)
        yield from _classes(name, node)


def _classes(place: str, node: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        yield place, node
    for name, value in node.items():
        yield from _classes(f"{place}.{name}", value)


def _needs_of(
    place: str, node: Mapping[str, Any], source: Source, packages: Sequence[str]
) -> Iterator[Need]:
    """Yields what the class of a node reads, as `shortlist.needs` has it."""
    kind: Any = class_of(node["_target_"], place, None, packages)
    if extra := getattr(kind, "extra", ""):
        yield package_need(EXTRAS[extra][0], place, f"pip install 'shortlist[{extra}]'")
    for need in getattr(kind, "needs", _none)(place, node, source):
        if need.kind not in PUBLISHED:
            yield need
            continue
        known = published()[PUBLISHED[need.kind]].get(need.name, {})
        size = known.get("bytes") if need.bytes is None else need.bytes
        yield replace(need, bytes=size, licence=known.get("licence", "unknown"))


def _none(*arguments: Any) -> Iterator[Need]:
    return iter(())


def asked(need: Need) -> Need:
    """Returns the need with its size and licence as the hub states them now.

    Raises:
        Missing: the hub cannot be asked, or does not have it.
    """
    from fnmatch import fnmatch

    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # pyright: ignore

    api, data = HfApi(), need.kind == "data set"
    try:
        info: Any = (api.dataset_info if data else api.model_info)(
            need.name, revision=need.revision, files_metadata=True, timeout=20
        )
    except (HfHubHTTPError, HTTPError, OSError) as error:
        raise Missing(
            f"{need.what}: expected {need.name} at revision {need.revision} on the hub, found none "
            f"({type(error).__name__}); correct its name, or leave out --online"
        ) from error
    size = sum(
        file.size or 0
        for file in info.siblings or ()
        if not need.files or any(fnmatch(file.rfilename, pattern) for pattern in need.files)
    )
    card: Any = info.card_data or {}
    licence = str(card.get("license") or "not stated")
    return replace(need, bytes=need.bytes if need.present else size, licence=licence)


def is_pinned(need: Need) -> bool:
    """Returns whether what is read is the same at any time."""
    return not need.revision or re.fullmatch(r"[0-9a-f]{40}", need.revision) is not None
