"""Trials of settings: the space that they are drawn from, how they are chosen, and how bad ones
end.

Values are chosen by TPE (Bergstra et al. 2011), bad trials end early by successive halving (Li et
al. 2020, ASHA), both of optuna. What a trial tries is a function of the seed, of its number and of
the trials before it: a study that is killed goes on with the trial that was running and ends as an
undisturbed one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import OutOfMemoryError

from shortlist.config import Search
from shortlist.errors import InvalidInput, Missing, near
from shortlist.overrides import override
from shortlist.trainers.classify import Pruned

# What may be searched: these groups and settings, and what lies inside them. The others decide
# what is measured, or on what, so that trials would not be comparable.
SEARCHED = (
    "budget", "cascade", "featurizer", "finetune", "model", "peft", "practice", "selector",
    "target_weights", "trainer", "warmup",
)  # fmt: skip
FIXED = ("finetune.keep", "finetune.metric", "finetune.min_delta")  # of what compares epochs
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
        value: the validation metric, larger is better: of the epoch that was kept, or of the best
            one before the end of a pruned trial; None of a failed one.
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
        objective: returns the value of a trial, larger is better, for its overrides; calls what it
            is given with the metric of all epochs so far, after each one. `InvalidInput`, and
            memory that does not suffice, is a failed trial; any other error ends the search.
        storage: of optuna: an address or an object.
        report: called with each trial that has ended and the best one so far.

    Raises:
        Missing: optuna is not installed.
    """
    optuna = optuna_module()
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


def optuna_module() -> Any:
    """Returns the module `optuna`, which then logs warnings alone.

    Raises:
        Missing: it is not installed.
    """
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
    """Returns whether a trial is among the best 1 / `reduction` after an epoch, at least the best
    of all: the rule of optuna's `SuccessiveHalvingPruner`, from the stored values alone.

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
    optuna = optuna_module()

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
