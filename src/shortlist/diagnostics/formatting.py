"""Numbers and texts as a datasheet shows them."""

import math
from typing import Any

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"


def shorten(text: str, length: int) -> str:
    """Returns at most `length` characters of the text in one line, and how many are left out."""
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    kept = line[:length].rsplit(" ", 1)[0] or line[:length]
    return f"{kept} …({len(line) - len(kept):,} characters more)"


def percent(share: float) -> str:
    """Returns a fraction as a percentage with one decimal."""
    if not math.isfinite(share):
        return DASH
    return "<0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def ratio(factor: float) -> str:
    """Returns a ratio with a multiplication sign."""
    if not math.isfinite(factor):
        return DASH
    return f"{factor:,.0f}{TIMES}" if factor >= 100 else f"{factor:.1f}{TIMES}"


def plain(data: Any) -> str:
    """Returns plain data as text: numbers with four digits and separated thousands."""
    if data is None:
        return DASH
    if isinstance(data, bool):
        return "yes" if data else "no"
    if isinstance(data, list | tuple):
        return ", ".join(map(plain, data)) or DASH
    if not isinstance(data, int | float) or not math.isfinite(data):
        return str(data)
    whole = abs(data) >= 1000 or data == int(data)
    return (f"{data:,.0f}" if whole else f"{data:#.4g}").replace("-", MINUS)


def duration(seconds: float) -> str:
    """Returns a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def counted(number: int, singular: str, plural: str = "") -> str:
    """Returns `1 document` or `1,234 documents`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def label(key: str) -> str:
    """Returns the name of a setting or a fact as words."""
    return key.replace("_", " ").replace(".", " · ").strip()
