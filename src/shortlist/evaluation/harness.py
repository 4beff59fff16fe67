"""lm-evaluation-harness behind one call: a task and a model in, one answer an item out."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.core import digest
from shortlist.data.files import file_digest
from shortlist.data.splits import sample_rows
from shortlist.errors import InvalidInput, Missing, near

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from shortlist.data.sources import Source
    from shortlist.runtime import Runtime

OWN = Path(__file__).parent / "lm_eval"
LOCAL = "local/"
ENDINGS = (".yaml", ".yml")
PACKAGES = ("lm_eval", "datasets")
HASHED = ("doc", "prompt", "target")  # of an item: what a task's hash is made of


@dataclass(frozen=True)
class Question:
    """A task of the package before it is loaded.

    Attributes:
        name: of the package's task, tag or group; of a task out of a file, what the file calls it.
        config: what the file says, its data files as absolute paths; None for the package's own.
        digest: of the file and of the data it names; of one of the package's own, its name.
    """

    name: str
    config: Mapping[str, Any] | None
    digest: str

    @staticmethod
    def called(spec: str) -> str:
        """Returns what a table calls the task that `spec` names."""
        return Path(spec).stem if spec.endswith(ENDINGS) else spec.removeprefix(LOCAL)


@dataclass(frozen=True)
class Answers:
    """What a model answered.

    Attributes:
        items: of each item `task`, `doc` (its number), `prompt`, `target`, `answers` (what the
            package had to judge) and `right` (the metric).
        hash: of the items, prompts and targets, in order: equal ones are the same measurement.
        versions: the version of each task, by name.
        left_out: items that were not in the sample.
        cut: items whose beginning did not fit into the model's positions.
    """

    items: list[dict[str, Any]]
    hash: str
    versions: Mapping[str, str]
    left_out: int
    cut: int


def check_installed(what: str) -> None:
    """Refuses a machine without the package.

    Raises:
        Missing: it is not installed; the message names `what`.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise Missing(
                f"{what} needs the package {package}, found none; run: pip install 'shortlist[eval]'"
            )


def version() -> str:
    """Returns the version of the package."""
    from importlib.metadata import version

    return version("lm_eval")


def question(what: str, spec: str, source: Source) -> Question:
    """Returns the task that `spec` names: `local/NAME`, the path of a YAML, or the package's own.

    Raises:
        Missing: a file is not there.
        InvalidInput: there is no such task, or the file describes none.
    """
    if not spec.startswith(LOCAL) and not spec.endswith(ENDINGS):
        return _builtin(what, spec)
    path = OWN / f"{spec.removeprefix(LOCAL)}.yaml" if spec.startswith(LOCAL) else Path(spec)
    path = path.expanduser().absolute()
    if not path.is_file():
        known = [f"{LOCAL}{own.stem}" for own in OWN.glob("*.yaml")]
        raise Missing(f"{what}: expected the file {path}, found none; {near(spec, known)}")
    import yaml

    text = path.read_text(encoding="utf-8")
    try:
        config = yaml.safe_load(text)
        files = config["dataset_kwargs"]["data_files"]
        name = str(config["task"])
        named = {split: str(file) for split, file in files.items()}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{what}: {path} must be a task with `task` and `dataset_kwargs.data_files` by split, "
            f"without functions; found: {' '.join(str(error).split())}"
        ) from error
    found = {split: source.text_files(what, file, None) for split, file in named.items()}
    paths = {split: str(files.files["texts"][0]) for split, files in found.items()}
    config["dataset_kwargs"] = {**config["dataset_kwargs"], "data_files": paths}
    digests = [text, *(file_digest(paths[split]) for split in sorted(paths))]
    return Question(name, config, digest(digests))


def _builtin(what: str, name: str) -> Question:
    known = manager().all_tasks
    if name not in known:
        raise InvalidInput(f"{what}: lm-eval has no task `{name}`; {near(name, known)}")
    return Question(name, None, digest([name]))


@functools.cache
def manager() -> Any:
    """Returns the package's index of its own tasks, which takes seconds to make."""
    from lm_eval.tasks import TaskManager

    with _quiet(show=False):
        return TaskManager()


def ask(
    directory: Path,
    asked: Question,
    metric: str,
    items: int | None,
    seed: int,
    scratch: Path,
    runtime: Runtime,
) -> Answers:
    """Returns what the causal model in `directory` answers.

    Args:
        directory: of the model; it is run in float32.
        asked: the task.
        metric: which of the task's metrics judges an item.
        items: at most so many of each task that `asked` stands for, a sample by content.
        seed: of that sample and of the package.
        scratch: where tasks out of files are unpacked.
        runtime: the machine.

    Raises:
        Missing: the task's data cannot be had.
        InvalidInput: the task does not report the metric.
    """
    from shortlist.models.likelihood import causal_model

    package, tasks_of, models = (
        importlib.import_module(name)
        for name in ("lm_eval", "lm_eval.tasks", "lm_eval.models.huggingface")
    )
    with _quiet(show=runtime.progress):
        own = asked.config is not None
        index: Any = tasks_of.TaskManager(include_defaults=False) if own else manager()
        tasks = _loaded(index, asked, scratch)
        model = causal_model(directory, None, "utility", runtime.device)
        length = model.max_length
        rows = max(1, runtime.inference_tokens // length)
        wrapped = models.HFLM(
            model.model, tokenizer=model.tokenizer, max_length=length, batch_size=rows
        )
        docs = {name: list(task.eval_docs) for name, task in tasks.items()}
        if not all(docs.values()):
            raise InvalidInput(f"lm-eval's task {asked.name} has no items; check its data")
        samples = {name: _sample(found, items, seed) for name, found in docs.items()}
        found: Any = package.simple_evaluate(
            wrapped,
            tasks=list(tasks.values()),
            samples=samples,
            task_manager=index,
            bootstrap_iters=0,
            log_samples=True,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    answered = [(name, sample) for name in tasks for sample in _once(found["samples"][name])]
    hashes = [sample[f"{part}_hash"] for _, sample in answered for part in HASHED]
    versions = {name: str(found["versions"].get(name)) for name in tasks}
    left_out = sum(map(len, docs.values())) - len(answered)
    judged = [_item(name, sample, metric) for name, sample in answered]
    cut = sum(_longest(sample, model.tokenizer) > length + 1 for _, sample in answered)
    return Answers(judged, digest(hashes), versions, left_out, cut)


def _loaded(index: Any, asked: Question, scratch: Path) -> dict[str, Any]:
    """Returns the tasks of a question by name.

    Raises:
        Missing: their data cannot be read.
    """
    spec: Any = asked.name
    if asked.config is not None:
        # The cache under the home directory is for data from the hub.
        kwargs = {**asked.config["dataset_kwargs"], "cache_dir": str(scratch)}
        spec = {**asked.config, "dataset_kwargs": kwargs}
    try:
        return dict(index.load([spec])["tasks"])
    except Exception as error:  # a dozen unrelated classes mean "cannot be had"
        reason = " ".join(str(error).split())[:200]
        raise Missing(
            f"lm-eval's task {asked.name}: its data could not be had ({type(error).__name__}: "
            f"{reason}); fetch it where there is a network"
        ) from error


def _sample(docs: list[Any], items: int | None, seed: int) -> list[int]:
    names = [digest([json.dumps(doc, sort_keys=True, default=str)]) for doc in docs]
    return [int(row) for row in sample_rows(names, items, seed)]


def _once(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns one sample an item: a task with several filters logs each item under each."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _longest(sample: Mapping[str, Any], words: Any) -> int:
    """Returns the tokens of an item with its longest answer; the last one is never read."""
    texts = [
        "".join(part for part in asked if isinstance(part, str)) for asked in sample["arguments"]
    ]
    return max(map(len, words(texts)["input_ids"]))


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
def _quiet(*, show: bool) -> Generator[None]:
    """Holds back the package's notes, and its bars unless somebody watches them."""
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    hidden = contextlib.nullcontext() if show and sys.stderr.isatty() else None
    try:
        with hidden or contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
