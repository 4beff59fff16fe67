"""Search over settings of a cell: trials that are compared on the validation split.

A trial is the cell up to its fine-tuning; its value is the validation metric of the epoch that is
kept. Values are chosen by TPE (Bergstra et al. 2011), bad trials end early by successive halving (Li
et al. 2020, ASHA), both of optuna, whose study lies in an SQLite file. What a trial tries is a function
of the seed, of its number and of the trials before it: a search that is killed goes on with the trial
that was running and ends as an undisturbed one.
"""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from torch import OutOfMemoryError

from shortlist.config import Search
from shortlist.errors import InvalidInput, Missing, near
from shortlist.overrides import composed, override, path_of
from shortlist.pipeline.build import class_of, extensions_of
from shortlist.pipeline.cell import check_labels, execute, open_cell, tune
from shortlist.pipeline.identity import input_digests
from shortlist.settings import checked, parameters
from shortlist.store.atomic import make_directory
from shortlist.store.keys import key as make_key
from shortlist.trainers.classify import Classifier, Pruned

if TYPE_CHECKING:
    from shortlist.core import Record
    from shortlist.pipeline.stage import Cell

# What may be searched: these groups and settings, and what lies inside them. The others decide what is
# measured, or on what, so that trials would not be comparable.
SEARCHED = (
    "budget", "cascade", "featurizer", "finetune", "model", "peft", "practice", "selector",
    "target_weights", "trainer", "warmup",
)  # fmt: skip
FIXED = ("finetune.keep", "finetune.metric", "finetune.min_delta")  # of what compares epochs
STUDY = "study.sqlite"
RANGE = {"low", "high", "log", "step"}

Number: TypeAlias = "int | float"
State: TypeAlias = Literal["finished", "pruned", "failed"]
Watch: TypeAlias = Callable[[Sequence[float]], None]
Objective: TypeAlias = Callable[[Sequence[str], Watch], float]


@dataclass(frozen=True)
class Dimension:
    """A setting that is searched.

    Attributes:
        name: the setting, or the group.
        low: lowest number.
        high: highest number.
        log: whether logarithms of numbers are drawn.
        step: distance of neighbouring numbers; None for 1 of integers and any of others.
        choices: what is chosen from, in place of numbers.
    """

    name: str
    low: Number = 0
    high: Number = 0
    log: bool = False
    step: Number | None = None
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        place = f"search.space.{self.name}"
        if self.choices:
            return
        for value in (self.low, self.high, self.step):
            if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
                raise InvalidInput(f"{place}: low, high and step must be numbers, found {value!r}")
        if not self.low < self.high:
            raise InvalidInput(
                f"{place}: low must be below high, found {self.low:g} and {self.high:g}"
            )
        if self.log and (self.low <= 0 or self.step is not None):
            raise InvalidInput(f"{place}: log needs low above 0 and no step, found {self.low:g}")
        if self.step is not None and self.step <= 0:
            raise InvalidInput(f"{place}.step must be above 0, found {self.step:g}")

    @property
    def values(self) -> tuple[Any, ...]:
        """The choices, or both ends of the numbers."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: Any) -> str:
        """Returns the override of this setting in a trial of optuna."""
        if self.choices:
            texts = [override(self.name, value) for value in self.choices]
            return trial.suggest_categorical(self.name, texts)
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = int(self.step or 1)
            value = trial.suggest_int(self.name, self.low, self.high, step=step, log=self.log)
        else:
            value = trial.suggest_float(
                self.name, self.low, self.high, step=self.step, log=self.log
            )
        return f"{self.name}={value!r}"


def dimensions(space: Mapping[str, Any], place: str = "") -> Iterator[Dimension]:
    """Yields the settings of a space: a mapping with `low` and `high`, or a list of choices, at the
    place that the setting has in the configuration; null leaves it out.

    Raises:
        InvalidInput: something else is found, or a setting that trials must not change.
    """
    for key, node in space.items():
        name = f"{place}{key}"
        if node is None:
            continue
        if isinstance(node, Mapping) and not RANGE & set(node):
            yield from dimensions(node, f"{name}.")
            continue
        group = name.split(".")[0].split("@")[0]
        if group not in SEARCHED or name in FIXED:
            raise InvalidInput(
                f"search.space.{name}: trials must be measured alike; searched are "
                f"{', '.join(SEARCHED)} and what lies inside, without {', '.join(FIXED)}"
            )
        if isinstance(node, Mapping):
            if unknown := set(node) - RANGE:
                raise InvalidInput(
                    f"search.space.{name} has no `{min(unknown)}`; {near(min(unknown), RANGE)}"
                )
            if not {"low", "high"} <= set(node):
                raise InvalidInput(f"search.space.{name} needs low and high, found {dict(node)}")
            yield Dimension(name, **node)
        elif isinstance(node, list) and len(node) > 1:
            yield Dimension(name, choices=tuple(node))
        else:
            raise InvalidInput(
                f"search.space.{name} must be {{low: NUMBER, high: NUMBER}}, a list of choices or null, "
                f"found {node!r}"
            )


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        number: its place, from 0.
        settings: the overrides that it tried.
        state: how it ended.
        value: the validation metric, larger is better: of the epoch that was kept, or of the best one
            before the end of a pruned trial; None of a failed one.
        epochs: epochs that were validated.
        reason: why it failed.
    """

    number: int
    settings: tuple[str, ...]
    state: State
    value: float | None
    epochs: int
    reason: str = ""


def run_trials(
    space: Sequence[Dimension],
    settings: Search,
    objective: Objective,
    storage: Any,
    report: Callable[[Trial, Trial | None], None] = lambda trial, best: None,
) -> list[Trial]:
    """Returns all trials of a study, after running those that are missing of `settings.trials`.

    Args:
        space: the settings that are searched.
        settings: numbers of trials and their seed.
        objective: returns the value of a trial, larger is better, for its overrides; calls what it is
            given with the metric of all epochs so far, after each one. `InvalidInput`, and memory that
            does not suffice, is a failed trial; any other error ends the search.
        storage: of optuna: an address or an object.
        report: called with each trial that has ended and the best one so far.

    Raises:
        Missing: optuna is not installed.
    """
    optuna = _optuna()
    states = optuna.trial.TrialState
    study = optuna.create_study(
        study_name="search",
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        sampler=_sampler(settings),
        pruner=optuna.pruners.NopPruner(),
    )

    def ended(frozen: Any) -> Trial:
        marks, values = frozen.user_attrs, frozen.intermediate_values.values()
        names: dict[Any, State] = {states.COMPLETE: "finished", states.PRUNED: "pruned"}
        state = names.get(frozen.state, "failed")
        value = None if state == "failed" else frozen.value
        if state == "pruned":
            value = max(values)
        return Trial(
            frozen.number,
            tuple(marks.get("settings", ())),
            state,
            value,
            len(values),
            marks.get("reason", ""),
        )

    while True:
        trials = study.get_trials(deepcopy=False)
        running = [trial for trial in trials if trial.state == states.RUNNING]
        if len(trials) - len(running) >= settings.trials:
            return [ended(trial) for trial in trials if trial.state.is_finished()]
        # A trial that a killed process left goes on under its number.
        trial = optuna.trial.Trial(study, running[0]._trial_id) if running else study.ask()
        overrides = [one.suggest(trial) for one in space]
        trial.set_user_attr("settings", overrides)
        watch = _watch(trial, trials, settings)
        try:
            value = objective(overrides, watch)
            if not math.isfinite(value):
                raise InvalidInput(f"the validation metric is not finite, found {value}")
            study.tell(trial, value)
        except Pruned:
            study.tell(trial, state=states.PRUNED)
        except (InvalidInput, OutOfMemoryError) as error:
            trial.set_user_attr("reason", " ".join(str(error).split()))
            study.tell(trial, state=states.FAIL)
        every = [ended(one) for one in study.get_trials(deepcopy=False) if one.state.is_finished()]
        report(every[-1], best_of(every))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise Missing(
            "a search needs the package optuna, found none; run: pip install 'shortlist[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _watch(trial: Any, trials: Sequence[Any], settings: Search) -> Watch:
    """Returns the function that stores the best metric up to each epoch of a trial, and ends it.

    Args:
        trial: the trial, which another process may have begun.
        trials: optuna's trials before it.
        settings: when trials are ended.
    """
    known = {one.number: one.intermediate_values for one in trials}
    own = known.pop(trial.number, {})
    seen = 0

    def watch(scores: Sequence[float]) -> None:
        nonlocal seen
        for epoch in range(seen + 1, len(scores) + 1):
            seen, value = epoch, max(scores[:epoch])
            if epoch not in own:
                trial.report(value, epoch)
            others = [values[epoch] for values in known.values() if epoch in values]
            if halves(settings, epoch) and not goes_on(value, others, settings.reduction or 1):
                raise Pruned

    return watch


def halves(settings: Search, epoch: int) -> bool:
    """Returns whether trials are compared after this epoch: `first_epoch * reduction^k`."""
    if settings.reduction is None:
        return False
    at = settings.first_epoch
    while at < epoch:
        at *= settings.reduction
    return at == epoch


def goes_on(value: float, others: Sequence[float], reduction: int) -> bool:
    """Returns whether a trial is among the best 1 / `reduction` after an epoch, at least the best of
    all: the rule of optuna's `SuccessiveHalvingPruner`, from the stored values alone.

    Args:
        value: its metric, larger is better.
        others: those of the trials before it that reached the epoch.
        reduction: divisor of the number of trials.
    """
    rank = sorted([*others, value], reverse=True)
    return value >= rank[max(len(rank) // reduction, 1) - 1]


def _sampler(settings: Search) -> Any:
    """Returns optuna's TPE, whose draws are a function of the seed, of the trial's number, of the
    setting and of the trials that have ended, whichever process draws.
    """
    optuna = _optuna()

    class Sampler(optuna.samplers.BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(
            self, study: Any, trial: Any, param_name: str, param_distribution: Any
        ) -> Any:
            text = f"{settings.seed}:{trial.number}:{param_name}".encode()
            seed = int.from_bytes(hashlib.sha256(text).digest()[:4])
            drawn = optuna.samplers.TPESampler(
                n_startup_trials=settings.startup, seed=seed, multivariate=False
            )
            return drawn.sample_independent(study, trial, param_name, param_distribution)

    return Sampler()


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Returns the finished trial of largest value, the first of equal ones; None without any."""
    done = [trial for trial in trials if trial.state == "finished"]
    return max(done, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        command: the command that runs the cell of the best trial.
        facts: of the search, for the record of that cell.
        record: that record.
        directory: where the study lies.
    """

    command: str
    facts: Mapping[str, Any]
    record: Record
    directory: Path


def search(typed: Sequence[str], report: Callable[[Trial, Trial | None, str], None]) -> Found:
    """Returns the cell of the best settings, run after all trials.

    Args:
        typed: overrides of the configuration, one of them `search=NAME`.
        report: called with each trial that has ended, the best one so far, and the metric's name.

    Raises:
        InvalidInput: the cell has no validation metric to compare trials by, the space is no space of
            its settings, or every trial failed.
        Missing: optuna is not installed, or an input is not there.
    """
    _optuna()
    if not any(_named(text) == "search" for text in typed if text[0] != "~"):
        raise InvalidInput(
            "a search needs a space of settings, an option of conf/search; set search=finetune, say"
        )
    with composed(typed) as config:
        settings: Any = config.search
        settings = OmegaConf.to_object(settings)
        space = list(dimensions(settings.space))
        if not space:
            raise InvalidInput("search.space is empty; name one setting at least")
        check_space(config, space)
        home = make_directory(path_of(config, "runs"), "paths.runs")
        cell = open_cell(config, _choices(config), home)
        metric, sign = _metric(cell)
        said = asdict(settings) | {"space": {one.name: _words(one) for one in space}}
        identity = {name: value for name, value in said.items() if name != "trials"}
        identity["versions"] = [cell.parts.warmup.version, cell.parts.finetune.version]
        cell_of = make_key("cell", 2, cell.settings, input_digests(cell.parts))
        key = make_key("search", 1, identity, {"cell": cell_of})
    directory = make_directory(home / f"search_{key[:12]}", "paths.runs")
    names = {one.name for one in space}
    kept = [text for text in typed if _named(text) not in names and not _is_search(text)]

    def objective(overrides: Sequence[str], watch: Watch) -> float:
        with composed([*kept, *overrides]) as config:
            fitted = tune(open_cell(config, _choices(config), directory), watch)
        scores = fitted.facts["validation"]
        watch(scores)  # of a training that is stored
        return scores[fitted.facts["epoch"] - 1]

    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InvalidInput(
            f"another process runs this search in {directory}; wait for it"
        ) from error
    with lock:
        storage = f"sqlite:///{directory / STUDY}"

        def signed(one: Trial) -> Trial:
            return replace(one, value=None if one.value is None else sign * one.value)

        trials = run_trials(
            space,
            settings,
            objective,
            storage,
            lambda one, best: report(signed(one), best and signed(best), metric),
        )
        best = best_of(trials)
        if best is None:
            first = next((one.reason for one in trials if one.reason), "none was finished")
            raise InvalidInput(f"no trial of {len(trials)} was finished; the first: {first}")
        counts = {state: sum(one.state == state for one in trials) for state in get_args(State)}
        facts = {
            **said,
            "trials": len(trials),
            **counts,
            "metric": metric,
            "best_validation": sign * (best.value or 0.0),
            "best_trial": best.number,
            "settings": list(best.settings),
        }
        overrides = [*kept, *best.settings]
        command = shlex.join(["python", "run.py", *overrides])
        with composed(overrides) as config:
            hashed = tuple(config.hydra.overrides.task)
            record = execute(
                config, _choices(config), hashed, directory, command=command, search=facts
            )
    return Found(command, facts, record, directory)


def check_space(config: DictConfig, space: Sequence[Dimension]) -> None:
    """Refuses settings that the configuration does not have, and values that they cannot take alone.

    Raises:
        InvalidInput: there is one.
    """
    for one in space:
        place, _, setting = one.name.rpartition(".")
        node = OmegaConf.select(config, place) if place else None
        if not isinstance(node, DictConfig) or "_target_" not in node:
            continue
        known = parameters(
            class_of(node["_target_"], place, None, ("shortlist", *extensions_of(config)))
        )
        if setting not in known:
            raise InvalidInput(f"search.space: {place} has no `{setting}`; {near(setting, known)}")
        for value in one.values:
            checked(known[setting].annotation, value, f"search.space: {one.name}")


def _metric(cell: Cell) -> tuple[str, int]:
    """Returns the metric that compares epochs, and 1 where larger is better, else -1.

    Raises:
        InvalidInput: epochs are not compared.
    """
    parts, trainer = cell.parts, cell.parts.finetune
    if parts.until in ("select", "warmup") or parts.task.evaluators:
        raise InvalidInput(
            "a search compares fine-tuned models on validation, this cell has none; set "
            "until=evaluate and a task that is fine-tuned"
        )
    check_labels(cell)
    if not isinstance(trainer, Classifier) or trainer.keep_epoch != "best":
        raise InvalidInput(
            "a search compares trials by the validation metric of the epoch that is kept; set "
            "finetune.keep=best"
        )
    name = str(trainer.metric or parts.task.primary)
    return name, 1 if parts.task.higher_is_better(name) else -1


def _choices(config: DictConfig) -> dict[str, str]:
    return dict(config.hydra.runtime.choices)


def _named(text: str) -> str:
    """Returns the name of an override."""
    return text.lstrip("+~").partition("=")[0]


def _is_search(text: str) -> bool:
    return _named(text).split(".")[0].split("@")[0] == "search"


def _words(one: Dimension) -> Any:
    """Returns a dimension as plain data for records and keys."""
    if one.choices:
        return list(one.choices)
    return {name: getattr(one, name) for name in ("low", "high", "log", "step")}
