"""Settings are what their annotations say: values of other types, out of range or unknown are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import InvalidInput
from shortlist.settings import Count, Positive, Range, Seed, Share, checked, construct

NAN, INF = float("nan"), float("inf")
BELOW = Annotated[float, Range(0, 1, below=True)]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, [0, -5, 2**63 - 1], [True, 1.0, "1", None, 2**63, [1]]),
        (float, [0, 1.5, -1e300, 5e-324], [True, NAN, INF, -INF, "1", None, 10**400]),
        (bool, [True, False], [0, 1, 0.1, "", "true", None]),
        (str, ["", "a b", "1e5"], [True, 1.5, None, ["a"], {"a": 1}, "a\0b"]),
        (int | None, [None, 3], [False, "null"]),
        (Count, [1, 10**12], [0, -1, 1.0]),
        (Seed, [0, 2**32 - 1], [-1, 2**32, 2**40]),
        (Positive, [5e-324, 1], [0, -1, NAN]),
        (Share, [0, 1, 0.5], [1.0000001, -0.1]),
        (BELOW, [0, 0.999], [1, -1e-9]),
        (Literal["auto", "32"], ["auto", "32"], ["AUTO", "", 64, None, True]),
        (Sequence[str], [[], ["a"]], ["a", [None], [["a"]], {"a": 1}, [1.5]]),
        (Mapping[str, float], [{}, {"a": 1}], [[], {"a": "x"}, {"a": NAN}, {None: 1}, {True: 1}]),
        (Mapping[str, Sequence[int]] | None, [None, {"a": [1]}], [{"a": [1, "2"]}]),
        (Any, [None, 1, "x", [1]], []),
        (Range, [Range(0)], ["Range", {"_target_": "x"}]),
    ],
    ids=str,
)
def test_values_of_a_type_come_back_and_others_are_refused(
    kind: Any, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert checked(kind, value, "a") == value
    for value in bad:
        with pytest.raises(InvalidInput, match=r"^a|a name in a"):
            checked(kind, value, "a")


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (Count | None, 0, "a.b must be an integer of at least 1 or null, found 0"),
        (Seed, 2**32, "a.b must be an integer from 0 to 4294967295, found 4294967296"),
        (Positive, NAN, "a.b must be a number above 0, found nan"),
        (BELOW, 1, "a.b must be a number from 0 to below 1, found 1"),
        (Literal["x", "y"], "z", "a.b must be one of x, y, found 'z'"),
        (
            Mapping[str, Sequence[int]],
            {"k": [1, None]},
            r"a.b.k\[1\] must be an integer, found None",
        ),
        (str, 1e5, "a.b must be text, found 100000.0; write a.b=\"'TEXT'\" for a text that looks"),
        (str | None, True, "a.b must be text or null, found True; write"),
    ],
    ids=str,
)
def test_a_refusal_names_place_type_range_and_value(kind: Any, value: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{says}"):
        checked(kind, value, "a.b")


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_where_text_is_asked_for_is_that_text(number: int) -> None:
    assert checked(str | None, number, "a") == str(number)
    assert checked(Sequence[str], [number], "a") == [str(number)]
    assert checked(Mapping[str, int], {number: number}, "a") == {str(number): number}
    assert checked(int | str, number, "a") == number
    assert checked(Literal["32"], 32, "a") == "32"


@dataclass(frozen=True)
class Inner:
    depth: Count


@dataclass(frozen=True)
class Outer:
    inner: Inner | None
    many: Sequence[Inner] = ()
    rest: Mapping[str, Any] = field(default_factory=dict[str, Any])


def test_a_mapping_for_a_parameter_whose_type_is_a_dataclass_is_built_and_checked() -> None:
    built = construct(Outer, {"inner": {"depth": 2}, "many": [{"depth": 1}]}, "x")
    assert built == Outer(Inner(2), [Inner(1)])
    for settings, says in (
        ({"inner": {"depth": 0}}, "x.inner.depth must be an integer of at least 1, found 0"),
        ({"inner": {"dept": 1}}, "x.inner has no setting `dept`; did you mean `depth`"),
        ({"inner": None, "many": [{}]}, r"x.many\[0\] needs the setting `depth`; set x.many\[0\]"),
        ({}, "x needs the setting `inner`"),
    ):
        with pytest.raises(InvalidInput, match=says):
            construct(Outer, settings, "x")


def test_settings_passed_on_belong_to_the_next_class() -> None:
    class Base:
        def __init__(self, a: int) -> None:
            self.a = a

    class Derived(Base):
        def __init__(self, b: Count, **settings: Any) -> None:
            super().__init__(**settings)
            self.b = b

    made = construct(Derived, {"a": 1, "b": 2}, "x")
    assert (made.a, made.b) == (1, 2)
    with pytest.raises(InvalidInput, match=r"x\.a must be an integer, found 'one'"):
        construct(Derived, {"a": "one", "b": 2}, "x")
    with pytest.raises(InvalidInput, match="x has no setting `c`"):
        construct(Derived, {"a": 1, "b": 2, "c": 3}, "x")


def test_an_error_of_a_constructor_is_one_line_that_names_the_place() -> None:
    class Odd:
        def __init__(self, a: int) -> None:
            raise RuntimeError("first\nsecond")

    with pytest.raises(
        InvalidInput, match=r"^x could not be built by Odd: RuntimeError: first second$"
    ):
        construct(Odd, {"a": 1}, "x")
