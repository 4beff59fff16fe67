"""The noise floors beside the records."""

from pathlib import Path

import pytest

from shortlist.errors import InvalidInput
from shortlist.leaderboard.significance import (
    NOISE_FILE,
    noise_floor,
    read_noise_floors,
)


def test_no_file_is_no_floor(tmp_path: Path) -> None:
    assert read_noise_floors(tmp_path) == {}
    assert noise_floor({}, "toy", "accuracy") == 0.0


def test_a_task_has_its_own_floor_before_that_of_all(tmp_path: Path) -> None:
    (tmp_path / NOISE_FILE).write_text(
        "task,metric,value,how\n*,f1,0.1,x\ntoy,f1,0.2,other batches\n"
    )
    floors = read_noise_floors(tmp_path)
    assert floors == {("*", "f1"): 0.1, ("toy", "f1"): 0.2}
    assert [noise_floor(floors, t, "f1") for t in ("toy", "else")] == [0.2, 0.1]
    assert noise_floor(floors, "toy", "accuracy") == 0.0


@pytest.mark.parametrize(
    "content",
    [
        "task,metric,value\na,b,1\n",
        "task,metric,value,how\na,b,-1,x\n",
        "task,metric,value,how\na,b,nan,x\n",
        "task,metric,value,how\na,b,,x\n",
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / NOISE_FILE).write_text(content)
    with pytest.raises(InvalidInput, match=NOISE_FILE):
        read_noise_floors(tmp_path)
