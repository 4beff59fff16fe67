"""Every YAML of every group composes, and what needs no package and no hub is instantiated."""

from __future__ import annotations

import importlib.util
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from shortlist.data.sources import LocalSource
from shortlist.errors import InvalidInput, ShortlistError
from shortlist.evaluation.base import Evaluator
from shortlist.evaluation.scorers.base import Scorer
from shortlist.featurizers.base import Featurizer
from shortlist.models.pretrained import Pretrained
from shortlist.pipeline.compose import build_component, build_components
from shortlist.pipeline.identity import cell_key, hashed_settings, input_digests
from shortlist.pipeline.targets import with_targets
from shortlist.selectors.base import option_name
from shortlist.store.keys import canonical
from shortlist.tasks.base import Task
from shortlist.trainers.base import TrainingModule

CONF = Path(__file__).parents[2] / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def test_groups_are_flat() -> None:
    # Hydra's glob() over a nested group expands to no job and exits 0.
    assert [path for path in CONF.rglob("*.yaml") if len(path.relative_to(CONF).parts) > 2] == []


@pytest.mark.parametrize("name", options("experiment"))
def test_an_experiment_states_its_command_source_hardware_hours_and_deviations(name: str) -> None:
    lines = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    opening = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    labels = [line[2:].split(":")[0] for line in opening if re.match(r"# [A-Z][a-z]+:  ?", line)]
    assert labels == ["Command", "Reproduces", "Hardware", "Hours", "Deviations"]
    assert f"# Command:    python run.py experiment={name}" in "\n".join(opening)


@pytest.mark.parametrize("name", options("experiment"))
def test_the_mini_of_an_experiment_reads_local_data_only(composed: Any, name: str) -> None:
    config = composed(f"experiment={name}_mini")
    assert config.source.name == "local" and config.sizes is None
    assert OmegaConf.to_container(config.hydra.sweeper.params)
    models = [config.model, OmegaConf.select(config, "protocol.vectors.model")]
    assert not any(model and model["_target_"].endswith("HubModel") for model in models)


# Composing takes time, so these groups are composed where they are instantiated.
# `task_defaults` and `trainer_defaults` are included by others and are no options by themselves;
# `prepare` and `augment` are named by settings (test_prepare_laws.py).
MADE = {"trainer", "featurizer", "scorer", "model", "task", "pool", "logger", "evaluator"}
MADE |= {"task_defaults", "trainer_defaults", "prepare", "augment", "peft"}
TYPED = {
    "model=local": ["model.path=/nowhere"],
    "featurizer=precomputed": ["featurizer.paths=[/nowhere.parquet]"],
}
ASKED = {"label_likelihood": ["prompt='{text} {label}'", "labels={a: good, b: bad}"]}


def chosen(composed: Any, option: str) -> Any:
    """The configuration with this option, and with what a person must type beside it."""
    return composed(option, *TYPED.get(option, []))


@pytest.mark.parametrize(
    "option",
    [f"{group}={name}" for group in GROUPS if group not in MADE for name in options(group)],
)
def test_composes(composed: Any, option: str) -> None:
    config = composed(option)
    assert config.hydra.runtime.choices[option.split("=")[0]] == option.split("=")[1]


@pytest.mark.parametrize("name", options("trainer"))
@pytest.mark.parametrize("place", ["warmup", "finetune"])
def test_a_trainer_composes_and_is_instantiated_in_either_place(
    composed: Any, name: str, place: str
) -> None:
    assert isinstance(build_component(composed(f"trainer@{place}={name}"), place), TrainingModule)


PROMPT, PREFIX, LORA = (
    f"peft@finetune.peft={name}" for name in ("prompt_tuning", "prefix_tuning", "lora")
)


@pytest.mark.parametrize("name", options("peft"))
def test_an_adapter_is_the_class_of_its_name(composed: Any, name: str) -> None:
    built = build_component(composed(f"peft@finetune.peft={name}"), "finetune")
    assert option_name(type(built.peft).__name__) == name


@pytest.mark.parametrize("name", [name for name in options("compress") if name != "off"])
def test_a_compression_is_the_class_of_its_name(composed: Any, name: str) -> None:
    built = build_components(composed(f"compress={name}")).compressions
    assert [option_name(type(one).__name__) for one in built.values()] == list(built) == [name]


def test_a_student_of_the_catalogue_enters_key_and_digests(composed: Any) -> None:
    typed = ("compress=distil", "+model@compress.distil.student=minilm")
    parts = build_components(composed(*typed))
    assert isinstance(getattr(parts.compressions["distil"], "student"), Pretrained)  # noqa: B009
    assert "read.compress.distil.weights" in input_digests(parts)


def test_the_order_of_compressions_enters_the_key(composed: Any) -> None:
    orders = ("distil,prune", "prune,distil", "distil")
    assert len({cell_key(composed(f"compress=[{order}]"), {}) for order in orders}) == 3


def test_settings_of_trainers_that_are_off_enter_no_key_and_others_do(composed: Any) -> None:
    off = hashed_settings(composed("featurizer=tuned"))
    trainers = (off["warmup"], off["finetune"], off["featurizer"]["tuning"])
    assert not any(
        {"freeze", "frozen_layers", "layer_decay", "peft"} & set(trainer) for trainer in trainers
    )
    assert all("learning_rate" in trainer for trainer in trainers)
    on = hashed_settings(composed("finetune.layer_decay=0.9", "warmup.frozen_layers=1"))
    assert on["finetune"]["layer_decay"] == 0.9 and on["warmup"]["frozen_layers"] == 1


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["task=stsb", "finetune.class_weights=balanced"], "needs a task with classes"),
        (["finetune.metric=no_such_metric"], r"finetune\.metric must be a metric of the task"),
        (
            ["finetune.keep=last", "finetune.patience=2"],
            r"finetune\.patience needs finetune\.keep=best",
        ),
        (["finetune.freeze=all", "finetune.unfreeze=1"], "trains the head alone"),
        (["finetune.layer_decay=1.5"], r"finetune\.layer_decay must be"),
        (["finetune.schedule=triangle"], "one of linear, constant, cosine, one_cycle"),
        (["finetune.keep=last", "finetune.metric=accuracy"], r"set finetune\.keep=best"),
        (["task=stsb", "finetune.label_smoothing=0.1"], "needs a task with classes"),
        (["task=stsb", "finetune.r_drop=1"], "needs a task with classes"),
        (["finetune.warmup_steps=3"], "both set the warm-up"),
        (
            ["peft@warmup.peft=prompt_tuning"],
            r"warmup\.peft must be merged .* PromptTuning; choose",
        ),
        (
            ["peft@warmup.peft=prefix_tuning"],
            r"warmup\.peft must be merged .* PrefixTuning; choose",
        ),
        (
            ["featurizer=tuned", "+peft@featurizer.tuning.peft=prefix_tuning"],
            r"featurizer\.tuning\.peft must be merged",
        ),
        ([PROMPT, "finetune.unfreeze=1"], r"finetune\.unfreeze cannot be used .* \(PromptTuning\)"),
        ([PREFIX, "finetune.frozen_layers=2"], r"finetune\.frozen_layers cannot .*frozen_layers=0"),
        ([PREFIX, "finetune.freeze=embeddings"], r"finetune\.freeze cannot be used"),
        ([PROMPT, "finetune.layer_decay=0.9"], r"finetune\.layer_decay cannot be used"),
        ([PROMPT, "finetune.head_learning_rate=0.1"], r"finetune\.head_learning_rate cannot"),
        ([LORA, "finetune.l2_sp=0.1"], r"finetune\.l2_sp cannot be used .* \(Lora\)"),
        ([LORA, "finetune.mixout=0.1"], r"finetune\.mixout cannot be used .* \(Lora\)"),
        (["finetune.mixout=1"], r"finetune\.mixout must be a number above 0 to below 1"),
        (
            ["finetune.learning_rate=fund"],
            r"finetune\.learning_rate must be a number above 0 or one of find",
        ),
        (["finetune.learning_rate=find", "finetune.head_learning_rate=1"], "which is to be found"),
        (["model=gpt2_mini", "trainer@warmup=clm", "+model.pretraining.swa_epoch=1"], "all passes"),
        ([LORA, "finetune.freeze=all"], r"leaves nothing to finetune\.peft \(Lora\)"),
        ([LORA, "finetune.peft.rank=0"], r"finetune\.peft\.rank must be an integer of at least 1"),
        ([LORA, "+finetune.peft.rang=4"], "no setting `rang`; did you mean `rank`"),
        (
            ["model=gpt2_mini", "trainer@warmup=clm", "+peft@model.pretraining.peft=lora"],
            r"model\.pretraining\.peft adapts weights that have been trained before",
        ),
    ],
)
def test_practices_that_do_not_fit_are_refused_before_anything_is_read(
    composed: Any, overrides: list[str], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        build_components(with_targets(composed(*overrides)))


@pytest.mark.parametrize("name", options("featurizer"))
def test_a_featurizer_is_instantiated(composed: Any, name: str) -> None:
    assert isinstance(
        build_component(chosen(composed, f"featurizer={name}"), "featurizer"), Featurizer
    )


@pytest.mark.parametrize("name", options("scorer"))
def test_a_scorer_is_instantiated_inside_the_featurizer_before_anything_is_looked_for(
    composed: Any, name: str
) -> None:
    config = composed("featurizer=toxicity", f"scorer@featurizer.scorer={name}")
    assert isinstance(build_component(config, "featurizer").scorer, Scorer)


@pytest.mark.parametrize("model", ["minilm", "gpt2"])
@pytest.mark.parametrize("name", ["minilm", "distilbert"])
def test_a_featurizer_with_a_model_of_its_own_keeps_nothing_of_the_trained_one(
    composed: Any, name: str, model: str
) -> None:
    config = composed(f"featurizer={name}", f"model={model}")
    assert config.featurizer.model == composed(f"model={name}").model


@pytest.mark.parametrize("protocol", ["gotd_domain", "gotd_glue"])
@pytest.mark.parametrize("selector", ["gotd", "gotd_paper", "soft_knn", "tapt_curated"])
def test_a_protocol_looks_with_its_own_vectors_whatever_model_is_trained(
    composed: Any, selector: str, protocol: str
) -> None:
    config = composed(f"protocol={protocol}", f"selector={selector}", "model=bert_mnli", "task=rct")
    found, encoder = config.featurizer, composed("model=distilbert").model
    assert found.model == config.pool.prefilter.featurizer.model == encoder
    assert (found.max_length, found.tuning.keep) == (295, "last")
    assert composed(f"selector={selector}").featurizer.tuning is None


def test_vectors_that_are_typed_keep_nothing_of_a_protocols(composed: Any) -> None:
    for name in ("minilm", "distilbert", "untuned"):
        typed = [f"featurizer={name}", "model=bert_base"]
        alone, beside = (
            composed(*how).featurizer for how in (typed, [*typed, "protocol=gotd_glue"])
        )
        assert beside == alone


def test_what_the_check_compares_is_the_trained_model_as_it_is(composed: Any) -> None:
    config = composed("protocol=gotd_domain", "task=rct", "check.assumption=true")
    assert config.check.vectors == composed("featurizer=untuned", "model=bert_base").featurizer


def test_cells_that_a_control_shares_with_its_table_are_the_same(composed: Any) -> None:
    for selector in ("random", "gotd_clean"):
        one, other = (
            hashed_settings(composed(f"experiment={name}", f"selector={selector}", "budget=1000"))
            for name in ("gotd_table1_mini", "gotd_controls_detox_mini")
        )
        assert one == other


@pytest.mark.parametrize("name", options("model"))
def test_a_model_is_instantiated_without_being_looked_for(composed: Any, name: str) -> None:
    assert isinstance(build_component(chosen(composed, f"model={name}"), "model"), Pretrained)


@pytest.mark.parametrize("name", options("task"))
def test_a_task_is_instantiated_under_its_own_name_with_a_primary_metric(
    composed: Any, name: str
) -> None:
    task = build_component(composed(f"task={name}"), "task")
    assert isinstance(task, Task) and task.name == name
    assert task.kind == "unlabelled" or task.primary in task.metrics


@pytest.mark.parametrize("name", options("evaluator"))
def test_an_evaluator_can_be_added_to_any_task(composed: Any, name: str) -> None:
    place = f"task.evaluators.{name}"
    typed = [f"{place}.{setting}" for setting in ASKED.get(name, [])]
    config = composed(f"+evaluator@{place}={name}", "task=own", *typed)
    assert isinstance(build_component(config, place), Evaluator)


@pytest.mark.parametrize("name", options("pool"))
def test_a_pool_names_what_it_reads_or_the_setting_that_is_missing(
    composed: Any, name: str
) -> None:
    pool = build_component(composed(f"pool={name}"), "pool")
    assert callable(pool.load) and callable(pool.identity) and isinstance(pool.version, int)
    if name == "pydocs":
        digests = pool.identity(LocalSource(None))
        assert digests and all(digests.values())
    else:
        with pytest.raises(ShortlistError, match=r"set paths\.data=DIR|set pool\.paths=\[FILE"):
            pool.identity(LocalSource(None))


@pytest.mark.parametrize("name", options("logger"))
def test_a_logger_is_the_class_of_its_name_where_its_package_is_there(
    composed: Any, name: str
) -> None:
    if name == "wandb" and importlib.util.find_spec("wandb") is None:
        pytest.skip("needs wandb")
    config = composed(f"logger={name}")
    loggers = {key: build_component(config, f"logger.{key}") for key in config.logger}
    assert [type(one).__name__.lower() for one in loggers.values()] == [
        f"{key}logger" for key in loggers
    ]
    assert list(loggers) == [key for key in [name] if key != "none"]
    assert all(callable(one.log_cell) and callable(one.log_table) for one in loggers.values())


def test_two_loggers_compose_together(composed: Any) -> None:
    assert sorted(composed("logger=[csv,wandb]").logger) == ["csv", "wandb"]


@pytest.mark.parametrize(
    "typed",
    [
        "paths.cache=/elsewhere",
        "paths.results=/elsewhere",
        "paths.data=/elsewhere",
        "runtime.accelerator=cpu",
        "runtime.threads=1",
        "runtime.inference_tokens=64",
        "runtime.cache=refresh",
        "runtime.progress=false",
        "logger=csv",
        "launcher=joblib",
    ],
)
def test_how_a_cell_is_run_does_not_enter_its_key(composed: Any, typed: str) -> None:
    assert cell_key(composed(typed), {}) == cell_key(composed(), {})


@pytest.mark.parametrize(
    "typed",
    [
        "budget=501",
        "budget_unit=tokens",
        "seed=1",
        "until=select",
        "source=hub",
        "task=own",
        "pool=domains",
        "model=gpt2",
        "featurizer=static",
        "selector=random",
        "warmup.epochs=2",
        "finetune.learning_rate=1e-5",
    ],
)
def test_what_is_computed_enters_the_key_of_a_cell(composed: Any, typed: str) -> None:
    assert cell_key(composed(typed), {}) != cell_key(composed(), {})


def test_the_data_folder_does_not_enter_the_key_of_a_cell_that_reads_in_it(composed: Any) -> None:
    typed = ("selector=least_toxic", "scorer@featurizer.scorer=linear_second")
    keys = {
        cell_key(composed(*typed, *more), {})
        for more in ([], ["paths.data=/here"], ["paths.data=/elsewhere"])
    }
    assert len(keys) == 1
    assert cell_key(composed(*typed, "featurizer.scorer.labelled=/here.csv"), {}) not in keys


def test_a_setting_of_a_selector_enters_the_key_of_a_cell(composed: Any) -> None:
    assert cell_key(composed("selector=dsir", "selector.smoothing=2"), {}) != cell_key(
        composed("selector=dsir"), {}
    )


@pytest.mark.parametrize("name", ["pydocs", "stsb", "own"])
def test_the_hashed_configuration_is_plain_data(composed: Any, name: str) -> None:
    plain = hashed_settings(composed(f"task={name}"))
    assert not any(OmegaConf.is_config(value) for value in plain.values())
    assert canonical(plain)
