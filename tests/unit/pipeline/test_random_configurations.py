"""A taste of `make soak --only configurations`."""

from pathlib import Path

from soak.configurations import attack


def test_random_configurations_compose_or_are_refused_in_one_line(tmp_path: Path) -> None:
    found = attack(seed=1, size=0.03, scratch=tmp_path)
    assert found.held, found.notes
    assert found.tried == 6
