"""Configurations of selectors: names of classes, and members that share stages with their own cells.

A member has the settings of its own YAML; only then are both the same stages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shortlist.selectors.base import option_name

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/selector").glob("*.yaml"))
# Other targets or vectors for `gotd`, and programs of other authors that one class runs.
NAMES = [
    name for name in NAMES if name not in {"gotd_clean", "gotd_contrast"} and "peer_" not in name
]


@pytest.mark.parametrize("name", NAMES)
def test_a_yaml_is_called_like_its_class(composed: Any, name: str) -> None:
    target = composed(f"selector={name}").selector["_target_"]
    assert option_name(target.rsplit(".", 1)[-1]) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_member_has_the_settings_of_its_own_yaml(composed: Any, name: str) -> None:
    for key, member in composed(f"selector={name}").selector.get("members", {}).items():
        option = option_name(member.selector["_target_"].rsplit(".", 1)[-1])
        written, own = member.selector, composed(f"selector={option}").selector
        assert written == own, (
            f"include /selector@members.{key}.selector: {option} in conf/selector/{name}.yaml"
        )


@pytest.mark.parametrize("name", ["random_length", "random_tokens", "random_domain"])
def test_a_control_matches_gotds_picks_on_gotds_vectors(composed: Any, name: str) -> None:
    for typed in ([], ["featurizer=static"]):
        control, gotd = (composed(f"selector={chosen}", *typed) for chosen in (name, "gotd"))
        assert control.selector.members.like.selector == gotd.selector
        assert control.selector.members.like.featurizer == gotd.featurizer


def test_any_method_can_be_a_member(composed: Any) -> None:
    config = composed("selector=random_length", "selector@selector.members.like.selector=dsir")
    assert config.selector.members.like.selector == composed("selector=dsir").selector
