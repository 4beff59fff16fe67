"""What a sweep would take, before any of it is run: stages, minutes, memory, disk, on a machine.

A stage's time is its floating-point operations over a rate that the machine reaches. Sizes are
those of the files of this machine, or the published ones where the hub's are not read yet.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from shortlist.core import digest
from shortlist.errors import DoesNotFit, Missing
from shortlist.featurizers.base import NoFeatures
from shortlist.ot.resources import forecast, product_rate
from shortlist.pipeline.build import build_plain, class_of, plain
from shortlist.pipeline.cell import open_cell
from shortlist.pipeline.compose import build_component
from shortlist.pipeline.loading import load_data
from shortlist.pipeline.machines import Machine, Shape
from shortlist.pipeline.needs import published

if TYPE_CHECKING:
    from omegaconf import DictConfig

TOKEN = 4.3  # characters of English
COUNTED = 12e6  # characters a second of hashed n-grams, one core
OVERHEAD = 0.5  # seconds of a stage: opening a model, tokens, files; measured with MiniLM
HALF = 2  # bytes of a number where precision=auto is half precision
SOLVE = ("relative_epsilon", "stored_bytes")  # what a selector that solves a transport has


@dataclass(frozen=True)
class Sizes:
    """What a cell reads: numbers of texts, and characters of each."""

    documents: int
    characters: float
    target: int
    target_characters: float
    train: int
    test: int
    known: bool


@dataclass(frozen=True)
class Work:
    """One stage of one cell.

    Attributes:
        stage: its name.
        key: equal for equal computations.
        seconds: expected time.
        memory: bytes that it needs where it runs.
        disk: bytes that it leaves.
        gpu: whether it runs on the accelerator where there is one.
        seeded: whether each seed has its own.
    """

    stage: str
    key: str
    seconds: float
    memory: float = 0.0
    disk: float = 0.0
    gpu: bool = True
    seeded: bool = False


@dataclass(frozen=True)
class Stage:
    """All computations of one stage in a sweep.

    Attributes:
        computed: number of computations.
        hits: how often a cell finds what an earlier one has computed.
        seconds: of all computations.
        memory: largest of one.
        disk: of all.
        gpu: whether they run on the accelerator.
    """

    computed: int
    hits: int
    seconds: float
    memory: float
    disk: float
    gpu: bool

    @staticmethod
    def of(works: Sequence[Work], seeds: int) -> Stage:
        """Returns the stage that is one work of each cell, which is run for so many seeds."""
        once = {work.key: (work, seeds if work.seeded else 1) for work in works}.values()
        computed = sum(times for _, times in once)
        return Stage(
            computed,
            seeds * len(works) - computed,
            sum(times * work.seconds for work, times in once),
            max(work.memory for work, _ in once),
            sum(times * work.disk for work, times in once),
            works[0].gpu,
        )


def shape_of(node: Mapping[str, Any]) -> Shape:
    """Returns the size of a model that a configuration describes: as published for one of the hub.

    Raises:
        Missing: it is not on this machine, and nothing is published here.
    """
    if "base" in node:
        node = node["base"]
    if "layers" in node:
        return Shape(node["width"], node["layers"], node["vocabulary"])
    known = published()["models"].get(node.get("name", ""))
    if known is not None:
        return Shape(known["width"], known["layers"], known["vocabulary"])
    config = json.loads((build_plain(node, "model").directory() / "config.json").read_text())
    names = (
        ("hidden_size", "n_embd", "dim"),
        ("num_hidden_layers", "n_layer", "n_layers"),
        ("vocab_size",),
    )
    return Shape(*(next(int(config[one]) for one in of if one in config) for of in names))


def sizes_of(config: DictConfig, choices: Mapping[str, str]) -> Sizes:
    """Returns the sizes of what a cell reads: those of its files with `source=local`, else the
    published ones.

    Raises:
        ShortlistError: a file is missing or cannot be read, or nothing is published of a data set.
    """
    if config.source.name == "local":
        with tempfile.TemporaryDirectory() as directory:
            data = load_data(open_cell(config, choices, Path(directory)))
        pool, task = data.pool.corpus, data.task.data
        return Sizes(
            len(pool), _mean(pool.texts), len(task.target), _mean(task.target.texts), len(task.train),
            len(task.test), True,
        )  # fmt: skip
    pool, task = plain(config.pool, missing=False), plain(config.task, missing=False)
    documents, characters = 0, 0.0
    for domain, spec in pool["hub"].items():
        if pool.get("domains") is not None and domain not in pool["domains"]:
            continue
        rows, size = _published(spec, "pool")
        if pool.get("chunk"):
            rows, size = int(rows * max(size / pool["chunk"], 1)), float(pool["chunk"])
        most = pool["per_domain"] or rows
        documents += min(rows, most)
        characters = max(characters, min(size, pool.get("max_chars") or size))
    keep = (pool.get("prefilter") or {}).get("keep")
    if keep:
        documents = documents * keep // len(pool["hub"])
    train, test = _published(task["hub"], "task")
    most = task.get("max_train") or task.get("texts") or train
    target = min(train, most)
    prompts = sum(count or 0 for count in (task.get("prompts") or {}).values())
    length = (plain(config.finetune, missing=False) or {}).get("max_length") or 256
    return Sizes(documents, characters, target, TOKEN * length, target, prompts or int(test), False)


def _mean(texts: Any) -> float:
    some = [len(texts[row]) for row in range(0, len(texts), max(1, len(texts) // 1000))]
    return sum(some) / max(len(some), 1)


def _published(spec: Mapping[str, Any], what: str) -> tuple[int, float]:
    """Returns the rows and characters of a pool, or the rows of train and test of a task."""
    known = published()["data sets"].get(spec["dataset"])
    if known is None:
        raise Missing(
            f"{spec['dataset']}: no size is published here; fetch it, or add it to "
            "src/shortlist/data/published.yaml"
        )
    rows = known["rows"]
    if isinstance(rows, dict):
        first = next(iter(spec["files"].values()))
        rows = rows[str(first).partition("/")[0]]
    return (rows[0], known["characters"]) if what == "pool" else (rows[0], rows[1])


def works(config: DictConfig, sizes: Sizes, machine: Machine) -> Iterator[Work]:
    """Yields the stages of a cell in their order."""
    parts = {
        name: plain(config.get(name), missing=False)
        for name in ("pool", "task", "model", "featurizer", "selector", "warmup", "finetune")
    }
    model, until = shape_of(parts["model"]), config.until.name
    reads = parts["pool"], config.source.name
    characters = sizes.documents * sizes.characters
    pool = digest([json.dumps(reads)])
    yield Work("pool", pool, OVERHEAD + characters / COUNTED, characters, characters, False)
    if "pretraining" in parts["model"]:
        texts = sizes.documents, sizes.characters / TOKEN
        pretraining = parts["model"]["pretraining"]
        yield training_work("pre-training", pretraining, model, texts, reads, machine)
    tuned = parts["featurizer"].get("tuning") or sizes.known is False
    vectors = _Vectors(
        parts["featurizer"], model, (reads, parts["task"] if tuned else 0, parts["featurizer"])
    )
    yield from _feature_works(vectors, config, sizes, machine)
    selector = build_component(config, "selector")
    key = (vectors.key, parts["task"], parts["selector"])
    yield from _fit_works(selector, vectors, key, sizes, machine)
    yield Work(
        "selection", digest([json.dumps([key, config.budget])]), OVERHEAD, 8.0 * sizes.documents,
        0, False, selector.traits.stochastic,
    )  # fmt: skip
    if until == "select":
        return
    warm = None if selector.traits.empty else (key, config.budget, parts["warmup"], parts["model"])
    if warm is not None:
        length = min(sizes.characters / TOKEN + 2, parts["warmup"]["max_length"])
        texts = config.budget / (length if config.budget_unit.name == "tokens" else 1), length
        yield training_work("warm-up", parts["warmup"], model, texts, warm, machine)
    if until != "warmup":
        yield from _task_works(parts, model, warm, config, sizes, machine)


@dataclass(frozen=True)
class _Vectors:
    """The vectors of a cell: settings of the featurizer, the cell's model, and what decides them."""

    node: Mapping[str, Any]
    model: Shape
    key: Any

    @property
    def kind(self) -> Any:
        """The featurizer's class."""
        return _class_of(self.node)

    @property
    def encoder(self) -> Shape:
        """Size of the model that reads the texts."""
        return shape_of(self.node["model"]) if self.node.get("model") else self.model

    @property
    def columns(self) -> int:
        """Length of a vector; 0 for one that no model makes."""
        return self.encoder.width if self.node.get("model") else 0


def _feature_works(
    vectors: _Vectors, config: DictConfig, sizes: Sizes, machine: Machine
) -> Iterator[Work]:
    """Yields the tuning and the passes of a featurizer over pool and target."""
    node, kind, encoder, key = vectors.node, vectors.kind, vectors.encoder, vectors.key
    texts, columns = sizes.documents + sizes.target, vectors.columns
    if kind is NoFeatures:
        return
    stage = digest([json.dumps(key)])
    if kind.passes:
        if tuning := node.get("tuning"):
            used = min(sizes.target_characters / TOKEN, tuning["max_length"])
            read = sizes.train, used
            yield training_work("tuning of the vectors", tuning, encoder, read, key, machine)
        length = min(sizes.characters / TOKEN + 2, node.get("max_length") or math.inf)
        work = kind.passes * texts * length * encoder.flops(length, kind.predicts)
        yield Work(
            "features", stage, OVERHEAD + work / machine.passes, _passing(encoder, config),
            4.0 * texts * columns,
        )  # fmt: skip
        return
    characters = sizes.documents * sizes.characters + sizes.target * sizes.target_characters
    counted = columns or min(node.get("buckets") or 0, sizes.characters / 5 * 3)
    seconds = OVERHEAD + characters / COUNTED
    yield Work("features", stage, seconds, 2**28, 4.0 * texts * counted, False)


def _fit_works(
    selector: Any, vectors: _Vectors, key: Any, sizes: Sizes, machine: Machine
) -> Iterator[Work]:
    """Yields the fit of a selector; of one that reads no vectors there is none."""
    columns, fit = vectors.columns, digest([json.dumps(key)])
    if all(hasattr(selector, name) for name in SOLVE):
        solve = forecast(
            sizes.documents, max(sizes.target, 1), columns, epsilon=selector.relative_epsilon,
            stored_bytes=selector.stored_bytes, memory_limit=int(0.8 * machine.device_memory),
        )  # fmt: skip
        local = product_rate(columns, torch.device("cpu"), torch.float32)
        held = 4.0 * (sizes.documents + sizes.target) * columns
        seconds = OVERHEAD + solve.seconds * local / machine.products
        yield Work("fit", fit, seconds, solve.bytes + held)
    elif vectors.kind is not NoFeatures:
        characters = sizes.documents * sizes.characters
        yield Work("fit", fit, OVERHEAD + characters / COUNTED / 4, 2**28, 0, False)


def _task_works(
    parts: Mapping[str, Any],
    model: Shape,
    warm: Any,
    config: DictConfig,
    sizes: Sizes,
    machine: Machine,
) -> Iterator[Work]:
    """Yields the fine-tuning and the evaluation of a task, or that of a language model."""
    task, finetune, until = parts["task"], parts["finetune"], config.until.name
    if evaluators := task.get("evaluators"):
        length = sizes.target_characters / TOKEN
        tokens = sum(
            _class_of(one).forecast_tokens(one, sizes.test, length) for one in evaluators.values()
        )
        work, left, key = tokens * model.flops(64, 1), tokens, [warm, task, parts["model"]]
    else:
        length = min(sizes.target_characters / TOKEN + 2, finetune["max_length"])
        tuned = (warm, task, finetune, parts["model"])
        read = sizes.train, length
        yield training_work("fine-tuning", finetune, model, read, tuned, machine)
        work, left = sizes.test * length * model.flops(length, 0), 8.0 * sizes.test
        key = [tuned, "evaluate"]
    if until == "evaluate":
        yield Work(
            "evaluation", digest([json.dumps(key)]), OVERHEAD + work / machine.passes,
            _passing(model, config), left, seeded=True,
        )  # fmt: skip


def _class_of(node: Mapping[str, Any]) -> Any:
    """Returns the class that a node names, which `check_targets` has allowed."""
    target = str(node["_target_"])
    return class_of(target, "forecast", None, (target.partition(".")[0],))


def training_work(
    stage: str,
    trainer: Mapping[str, Any],
    model: Shape,
    texts: tuple[float, float],
    key: Any,
    machine: Machine,
) -> Work:
    """Returns the work of a training on so many texts of so many tokens: an epoch takes three passes
    over each, but for layers that stay as they are, its head on the predicted tokens, and steps of
    AdamW; weights, gradients and moments are float32.
    """
    head = trainer.get("mask_share", 1) if _class_of(trainer).objective else 0
    block, (count, each) = trainer.get("block"), texts
    examples, length = (count * each / block, block) if block else (count, each)
    batch, most = trainer["batch_size"], block or trainer["max_length"]
    width = HALF if machine.gpu else 4
    # Korthikanti et al. 2022 (arXiv 2205.05198), section 4: 34 s b h + 5 a s^2 b bytes a layer.
    kept = model.layers * batch * most * (17 * model.width + 2.5 * most * model.width / 64) * width
    logits = 2 * 4.0 * batch * most * head * model.vocabulary
    passes = 3 - 2 * min((trainer.get("frozen_layers") or 0) / model.layers, 1)
    work = passes * trainer["epochs"] * count * each * model.flops(length, head)
    steps = trainer["epochs"] * math.ceil(examples / batch)
    seconds = work / machine.training + steps * model.parameters / machine.stepping
    return Work(
        stage, digest([json.dumps([stage, key, trainer], default=str)]), OVERHEAD + seconds,
        16.0 * model.parameters + kept + logits, 4.0 * model.parameters,
        seeded=stage in ("warm-up", "fine-tuning"),
    )  # fmt: skip


def _passing(model: Shape, config: DictConfig) -> float:
    """Returns the bytes of passes: weights in float32, and ten hidden states a token of a batch."""
    return 4.0 * model.parameters + 40.0 * config.runtime.inference_tokens * model.width


def room_needed(config: DictConfig, machine: Machine) -> tuple[Work, float]:
    """Returns the work of a cell on models that needs the most memory, and the bytes of the models
    and vectors that the cell leaves. Nothing is read: a data folder is taken to hold 10,000 texts.

    Raises:
        ShortlistError: nothing is published of a model or data set, or a setting is wrong.
    """
    local = config.source.name == "local"
    sizes = Sizes(10_000, 800, 1_000, 400, 1_000, 1_000, False) if local else sizes_of(config, {})
    found = [work for work in works(config, sizes, machine) if work.stage not in ("pool", "fit")]
    return max(found, key=lambda work: work.memory), sum(work.disk for work in found)


def refuse_what_does_not_fit(work: Work, machine: Machine, cell: str) -> None:
    """Refuses a stage that needs more memory than there is.

    Raises:
        DoesNotFit: it does.
    """
    most = machine.device_memory if work.gpu else machine.memory
    if work.memory > most:
        where = machine.name or "this machine"
        raise DoesNotFit(
            f"{cell}: {work.stage} needs about {work.memory / 2**30:,.1f} GiB, {where} has "
            f"{most / 2**30:,.1f} GiB free; set a smaller batch_size or max_length, another model, or "
            "--on another machine"
        )


def planned(
    cells: list[tuple[str, DictConfig, Mapping[str, str]]], seeds: int, machine: Machine
) -> tuple[dict[str, Stage], bool]:
    """Returns the stages of a sweep, and whether all sizes were read from files.

    Args:
        cells: name, configuration and choices of the cells of one seed.
        seeds: number of seeds.
        machine: the machine.

    Raises:
        DoesNotFit: a stage needs more memory than the machine has, or all of them more disk.
        ShortlistError: an input is missing.
    """
    asked: dict[str, list[Work]] = {}
    known, read = True, dict[str, Sizes]()
    for name, config, choices in cells:
        inputs = [plain(config.get(part), missing=False) for part in ("pool", "task", "targets")]
        key = digest([json.dumps(inputs, default=str)])
        if key not in read:
            read[key] = sizes_of(config, choices)
        known = known and read[key].known
        for work in works(config, read[key], machine):
            refuse_what_does_not_fit(work, machine, name)
            asked.setdefault(work.stage, []).append(work)
    stages = {name: Stage.of(works_of, seeds) for name, works_of in asked.items()}
    disk = sum(stage.disk for stage in stages.values())
    if disk > machine.disk:
        raise DoesNotFit(
            f"the artifacts take about {disk / 2**30:,.0f} GiB, {machine.name or 'paths.cache'} has "
            f"{machine.disk / 2**30:,.0f} GiB free; set paths.cache to another disk, or run fewer cells"
        )
    return stages, known
