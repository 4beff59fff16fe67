"""Numbers and texts as the page shows them."""

from __future__ import annotations

import math
from typing import Any

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"


def percent(share: float) -> str:
    """Returns a fraction as a percentage with the digits it deserves."""
    if not math.isfinite(share):
        return DASH
    if share and share < 0.001:
        return "<0.1 %"
    return f"{100 * share:.1f} %"


def times(factor: float) -> str:
    """Returns a ratio with a multiplication sign."""
    if not math.isfinite(factor):
        return DASH
    return f"{factor:,.0f}{TIMES}" if factor >= 100 else f"{factor:.1f}{TIMES}"


def value(found: Any) -> str:
    """Returns plain data as text: numbers with four digits, thousands apart."""
    if found is None:
        return DASH
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, int):
        return f"{found:,}".replace("-", MINUS)
    if isinstance(found, float):
        if not math.isfinite(found):
            return str(found).replace("-", MINUS)
        whole = abs(found) >= 1000 or found == int(found)
        return (f"{found:,.0f}" if whole else f"{found:#.4g}").replace("-", MINUS)
    if isinstance(found, list | tuple):
        return ", ".join(value(one) for one in found) or DASH
    return str(found)


def seconds(duration: float) -> str:
    """Returns a duration in the unit that a person would say."""
    if duration < 90:
        return f"{duration:.1f} s"
    if duration < 5400:
        return f"{duration / 60:.1f} min"
    return f"{duration / 3600:.1f} h"


def counted(number: int, one: str, many: str = "") -> str:
    """Returns `1 pick` or `1,234 picks`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def name(key: str) -> str:
    """Returns the name of a setting or a fact as words."""
    return key.replace("_", " ").replace(".", " · ").strip()
