"""Two selections beside each other: what they share, what shifted, what only one of them chose."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import RenderableType

LIST = "shortlist.jsonl"


@dataclass(frozen=True)
class Picks:
    """A list of chosen documents, best first.

    Attributes:
        name: where it was read.
        ids: the documents; one that was chosen twice stands there twice.
        texts: their texts by id; empty where the file has none.
        domains: their domains by id; likewise.
    """

    name: str
    ids: tuple[str, ...]
    texts: Mapping[str, str]
    domains: Mapping[str, str]


@dataclass(frozen=True)
class Shift:
    """How two selections differ.

    Attributes:
        sizes: documents of each, repeats included.
        shared: documents that both chose, a repeat as often as both have it.
        overlap: shared over the size of the larger: 1 if and only if both chose the same.
        rank_correlation: Spearman's, over the distinct documents of both; None for fewer than two.
        only: ids that only the first and only the second chose, best first, with their ranks.
        domains: share of each domain in the first and the second.
        domain_distance: total variation between these, 0 to 1; None without domains.
        lengths: median characters of each; None without texts.
        length_distance: largest difference between the two distributions of lengths
            (Kolmogorov-Smirnov); None without texts.
        length_p: its p-value.
    """

    sizes: tuple[int, int]
    shared: int
    overlap: float
    rank_correlation: float | None
    only: tuple[tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]]
    domains: Mapping[str, tuple[float, float]]
    domain_distance: float | None
    lengths: tuple[float, float] | None
    length_distance: float | None
    length_p: float | None


def read_picks(path: Path) -> Picks:
    """Returns the selection in a `shortlist.jsonl`, in the store's Parquet file, or in the directory
    of a run.

    Raises:
        InvalidInput: there is none, or a line of it is broken.
    """
    if path.is_dir():
        found = [path / LIST] if (path / LIST).is_file() else sorted(path.glob("selection.parquet"))
        if not found:
            raise InvalidInput(
                f"{path} holds neither {LIST} nor selection.parquet; name the directory of one "
                "cell, not of its sweep"
            )
        path = found[0]
    if not path.is_file():
        raise InvalidInput(f"{path} is not there; name a {LIST}, a .parquet or a run's directory")
    return _from_parquet(path) if path.suffix == ".parquet" else _from_lines(path)


def _from_lines(path: Path) -> Picks:
    ids, texts, domains = list[str](), dict[str, str](), dict[str, str]()
    with path.open(encoding="utf-8") as file:
        for line, content in enumerate(file, start=1):
            try:
                row = json.loads(content)
                key = row["id"]
                texts[key], domains[key] = row["text"], row["domain"]
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidInput(
                    f"{path}, line {line}: a JSON object with id, domain and text was expected: "
                    f"{error!r}"
                ) from error
            ids.append(key)
    if not ids:
        raise InvalidInput(f"{path} is empty; a document a line was expected")
    return Picks(str(path), tuple(ids), texts, domains)


def _from_parquet(path: Path) -> Picks:
    import pyarrow as pa

    from shortlist.store.formats import load_selection

    try:
        selection = load_selection(path)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise InvalidInput(f"{path} is no selection of the store: {error!r}") from error
    return Picks(str(path), selection.ids, {}, {})


def shift(first: Picks, second: Picks) -> Shift:
    """Returns how the second selection differs from the first."""
    from scipy import stats

    counts = Counter(first.ids), Counter(second.ids)
    shared = (counts[0] & counts[1]).total()
    ranks = _ranks(first.ids), _ranks(second.ids)
    both = [key for key in ranks[0] if key in ranks[1]]
    correlation = None
    if len(both) > 1:
        places = [np.array([rank[key] for key in both]) for rank in ranks]
        found: Any = stats.spearmanr(places[0], places[1])
        correlation = float(found.statistic)
    only = tuple(
        tuple((mine[key], key) for key in mine if key not in others)
        for mine, others in (ranks, ranks[::-1])
    )
    shares = _shares(first), _shares(second)
    domains = {
        name: (shares[0].get(name, 0.0), shares[1].get(name, 0.0))
        for name in sorted({*shares[0], *shares[1]})
    }
    lengths = [
        np.array([len(p.texts[key]) for key in p.ids if key in p.texts]) for p in (first, second)
    ]
    known = all(len(found) for found in lengths)
    test: Any = stats.ks_2samp(lengths[0], lengths[1]) if known else None
    return Shift(
        sizes=(len(first.ids), len(second.ids)),
        shared=shared,
        overlap=shared / max(len(first.ids), len(second.ids)),
        rank_correlation=correlation,
        only=(only[0], only[1]),
        domains=domains,
        domain_distance=math.fsum(abs(a - b) for a, b in domains.values()) / 2
        if shares[0] and shares[1]
        else None,
        lengths=(float(np.median(lengths[0])), float(np.median(lengths[1]))) if known else None,
        length_distance=float(test.statistic) if test else None,
        length_p=float(test.pvalue) if test else None,
    )


def _ranks(ids: Sequence[str]) -> dict[str, int]:
    """Returns the first place of each document."""
    ranks = dict[str, int]()
    for rank, key in enumerate(ids, start=1):
        ranks.setdefault(key, rank)
    return ranks


def _shares(picks: Picks) -> dict[str, float]:
    counted = Counter(picks.domains[key] for key in picks.ids if key in picks.domains)
    return {name: count / counted.total() for name, count in counted.items()}


def render(first: Picks, second: Picks, found: Shift, examples: int) -> list[RenderableType]:
    """Returns the comparison for a terminal.

    Args:
        first: one selection.
        second: the other.
        found: their `shift`.
        examples: how many documents to show of those that only one chose; 0 for all.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in _facts(first, second, found):
        facts.add_row(name, escape(text))
    parts: list[RenderableType] = [facts]
    if found.domains:
        domains = Table("domain", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("A", "B", "B - A"):
            domains.add_column(name, justify="right")
        for name, (a, b) in sorted(found.domains.items(), key=lambda p: -abs(p[1][0] - p[1][1])):
            domains.add_row(escape(name or "no domain"), f"{a:.1%}", f"{b:.1%}", f"{b - a:+.1%}")
        parts.append(domains)
    for name, picks, only in (("A", first, found.only[0]), ("B", second, found.only[1])):
        shown = only[: examples or None]
        if not only:
            continue
        more = f", the first {len(shown):,}" if len(shown) < len(only) else ""
        table = Table(
            "rank", "id", "text", title=f"only {name} chose: {len(only):,} documents{more}",
            title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0),
        )  # fmt: skip
        for rank, key in shown:
            text = " ".join(picks.texts.get(key, "").split())
            table.add_row(f"{rank:,}", key, escape(text[:90] + "…" * (len(text) > 90)))
        parts.append(table)
    return parts


def _facts(first: Picks, second: Picks, found: Shift) -> list[tuple[str, str]]:
    facts = [
        ("A", f"{first.name} ({found.sizes[0]:,} documents)"),
        ("B", f"{second.name} ({found.sizes[1]:,} documents)"),
        ("overlap", f"{found.overlap:.4f} ({found.shared:,} shared)"),
    ]
    if found.rank_correlation is not None:
        facts.append(("rank correlation", f"{found.rank_correlation:+.4f} over the shared ones"))
    if found.domain_distance is not None:
        facts.append(("domain shift", f"{found.domain_distance:.4f} (total variation)"))
    if found.lengths is not None and found.length_distance is not None:
        a, b = found.lengths
        facts.append(
            (
                "length shift",
                f"{found.length_distance:.4f} (Kolmogorov-Smirnov, p = {found.length_p:.2g}); "
                f"median {a:,.0f} and {b:,.0f} characters",
            )
        )
    elif not (first.texts and second.texts):
        facts.append(("domains, lengths", f"not known: a Parquet file has ids only; name a {LIST}"))
    return facts
