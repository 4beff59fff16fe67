"""The commands of README, CONTRIBUTING and the documentation: each composes, or parses."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from shortlist.cli.commands import parser
from shortlist.overrides import composed
from shortlist.pipeline.arguments import name_sizes

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs/guides").glob("*.md"))
EXAMPLES = r"overlap|NAME|SELECTOR|mine|\.\.\."  # methods and names that a reader fills in


def commands(page: Path) -> Iterator[list[str]]:
    """Yields the words of every command in the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and not re.search(EXAMPLES, line):
                yield words


def overrides_of(words: list[str]) -> list[str]:
    """Returns the settings of a cell of the command: of a sweep those of its first cell."""
    plain = [word for word in name_sizes([w for w in words if "=" in w]) if word[0] != "-"]
    return [re.sub(r"^([^=]+=)([^\[\]{},]+),[^\[{]*$", r"\1\2", word) for word in plain]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_cells_of_a_page_compose(page: Path) -> None:
    for words in commands(page):
        if words[:2] in (["python", "run.py"], ["shortlist", "run"], ["shortlist", "sweep"]):
            with composed(overrides_of(words[2:])) as config:
                assert config.selector is not None


def test_the_commands_of_the_console_script_parse() -> None:
    found = [words for page in PAGES for words in commands(page) if words[0] == "shortlist"]
    assert len(found) > 5
    for words in found:
        options = words[1 : words.index("--")] if "--" in words else words[1:]
        assert parser().parse_args(options).command


def test_the_settings_of_the_first_cell_are_found() -> None:
    words = shlex.split("-m a=1,2 'b=[x,y]' c={d: 1} experiment=gotd_table3 size=mini e=x")
    assert overrides_of(words) == ["a=1", "b=[x,y]", "c={d:", "experiment=gotd_table3_mini", "e=x"]
