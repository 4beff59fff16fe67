"""Which settings tell rows of equal axes apart, and their shortest names."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

UNSET = "unset"


def differing(configs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Returns path and short name of each setting that differs between these configurations.

    A setting that another one always follows (an interpolation, `featurizer.model.epochs` of
    `model.epochs`) is told once, by its shortest path; the name is the tail that is its alone.
    """
    found: dict[tuple[str, ...], str] = {}
    for path in sorted({path for config in configs for path in config}, key=lambda p: (len(p), p)):
        values = tuple(config.get(path, UNSET) for config in configs)
        if len(set(values)) > 1:
            found.setdefault((path.rpartition(".")[2], *values), path)
    tails = {path: _tails(path) for path in sorted(found.values())}
    count = Counter(tail for options in tails.values() for tail in options)
    return {
        path: next((tail for tail in options if count[tail] == 1), path)
        for path, options in tails.items()
    }


def _tails(path: str) -> list[str]:
    """Returns `c`, `b.c` and `a.b.c` for `a.b.c`."""
    parts = path.split(".")
    return [".".join(parts[start:]) for start in reversed(range(len(parts)))]


def flatten(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Returns pairs (`a.b.c`, value as JSON) of every setting but the seed of the run."""
    if isinstance(config, Mapping) and config:
        for name, value in config.items():
            if path or name != "seed":  # below the root it is a setting: it cuts other data
                yield from flatten(value, f"{path}.{name}" if path else str(name))
    elif path:
        yield path, json.dumps(config, sort_keys=True, ensure_ascii=False, default=str)
