"""Difference of selections: none between equal ones, a known swap is found exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from shortlist.core import Budget, Selection
from shortlist.errors import InvalidInput
from shortlist.leaderboard.__main__ import main
from shortlist.leaderboard.selection_diff import Picks, read_picks, selection_diff
from shortlist.store.formats import save_selection


def picks(ids: list[str], domain: str = "news", length: int = 40) -> Picks:
    return Picks("toy", tuple(ids), {k: "x" * length for k in ids}, dict.fromkeys(ids, domain))


def write(path: Path, ids: list[str], domain: str = "news") -> Path:
    rows = [
        {"id": key, "rank": rank, "score": -rank, "domain": domain, "text": f"text [b] of {key}"}
        for rank, key in enumerate(ids, start=1)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


TEN = [f"d{i}" for i in range(10)]


def test_a_selection_agrees_with_itself() -> None:
    found = selection_diff(picks(TEN), picks(TEN))
    assert (found.overlap, found.shared, found.only) == (1.0, 10, ((), ()))
    assert found.rank_correlation == pytest.approx(1.0)
    assert (found.domain_distance, found.length_distance) == (0.0, 0.0)


def test_a_known_swap_is_listed_exactly_with_its_ranks() -> None:
    other = [*TEN[:3], "new", *TEN[4:], "newer"]
    found = selection_diff(picks(TEN), picks(other))
    assert found.only == (((4, "d3"),), ((4, "new"), (11, "newer")))
    assert found.shared == 9
    assert found.overlap == 9 / 11


def test_an_order_turned_round_is_a_correlation_of_minus_one() -> None:
    found = selection_diff(picks(TEN), picks(TEN[::-1]))
    assert found.overlap == 1.0
    assert found.rank_correlation == pytest.approx(-1.0)


def test_repeats_count_as_often_as_both_have_them() -> None:
    found = selection_diff(picks(["a", "a", "b"]), picks(["a", "b", "b"]))
    assert (found.shared, found.only) == (2, ((), ()))
    assert found.overlap == pytest.approx(2 / 3)


def test_shifts_of_domain_and_length_are_measured() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(20, 60, 30), generator.integers(30, 90, 40)
    a, b = (
        Picks(
            name,
            tuple(f"{name}{i}" for i in range(len(found))),
            {f"{name}{i}": "x" * int(n) for i, n in enumerate(found)},
            {f"{name}{i}": "news" if i % share == 0 else "law" for i in range(len(found))},
        )
        for name, found, share in (("a", lengths[0], 2), ("b", lengths[1], 4))
    )
    found = selection_diff(a, b)
    assert found.domains == {"law": (0.5, 0.75), "news": (0.5, 0.25)}
    assert found.domain_distance == pytest.approx(0.25)
    test = stats.ks_2samp(*lengths)
    assert (found.length_distance, found.length_p) == (test.statistic, test.pvalue)
    assert found.rank_correlation is None  # nothing is shared


def test_lists_parquet_files_and_run_directories_are_read_alike(tmp_path: Path) -> None:
    write(tmp_path / "shortlist.jsonl", TEN)
    chosen = Selection(tuple(TEN), np.arange(10.0)[::-1], "pool", Budget(10), "toy")
    save_selection(tmp_path / "selection.parquet", chosen)
    found = [read_picks(tmp_path / name) for name in ("shortlist.jsonl", "selection.parquet", ".")]
    assert {pick.ids for pick in found} == {tuple(TEN)}
    assert [bool(pick.texts) for pick in found] == [True, False, True]
    assert selection_diff(found[0], found[1]).overlap == 1.0


def test_the_command_shows_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path / "a.jsonl", TEN)
    second = write(tmp_path / "b.jsonl", [*TEN[:9], "new"], domain="law")
    assert main(["diff", str(first), str(second), "--examples", "0"]) == 0
    shown = capsys.readouterr().out
    assert "0.9000 (9 shared)" in shown
    assert "in A only: 1 documents" in shown and "text [b] of d9" in shown
    assert "in B only: 1 documents" in shown and "text [b] of new" in shown
    assert "100.0%" in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ('{"id": "a"}\n', "line 1"), ("{\n", "line 1"), ("[]\n", "line 1")],
)
def test_a_broken_list_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "shortlist.jsonl"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=message) as error:
        read_picks(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["absent.jsonl", "broken.parquet", "."])
def test_what_holds_no_selection_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert main(["diff", str(tmp_path / name), str(tmp_path)]) == 2
