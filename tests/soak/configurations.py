"""Random configurations: each composes or is refused in one line, and no foreign function runs."""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from soak.outcome import Outcome

CONF = Path(__file__).parents[2] / "conf"
# Places of a group's option, by the word that chooses it.
PLACES = {
    "task": "task", "pool": "pool", "selector": "selector", "featurizer": "featurizer",
    "model": "model", "trainer@warmup": "warmup", "trainer@finetune": "finetune",
    "featurizer@check.vectors": "check.vectors", "logger": "logger", "runtime": "runtime",
}  # fmt: skip
ROOTS = ("budget", "budget_unit", "seed", "until", "source", "targets", "target_weights",
         "target_floors", "negative_target", "leaks", "leaks.action", "advice", "advice.weight",
         "check.documents", "check.reference", "pool.prefilter", "pool.prefilter.documents",
         "pool.prefilter.keep", "pool.prepare", "task.prepare", "paths.cache", "paths.data",
         "protocol", "sizes", "hydra.verbose")  # fmt: skip
VALUES = (
    "null", "true", "0", "-1", "1", "7", "1.5", "-0.0", "1e5", "1e400", "nan", "-inf", "0x10", "1_000",
    "99999999999999999999", "''", "' '", "abc", "é", "'a b'", "a=b", "(", "[", "~/x", "./x", "2024",
    "[]", "{}", "[1,2]", "[[]]", "[null]", "{a: 1}", "{1: 2}", "{a: {b: [c]}}", "${budget}",
    "${nowhere}", "'???'", "a,b", "'$(id)'", "range(1,3)", "sort(3,1)", "${oc.env:NO_SUCH_VARIABLE}",
)  # fmt: skip
# Of a setting whose default is a number or a truth value, none of these can be meant.
NEVER = ("abc", "[1,2]", "{a: 1}", "nan", "'a b'", "[null]", "{a: {b: [c]}}")


def attack(seed: int, size: float, scratch: Path) -> Outcome:
    """Returns the counts of `200 * size` configurations; `lost` are nonsense that was accepted and
    foreign functions that ran.
    """
    tried, located, lost, raised = max(3, round(200 * size)), 0, 0, 0
    notes: list[str] = []
    for number in range(tried):
        overrides, nonsense = _draw(random.Random(f"{seed}:{number}"), scratch / "made")
        code, told = _typed(overrides, scratch)
        shown = " ".join(overrides)
        if code == 1 and len(told) == 1 and told[0].startswith("error: "):
            located += 1
        elif code != 0:
            raised += 1
            notes.append(f"{shown}: {told[-1:] or 'nothing said'}")
        elif nonsense:
            lost += 1
            notes.append(f"{shown}: {nonsense} was accepted")
        if (scratch / "made").exists():
            lost += 1
            notes.append(f"{shown}: a foreign function ran")
            break
    return Outcome("configurations", tried, located, 0, lost, raised, tuple(notes))


def _draw(rng: random.Random, marker: Path) -> tuple[list[str], str]:
    """Returns overrides, and one that cannot be meant where there is one."""
    overrides, settings = [], {name: None for name in ROOTS}
    for group, place in PLACES.items():
        option = rng.choice(sorted((CONF / group.partition("@")[0]).glob("*.yaml")))
        if rng.random() < 0.35:
            overrides.append(f"{group}={option.stem}")
            settings |= {f"{place}.{name}": value for name, value in _settings(option)}
    nonsense = ""
    for _ in range(rng.randrange(3)):
        name, value = rng.choice(sorted(settings)), rng.choice(VALUES)
        overrides.append(f"{name}={value}")
        if type(settings[name]) in (int, float, bool) and value in NEVER:
            nonsense = overrides[-1]
    if rng.random() < 0.4:
        target = rng.choice(["os.makedirs", "shortlist.store.atomic.os.makedirs", "builtins.open"])
        foreign = f"{{_target_: {target}, name: {marker}, file: {marker}, mode: w}}"
        group = rng.choice(list(PLACES))
        overrides.append(
            rng.choice(
                [
                    f"+bogus={rng.choice(VALUES)}",
                    f"+{PLACES[group]}.bogus={rng.choice(VALUES)}",
                    f"{group}={rng.choice(VALUES)}",
                    f"~{rng.choice(sorted(settings))}",
                    f"+{rng.choice([*PLACES.values(), 'hydra.callbacks', 'protocol'])}.own={foreign}",
                    f"+hydra.job_logging.handlers.own={{'()': {target}, name: {marker}}}",
                    f"{PLACES[group]}._target_={rng.choice([target, 'shortlist', 'a.b', 'null'])}",
                ]
            )
        )
        nonsense = overrides[-1] if "os.makedirs" in overrides[-1] else nonsense
    return overrides, nonsense


def _settings(option: Path) -> Iterator[tuple[str, Any]]:
    """Yields the settings of an option that stand in its own file, with their values."""
    content = yaml.safe_load(option.read_text(encoding="utf-8")) or {}
    if "# @package _global_" not in option.read_text(encoding="utf-8"):
        for name, value in content.items():
            if name not in ("defaults", "_target_") and not isinstance(value, dict):
                yield name, value


def _typed(overrides: list[str], scratch: Path) -> tuple[int, list[str]]:
    """Returns the exit code of a command that checks and computes nothing, and its error lines."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from shortlist import config as schema
    from shortlist.pipeline import hydra_app

    schema.register(CONF)
    paths = [f"paths.{name}={scratch / name}" for name in ("runs", "results", "cache")]
    typed = [*paths, *overrides] if not any("paths." in text for text in overrides) else overrides

    def main() -> None:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            hydra_app.check(compose("config", sys.argv[1:], return_hydra_config=True))

    before, environment, told = sys.argv, dict(os.environ), io.StringIO()
    sys.argv = [str(CONF.parent / "run.py"), *typed]
    os.environ.pop("HYDRA_FULL_ERROR", None)
    code = 0
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            hydra_app.guard(main)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:
        code = 70
        told.write(f"\n{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    finally:
        sys.argv = before
        os.environ.clear()
        os.environ.update(environment)
        GlobalHydra.instance().clear()
    return code, [line for line in told.getvalue().splitlines() if line.strip()]
