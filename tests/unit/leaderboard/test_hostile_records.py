"""A taste of the attack with hostile records; the whole is `make soak`."""

from pathlib import Path

from soak.hostile_records import attack


def test_no_hostile_record_passes_or_stops_the_others(tmp_path: Path) -> None:
    outcome = attack(seed=3, size=0.006, scratch=tmp_path)
    assert outcome.held, outcome.notes
    assert outcome.tried >= 5 and outcome.located >= 3
