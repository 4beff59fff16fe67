"""What an intermediate-task model refuses before anything is read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shortlist.errors import InvalidInput
from shortlist.models.intermediate import IntermediateModel
from shortlist.models.pretrained import LocalModel, StoredModel

MNLI = SimpleNamespace(name="mnli", kind="classification")
HEAD = {"documents": 3}
WEB = SimpleNamespace(name="web", kind="unlabelled")


def test_a_base_without_weights_and_an_intermediate_task_without_labels_are_refused() -> None:
    model = IntermediateModel(LocalModel("a"), MNLI, None, 0, HEAD)
    with pytest.raises(InvalidInput, match=r"model\.base must be a model whose weights exist"):
        IntermediateModel(model, MNLI, None, 0, HEAD)
    with pytest.raises(InvalidInput, match=r"model\.intermediate_task must be a task .* found web"):
        IntermediateModel(LocalModel("a"), WEB, None, 0, HEAD)
    with pytest.raises(InvalidInput, match=r"model\.head must hold the settings"):
        IntermediateModel(LocalModel("a"), MNLI, None, 0, {})


def test_it_has_no_directory_before_the_pipeline_has_trained_it() -> None:
    model = IntermediateModel(StoredModel("a", "key"), MNLI, None, 0, HEAD)  # type: ignore[arg-type]
    assert model.requires_training and model.identity() == {"model": "key"}
    with pytest.raises(InvalidInput, match="fine-tuned on an intermediate task first"):
        model.directory()
