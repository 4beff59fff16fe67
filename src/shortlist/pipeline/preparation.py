"""Data preparation in a cell: operations from the configuration, and the stages that apply them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from shortlist.core import Corpus
from shortlist.data.pools import merge
from shortlist.data.readers import Loaded
from shortlist.data.splits import SPLITS, Split, TaskData
from shortlist.errors import InvalidInput, near
from shortlist.pipeline.build import build_plain, extensions_of, plain
from shortlist.prepare.augment import Augmenter
from shortlist.prepare.base import (
    CollectionOperation,
    DocumentOperation,
    Operation,
    Prepared,
    prepare,
)

if TYPE_CHECKING:
    from shortlist.models.masked_words import MaskedWords

VERDICTS = "verdicts.parquet"  # one row per document that was read: id, edits, failed rules


@dataclass(frozen=True)
class Preparation:
    """The operations of one pool or task.

    Attributes:
        operations: the operations by name, in order; none where documents stay as they are.
        settings: the same as plain data.
    """

    operations: Mapping[str, Operation]
    settings: Sequence[Mapping[str, Any]]

    @staticmethod
    def of(node: Any, place: str, extensions: Sequence[str] = ()) -> Preparation:
        """Returns the operations that the node `place`, as `resolve` leaves it, describes."""
        settings: list[dict[str, Any]] = plain(node, missing=False) or []
        operations: dict[str, Operation] = {}
        for entry in settings:
            rest = {key: value for key, value in entry.items() if key != "name"}
            inside = f"{place}.{entry['name']}"
            operations[entry["name"]] = build_plain(rest, inside, Operation, extensions)
        return Preparation(operations, settings)

    @property
    def identity(self) -> dict[str, str]:
        """Digests of the files that the operations read, and the operations' versions."""
        names = self.operations.items()
        found = {f"{name}.version": str(one.version) for name, one in names}
        for name, one in names:
            found |= {f"{name}.{key}": value for key, value in one.identity().items()}
        return found


def resolve(node: Any, place: str) -> list[dict[str, Any]]:
    """Returns the operations that a setting names, as a list of their settings with their `name`.

    Args:
        node: null, the name of an operation or a preset in `conf/prepare`, a mapping of one such
            name to settings that differ, or a list of them.
        place: the setting's name, for messages.

    Raises:
        InvalidInput: there is no such name, or an operation is named twice.
    """
    entries = list(node) if isinstance(node, ListConfig | list) else [node]
    resolved: list[dict[str, Any]] = []
    for entry in entries:
        if entry is None:
            continue
        if isinstance(entry, Mapping | DictConfig) and "name" in entry:  # resolved before
            resolved.append(plain(entry) if isinstance(entry, DictConfig) else dict(entry))
            continue
        for name, changes in _named(entry):
            resolved += _option("prepare", str(name), changes, place)
    counts = Counter(entry["name"] for entry in resolved)
    for name, count in counts.items():
        if count > 1:
            raise InvalidInput(
                f"{place}: expected each operation once, found `{name}` {count} times; operations "
                "are repeated until nothing changes, so one suffices"
            )
    return resolved


def _named(entry: Any) -> list[tuple[Any, Any]]:
    """Returns (name, settings that differ) of a name, or of a mapping of names to such settings."""
    return list(entry.items()) if isinstance(entry, Mapping | DictConfig) else [(entry, {})]


def _option(group: str, name: str, changes: Any, place: str) -> list[dict[str, Any]]:
    """Returns the objects that one file of a group describes, each with its `name`."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    loader = GlobalHydra.instance().config_loader()
    options = loader.get_group_options(group)
    if name not in options:
        kind = "operation or preset" if group == "prepare" else "option"
        raise InvalidInput(f"{place}: there is no {kind} `{name}`; {near(name, options)}")
    node: Any = loader.load_configuration(f"{group}/{name}", [], RunMode.RUN).get(group) or {}
    if "_target_" not in node:
        for operation in changes:
            if operation not in node:
                raise InvalidInput(
                    f"{place}: {name} has no operation `{operation}`; {near(operation, node)}"
                )
    if changes:
        with open_dict(node):
            node = OmegaConf.merge(node, changes)
    settings = plain(node)
    if "_target_" in settings:
        return [{"name": name, **settings}]
    return [{"name": operation, **of_it} for operation, of_it in settings.items()]


def with_preparation(config: DictConfig) -> DictConfig:
    """Returns the configuration with `prepare` of the pool, the task and the targets resolved: a
    list of operations with all their settings, or null; and with the masses of targets read where
    `task.feedback` weighs them.
    """
    config = copy.deepcopy(config)
    _read_masses(config)
    for place, node in _places(config).items():
        if node.get("prepare") is not None:
            with open_dict(node):
                node.prepare = resolve(node.prepare, f"{place}.prepare") or None
    if config.task is not None and config.task.get("augment") is not None:
        chosen = config.task.augment
        if not (isinstance(chosen, DictConfig) and "_target_" in chosen):
            settings = _one_option("augment", chosen, "task.augment")
            if (model := settings.get("model")) is not None:
                settings["model"] = _one_option("model", model, "task.augment.model")
            with open_dict(config.task):
                config.task.augment = settings
    return config


def _one_option(group: str, chosen: Any, place: str) -> dict[str, Any]:
    """Returns the object that one file of a group describes; `chosen` as an entry of `_named`.

    Raises:
        InvalidInput: there is no such file, or several are named.
    """
    named = _named(chosen)
    if len(named) != 1:
        raise InvalidInput(
            f"{place}: expected one option, found {', '.join(map(str, dict(named)))}"
        )
    ((name, changes),) = named
    (settings,) = _option(group, str(name), changes, place)
    settings.pop("name")
    return settings


def _read_masses(config: DictConfig) -> None:
    """Makes methods that can weigh targets, but count them alike, read the masses of feedback.

    Raises:
        InvalidInput: another task than the one that is fine-tuned on has feedback.
    """
    task, selector = config.task, config.selector
    for place, node in _places(config).items():
        if node.get("feedback") is not None and node.get("name") != (task or {}).get("name"):
            raise InvalidInput(
                f"{place}.feedback: corrections join the task that is fine-tuned on, found them for "
                f"{node.get('name')}; set task.feedback"
            )
    if not task or not selector or task.get("feedback") is None or not task.get("feedback_weight"):
        return
    members = (selector.get("members") or {}).values()
    for node in (selector, *(member.get("selector") for member in members)):
        if isinstance(node, DictConfig) and node.get("masses") == "documents":
            node.masses = "column"


def augmentation(config: DictConfig) -> Augmenter | None:
    """Returns how the training rows of the task are augmented; None where they are not."""
    node = plain(config.task.get("augment"), missing=False)
    if node is None:
        return None
    return build_plain(node, "task.augment", Augmenter, extensions_of(config))


def augment_task(
    data: TaskData, how: Augmenter, words: MaskedWords | None
) -> tuple[TaskData, dict[str, int]]:
    """Returns the task with copies of its training rows, and counts; the target stays as it is."""
    elsewhere = [text for one in (data.validation, data.test) for text in one.texts]
    train, counts = how.apply(data.train, elsewhere, words)
    return replace(
        data, train=train, counts={"train": len(train), **counts}, quarantined=()
    ), counts


def preparations(config: DictConfig) -> dict[str, Preparation]:
    """Returns the preparation of `pool`, `task`, `model.intermediate_task`, and of each target, the
    negative one too, as `targets.NAME`.

    Raises:
        InvalidInput: a setting of an operation is missing, unknown or of a wrong type.
    """
    return {
        place.replace("negative_target.", "targets."): Preparation.of(
            node.get("prepare"), f"{place}.prepare", extensions_of(config)
        )
        for place, node in _places(config).items()
    }


def _places(config: DictConfig) -> dict[str, Any]:
    """Returns every node that may have `prepare`, by its place in the configuration."""
    nodes: dict[str, Any] = {place: config[place] for place in ("pool", "task")}
    nodes["model.intermediate_task"] = (config.model or {}).get("intermediate_task")
    for setting in ("targets", "negative_target"):
        named = config.get(setting)
        if isinstance(named, DictConfig):
            nodes |= {f"{setting}.{name}": node for name, node in named.items()}
    return {place: node for place, node in nodes.items() if isinstance(node, DictConfig)}


def save_verdicts(path: Path, ids: Sequence[str], prepared: Prepared) -> None:
    """Writes one row per document that was read: its id, the operations that edited it, the rules
    that it fails.
    """
    strings = pa.list_(pa.string())
    table = pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "edited": pa.array(list(map(list, prepared.edited)), strings),
            "failed": pa.array(list(map(list, prepared.failed)), strings),
        }
    )
    pq.write_table(table, path)


def prepare_pool(corpus: Corpus, preparation: Preparation) -> tuple[Loaded, Prepared]:
    """Returns the documents of a pool that are kept, with their new texts, sorted by id, and the
    verdict on every row.

    Texts that have become equal are one document, whose masses are added.
    """
    prepared = prepare(corpus.texts, preparation.operations)
    kept = _with_texts(corpus, prepared, prepared.kept)
    return merge([Loaded(kept, {})], Counter()), prepared


def prepare_task(
    name: str, data: TaskData, preparation: Preparation
) -> tuple[TaskData, dict[Split, Prepared]]:
    """Returns the task with prepared texts, and the verdicts by split.

    Rows are dropped from train alone. The texts of validation and test are edited by the operations
    on single documents, and their rows all stay, because other test items would be another
    measurement; those that fail a rule are counted as `failing_SPLIT`. The classes stay those of
    the task.

    Raises:
        InvalidInput: an operation edits by comparison and the task has pairs of texts, or a class
            or the whole of train is dropped.
    """
    operations = preparation.operations
    alone = {k: v for k, v in operations.items() if isinstance(v, DocumentOperation)}
    compared = {k: v for k, v in operations.items() if isinstance(v, CollectionOperation)}
    editing = [key for key, value in compared.items() if value.edits]
    if data.train.texts_b is not None and editing:
        raise InvalidInput(
            f"task {name!r}: expected operations that drop pairs of texts or edit each text by itself, "
            f"found {editing[0]}, which edits what many documents share, as pairs may share a text by "
            "design; name the operations one by one without it"
        )
    verdicts: dict[Split, Prepared] = {}
    splits: dict[str, Corpus] = {}
    counts: Counter[str] = Counter()
    for split in SPLITS:
        corpus = data.split(split)
        pairs = corpus.texts_b is not None
        prepared = prepare(corpus.texts, operations if split == "train" and not pairs else alone)
        second = None if corpus.texts_b is None else prepare(corpus.texts_b, alone)
        if second is not None:
            prepared = _of_pairs(prepared, second, compared if split == "train" else {})
        verdicts[split] = prepared
        rows = prepared.kept if split == "train" else list(range(len(corpus)))
        splits[split] = _with_texts(corpus, prepared, rows, second).canonical()
        if split != "train":
            counts[f"failing_{split}"] = len(corpus) - len(prepared.kept)
    train = splits["train"]
    lost = sorted(set(data.labels or ()) - set(train.labels or ())) if data.labels else []
    if not len(train) or lost:
        found = "none left" if not len(train) else f"none of class {lost[0]!r}"
        raise InvalidInput(
            f"task {name!r}: expected training rows of every class after task.prepare, found "
            f"{found} of {len(data.train):,} rows; loosen the operations"
        )
    fates = {f"train_{key}": value for key, value in verdicts["train"].counts.items()}
    prepared_data = replace(
        data, **dict(splits), target=train.unlabelled(), counts={**fates, **counts}, quarantined=()
    )
    return prepared_data, verdicts


def _of_pairs(
    first: Prepared, second: Prepared, compared: Mapping[str, CollectionOperation]
) -> Prepared:
    """Returns the verdicts on pairs: a pair fails a rule, or is edited, where one of its texts is.

    Pairs of which no text has failed are then compared as wholes, their texts joined by a line
    break.
    """

    def joined(one: Sequence[tuple[str, ...]], other: Sequence[tuple[str, ...]]) -> Any:
        return tuple(tuple(dict.fromkeys(a + b)) for a, b in zip(one, other, strict=True))

    pairs = replace(
        first,
        failed=joined(first.failed, second.failed),
        edited=joined(first.edited, second.edited),
        operations=(*first.operations, *compared),
    )
    failed, rows = list(pairs.failed), pairs.kept
    wholes = [f"{first.texts[row]}\n{second.texts[row]}" for row in rows]
    verdicts = prepare(wholes, compared)
    edited = next((names[0] for names in verdicts.edited if names), None)
    if edited is not None:
        raise InvalidInput(
            f"expected operations that drop pairs of texts, found {edited}, which edits them but whose "
            "class has not `edits = True`; leave it out for this task"
        )
    for row, rules in zip(rows, verdicts.failed, strict=True):
        failed[row] = rules
    return replace(pairs, failed=tuple(failed))


def _with_texts(
    corpus: Corpus, prepared: Prepared, rows: Sequence[int], second: Prepared | None = None
) -> Corpus:
    """Returns the documents at `rows` with their new texts; equal rows have ids of their own."""
    kept = corpus.take(rows)
    return Corpus.build(
        [prepared.texts[row] for row in rows],
        kept.domains,
        texts_b=None if second is None else [second.texts[row] for row in rows],
        labels=kept.labels,
        licences=kept.trait("licence"),
        toxicities=kept.trait("toxicity"),
        masses=kept.masses,
    )
