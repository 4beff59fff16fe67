"""Plain data as values of annotated types: what was read from JSON is checked, field by field."""
# What JSON holds is of unknown type until it is checked here.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from shortlist.errors import InvalidInput, near

DEPTH = 50  # levels of nesting; a configuration has about six
CHARACTERS = 100_000  # of one text
SHOWN = 60  # characters of a value in a message
NAMES: Mapping[Any, str] = {
    str: "text", int: "an integer of 64 bits", float: "a number", bool: "true or false",
}  # fmt: skip


def typed(kind: Any, value: Any, place: str) -> Any:
    """Returns plain data as a value of the type `kind`.

    Args:
        kind: a dataclass, `str`, `int`, `float`, `bool`, `Any`, a `Literal`, `X | None`,
            `tuple[X, ...]` or `Mapping[str, X]`.
        value: what `json.loads` returned.
        place: where it stands, for messages.

    Raises:
        InvalidInput: the value, or one inside it, is of another type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind) and isinstance(value, dict):
        return _instance(kind, value, place)
    if origin is UnionType:
        kind = next(option for option in inner if option is not NoneType)
        return None if value is None else typed(kind, value, place)
    if origin is tuple and isinstance(value, list):
        return tuple(typed(inner[0], item, f"{place}[{i}]") for i, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {name: typed(inner[1], item, f"{place}.{name}") for name, item in value.items()}
    literal = origin is Literal and isinstance(value, str) and value in inner
    number = type(value) is int and kind in (int, float) and abs(value) < 2**63
    if literal or number or (type(value) is kind and kind is not int):
        return value
    raise InvalidInput(f"{place} must be {_expected(kind)}, found {shown(value)}")


def _instance(kind: Any, value: dict[str, Any], place: str) -> Any:
    known = {field.name: field for field in fields(kind)}
    inside = f"{place}." if place else ""
    for name in value:
        if name not in known:
            raise InvalidInput(f"{inside}{shown(name)} is unknown; {near(name[:SHOWN], known)}")
    for name, field in known.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise InvalidInput(f"{inside}{name} is missing")
    hints = _hints(kind)
    return kind(**{name: typed(hints[name], own, inside + name) for name, own in value.items()})


_hints = cache(get_type_hints)


def _expected(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        return "a list"
    return NAMES.get(kind, "a mapping")


def shown(value: Any) -> str:
    """Returns a value as a message shows it: as JSON, the beginning of what is long."""
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"


def check_plain(value: Any, long: str) -> None:
    """Refuses what no program of this package writes and what would stop one that reads it.

    Args:
        value: what `json.loads` returned.
        long: the entry of `value` whose texts may have any length.

    Raises:
        InvalidInput: it is nested deeper than `DEPTH`, a text is longer than `CHARACTERS`, or a
            text holds half of a surrogate pair, which no file can.
    """
    level, depth = [entry for name, entry in value.items() if name != long], 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise InvalidInput(f"expected at most {DEPTH} levels of nesting, found more")
        following: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                following += [*node, *node.values()]
            elif isinstance(node, list):
                following += node
            elif isinstance(node, str):
                if len(node) > CHARACTERS:
                    raise InvalidInput(
                        f"expected texts of at most {CHARACTERS:,} characters, found {shown(node)}"
                    )
                if not node.isascii() and any("\ud800" <= letter <= "\udfff" for letter in node):
                    raise InvalidInput(f"expected Unicode, found half of a pair: {shown(node)}")
        level = following
