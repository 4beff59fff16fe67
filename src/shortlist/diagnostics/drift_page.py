"""The page of a drift: the divergence beside its null distribution, and the clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shortlist.diagnostics.datasheet.page import Datasheet, Example, Fact, Figure, Group, Section
from shortlist.diagnostics.drift import Drift
from shortlist.diagnostics.formatting import percent, shorten
from shortlist.rendering.svg import CHOSEN, POOL, legend, svg
from shortlist.rendering.tables import TextCell, TextTable

SHOWN = 400  # characters of a text
SHOWN_CLUSTERS = 4  # whose texts are shown


def drift_page(title: str, found: Drift, old: Sequence[str], new: Sequence[str]) -> Datasheet:
    """Returns the page.

    Args:
        title: what was compared.
        found: the comparison.
        old: the old texts.
        new: the new texts.
    """
    test, (low, high), (p_low, p_high) = found.test, found.test.null_interval, found.test.p_interval
    facts = (
        Fact("p-value", f"{test.p:.3g}", f"95 % interval of its estimate: {p_low:.3g} to {p_high:.3g}"),
        Fact("divergence", f"{test.value:.4g}", f"95 % of random deals: {low:.4g} to {high:.4g}"),
        Fact("old texts", f"{found.old:,}"),
        Fact("new texts", f"{found.new:,}"),
        Fact("random deals", f"{len(test.null):,}", f"seed {found.settings.seed}"),
    )  # fmt: skip
    warnings = () if found.converged else ("a transport solve did not converge to its tolerance",)

    def null(axis: Any) -> None:
        axis.hist(
            test.null, bins=min(30, max(5, len(test.null) // 8)), color=POOL, label="random deals"
        )
        axis.axvline(test.value, color=CHOSEN, linewidth=2, label="old against new")
        axis.set_xlabel("Sinkhorn divergence")
        axis.set_ylabel("deals")
        legend(axis, 2)

    def shares(axis: Any) -> None:
        places = np.arange(len(found.clusters))
        axis.bar(
            places - 0.2, [one.old_share for one in found.clusters], 0.4, color=POOL, label="old"
        )
        axis.bar(
            places + 0.2, [one.new_share for one in found.clusters], 0.4, color=CHOSEN, label="new"
        )
        axis.set_xticks(places, [str(one.number) for one in found.clusters])
        axis.set_xlabel("cluster")
        axis.set_ylabel("share of the texts")
        legend(axis, 2)

    rows = tuple(
        (
            TextCell(str(one.number)),
            TextCell(percent(one.old_share)),
            TextCell(percent(one.new_share)),
            TextCell(f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"),
            TextCell(f"{one.p:.3g}", kind="strong" if one.p <= found.settings.alpha else ""),
        )
        for one in found.clusters
    )
    table = TextTable(
        "", ("cluster", "old", "new", "95 % of the difference, points", "p"), rows,
        "k-means of both sides together; p by Fisher's exact test, corrected for the number of clusters "
        "by Holm's method.",
    )  # fmt: skip
    groups = tuple(
        Group(
            f"Cluster {one.number}: {percent(one.old_share)} of the old, {percent(one.new_share)} of the new",
            "The texts nearest to its centre.",
            tuple(
                Example(side, "", shorten(texts[row], SHOWN))
                for side, texts, own in (("new", new, one.new_rows), ("old", old, one.old_rows))
                for row in own
            ),
        )
        for one in found.clusters[:SHOWN_CLUSTERS]
    )
    sections = (
        Section(
            "test",
            "Test",
            "The divergence of the two samples, beside those of the same texts dealt at random.",
            figures=(
                Figure("Null distribution", svg(null, 2, 2), "Histogram of the divergence of random "
                       "deals, with that of old against new"),
            ),
        ),
        Section(
            "clusters",
            "Clusters",
            "Where the texts moved.",
            tables=(table,),
            figures=(Figure("Shares", svg(shares, 2, 2), "Share of old and of new texts by cluster"),),
        ),
        Section("texts", "Texts", f"Of the {len(groups)} clusters that moved most.", groups=groups),
    )  # fmt: skip
    return Datasheet(title, found.sentence, facts, warnings, sections, "Drift")
