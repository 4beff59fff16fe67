"""The datasheet: its sections, and a page that shows every text as text."""

from __future__ import annotations

import re

import numpy as np
import pytest

from shortlist.core import Axes, Budget, Corpus, Selection, StageCost, TargetSpec
from shortlist.diagnostics import formatting
from shortlist.diagnostics.datasheet import figures, sections
from shortlist.diagnostics.datasheet.page import (
    Datasheet,
    Example,
    Fact,
    Figure,
    Group,
    Section,
    html,
    markdown,
)
from shortlist.diagnostics.explanations import CoverageSummary, Explanations
from shortlist.diagnostics.projection import SelectionMap
from shortlist.rendering.tables import TextCell, TextTable

NASTY = "</style></svg><script>alert(1)</script> <img src=x onerror=alert(2)> | `code` *bold* & \"'"
RNG = np.random.default_rng(0)
SVG = figures.histogram(RNG.normal(size=50), RNG.normal(size=5))


def sheet(text: str) -> Datasheet:
    table = TextTable(text, (text, text), ((TextCell(text), TextCell(text, 0.5, "chosen")),), text)
    example = Example(text, text, text, (text,), ((text, text),))
    section = Section(
        "mix",
        text,
        text,
        (Fact(text, text, text),),
        (table,),
        (Figure(text, SVG, text, text),),
        (Group(text, text, (example,)),),
        text,
    )
    return Datasheet(text, text, (Fact(text, text, text),), (text,), (section,))


def test_a_hostile_text_is_shown_as_text_wherever_it_stands() -> None:
    page = html(sheet(NASTY))
    assert "<script" not in page and "<img" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 20
    assert page.count("</style>") == 1  # the page's own: a drawing has none
    assert html(sheet("PLAIN")).count("PLAIN") == page.count("&lt;script&gt;")


def test_a_hostile_text_makes_no_markup_and_no_column_in_markdown() -> None:
    text = markdown(sheet(NASTY)).replace(f"```bash\n{NASTY}\n```", "")
    assert "<script" not in text and "<img" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not re.search(r"(?<!\\)[`]", text)


@pytest.mark.parametrize("control", ["\x1b", "\x07", "\x7f", "\x9b", "\u202e", "\u2066"])
def test_a_control_character_is_shown_as_its_number_wherever_it_stands(control: str) -> None:
    page, text = html(sheet(f"a{control}[2Jb")), markdown(sheet(f"a{control}[2Jb"))
    assert control not in page and control not in text
    assert page.count(f"a\\u{ord(control):04x}[2Jb") == html(sheet("PLAIN")).count("PLAIN")


def test_the_page_asks_for_nothing_beside_itself() -> None:
    page = html(sheet("plain"))
    addresses = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", page)
    assert addresses and all(one.startswith(("#", "data:")) for one in addresses)
    assert "default-src 'none'" in page


def test_what_is_empty_leaves_no_heading() -> None:
    bare = Datasheet("title", "lead", (), (), (Section("map", "Map"),))
    assert "<table" not in html(bare) and "<figure" not in html(bare) and "<dl" not in html(bare)
    assert markdown(bare) == "# title\n\nlead\n\n## Map\n"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: SVG,
        lambda: figures.scatter(
            [(name, RNG.normal(size=(20, 2))) for name in ("pool", "target", "picks")], ("x", "y")
        ),
        lambda: figures.curve([10, 100, 1000], [3.0, 2.0, 1.5], ("budget", "divergence"), 100),
    ],
    ids=["histogram", "scatter", "curve"],
)
def test_a_drawing_takes_its_colours_and_letters_from_the_page(draw: object) -> None:
    svg = draw()  # type: ignore[operator]
    assert "var(--chosen)" in svg and "var(--soft)" in svg
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", svg)
    assert "font-family" not in svg and "DejaVu" not in svg
    assert "<text" in svg
    assert svg.startswith("<svg") and "viewBox" in svg
    used = set(re.findall(r"#([\w-]+)", svg))
    assert used <= set(re.findall(r'id="([\w-]+)"', svg))


def test_every_point_of_a_map_is_drawn() -> None:
    parts = [
        (name, RNG.normal(size=(n, 2))) for name, n in (("pool", 40), ("target", 7), ("picks", 9))
    ]
    svg = figures.scatter(parts, ("x", "y"))
    assert len(re.findall("<use ", svg)) == 40 + 7 + 9 + 3  # and the legend's


def test_equal_numbers_give_equal_bytes() -> None:
    def drawn() -> str:
        rng = np.random.default_rng(1)
        return figures.histogram(rng.normal(size=50), rng.normal(size=5))

    assert drawn() == drawn()


def test_a_long_text_is_shortened_visibly_and_the_rest_is_counted() -> None:
    text = "word " * 400
    short = formatting.shorten(text, 100)
    kept, rest = short.split(" …(")
    assert len(kept) <= 100
    assert rest == f"{len(text.strip()) - len(kept):,} characters more)"
    assert formatting.shorten("a\n b", 100) == "a b"


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (0.00104, "0.001040"),
        (1234.5, "1,234"),
        (-1.5, "\N{MINUS SIGN}1.500"),
        (3.0, "3"),
        (12345, "12,345"),
        (True, "yes"),
        (None, "\N{EN DASH}"),
        ([1, 2], "1, 2"),
        (float("inf"), "inf"),
    ],
)
def test_plain_data_is_shown_with_four_digits(found: object, shown: str) -> None:
    assert formatting.plain(found) == shown


def test_a_certificate_is_told_in_a_sentence_and_one_that_falls_short_too() -> None:
    fit = {
        "marginal_error": 0.02, "converged": False, "dual": 2.0, "gap": 0.01, "epsilon": 0.02,
        "mean_cost": 2.0, "overlap_at_half_epsilon": 0.85,
    }  # fmt: skip
    (section,) = sections.fit_sections(fit)
    for part in (
        "2.0 % in all",
        "more than the tolerance",
        "within 0.5 %",
        "1.0 % of the mean",
        "85.0 %",
    ):
        assert part in section.lead
    members = sections.fit_sections({"one.marginal_error": 0.1, "two.buckets": 5})
    assert [one.title for one in members] == ["Transport certificate of one", "Fit of two"]
    assert sections.fit_sections({}) == []


def test_what_other_stages_report_is_shown_as_they_report_it() -> None:
    shown = sections.comparison_section(
        {
            "against_soft_knn": {
                "same": 0.972,
                "differ": 14,
                "of": 500,
                "settings": {"cost": "cosine", "relative_epsilon": 0.01},
            },
            "recommended": {
                "budget": 300,
                "reason": "the gradient changes sign there",
                "curve": [
                    {"budget": 100, "share": 0.1, "gradient": -0.2, "divergence": 0.5},
                    {"budget": 300, "share": 0.2, "gradient": 0.0, "divergence": 0.4},
                ],
            },
            "divergences": [
                {"domain": "news", "divergence": 0.5, "by_target": {"a": 0.25, "b": 0.75}}
            ],
        }
    )
    assert shown is not None
    assert "14 picks of 500 (2.8 %)" in shown.lead and "changes sign there." in shown.lead
    assert [one.value for one in shown.facts] == ["300 documents"]
    assert "soft knn at cost cosine, relative epsilon 0.01 chooses" in shown.lead
    assert [one.title for one in shown.figures] == ["Gradient by budget", "Divergence by budget"]
    assert [cell.text for cell in shown.tables[0].rows[0]] == ["news", "0.5000", "0.2500", "0.7500"]
    assert shown.tables[0].headings[2:] == ("to a", "to b")
    assert sections.comparison_section({}) is None

    held = sections.facts_section(
        "leaks",
        "Leaks",
        {
            "planted": 100,
            "recall": {"verbatim": 1.0},
            "said": "Nothing of the evaluation sets was found in the pool.",
            "list": [{"id": "a", "kind": "exact"}],
            "kinds": {"exact": {"found": 3, "planted": 4}},
        },
    )
    assert held is not None and held.lead.startswith("Nothing of")
    assert [one.label for one in held.facts] == ["planted"]
    assert [table.title for table in held.tables] == ["list", "recall", "kinds"]
    assert [cell.text for cell in held.tables[2].rows[0]] == ["exact", "3", "4"]
    assert sections.facts_section("leaks", "Leaks", None) is None


def test_the_cost_is_the_sum_of_the_stages_and_the_page_is_counted_apart() -> None:
    stages = [
        (StageCost("pool", "k", 3.0, 10, "cpu", "preparation"), True),
        (StageCost("fit", "k", 1.0, 10, "cpu", "selection"), False),
    ]
    section = sections.cost_section(stages, [("map", 0.5)])
    assert section.lead.startswith("4.0 s")
    shown = [[cell.text for cell in row] for row in section.tables[0].rows]
    assert shown[0] == ["pool", "preparation", "3.0 s", "10 MiB", "reused"]
    assert shown[2][0] == "map (page)"
    assert "preparation 3.0 s, selection 1.0 s." in section.lead


N, K = 40, 32


def evidence(**changes: object) -> sections.Evidence:
    """Forty documents with falling scores; the best thirty-two are selected, two are excluded."""
    pool = Corpus.build([f"text number {row}" for row in range(N)], ["news", "fiction"] * (N // 2))
    rows, scores = np.arange(K), -np.arange(float(N))
    picks = [
        {
            "id": pool.ids[row], "rank": row + 1, "score": float(scores[row]), "domain": "news",
            "cluster": pool.ids[row], "copies_in_pool": int(row == 0), "copies_chosen": 0,
            "targets": [
                {"id": "t", "share": 0.99, "cost": 0.1, "text": "a target"},
                {"id": "u", "share": 0.005, "cost": 0.4, "text": "another target"},
            ],
        }
        for row in rows
    ]  # fmt: skip
    targets = [
        {
            "id": name, "text": text, "mass": mass, "nearest": {"id": pool.ids[3], "cost": cost},
            "covered_by": [{"id": pool.ids[3], "share": 0.5}], "uncovered": cost > 0.3,
        }
        for name, text, mass, cost in (("t", "a target", 1.5, 0.1), ("u", "another target", 0.5, 0.4))
    ]  # fmt: skip
    summary = CoverageSummary("plan", "", 2, 1, 0.3, 0.1, 0.5, 1)
    selection = Selection(tuple(pool.ids[:K]), scores[:K], pool.fingerprint, Budget(K), "the best")
    drawn = SelectionMap(
        RNG.normal(size=(9, 2)).astype(np.float32), (4, 2, 3), (N, 2, K), (0.5, 0.25)
    )
    values = {
        "pool": pool, "selection": selection, "rows": rows, "scores": scores,
        "selectable": np.arange(N) != K, "stochastic": False, "clusters": np.arange(N),
        "not_compared": 0, "explanations": Explanations(picks, targets, {"music": summary}),
        "map": drawn,
    }  # fmt: skip
    return sections.Evidence(**{**values, **changes})  # type: ignore[arg-type]


def test_a_datasheet_says_what_was_selected_for_which_target_and_by_which_method() -> None:
    made = sections.datasheet(
        evidence(),
        axes=Axes("music", "web", "gotd", "static", "minilm", K, "documents", 0),
        targets=TargetSpec({"music": 1.0, "noise": -1.0}),
        method="GOT-D.\n\nMore.",
        facts={"fit": {"marginal_error": 0.02, "converged": True}, "leaks": {"exact": 3}},
        stages=[(StageCost("scores", "k", 7.0, 10, "cpu", "selection"), False)],
        views=[],
        command="python run.py selector=gotd",
        code={"commit": "abc+changes"},
        inputs={"pool": "fingerprint"},
        warnings=["a warning"],
    )
    assert made.title == "32 documents of web for music, away from noise"
    assert made.lead == (
        "Chosen by gotd on static vectors from 40 documents, for a budget of 32 documents. GOT-D."
    )
    facts = {fact.label: (fact.value, fact.note) for fact in made.facts}
    assert facts["picks"] == ("32", "80.0 % of the pool")
    assert facts["uncovered"] == ("1", "of 2 target texts")
    assert facts["transport"] == ("certified", "2.0 % mass misplaced")
    assert facts["selection time"] == ("7.0 s", "on cpu")
    assert [section.name for section in made.sections] == [
        "composition", "map", "coverage", "certificate", "leaks", "examples", "cost", "reproduction",
    ]  # fmt: skip
    text = markdown(made)
    assert "changes that were not committed" in text and "> ⚠ a warning" in text


def test_examples_are_of_the_top_the_middle_and_both_sides_of_the_edge() -> None:
    groups = sections.example_section(evidence()).groups
    assert [[one.place for one in group.examples][:1] for group in groups] == [
        ["#1"],
        ["#12"],
        ["#28"],
    ]
    assert [len(group.examples) for group in groups] == [10, 10, 10]
    first, edge = groups[0].examples[0], groups[2].examples
    assert first.targets == (("99.0 %", "a target"),)  # a share of half a percent is not listed
    assert first.tags == ("news", "1 near copy in the pool")
    # The best document that is not selected cannot be selected.
    assert [one.text for one in edge[5:]] == [f"text number {row}" for row in range(33, 38)]
    drawn = sections.example_section(evidence(stochastic=True)).groups[2]
    assert len(drawn.examples) == 5 and "random draw" in drawn.note


def test_coverage_lists_the_most_covered_and_the_uncovered_targets() -> None:
    (section,) = sections.coverage_sections(evidence().explanations)
    assert "1 of 2 target texts. 1 target text is uncovered." in section.lead
    most, uncovered = section.tables
    assert [cell.text for cell in most.rows[0]] == [
        "a target", f"1.5{formatting.TIMES}", "#4",
    ]  # fmt: skip
    assert [cell.text for cell in uncovered.rows[0]] == ["another target", "#4", "0.4000"]
    assert sections.coverage_sections(Explanations((), (), {})) == []


def test_scores_of_documents_outside_the_ranking_are_not_drawn() -> None:
    scores = np.full(N, np.finfo(np.float64).min)
    scores[:K] = 1.0
    section = sections.map_section(evidence(scores=scores, map=None))
    assert section.figures == ()
    assert "no vectors" in section.lead and "same score" in section.lead
