"""Targets by name, file or settings become configured tasks; what is not one is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from shortlist.errors import InvalidInput
from shortlist.featurizers.transformer import Static
from shortlist.pipeline.compose import build_components
from shortlist.pipeline.identity import cell_key, hashed_settings
from shortlist.pipeline.targets import with_targets

CONF = str(Path(__file__).parents[3] / "conf")


@pytest.fixture
def completed(composed: Any) -> Generator[Callable[..., Any]]:
    """A function from root settings to the completed configuration of a cell of citation_intent."""
    base = composed("task=citation_intent")

    def make(**roots: Any) -> Any:
        config = copy.deepcopy(base)
        for name, value in roots.items():
            OmegaConf.update(config, name.replace("__", "."), value)
        return with_targets(config)

    with initialize_config_dir(CONF, version_base="1.3"):
        yield make


def test_names_that_look_like_numbers_are_the_names_they_are(composed: Any) -> None:
    typed = ("task.name=2024", "task.text=0", "task.label=1", "task.domain=2")
    config = with_targets(composed("task=own", *typed))
    parts = build_components(config)
    assert list(parts.targets) == ["2024"] and parts.targets["2024"] is parts.task
    columns = parts.task.columns
    assert (columns.text, columns.label, columns.domain) == ("0", "1", "2")


def test_without_targets_the_task_is_the_target(completed: Any) -> None:
    parts = build_components(completed())
    assert parts.targets == {"citation_intent": parts.task} and parts.target_spec.single


def test_a_target_is_a_task_by_name_a_file_or_a_task_with_settings(completed: Any) -> None:
    own = {"task": "own", "name": "mine", "train": "x.csv", "text": "body"}
    config = completed(targets=["citation_intent", "chemprot", "texts/a.jsonl.gz", own])
    parts = build_components(config)
    assert list(parts.targets) == ["citation_intent", "chemprot", "a", "mine"]
    assert parts.targets["citation_intent"] is parts.task
    assert (
        parts.targets["a"].files["train"] == "texts/a.jsonl.gz" and parts.targets["a"].holdout == 0
    )
    assert parts.targets["mine"].columns.text == "body"
    assert config.targets.chemprot.hub.dataset == "zapsdcn/chemprot"


def test_the_settings_of_targets_enter_the_key_and_their_absence_does_not(completed: Any) -> None:
    plain, one = completed(), completed(targets=["chemprot"])
    assert not {"targets", "target_weights", "negative_target"} & set(hashed_settings(plain))
    assert "prefilter" not in hashed_settings(plain)["pool"]
    keys = {
        cell_key(config, {})
        for config in (
            plain,
            one,
            completed(targets=["chemprot", "citation_intent"]),
            completed(targets=["citation_intent", "chemprot"], target_floors={"chemprot": 0.2}),
            completed(targets=["chemprot"], negative_target="citation_intent"),
            completed(pool__prefilter__keep=2),
        )
    }
    assert len(keys) == 6
    assert cell_key(completed(advice=None), {}) == cell_key(plain, {})


@pytest.mark.parametrize("place", ["pool.prefilter.featurizer", "check.vectors"])
@pytest.mark.parametrize("option", ["tuned", "whitened", "model_loss"])
def test_vectors_that_must_learn_first_are_refused_where_nothing_would_teach_them(
    composed: Any, place: str, option: str
) -> None:
    shared = ("task=citation_intent", "pool.prefilter.keep=2", "check.assumption=true")
    typed = (*shared, f"featurizer@{place}={option}")
    with pytest.raises(InvalidInput, match=f"{place} takes vectors as they are, found"):
        build_components(composed(*typed))
    build_components(composed(*shared, f"featurizer@{place}=transformer"))


def test_a_prefilter_brings_its_own_vectors_and_is_absent_unless_it_keeps_something(
    completed: Any,
) -> None:
    assert build_components(completed()).prefilter is None
    found = build_components(completed(pool__prefilter__keep=2)).prefilter
    assert found is not None and found.keep == 2 and isinstance(found.featurizer, Static)


@pytest.mark.parametrize(
    ("roots", "says"),
    [
        ({"targets": ["citation_intnt"]}, "targets: there is no task `citation_intnt`; did you mean `c"),
        ({"negative_target": "imbd"}, "negative_target: there is no task `imbd`; did you mean `imdb`"),
        ({"targets": ["imdb", "imdb"]}, "names `imdb` a second time"),
        ({"targets": ["a/x.csv", "b/x.csv"]}, "names `x` a second time"),
        ({"negative_target": "citation_intent"}, "names `citation_intent` a second time"),
        ({"targets": []}, "targets is empty"),
        ({"targets": [{"task": "own", "tran": "x"}]}, "targets.own has no setting `tran`; .*`train`"),
        ({"target_weights": {"a": 1}}, "names no target `a`; known: citation_intent"),
        ({"target_weights": 0.5}, "target_weights must be a mapping, found 0.5; give numbers by target"),
        ({"target_floors": {"citation_intent": "much"}}, "citation_intent must be a number, found 'much'"),
        ({"pool__prefilter__keep": 0}, "pool.prefilter.keep must be an integer of at least 1, found 0"),
        ({"pool__prefilter__keep": "two"}, "keep must be an integer of at least 1, found 'two'"),
        ({"pool__prefilter__keep": 2, "pool__prefilter__relative_epsilon": 0}, "a number above 0, found 0"),
        ({"advice__budgets": 1}, "advice.budgets must be an integer of at least 2, found 1"),
        ({"advice__weight": 0}, "advice.weight must be a number above 0, found 0"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_target_is_refused_by_name(
    completed: Any, roots: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        build_components(completed(**roots))


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("+selector.max_pases=1", "selector has no setting `max_pases`; did you mean `max_passes`"),
        ("~selector.cost", "selector needs the setting `cost`; set selector.cost=VALUE"),
        (
            "selector.max_passes=few",
            "selector.max_passes must be an integer of at least 1, found 'few'",
        ),
        (
            "selector.max_passes=null",
            "selector.max_passes must be an integer of at least 1, found None",
        ),
        (
            "selector.tolerance=true",
            "selector.tolerance must be a number of at least 0, found True",
        ),
        (
            "selector.pool_penalty=[1]",
            r"selector.pool_penalty must be a number above 0 or null, found \[1\]",
        ),
        ("selector.sensitivity=1", "selector.sensitivity must be true or false, found 1"),
        ("warmup.epochs=1.5", "warmup.epochs must be an integer of at least 1, found 1.5"),
        ("task.metrics=f1", "task.metrics must be a list, found 'f1'"),
        ("featurizer.model=null", "featurizer.model must be Pretrained, found None"),
        ("~featurizer.model.package", "featurizer.model needs the setting `package`"),
        ("model=local", "model.path has no value; set model.path=VALUE"),
        ("~selector", "selector must be a mapping with the class in `_target_`, found None"),
        ("~selector._target_", "selector must be a mapping with the class in `_target_`, found {"),
        (
            "selector._target_=shortlist.runtime.Runtime",
            "selector._target_ must be a Selector, found",
        ),
        ("selector._target_=shortlist.own.Own", "selector._target_=shortlist.own.Own cannot be im"),
        (
            "+selector.x={_target_: subprocess.Popen}",
            r"selector.x._target_ must be a class of short",
        ),
        ("warmup.learning_rate=0", "learning_rate"),
        ("+bogus=1e5", "there is no setting `bogus`; "),
        ("+runtime.bogus=1", r"there is no setting `runtime\.bogus`"),
        ("+leaks.x={a: 1}", r"there is no setting `leaks\.x`"),
        ("paths.cache=''", r"paths\.cache must be a directory, found an empty text"),
        ("seed=4294967296", "seed must be an integer from 0 to 4294967295, found 4294967296"),
        ("seed=-1", "seed must be an integer from 0 to 4294967295, found -1"),
        ("task.seed=1e3", "task.seed must be an integer from 0 to 4294967295, found 1000.0"),
        ("check.documents=0", "check.documents must be an integer of at least 1, found 0"),
        ("selector.max_passes=0x10", "selector.max_passes must be an integer .* found '0x10'"),
        ("selector.max_passes=1e5", "selector.max_passes must be an integer .* found 100000.0"),
        ("featurizer.max_length=nan", "featurizer.max_length must be an integer .* found nan"),
        ("featurizer.normalise=0.1", "featurizer.normalise must be true or false, found 0.1"),
        ("task.primary={a: 1}", "task.primary must be text, found {'a': 1}"),
        ("task.name=1e5", "task.name must be text, found 100000.0; write task.name=\"'TEXT'\""),
        ("finetune.keep=[best]", r"finetune.keep must be .*, found \['best'\]"),
        ("runtime.threads=0", "runtime.threads must be an integer of at least 1 or null, found 0"),
        ("advice.weight=nan", "advice.weight must be a number above 0, found nan"),
        ("target_weights={pydocs: nan}", "target_weights.pydocs must be a number, found nan"),
    ],
)
def test_a_component_that_cannot_be_built_is_refused_by_its_place(
    composed: Any, typed: str, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        build_components(composed(typed))
