"""Quotes in CSV files: what RFC 4180 allows is read as it is written, all else is located."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.data.files import Reading
from shortlist.data.pools import Files
from shortlist.data.quotes import DIALECTS, CsvDialect, csv_rows
from shortlist.data.readers import Columns, Loaded, read_files, silent
from shortlist.data.sources import LocalSource
from shortlist.errors import InvalidInput


def rows(text: str, dialect: CsvDialect = "strict") -> tuple[list[list[str]], list[int], Counter]:
    """The header and rows, the lines that are rejected, and the counts."""
    counts = Counter[str]()
    found = list(csv_rows(iter(text.splitlines(keepends=True)), ",", dialect, 1 << 20, counts))
    good = [row.cells for row in found if not isinstance(row.cells, str)]
    return good, [row.line for row in found if isinstance(row.cells, str)], counts


def load(path: Path, text: str, **chosen: object) -> Loaded:
    path.write_text(text, encoding="utf-8")
    return read_files([path], Columns(), reading=Reading(group="pool", **chosen))


TEXTS = [f"the {word} patient was treated, case {n}" for n, word in enumerate("abcdefghij")]
PLAIN = "id,text\n" + "".join(f"{n},case {n} of a study\n" for n in range(300))


def test_a_stray_quote_costs_its_own_line_alone(tmp_path: Path) -> None:
    text = PLAIN.replace("\n10,case", '\n10,"case')
    loaded = load(tmp_path / "pool.csv", text)
    assert loaded.counts["rows_read"] == 300
    assert (loaded.counts["kept"], loaded.counts["quarantined"]) == (299, 1)
    (bad,) = loaded.quarantined
    assert bad.line == 12 and "the quote that opens cell 2 is never closed" in bad.reason
    assert loaded.counts["quotes_unbalanced"] == 1
    assert "pool.csv=lenient" in loaded.warnings[0] and "1 lines" in loaded.warnings[0]


@pytest.mark.parametrize("dialect", ["lenient", "unquoted"])
def test_the_other_dialects_read_a_stray_quote_as_text(tmp_path: Path, dialect: str) -> None:
    loaded = load(tmp_path / "pool.csv", PLAIN.replace("\n10,c", '\n10,"c'), csv=dialect)
    assert (loaded.counts["kept"], loaded.counts["quarantined"]) == (300, 0)
    assert '"case 10 of a study' in loaded.corpus.texts
    assert loaded.counts.get("quotes_repaired", 0) == (dialect == "lenient")


def test_an_export_without_quoting_loses_the_two_lines_of_the_quotes_and_none_between(
    tmp_path: Path,
) -> None:
    text = PLAIN.replace("\n10,case", '\n10,"case').replace("case 200 of a study", 'case 200 of"')
    strict = load(tmp_path / "pool.csv", text)
    assert (strict.counts["kept"], strict.counts["quarantined"]) == (298, 2)
    assert [bad.line for bad in strict.quarantined] == [12, 202]
    assert "closes in line 202" in strict.quarantined[0].reason
    for dialect in ("lenient", "unquoted"):
        assert load(tmp_path / "pool.csv", text, csv=dialect).counts["kept"] == 300


@pytest.mark.parametrize("quoted", ["id,text", "text,id"])
def test_two_stray_quotes_do_not_merge_three_rows(quoted: str) -> None:
    body = '1,"one\n2,two\n3,three"\n4,four\n'
    if quoted == "text,id":
        body = '"one,1\ntwo,2\nthree,"3"\nfour,4\n'
    good, bad, counts = rows(f"{quoted}\n{body}")
    assert not any("\n" in cell for row in good for cell in row)
    assert good[-1] in (["4", "four"], ["four", "4"])
    assert counts["quotes_unbalanced"] == len(bad) and 2 in bad


def test_a_text_of_several_lines_stays_one_document_and_is_counted() -> None:
    text = 'id,text\n1,"one\ntwo, three\nfour"\n2,"a ""quoted"" word"\n'
    good, bad, counts = rows(text)
    assert good[1:] == [["1", "one\ntwo, three\nfour"], ["2", 'a "quoted" word']]
    assert bad == [] and counts["of_several_lines"] == 1


def test_quotes_escaped_by_a_backslash_are_rejected_or_read(tmp_path: Path) -> None:
    text = (
        'text\n"She said \\"stop\\" at the door\nand then the meeting went on"\n'
        "A normal second row here\nA normal third row here\n"
    )
    strict = load(tmp_path / "pool.csv", text)
    assert strict.corpus.texts == ["A normal second row here", "A normal third row here"]
    assert [bad.line for bad in strict.quarantined] == [2, 3]
    assert "a backslash" in strict.quarantined[0].reason
    lenient = load(tmp_path / "pool.csv", text, csv="lenient")
    assert lenient.corpus.texts[0] == 'She said "stop" at the door\nand then the meeting went on'
    assert lenient.counts["kept"] == 3 and lenient.counts["quotes_repaired"] == 1


def test_a_wanted_column_that_stands_twice_is_refused_and_another_is_not(tmp_path: Path) -> None:
    text = "text,id,text\nleft,1,right\n"
    with pytest.raises(InvalidInput, match=r"pool\.csv: .*'text', found 2 \(columns 1 and 3\)"):
        load(tmp_path / "pool.csv", text)
    assert load(tmp_path / "pool.csv", "id,text,id\n1,a,2\n").corpus.texts == ["a"]


def test_a_broken_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"header line, found a broken one.*csv=unquoted"):
        load(tmp_path / "pool.csv", '"text\na\nb\n')


def test_an_unknown_dialect_names_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"pool\.csv: unknown dialect 'strikt'.*`strict`"):
        Files(["a.csv"], csv="strikt").load(LocalSource(None), silent)  # pyright: ignore


# A line break and a comma in one text may look like rows: see the tests above.
cells = st.text(st.sampled_from(["a", "b", " ", '"', ",", "\n", "\\", "1"]), max_size=8).filter(
    lambda cell: not ("\n" in cell and "," in cell)
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), max_size=12))
def test_what_the_standard_library_writes_is_read_back(table: list[tuple[str, str, str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows([("x", "y", "z"), *table])
    good, bad, counts = rows(written.getvalue())
    assert good == [["x", "y", "z"], *map(list, table)] and bad == []
    assert counts["of_several_lines"] == sum("\n" in "".join(row) for row in table)


lines = st.text(st.sampled_from(['"', ",", "a", "1", "\\", " "]), max_size=10)


@settings(max_examples=100, deadline=None)
@given(st.lists(lines, max_size=14), st.sampled_from(DIALECTS))
def test_every_line_is_part_of_a_row_or_rejected_once(body: list[str], dialect: CsvDialect) -> None:
    text = "".join(f"{line}\n" for line in ["id,text", *body])
    counts = Counter[str]()
    found = list(csv_rows(iter(text.splitlines(keepends=True)), ",", dialect, 1 << 20, counts))
    starts = [row.line for row in found]
    assert starts == sorted(set(starts))
    ends = [*starts[1:], len(body) + 2]
    for (row, start), end in zip(zip(found, starts, strict=True), ends, strict=True):
        covered = [line for line in ["id,text", *body][start - 1 : end - 1] if line]
        spans = not isinstance(row.cells, str) and "\n" in "".join(row.cells)
        assert len(covered) == 1 or spans
    if dialect == "unquoted":
        assert counts == {}


def test_a_file_full_of_opening_quotes_takes_linear_time() -> None:
    text = "id,text\n" + "".join(f'{n},"stray {n}\n' for n in range(20_000))
    good, bad, _ = rows(text)
    assert len(good) == 1 and len(bad) == 20_000
    merged = list(itertools.pairwise(bad))
    assert all(later == line + 1 for line, later in merged)
