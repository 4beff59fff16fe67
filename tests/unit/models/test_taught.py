"""What a model that is taught first refuses before anything is read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shortlist.errors import InvalidInput
from shortlist.models.pretrained import LocalModel, StageModel
from shortlist.models.taught import TaughtModel

MNLI = SimpleNamespace(name="mnli", kind="classification")
HEAD = {"documents": 3}
WEB = SimpleNamespace(name="web", kind="unlabelled")


def test_a_base_that_is_not_there_and_a_lesson_without_labels_are_refused() -> None:
    taught = TaughtModel(LocalModel("a"), MNLI, None, 0, HEAD)
    with pytest.raises(InvalidInput, match=r"model\.base must be a model that is there"):
        TaughtModel(taught, MNLI, None, 0, HEAD)
    with pytest.raises(InvalidInput, match=r"model\.lesson must be a task with labels, found web"):
        TaughtModel(LocalModel("a"), WEB, None, 0, HEAD)
    with pytest.raises(InvalidInput, match=r"model\.head must say how"):
        TaughtModel(LocalModel("a"), MNLI, None, 0, {})


def test_it_has_no_directory_before_the_pipeline_has_made_one() -> None:
    taught = TaughtModel(StageModel("a", "key"), MNLI, None, 0, HEAD)  # type: ignore[arg-type]
    assert taught.unmade and taught.identity() == {"model": "key"}
    with pytest.raises(InvalidInput, match="fine-tuned on another task first"):
        taught.directory()
