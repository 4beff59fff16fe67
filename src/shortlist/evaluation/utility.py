"""Zero-shot accuracy by lm-evaluation-harness, and forgetting: items answered right only before the
warm-up.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import json
import logging
import math
import shutil
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist import progress
from shortlist.core import Metric, digest
from shortlist.data.files import file_digest
from shortlist.data.splits import sample_rows
from shortlist.errors import InvalidInput, Missing, near
from shortlist.evaluation.base import EvalResult, Evaluator
from shortlist.models.likelihood import causal_model
from shortlist.needs import Need
from shortlist.settings import Seed
from shortlist.store.atomic import read_jsonl, write_jsonl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.data.sources import Source
    from shortlist.evaluation.base import EvalContext
    from shortlist.models.pretrained import StoredModel
    from shortlist.runtime import Runtime
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)

WHAT = "evaluator utility"
ITEMS = "items.jsonl"
FLIPS = "flips.jsonl"
CHANGES = ("forgotten", "learned")
TASKS = Path(__file__).parent / "lm_eval"  # tasks of this project
LOCAL = "local/"  # before the name of one of them
ENDINGS = (".yaml", ".yml")
PACKAGES = ("lm_eval", "datasets")
HASHED = ("doc", "prompt", "target")  # parts of an item that a task's hash is made of


class Utility(Evaluator):
    """Zero-shot accuracy by lm-evaluation-harness, one metric a task, and the share of forgotten
    items.

    `utility` is the plain mean over the tasks (GOT-D, table 7); where a task's data are missing,
    the task and the mean are left out with a warning. `utility_forgotten` is the share of all items
    that the model answered right before the warm-up and wrong after it; `flips.jsonl` of the stage
    `forgetting` lists the items that changed, both ways.

    Args:
        tasks: the package's tasks, `local/NAME`, or paths of YAMLs; the last part names the metric.
        metric: the package's metric of an item.
        items: largest number of items of a task, a sample by content; None for all.
        seed: seed of that sample and of the package.

    Raises:
        InvalidInput: no task is named, or two have the same name, or `items` is below 1.
    """

    version = 2
    extra = "eval"

    def __init__(self, tasks: Sequence[str], metric: str, items: int | None, seed: Seed) -> None:
        self.tasks = {task_name(spec): spec for spec in tasks}
        if not tasks or len(self.tasks) < len(tasks):
            raise InvalidInput(
                f"{WHAT}: expected tasks of different names, found {', '.join(tasks) or 'none'}"
            )
        if items is not None and items < 1:
            raise InvalidInput(f"{WHAT}: items must be at least 1, found {items}")
        self.metric, self.items, self.seed = metric, items, seed

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
        """Yields the data sets of its tasks, as lm-eval's own files name them."""
        if importlib.util.find_spec("lm_eval") is None:
            return
        index = task_manager().task_index
        for task in node["tasks"]:
            # A tag or group stands for several; none: a file of the data folder, or of the user.
            names = sorted(name for name in index if name == task or task in index[name].tags)
            configs = [config for name in names if (config := index[name].cfg)]
            for config in (one for one in configs if "dataset_path" in one):
                dataset, part = config["dataset_path"], config.get("dataset_name") or ""
                folder = _cached(dataset)
                yield Need(
                    "data set", dataset, f"{place} {task}", folder is not None,
                    str(folder or "not in the hub's cache"), "main", (part,) if part else (),
                    command="" if folder else f"hf download {dataset} --repo-type dataset",
                )  # fmt: skip

    def check(self, source: Source, runtime: Runtime) -> None:
        """Refuses a machine without the package, unknown tasks and missing files."""
        check_installed()
        for spec in self.tasks.values():
            find_task(spec, source)

    @classmethod
    def forecast_tokens(cls, node: Mapping[str, Any], texts: int, length: float) -> float:
        """Returns the tokens of three answers of 100 to each item, of 4,000 a task, by two
        models.
        """
        return 2 * (node.get("items") or 4000) * len(node["tasks"]) * 300.0

    def metric_names(self) -> tuple[str, ...]:
        """Returns the names of the mean, of the tasks and of the share of forgotten items."""
        return ("utility", *(f"utility_{name}" for name in self.tasks), "utility_forgotten")

    def identity(self, source: Source) -> dict[str, str]:
        """Returns the digest of each task: of its file and data, or of its name in the package."""
        check_installed()
        return {name: find_task(spec, source).digest for name, spec in self.tasks.items()}

    def evaluate(self, context: EvalContext) -> EvalResult:
        """Returns the accuracy of each task with its standard error over items, and the flips.

        Item scores are 1 or 0, in the order of the data. Counts, by task: `items`, `not_sampled`,
        `cut` (too long for the model: the beginning is left out), `forgotten` (right before, wrong
        after), `learned` (the other way).
        """
        metrics, counts, warnings = list[Metric](), dict[str, int](), list[str]()
        item_scores: dict[str, NDArray[np.float64]] = {}
        forgotten: list[NDArray[np.float64]] = []
        total = 2 * len(self.tasks)
        with progress.bar("utility", total, "tasks", show=context.runtime.progress) as report:
            for name, spec in self.tasks.items():
                task = find_task(spec, context.source)
                try:
                    before = self._answers(context, context.base, task)
                    report(1)
                    after = self._answers(context, context.model, task)
                    report(1)
                except Missing as error:
                    warning = f"utility_{name} is not measured, and so the mean is not: {error}"
                    log.warning("%s", warning)
                    warnings.append(warning)
                    continue
                flips = _flips(context, before, after)
                right = _right(after)
                forgotten.append((_right(before) > right).astype(np.float64))
                item_scores[f"utility_{name}"] = right
                metrics.append(_accuracy(f"utility_{name}", right, self.protocol(after)))
                counts |= {
                    f"items_{name}": len(right),
                    f"not_sampled_{name}": after.facts["left_out"],
                    f"cut_{name}": after.facts["cut"],
                }
                counts |= {f"{change}_{name}": flips.facts[change] for change in CHANGES}
        if forgotten:
            lost, parts = np.concatenate(forgotten), [metric.protocol for metric in metrics]
            protocol = digest(["forgotten", *parts])
            share = _accuracy("utility_forgotten", lost, protocol, higher_is_better=False)
            item_scores["utility_forgotten"] = lost
            if not warnings:
                metrics.insert(0, _mean(metrics))
            metrics.append(share)
        return EvalResult(tuple(metrics), item_scores, counts, tuple(warnings))

    def _answers(self, context: EvalContext, model: StoredModel, task: LmEvalTask) -> Artifact:
        """Returns the stage that holds a model's answers to the items of a task."""

        def compute(directory: Path) -> dict[str, Any]:
            unpacked = directory / "scratch"
            home, runtime = model.directory(), context.runtime
            sample = (self.metric, self.items, self.seed)
            items, facts = run_lm_eval(home, task, *sample, unpacked, runtime)
            shutil.rmtree(unpacked, ignore_errors=True)
            write_jsonl(directory / ITEMS, items)
            return facts

        settings = {"metric": self.metric, "items": self.items, "seed": self.seed}
        inputs = {**model.identity(), "task": task.digest, "lm_eval": version("lm_eval")}
        return context.stage("utility", self.version, settings, inputs, compute)

    def protocol(self, answers: Artifact) -> str:
        """Returns the hash of how a task is measured: the versions of the package and of its task,
        the items with prompts and targets, the metric.
        """
        facts = answers.facts
        versions = json.dumps(facts["versions"], sort_keys=True)
        parts = ("utility", self.version, self.metric, facts["lm_eval"], versions, facts["hash"])
        return digest(map(str, parts))


def _flips(context: EvalContext, before: Artifact, after: Artifact) -> Artifact:
    """Returns the stage that lists the items answered right by only one model, with both answers.

    Raises:
        InvalidInput: the two models answered different items, because the data have changed.
    """
    if before.facts["hash"] != after.facts["hash"]:
        raise InvalidInput(
            f"{WHAT}: expected the same items before and after the warm-up, found others; remove "
            f"{before.path} and run again"
        )

    def compute(directory: Path) -> dict[str, Any]:
        flips = list[dict[str, Any]]()
        items = (read_jsonl(answers.path / ITEMS) for answers in (before, after))
        for first, second in zip(*items, strict=True):
            if first["right"] != second["right"]:
                change = CHANGES[second["right"] > first["right"]]
                answers = {"before": first["answers"], "after": second["answers"]}
                shown = {name: first[name] for name in ("task", "doc", "prompt", "target")}
                flips.append({"change": change, **shown, **answers})
        write_jsonl(directory / FLIPS, flips)
        return {change: sum(flip["change"] == change for flip in flips) for change in CHANGES}

    return context.stage("forgetting", 1, {}, {"before": before.key, "after": after.key}, compute)


def _right(answers: Artifact) -> NDArray[np.float64]:
    items = read_jsonl(answers.path / ITEMS)
    return np.array([item["right"] for item in items], dtype=np.float64)


def _accuracy(
    name: str, right: NDArray[np.float64], protocol: str, *, higher_is_better: bool = True
) -> Metric:
    n = len(right)
    value, stderr = float(right.mean()), float(right.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return Metric(name, "fraction", higher_is_better, value, n, stderr, protocol=protocol)


def _mean(tasks: Sequence[Metric]) -> Metric:
    """Returns the plain mean of the tasks; their items are independent, so that variances add."""
    errors = [metric.stderr for metric in tasks]
    squares = [error**2 for error in errors if error is not None]
    return Metric(
        name="utility",
        unit="fraction",
        higher_is_better=True,
        value=sum(metric.value for metric in tasks) / len(tasks),
        n=sum(metric.n for metric in tasks),
        stderr=math.sqrt(sum(squares)) / len(tasks) if len(squares) == len(tasks) else None,
        protocol=digest(["utility", *(part for m in tasks for part in (m.name, m.protocol))]),
    )


@dataclass(frozen=True)
class LmEvalTask:
    """A task of lm-eval before it is loaded.

    Attributes:
        name: name of the package's task, tag or group, or the name stated in a file.
        config: content of the file, its data files as absolute paths; None for the package's own.
        digest: digest of the file and of its data; of the name for the package's own.
    """

    name: str
    config: Mapping[str, Any] | None
    digest: str


def task_name(spec: str) -> str:
    """Returns the name, in tables, of the task that `spec` stands for."""
    return Path(spec).stem if spec.endswith(ENDINGS) else spec.removeprefix(LOCAL)


def check_installed() -> None:
    """Refuses a machine without the package.

    Raises:
        Missing: it is not installed.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise Missing(
                f"{WHAT} needs the package {package}, found none; run: pip install 'shortlist[eval]'"
            )


def find_task(spec: str, source: Source) -> LmEvalTask:
    """Returns the task that `spec` stands for: `local/NAME`, the path of a YAML, or the package's
    own.

    Raises:
        Missing: a file does not exist.
        InvalidInput: there is no such task, or the file does not describe one.
    """
    if not spec.startswith(LOCAL) and not spec.endswith(ENDINGS):
        known = task_manager().all_tasks
        if spec not in known:
            raise InvalidInput(f"{WHAT}: lm-eval has no task `{spec}`; {near(spec, known)}")
        return LmEvalTask(spec, None, digest([spec]))
    path = TASKS / f"{spec.removeprefix(LOCAL)}.yaml" if spec.startswith(LOCAL) else Path(spec)
    path = path.expanduser().absolute()
    if not path.is_file():
        names = [f"{LOCAL}{file.stem}" for file in TASKS.glob("*.yaml")]
        raise Missing(f"{WHAT}: expected the file {path}, found none; {near(spec, names)}")
    import yaml

    text = path.read_text(encoding="utf-8")
    try:
        config = yaml.safe_load(text)
        name = str(config["task"])
        data_files = config["dataset_kwargs"]["data_files"].items()
        by_split = {split: str(file) for split, file in data_files}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{WHAT}: {path} must be a task with `task` and `dataset_kwargs.data_files` by split, "
            f"without functions; found: {' '.join(str(error).split())}"
        ) from error
    files = {split: source.text_files(WHAT, file, None) for split, file in by_split.items()}
    paths = {split: str(found.files["texts"][0]) for split, found in files.items()}
    config["dataset_kwargs"] = {**config["dataset_kwargs"], "data_files": paths}
    digests = [text, *(file_digest(paths[split]) for split in sorted(paths))]
    return LmEvalTask(name, config, digest(digests))


def _cached(dataset: str) -> Path | None:
    """Returns the folder of a data set in the caches of `huggingface_hub`; None for none."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"datasets--{dataset.replace('/', '--')}" / "snapshots"
    return folder if folder.is_dir() else None


@functools.cache
def task_manager() -> Any:
    """Returns the package's index of its own tasks, which takes seconds to build."""
    from lm_eval.tasks import TaskManager

    with _silenced_lm_eval(show=False):
        return TaskManager()


def run_lm_eval(
    directory: Path,
    task: LmEvalTask,
    metric: str,
    items: int | None,
    seed: int,
    unpacked: Path,
    runtime: Runtime,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the answers of the causal model in `directory`, run in float32, and facts on them.

    An item has `task`, `doc` (its number), `prompt`, `target`, `answers` (log-likelihoods or texts)
    and `right` (the metric). The facts are the `hash` of items, prompts and targets in order, the
    `versions` of the tasks and of `lm_eval`, and the numbers of items that were not sampled
    (`left_out`) and whose beginning did not fit into the model's positions (`cut`).

    Args:
        directory: directory of the model.
        task: the task.
        metric: the task's metric of an item.
        items: largest number of items of each task in `task`, a sample by content.
        seed: seed of that sample and of the package.
        unpacked: directory for the unpacked data of tasks from files.
        runtime: the machine.

    Raises:
        Missing: the task's data cannot be read.
        InvalidInput: the task does not report the metric, or has no items.
    """
    package, tasks_module, models = (
        importlib.import_module(name)
        for name in ("lm_eval", "lm_eval.tasks", "lm_eval.models.huggingface")
    )
    with _silenced_lm_eval(show=runtime.progress):
        from_file = task.config is not None
        index: Any = (
            tasks_module.TaskManager(include_defaults=False) if from_file else task_manager()
        )
        tasks = _load(index, task, unpacked)
        model = causal_model(directory, None, "utility", runtime.device)
        length = model.max_length
        batch_size = max(1, runtime.inference_tokens // length)
        wrapped = models.HFLM(
            model.model, tokenizer=model.tokenizer, max_length=length, batch_size=batch_size
        )
        docs = {name: list(loaded.eval_docs) for name, loaded in tasks.items()}
        if not all(docs.values()):
            raise InvalidInput(f"lm-eval's task {task.name} has no items; check its data")
        results: Any = package.simple_evaluate(
            wrapped,
            tasks=list(tasks.values()),
            samples={name: _sample(rows, items, seed) for name, rows in docs.items()},
            task_manager=index,
            bootstrap_iters=0,
            log_samples=True,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    samples = [
        (name, sample) for name in tasks for sample in _first_filter(results["samples"][name])
    ]
    hashes = [sample[f"{part}_hash"] for _, sample in samples for part in HASHED]
    return [_item(name, sample, metric) for name, sample in samples], {
        "hash": digest(hashes),
        "versions": {name: str(results["versions"].get(name)) for name in tasks},
        "left_out": sum(map(len, docs.values())) - len(samples),
        "cut": sum(_longest(sample, model.tokenizer) > length + 1 for _, sample in samples),
        "lm_eval": version("lm_eval"),
    }


def _load(index: Any, task: LmEvalTask, unpacked: Path) -> dict[str, Any]:
    """Returns the loaded tasks by name: a tag or group stands for several.

    Raises:
        Missing: their data cannot be read.
    """
    spec: Any = task.name
    if task.config is not None:
        # The cache under the home directory is for data from the hub.
        kwargs = {**task.config["dataset_kwargs"], "cache_dir": str(unpacked)}
        spec = {**task.config, "dataset_kwargs": kwargs}
    try:
        return dict(index.load([spec])["tasks"])
    except Exception as error:  # a dozen unrelated classes mean "cannot be read"
        reason = " ".join(str(error).split())[:200]
        raise Missing(
            f"lm-eval's task {task.name}: its data could not be read ({type(error).__name__}: "
            f"{reason}); fetch it where there is a network"
        ) from error


def _sample(docs: list[Any], items: int | None, seed: int) -> list[int]:
    ids = [digest([json.dumps(doc, sort_keys=True, default=str)]) for doc in docs]
    return [int(row) for row in sample_rows(ids, items, seed)]


def _first_filter(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns one sample an item: a task with several filters logs each item under each."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _longest(sample: Mapping[str, Any], tokenizer: Any) -> int:
    """Returns the tokens of an item with its longest answer; the model does not read the last."""
    texts = [
        "".join(part for part in arguments if isinstance(part, str))
        for arguments in sample["arguments"]
    ]
    return max(map(len, tokenizer(texts)["input_ids"]))


def _item(task: str, sample: Mapping[str, Any], metric: str) -> dict[str, Any]:
    if metric not in sample:
        raise InvalidInput(
            f"lm-eval's task {task} reports no metric `{metric}`; {near(metric, sample['metrics'])}"
        )
    return {
        "task": task,
        "doc": int(sample["doc_id"]),
        "prompt": str(sample["arguments"][0][0]),
        "target": sample["target"],
        "answers": [list(answer) for answer in sample["filtered_resps"]],
        "right": float(sample[metric]),
    }


@contextlib.contextmanager
def _silenced_lm_eval(*, show: bool) -> Generator[None]:
    """Silences the package's log within a context, and its progress bars unless `show` is true on a
    terminal.
    """
    visible = show and sys.stderr.isatty()
    bars = contextlib.nullcontext() if visible else contextlib.redirect_stderr(io.StringIO())
    with progress.quiet("lm_eval", logging.ERROR), bars:
        yield
