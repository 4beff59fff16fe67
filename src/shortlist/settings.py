"""Types of settings, and the comparison of values with them.

Constructors state types, ranges and choices of their settings as annotations. `construct` refuses
what they do not allow, down to the items of lists and mappings, before anything is computed.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import math
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from shortlist.errors import InvalidInput, ShortlistError, near


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; `above` and `below` exclude the end itself."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        over = value > self.low if self.above else value >= self.low
        return over and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low, high = (f"{end:.15g}" for end in (self.low, self.high))
        if self.high == math.inf:
            return f"{'above' if self.above else 'of at least'} {low}"
        return f"{'above' if self.above else 'from'} {low} to {'below ' * self.below}{high}"


Count: TypeAlias = Annotated[int, Range(1)]
NaturalNumber: TypeAlias = Annotated[int, Range(0)]
# scikit-learn and lm-eval take seeds of 32 bits.
Seed: TypeAlias = Annotated[int, Range(0, 2**32 - 1)]
Positive: TypeAlias = Annotated[float, Range(0, above=True)]
NonNegative: TypeAlias = Annotated[float, Range(0)]
Share: TypeAlias = Annotated[float, Range(0, 1)]
Precision: TypeAlias = Literal["auto", "32", "bf16"]

WORDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    types.NoneType: "null",
    collections.abc.Sequence: "a list",
    list: "a list",
    tuple: "a list",
    collections.abc.Mapping: "a mapping",
    dict: "a mapping",
}


def construct(kind: type, settings: Mapping[str, Any], place: str) -> Any:
    """Returns `kind(**settings)`, after comparing the settings with the constructor's annotations.

    Raises:
        InvalidInput: a setting is unknown, missing, of a wrong type, out of range, or refused.
    """
    check_names(kind, settings, place)
    types_of = parameters(kind)
    typed = {
        name: checked(types_of[name].annotation, value, f"{place}.{name}")
        for name, value in settings.items()
    }
    try:
        return kind(**typed)
    except ShortlistError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InvalidInput(f"{place} could not be built by {kind.__name__}: {reason}") from error


def check_names(kind: type, settings: Mapping[str, Any], place: str) -> None:
    """Refuses settings that the constructor does not take, and too few of them.

    Raises:
        InvalidInput: a setting is unknown or missing.
    """
    known = parameters(kind)
    for name in settings:
        if name not in known:
            raise InvalidInput(f"{place} has no setting `{name}`; {near(str(name), known)}")
    for name, parameter in known.items():
        if name not in settings and parameter.default is parameter.empty:
            raise InvalidInput(f"{place} needs the setting `{name}`; set {place}.{name}=VALUE")


@functools.cache
def parameters(kind: type) -> Mapping[str, inspect.Parameter]:
    """Returns a constructor's parameters, annotated with types; `**settings` stands for those of the
    next class.
    """
    known: dict[str, inspect.Parameter] = {}
    for owner in kind.__mro__:
        if "__init__" not in vars(owner):
            continue
        own = list(inspect.signature(owner.__init__).parameters.values())[1:]
        names = {**vars(collections.abc), **vars(sys.modules[owner.__module__])}
        named = {
            p.name: p.replace(annotation=_type(p.annotation, names))
            for p in own
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        }
        known = named | known
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            break
    return known


def _type(annotation: Any, names: dict[str, Any]) -> Any:
    """Returns the type that an annotation names; Any where it cannot be found."""
    if annotation is inspect.Parameter.empty:
        return Any
    try:
        # Of anything with annotations; evaluates those that are strings.
        holder = types.SimpleNamespace(__annotations__={"setting": annotation})
        return get_type_hints(holder, names, include_extras=True)["setting"]
    except NameError:  # imported for type checkers alone, in a module of an extension
        return Any


def checked(kind: Any, value: Any, place: str) -> Any:
    """Returns a value of the type `kind`; an integer where text is asked for is that text.

    Raises:
        InvalidInput: the value is of another type, is out of range, or is no choice.
    """
    members = _members(kind)
    for member in members:
        if _is(member, value):
            return _inside(member, value, place)
    hint = ""
    if type(value) in (bool, float) and str in members:
        hint = f"; write {place}=\"'TEXT'\" for a text that looks like something else"
    expected = " or ".join(dict.fromkeys(map(_words, members)))
    raise InvalidInput(f"{place} must be {expected}, found {value!r}{hint}")


def _members(kind: Any) -> list[Any]:
    """Returns the types of a union; that of texts last, because it takes integers too."""
    if get_origin(kind) not in (Union, types.UnionType):
        return [kind]
    members = [part for member in get_args(kind) for part in _members(member)]
    return sorted(members, key=lambda member: (member is types.NoneType, member is str))


def _is(kind: Any, value: Any) -> bool:
    """Returns whether a value is of a type that is no union, not counting what is inside it."""
    origin = get_origin(kind) or kind
    if origin is Any:
        return True
    if origin is Annotated:
        base, *limits = get_args(kind)
        return _is(base, value) and all(value in limit for limit in limits if type(limit) is Range)
    if origin is Literal:
        return type(value) in (str, int) and str(value) in get_args(kind)
    if origin is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if origin is int:  # true is an integer for Python; arrays hold 64 bits
        return type(value) is int and -(2**63) <= value < 2**63
    if origin is str:
        return type(value) is int or (type(value) is str and "\0" not in value)
    if origin in (bool, types.NoneType):
        return type(value) is origin
    if origin in WORDS:
        return isinstance(value, dict if WORDS[origin] == "a mapping" else list | tuple)
    if is_dataclass(origin) and isinstance(value, dict):
        return True
    return not isinstance(origin, type) or isinstance(value, origin)  # a type variable


def _inside(kind: Any, value: Any, place: str) -> Any:
    """Returns a value whose own type is right, with what is inside it checked too."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (str, Literal):
        return str(value)
    if isinstance(value, dict) and isinstance(origin, type) and is_dataclass(origin):
        return construct(origin, value, place)
    if origin not in WORDS or not inner:
        return value
    if isinstance(value, dict):
        return {
            checked(inner[0], name, f"a name in {place}"): checked(
                inner[1], item, f"{place}.{name}"
            )
            for name, item in value.items()
        }
    return type(value)(
        checked(inner[0], item, f"{place}[{index}]") for index, item in enumerate(value)
    )


def _words(kind: Any) -> str:
    """Returns a type in words."""
    origin = get_origin(kind) or kind
    if origin is Annotated:
        base, *limits = get_args(kind)
        return " ".join([_words(base), *(str(limit) for limit in limits if type(limit) is Range)])
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    return WORDS.get(origin) or str(getattr(origin, "__name__", origin))
