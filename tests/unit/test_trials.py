"""A search: the same trials for a seed, also after a kill; every trial counted; validation alone."""

from __future__ import annotations

import itertools
import random
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from shortlist.config import Search
from shortlist.errors import InvalidInput
from shortlist.trials import Dimension, Watch, best_of, dimensions, goes_on, halves, run_trials

SPACE = (
    Dimension("finetune.learning_rate", 1e-5, 1e-1, log=True),
    Dimension("finetune.epochs", 1, 5),
    Dimension("finetune.schedule", choices=("linear", "cosine", None)),
)
PLAN = Search(trials=14, seed=3, startup=5, reduction=3, first_epoch=1, space={})


class Killed(BaseException):
    """What stands for a kill."""


def planned(**changed: Any) -> Search:
    return Search(**{**vars(PLAN), **changed})


def numbers(overrides: Sequence[str]) -> dict[str, str]:
    return dict(text.split("=") for text in overrides)


def curve(overrides: Sequence[str]) -> list[float]:
    """A metric by epoch: best at a rate of 0.01, and growing."""
    given = numbers(overrides)
    miss = abs(float(given["finetune.learning_rate"]) - 0.01)
    return [0.9 - miss - 0.1 / epoch for epoch in range(1, int(given["finetune.epochs"]) + 1)]


def objective(overrides: Sequence[str], watch: Watch) -> float:
    """A training; one of the schedules cannot be used."""
    scores = curve(overrides)
    for epoch in range(1, len(scores) + 1):
        watch(scores[:epoch])
    if numbers(overrides)["finetune.schedule"] == "cosine":
        raise InvalidInput("cosine\nis refused")
    return max(scores)


def searched(settings: Search, storage: Any = None, objective: Any = objective) -> list[Any]:
    storage = optuna.storages.InMemoryStorage() if storage is None else storage
    return run_trials(SPACE, settings, objective, storage)


def test_a_seed_decides_the_trials() -> None:
    first, again, other = (searched(planned(seed=seed)) for seed in (3, 3, 4))
    assert first == again
    assert not {one.settings for one in first} & {one.settings for one in other}


def test_trials_of_every_end_are_counted_and_the_budget_is_spent() -> None:
    trials = searched(PLAN)
    assert [one.number for one in trials] == list(range(14))
    assert {one.state for one in trials} == {"finished", "pruned", "failed"}
    for one in trials:
        scores = curve(one.settings)
        assert (one.reason == "cosine is refused") == (one.state == "failed")
        if one.state == "finished":
            assert one.value == max(scores) and one.epochs == len(scores)
        if one.state == "pruned":
            assert one.value == max(scores[: one.epochs]) and halves(PLAN, one.epochs)


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_search_killed_anywhere_has_the_trials_of_an_undisturbed_one(every: int) -> None:
    """Kills each `every`-th time that something is drawn, stored or reported."""
    count = itertools.count(1)
    killed = 0

    class Mortal(optuna.storages.InMemoryStorage):
        def _die(self) -> None:
            nonlocal killed
            if next(count) % (4 * every) == 0:
                killed += 1
                raise Killed

    def mortal(name: str) -> Callable[..., Any]:
        known = getattr(optuna.storages.InMemoryStorage, name)

        def write(self: Any, *given: Any, **named: Any) -> Any:
            if every % 2:
                self._die()
            done = known(self, *given, **named)
            if not every % 2:
                self._die()
            return done

        return write

    for name in (
        "create_new_trial", "set_trial_param", "set_trial_intermediate_value",
        "set_trial_state_values", "set_trial_user_attr",
    ):  # fmt: skip
        setattr(Mortal, name, mortal(name))
    storage = Mortal()
    for _ in range(200):
        try:
            found = searched(PLAN, storage)
            break
        except Killed:
            continue
    assert killed > 5 and found == searched(PLAN)


def test_another_error_ends_the_search_which_then_goes_on_with_the_same_trial() -> None:
    storage, calls = optuna.storages.InMemoryStorage(), itertools.count()

    def broken(overrides: Sequence[str], watch: Watch) -> float:
        if next(calls) == 2:
            raise OSError("no disk")
        return objective(overrides, watch)

    with pytest.raises(OSError, match="no disk"):
        searched(PLAN, storage, broken)
    assert searched(PLAN, storage, broken) == searched(PLAN)


def test_more_trials_go_on_where_the_search_has_ended() -> None:
    storage = optuna.storages.InMemoryStorage()
    assert searched(planned(trials=6), storage) == searched(PLAN)[:6]
    assert searched(PLAN, storage) == searched(PLAN)
    none: Any = None  # is not called
    assert searched(PLAN, storage, none) == searched(PLAN)


def test_trials_are_ended_as_by_optuna() -> None:
    rng = random.Random(0)
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.SuccessiveHalvingPruner(2, 3)
    )
    settings, reached = planned(first_epoch=2), dict[int, list[float]]()
    ended = 0
    for _ in range(60):
        trial = study.ask()
        for epoch in range(1, 21):
            value = rng.random()
            trial.report(value, epoch)
            ours = True
            if halves(settings, epoch):
                ours = goes_on(value, reached.setdefault(epoch, []), 3)
                reached[epoch].append(value)
            assert trial.should_prune() is not ours
            if not ours:
                ended += 1
                break
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    assert 10 < ended < 60
    assert not any(halves(planned(reduction=None), epoch) for epoch in range(9))


def test_tpe_finds_a_better_rate_than_random_draws() -> None:
    space = (Dimension("x", -5.0, 5.0), Dimension("y", -5.0, 5.0))

    def quadratic(overrides: Sequence[str], watch: Watch) -> float:
        given = numbers(overrides)
        return -((float(given["x"]) - 1) ** 2) - (float(given["y"]) + 2) ** 2

    def best(startup: int, seed: int) -> float:
        settings = planned(trials=30, startup=startup, seed=seed, reduction=None)
        found = best_of(run_trials(space, settings, quadratic, optuna.storages.InMemoryStorage()))
        assert found is not None and found.value is not None
        return found.value

    tpe, drawn = ([best(startup, seed) for seed in range(5)] for startup in (8, 30))
    assert statistics.median(tpe) > statistics.median(drawn) / 2  # half the distance
    assert min(tpe) > -1.5


def test_integers_steps_and_texts_are_drawn_as_the_configuration_has_them() -> None:
    space = (
        Dimension("budget", 100, 500, step=100),
        Dimension("warmup.epochs", 1, 64, log=True),
        Dimension("finetune.weight_decay", 0.0, 0.5, step=0.25),
        Dimension("finetune.freeze", choices=(["embeddings", "*.layer.0.*"], "all", None)),
    )
    found = [set[str](), set[str](), set[str](), set[str]()]

    def value(overrides: Sequence[str], watch: Watch) -> float:
        for known, text in zip(found, overrides, strict=True):
            known.add(text.partition("=")[2])
        return 0.0

    run_trials(space, planned(trials=40, startup=40), value, optuna.storages.InMemoryStorage())
    assert found[0] == {"100", "200", "300", "400", "500"}
    assert {int(text) for text in found[1]} <= set(range(1, 65))
    assert found[2] == {"0.0", "0.25", "0.5"}
    assert found[3] == {"[embeddings,'*.layer.0.*']", "all", "null"}


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ({"seed": [0, 1]}, "search.space.seed: trials must be measured alike"),
        ({"task": {"train": ["a", "b"]}}, "search.space.task.train: trials must be measured alike"),
        ({"finetune": {"metric": ["f1", "accuracy"]}}, "without finetune.keep, finetune.metric"),
        ({"finetune": {"epochs": {"low": 3, "high": 3}}}, "low must be below high"),
        ({"finetune": {"epochs": {"low": 3}}}, "needs low and high"),
        ({"finetune": {"epochs": {"low": 3, "high": 4, "lgo": True}}}, "`low` or `log`?"),
        ({"finetune": {"learning_rate": {"low": 0.0, "high": 1.0, "log": True}}}, "low above 0"),
        ({"finetune": {"epochs": 3}}, "a list of choices or null, found 3"),
        ({"finetune": {"epochs": ["3"]}}, "a list of choices or null"),
        ({"finetune": {"epochs": {"low": "a", "high": "b"}}}, "must be numbers, found 'a'"),
    ],
)
def test_a_wrong_space_is_refused(space: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(reason)):
        list(dimensions(space))


def test_a_space_has_the_places_of_the_configuration() -> None:
    space = {
        "finetune": {"epochs": {"low": 1, "high": 2}, "ema": None, "peft": {"rank": [2, 4]}},
        "peft@finetune.peft": ["lora", "dora"],
        "budget": [10, 20],
    }
    names = [one.name for one in dimensions(space)]
    assert names == ["finetune.epochs", "finetune.peft.rank", "peft@finetune.peft", "budget"]


@pytest.mark.slow  # a process for each kill
def test_processes_killed_in_a_search_leave_the_trials_of_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    def child(name: str, stop: int) -> subprocess.CompletedProcess[str]:
        code = CHILD.format(here=str(Path(__file__).parent), at=str(tmp_path / name), stop=stop)
        return subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True
        )

    whole = child("whole", -1)
    assert whole.returncode == 0, whole.stderr
    ended = [child("killed", stop) for stop in (2, 7, -1)]
    assert [one.returncode for one in ended] == [-signal.SIGKILL] * 2 + [0]
    assert ended[-1].stdout == whole.stdout and "finished" in whole.stdout


CHILD = """
import sys; sys.path[:0] = [{here!r}]
import os, signal
import test_trials
calls = 0
def objective(overrides, watch):
    global calls
    calls += 1
    if calls == {stop}:
        try:
            watch(test_trials.curve(overrides)[:1])
        finally:  # also of a trial that ends here
            os.kill(os.getpid(), signal.SIGKILL)
    return test_trials.objective(overrides, watch)
for trial in test_trials.searched(test_trials.PLAN, "sqlite:///{at}.sqlite", objective):
    print(trial)
"""
