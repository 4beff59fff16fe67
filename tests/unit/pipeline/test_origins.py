"""Which file chose an option and set a value, as `python run.py --explain` prints it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from shortlist.pipeline.hydra_app import guard
from shortlist.pipeline.origins import TYPED, explain, origins

CONF = Path(__file__).parents[3] / "conf"


def files(*overrides: str) -> tuple[dict[str, str], dict[str, str]]:
    """The files that chose the options and that set the values, by name."""
    groups, settings = origins(CONF, overrides)
    return {one.name: one.file for one in groups}, {one.name: one.file for one in settings}


def test_what_a_selector_pulls_in_is_named_with_its_file() -> None:
    groups, settings = files("selector=gotd")
    assert groups["selector"] == TYPED
    assert groups["featurizer"] == "selector/gotd.yaml"
    assert groups["model"] == "config.yaml"
    assert settings["selector.relative_epsilon"] == "selector/gotd.yaml"
    assert settings["featurizer.pooling"] == "featurizer/transformer.yaml"
    assert settings["budget"] == "config.yaml"


def test_an_experiment_its_size_its_protocol_and_the_command_line_are_told_apart() -> None:
    groups, settings = files("experiment=gotd_table3_mini", "featurizer=tuned", "budget=7")
    assert groups["experiment"] == TYPED
    assert groups["pool"] == groups["protocol"] == "experiment/gotd_table3.yaml, size mini"
    assert groups["model"] == "protocol/mini_nlu.yaml"
    assert groups["trainer@featurizer.tuning"] == "featurizer/tuned.yaml"
    assert settings["budget"] == TYPED
    assert settings["pool.per_domain"] == "protocol/mini_nlu.yaml"
    assert settings["pool.seed"] == "pool/domains.yaml"
    assert settings["warmup.max_length"] == "experiment/gotd_table3.yaml, size mini"
    assert settings["featurizer.tuning.keep"] == "featurizer/tuned.yaml"
    assert settings["featurizer.tuning.epochs"] == "trainer/classify.yaml"


def test_an_added_component_is_the_command_lines() -> None:
    groups, _ = files("task=detox", "+evaluator@task.evaluators.utility=utility")
    assert groups["evaluator@task.evaluators.utility"] == TYPED
    assert groups["evaluator@task.evaluators.toxicity"] == "task/detox.yaml"


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("selector=gotd_contrast", "featurizer=minilm"),
        ("experiment=gotd_table7_mini",),
        ("model=minilm_mnli", "selector=ensemble", "finetune.epochs=1"),
        ("experiment=gotd_controls_mnli", "task=rte", "logger=[csv,wandb]"),
    ],
    ids=str,
)
def test_every_setting_has_one_origin_and_every_origin_a_setting(
    composed: Any, overrides: tuple[str, ...]
) -> None:
    def leaves(node: Any, prefix: str = "") -> set[str]:
        if not isinstance(node, dict) or not node:
            return {prefix[:-1]}
        return {leaf for name, value in node.items() for leaf in leaves(value, f"{prefix}{name}.")}

    config: Any = OmegaConf.to_container(composed(*overrides), resolve=False)
    there = {name for name in leaves(config) if not name.endswith("_target_")}
    unset = {"targets", "target_weights", "target_floors", "negative_target"}
    unset |= {"protocol", "search", "logger", "compress", "distil"}
    there = {name for name in there if name.partition(".")[0] not in {"hydra", "sizes"}}
    found = {one.name for one in origins(CONF, overrides)[1]}
    assert there - found <= unset
    assert found <= there


def test_values_are_those_of_the_configuration_beside_the_interpolation() -> None:
    _, settings = origins(CONF, ["protocol=gotd_domain", "task=rct", "selector=gotd"])
    values = {one.name: one.value for one in settings}
    assert values["featurizer.max_length"].startswith("295 (${oc.select:")
    assert values["selector.sensitivity"] == "true" and values["advice.slack"] == "0.01"


def test_the_settings_of_typed_groups_and_those_set_elsewhere_are_shown() -> None:
    lines = explain(CONF, ["experiment=gotd_table2_mini", "selector=dsir"]).splitlines()
    shown = {line.split()[0]: line for line in lines if line}
    assert shown["selector.smoothing"].split() == [
        "selector.smoothing",
        "1.0",
        "selector/dsir.yaml",
    ]
    assert shown["warmup.max_length"].endswith("experiment/gotd_table2.yaml, size mini")
    assert not {"pool.chunk", "trainer", "model.package"} & set(shown)
    assert "finetune.betas" not in shown


def test_settings_of_a_group_that_is_not_typed_and_set_by_its_option_are_not_shown() -> None:
    lines = explain(CONF, ["task=rct"]).splitlines()
    settings = lines.index("")  # the table of groups ends here
    (shown,) = (row for row, line in enumerate(lines) if line.startswith("selector"))
    assert shown < settings
    assert [line for line in lines if line.startswith("task.primary")]


def test_the_command_line_prints_the_explanation_and_runs_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    typed = ["--explain", "experiment=gotd_table3", "size=mini"]
    monkeypatch.setattr(sys, "argv", [str(CONF.parent / "run.py"), *typed])
    guard(lambda: pytest.fail("the cell was run"))
    assert "protocol " in capsys.readouterr().out


def test_a_sweep_cannot_be_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    monkeypatch.setattr(sys, "argv", [str(CONF.parent / "run.py"), "--explain", "seed=0,1"])
    with pytest.raises(SystemExit):
        guard(lambda: pytest.fail("the cell was run"))
    assert "Ambiguous value for argument 'seed=0,1'" in capsys.readouterr().err
