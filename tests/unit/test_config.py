"""The sizes of experiments as Hydra composes them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from shortlist.config import register
from shortlist.runtime import Runtime

FILES = {
    "config.yaml": """
        defaults: [schema, pool: one, runtime: quiet, _self_, experiment: null]
        budget: 1
    """,
    "pool/one.yaml": "{_target_: shortlist.x, count: 1}",
    "pool/two.yaml": "{_target_: shortlist.x, count: 2}",
    "pool/three.yaml": "{_target_: shortlist.x, count: 3}",
    "runtime/quiet.yaml": "{progress: false}",
    "runtime/loud.yaml": "{progress: true}",
    "experiment/base.yaml": """
        # @package _global_
        defaults: [{override /pool: two}, _self_]
        budget: 100
        seed: 7
        sizes:
          mini:
            defaults: [{override /pool: three}]
            budget: 10
            hydra: {sweeper: {params: {seed: "0,1"}}}
    """,
    "experiment/extended.yaml": """
        # @package _global_
        defaults: [base, _self_]
        budget: 200
        sizes:
          mini:
            defaults: [{override /pool: one}, {override /runtime: loud}]
          tiny: {budget: 3}
    """,
}


@pytest.fixture
def sized(tmp_path: Path) -> Generator[Callable[..., Any]]:
    """A function from overrides to the configuration composed from FILES."""
    import textwrap

    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    options = ConfigStore.instance().repo["experiment"]
    known = dict(options)
    GlobalHydra.instance().clear()
    register(tmp_path)
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        yield lambda *typed: compose("config", list(typed), return_hydra_config=True)
    options.clear()
    options.update(known)


def test_an_experiment_without_a_size_is_its_file(sized: Callable[..., Any]) -> None:
    config = sized("experiment=base")
    assert (config.pool.count, config.budget, config.seed) == (2, 100, 7)


def test_a_size_changes_groups_settings_and_the_sweep(sized: Callable[..., Any]) -> None:
    config = sized("experiment=base_mini")
    assert (config.pool.count, config.budget, config.seed) == (3, 10, 7)
    assert config.hydra.sweeper.params == {"seed": "0,1"}
    assert config.sizes is None


def test_an_experiment_that_extends_another_one_extends_its_sizes(
    sized: Callable[..., Any],
) -> None:
    config = sized("experiment=extended_mini")
    assert (config.pool.count, config.budget, config.runtime.progress) == (1, 10, True)
    assert config.hydra.sweeper.params == {"seed": "0,1"}


def test_a_size_of_its_own_starts_from_the_experiment(sized: Callable[..., Any]) -> None:
    config = sized("experiment=extended_tiny")
    assert (config.pool.count, config.budget, config.seed) == (2, 3, 7)


def test_a_typed_setting_wins_over_a_size(sized: Callable[..., Any]) -> None:
    config = sized("experiment=base_mini", "pool=one", "budget=5")
    assert (config.pool.count, config.budget) == (1, 5)


def test_the_command_lines_runtime_is_the_default_of_the_class(
    composed: Callable[..., Any],
) -> None:
    config, runtime = composed().runtime, Runtime()
    for name in ("threads", "inference_tokens", "progress", "report"):
        assert config[name] == getattr(runtime, name), name
    assert config.accelerator.name == runtime.accelerator
