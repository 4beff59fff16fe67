"""Difference of two selections: shared documents, ranks, domains and lengths."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput
from shortlist.rendering.tables import TextCell, TextTable, rich_table

if TYPE_CHECKING:
    import rich.table

LIST = "shortlist.jsonl"
SHOWN_CHARACTERS = 90  # of a document's text


@dataclass(frozen=True)
class Picks:
    """A list of selected documents, best first.

    Attributes:
        name: the file it was read from.
        ids: the documents; one that was selected twice occurs twice.
        texts: their texts by id; empty where the file has none.
        domains: their domains by id; likewise.
    """

    name: str
    ids: tuple[str, ...]
    texts: Mapping[str, str]
    domains: Mapping[str, str]


@dataclass(frozen=True)
class SelectionDiff:
    """Difference of two selections.

    Attributes:
        sizes: number of documents of each, repeats included.
        shared: documents in both, a repeat as often as both have it.
        overlap: shared documents as a fraction of the larger selection.
        rank_correlation: Spearman's, over the distinct shared documents; None for fewer than two.
        only: (rank, id) of documents in the first and in the second only, best first.
        domains: fraction of each domain in the first and in the second.
        domain_distance: total variation distance of the domains, 0 to 1; None without domains.
        lengths: median number of characters of each; None without texts.
        length_distance: largest difference of the distribution functions of the lengths
            (Kolmogorov-Smirnov statistic); None without texts.
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
    """Returns the selection in a `shortlist.jsonl`, in the store's Parquet file, or in the
    directory of a run.

    Raises:
        InvalidInput: there is none, or a line of it is malformed.
    """
    if path.is_dir():
        files = [path / LIST] if (path / LIST).is_file() else sorted(path.glob("selection.parquet"))
        if not files:
            raise InvalidInput(
                f"{path} contains neither {LIST} nor selection.parquet; give the directory of one "
                "cell, not of its sweep"
            )
        path = files[0]
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist; give a {LIST}, a .parquet or a run's directory")
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
                    f"{path}, line {line}: expected a JSON object with id, domain and text, "
                    f"found: {error!r}"
                ) from error
            ids.append(key)
    if not ids:
        raise InvalidInput(f"{path} is empty; expected one document per line")
    return Picks(str(path), tuple(ids), texts, domains)


def _from_parquet(path: Path) -> Picks:
    import pyarrow as pa

    from shortlist.store.formats import load_selection

    try:
        selection = load_selection(path)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise InvalidInput(f"{path} is not a selection of the store: {error!r}") from error
    return Picks(str(path), selection.ids, {}, {})


def selection_diff(first: Picks, second: Picks) -> SelectionDiff:
    """Returns the difference of two selections."""
    from scipy import stats

    both = first, second
    shared = (Counter(first.ids) & Counter(second.ids)).total()
    # Read backwards, so that the rank of the first occurrence remains.
    ranks = [{key: rank for rank, key in reversed([*enumerate(p.ids, 1)])} for p in both]
    common = [key for key in ranks[0] if key in ranks[1]]
    correlation = None
    if len(common) > 1:
        first_ranks, second_ranks = ([rank[key] for key in common] for rank in ranks)
        found: Any = stats.spearmanr(first_ranks, second_ranks)
        correlation = float(found.statistic)
    only_first, only_second = (
        tuple(sorted((rank, key) for key, rank in own.items() if key not in other))
        for own, other in (ranks, ranks[::-1])
    )
    shares = [_domain_shares(picks) for picks in both]
    domains = {
        name: (shares[0].get(name, 0.0), shares[1].get(name, 0.0))
        for name in sorted({*shares[0], *shares[1]})
    }
    lengths = [np.array([len(p.texts[key]) for key in p.ids if key in p.texts]) for p in both]
    known = all(len(own) for own in lengths)
    test: Any = stats.ks_2samp(lengths[0], lengths[1]) if known else None
    return SelectionDiff(
        sizes=(len(first.ids), len(second.ids)),
        shared=shared,
        overlap=shared / max(len(first.ids), len(second.ids)),
        rank_correlation=correlation,
        only=(only_first, only_second),
        domains=domains,
        domain_distance=math.fsum(abs(a - b) for a, b in domains.values()) / 2
        if all(shares)
        else None,
        lengths=(float(np.median(lengths[0])), float(np.median(lengths[1]))) if known else None,
        length_distance=float(test.statistic) if test else None,
        length_p=float(test.pvalue) if test else None,
    )


def _domain_shares(picks: Picks) -> dict[str, float]:
    counted = Counter(picks.domains[key] for key in picks.ids if key in picks.domains)
    return {name: count / counted.total() for name, count in counted.items()}


def render_diff(
    first: Picks, second: Picks, diff: SelectionDiff, examples: int
) -> list[rich.table.Table]:
    """Returns the comparison for a terminal.

    Args:
        first: one selection.
        second: the other.
        diff: their difference.
        examples: number of documents to show of those in one selection only; 0 for all.
    """
    facts = tuple(tuple(map(TextCell, fact)) for fact in _facts(first, second, diff))
    parts = [rich_table(TextTable("", ("", ""), facts, left=2))]
    if diff.domains:
        rows = tuple(
            tuple(map(TextCell, (name or "no domain", f"{a:.1%}", f"{b:.1%}", f"{b - a:+.1%}")))
            for name, (a, b) in sorted(diff.domains.items(), key=lambda p: -abs(p[1][0] - p[1][1]))
        )
        parts.append(rich_table(TextTable("", ("domain", "A", "B", "B - A"), rows)))
    for name, picks, only in (("A", first, diff.only[0]), ("B", second, diff.only[1])):
        shown = only[: examples or None]
        more = f", the first {len(shown):,}" if len(shown) < len(only) else ""
        title = f"in {name} only: {len(only):,} documents{more}"
        rows = tuple(
            tuple(map(TextCell, (f"{rank:,}", key, _beginning(picks.texts.get(key, "")))))
            for rank, key in shown
        )
        if rows:
            parts.append(rich_table(TextTable(title, ("rank", "id", "text"), rows, left=3)))
    return parts


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line[:SHOWN_CHARACTERS] + "…" * (len(line) > SHOWN_CHARACTERS)


def _facts(first: Picks, second: Picks, diff: SelectionDiff) -> list[tuple[str, str]]:
    facts = [
        ("A", f"{first.name} ({diff.sizes[0]:,} documents)"),
        ("B", f"{second.name} ({diff.sizes[1]:,} documents)"),
        ("overlap", f"{diff.overlap:.4f} ({diff.shared:,} shared)"),
    ]
    if diff.rank_correlation is not None:
        facts.append(("rank correlation", f"{diff.rank_correlation:+.4f} over shared documents"))
    if diff.domain_distance is not None:
        facts.append(("domain distance", f"{diff.domain_distance:.4f} (total variation)"))
    if diff.lengths is not None:
        a, b = diff.lengths
        statistic = f"{diff.length_distance:.4f} (Kolmogorov-Smirnov, p = {diff.length_p:.2g})"
        facts.append(("length distance", f"{statistic}; median {a:,.0f} and {b:,.0f} characters"))
    elif not (first.texts and second.texts):
        facts.append(("domains, lengths", f"unknown: a Parquet file has ids only; give a {LIST}"))
    return facts
