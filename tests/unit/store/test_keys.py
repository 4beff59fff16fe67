"""The name of a computation depends on everything that decides it, and on nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import InvalidInput
from shortlist.store.keys import canonical, key

BASE: dict[str, Any] = {
    "stage": "fit",
    "version": 1,
    "config": {"a": 1, "b": {"c": 2.0}},
    "inputs": {"pool": "x", "target": "y"},
}


@pytest.mark.parametrize(
    "changed",
    [
        {"stage": "scores"},
        {"version": 2},
        {"config": {"a": 1, "b": {"c": 2.5}}},
        {"config": {"a": "1", "b": {"c": 2.0}}},
        {"config": {"a": 1, "b": {"c": 2.0}, "d": None}},
        {"inputs": {"pool": "y", "target": "x"}},
        {"inputs": {"pool": "x"}},
    ],
    ids=str,
)
def test_a_key_changes_with(changed: dict[str, Any]) -> None:
    assert key(**{**BASE, **changed}) != key(**BASE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def turned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in reversed(list(value))}
    return [turned(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_a_key_is_independent_of_the_order_of_a_dictionary_at_any_depth(
    config: dict[str, Any],
) -> None:
    assert key("s", 1, config, {}) == key("s", 1, turned(config), {})


def test_a_key_has_a_value_that_never_changes() -> None:
    # Written down once: another value would orphan every cache and every record.
    assert key(**BASE) == "3f566b6364bd53ad"


def test_an_object_is_refused_instead_of_hashing_its_address() -> None:
    with pytest.raises(TypeError):
        canonical({"a": object()})


def test_a_setting_that_is_no_utf8_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"settings in UTF-8, found .*caf\\udce9\.jsonl"):
        key("pool", 1, {"paths": ["caf\udce9.jsonl"]}, {})
