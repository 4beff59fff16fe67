"""The decision records: complete, short, and about files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
SECTIONS = ["## Context", "## Decision", "## Alternatives considered", "## Consequences"]


def test_every_decision_is_one_page_with_a_date_and_the_four_sections() -> None:
    assert PAGES
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").split("\n")
        assert [line for line in lines if line.startswith("## ")] == SECTIONS, page.name
        assert re.fullmatch(r"Date: \d{4}-\d\d-\d\d", lines[2]), page.name
        assert len(lines) <= 60 and max(map(len, lines)) <= 100, page.name


def test_the_index_lists_every_decision_once_under_its_own_title() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\| (\d+) \| \[(.+)\]\((.+\.md)\) \|", index)
    assert [name for _, _, name in listed] == [page.name for page in PAGES]
    for number, title, name in listed:
        first = (ROOT / "docs/decisions" / name).read_text(encoding="utf-8").split("\n")[0]
        assert first == f"# {number}. {title}"


def test_files_that_the_documents_name_exist() -> None:
    documents = [
        *PAGES,
        ROOT / "docs/architecture.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "README.md",
    ]
    for document in documents:
        text = document.read_text(encoding="utf-8")
        named = re.findall(
            r"`((?:src|conf|docs|tests|results|baselines|benchmarks)/[\w./-]+)`", text
        )
        linked = re.findall(r"\]\((?!http)([\w./-]+?)(?:#[\w-]+)?\)", text)
        missing = [
            name
            for name in named
            if not re.search("[A-Z]{3}|overlap", name) and not (ROOT / name).exists()
        ]
        missing += [name for name in linked if not (document.parent / name).exists()]
        assert not missing, f"{document.name}: {missing}"
