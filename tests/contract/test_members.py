"""A method that is made of others names them with the settings of their own YAML.

Only then are they the same stages as in those methods' own cells, and a comparison with them is one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

SELECTORS = Path(__file__).parents[2] / "conf/selector"
SETTINGS = {
    path.stem: OmegaConf.to_container(written.selector, resolve=False)
    for path in sorted(SELECTORS.glob("*.yaml"))
    if "selector" in (written := OmegaConf.load(path))  # another one's under a second name has none
}
MEMBERS = [
    (name, member, part["selector"])
    for name, settings in SETTINGS.items()
    for member, part in settings.get("members", {}).items()
]


@pytest.mark.parametrize(
    ("name", "member", "written"), MEMBERS, ids=[f"{name}.{member}" for name, member, _ in MEMBERS]
)
def test_a_members_settings_are_those_of_its_own_yaml(
    name: str, member: str, written: dict[str, Any]
) -> None:
    own = [
        settings for settings in SETTINGS.values() if settings["_target_"] == written["_target_"]
    ]
    assert written in own, f"copy the settings into members.{member} of conf/selector/{name}.yaml"


@pytest.mark.parametrize("name", ["random_length", "random_tokens", "random_domain"])
def test_a_control_matches_gotds_picks_on_the_vectors_that_gotd_looks_at(
    composed: Any, name: str
) -> None:
    for typed in ([], ["featurizer=static"]):
        control, gotd = (composed(f"selector={chosen}", *typed) for chosen in (name, "gotd"))
        assert control.selector.members.like.selector == gotd.selector
        assert control.selector.members.like.featurizer == gotd.featurizer
