"""Curves of losses: whole, in stretches, and those of a training beside its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Corpus
from shortlist.models import checkpoint
from shortlist.models.heads.base import Head, LossOptions
from shortlist.models.heads.labels import MultiLabel, Regression, SingleLabel
from shortlist.models.heads.responses import Responses
from shortlist.models.heads.spans import Spans
from shortlist.models.heads.tags import Tags
from shortlist.runtime import Runtime
from shortlist.trainers.classify import Classifier, Validation
from shortlist.trainers.curves import Curve
from shortlist.trainers.language_model import MaskedLM


@pytest.mark.parametrize("n", [1, 7, 200, 201, 1003])
def test_stretches_hold_every_step_once(n: int) -> None:
    losses = np.random.default_rng(n).random(n).tolist()
    means = Curve(losses, 5).means(100)
    assert len(means) <= 100 and means[-1][0] == n
    widths = np.diff([0, *(step for step, _ in means)])
    assert np.dot(widths, [loss for _, loss in means]) == pytest.approx(sum(losses))


def test_a_curve_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert Curve.read(tmp_path) is None
    curve = Curve([0.5, 1.25, 3e-7], 2, [None, 0.75], [0.5, 0.25], 1)
    curve.write(tmp_path)
    assert Curve.read(tmp_path) == curve and curve.epochs == [2, 4]


class Outputs:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize(
    ("head", "labels"),
    [
        (SingleLabel("abc"), ["a", "c", "b", "a"]),
        (MultiLabel("abc"), ['["a"]', "[]", '["a", "b"]', '["c"]']),
        (Regression(), ["1.5", "0", "-2", "3"]),
    ],
)
def test_the_loss_of_predictions_is_that_of_the_training(head: Head, labels: list[str]) -> None:
    corpus = Corpus.build(["one", "two", "three", "four"], labels=labels)
    width = 1 if isinstance(head, Regression) else 3
    logits = torch.randn(4, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = head.targets(corpus, None)  # type: ignore[arg-type]
    assert isinstance(truth, torch.Tensor)
    expected = float(head.loss(Outputs(logits), truth, LossOptions()))
    found = head.loss_of(head.activation(logits).numpy(), corpus)  # type: ignore[attr-defined]
    assert found == pytest.approx(expected, rel=1e-6)  # the loss is in float32


def test_an_impossible_prediction_has_a_finite_loss_and_unknown_classes_are_left_out() -> None:
    corpus = Corpus.build(["one", "two"], labels=["a", "new"])
    found = SingleLabel("ab").loss_of(np.array([[0.0, 1.0], [0.0, 1.0]]), corpus)
    assert found is not None and 700 < found < 710
    assert SingleLabel("b").loss_of(np.ones((2, 1)), corpus) is None


def test_trainings_keep_their_curves(tiny_model: Path, tmp_path: Path, machine: Runtime) -> None:
    corpus = toy.labelled(("baking", "sailing"))
    warm, tuned = tmp_path / "warm", tmp_path / "tuned"
    module = MaskedLM(mask_share=0.3, **toy.TRAINING)
    facts = module.train_on(tiny_model, corpus.unlabelled(), warm, 0, machine)
    curve = Curve.read(warm)
    assert curve is not None and len(curve.losses) == facts["steps"] == 2 * curve.steps_an_epoch
    assert curve.losses[0] == pytest.approx(facts["first_loss"], rel=1e-5)
    classifier = Classifier(**{**toy.TRAINING, "epochs": 3}, keep="best", patience=None)
    validation = Validation(corpus, lambda values: float(values.max()))
    head = SingleLabel(("baking", "sailing"))
    facts = classifier.train_on(warm, corpus, validation, head, tuned, 0, machine)
    curve = Curve.read(tuned)
    assert curve is not None and curve.epoch == facts["epoch"]
    assert curve.scores == pytest.approx(facts["validation"], rel=1e-5)
    assert len(curve.losses) == 3 * curve.steps_an_epoch and len(curve.validation_losses) == 3
    predicted = classifier.predict(tuned, corpus, head, machine).values
    expected = head.loss_of(predicted, corpus)
    assert curve.validation_losses[curve.epoch - 1] == pytest.approx(expected, rel=1e-5)


TOLD = [
    (Tags(("O", "B-X")), ["sail boat", "oar rum ice", "knot"], None,
     [["B-X", "O"], ["O", "B-X", "B-NEW"], ["O"]]),  # a tag that the model does not know
    (Spans(2, 4), ["the boat sails", "a knot in the rope", "rum"], ["who", "what", "what"],
     [{"text": [text.split()[-1]], "answer_start": [text.rindex(" ") + 1 if " " in text else 0]}
      for text in ("the boat sails", "a knot in the rope", "rum")]),
    (Responses("{prompt}\n", None, 3), ["say oar", "tell rum", "say a long prompt"], None,
     [{"messages": [], "response": answer} for answer in ("oar", "rum and ice", "knot")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("head", "texts", "questions", "labels"), TOLD, ids=["tags", "spans", "texts"]
)
def test_the_loss_on_validation_is_that_of_the_stored_model_where_predictions_have_none(
    head: Head,
    texts: list[str],
    questions: list[str] | None,
    labels: list[Any],
    tiny_model: Path,
    tiny_gpt2: Path,
    tmp_path: Path,
    machine: Runtime,
) -> None:
    written = [json.dumps(label) for label in labels]
    corpus = Corpus.build(texts, labels=written, texts_b=questions)
    start = tiny_gpt2 if head.generates else tiny_model
    settings = {**toy.TRAINING, "epochs": 2, "batch_size": 2}
    trainer = Classifier(**settings, keep="best", patience=None)
    scores = iter((0.1, 0.2))
    watched = Validation(corpus, lambda values: next(scores))
    trainer.train_on(start, corpus, watched, head, tmp_path, 0, machine)
    curve = Curve.read(tmp_path)
    assert curve is not None and len(set(curve.validation_losses)) == 2
    model, tokenizer = head.open(tmp_path).eval(), checkpoint.tokenizer(tmp_path)
    read = head.read(corpus, model, tokenizer, 64, labelled=True)
    batch = read.labelled(list(range(len(read.tokens))))  # all at once
    truth = batch.pop("labels")
    with torch.no_grad():
        expected = float(head.loss(model(**batch), truth, LossOptions()))
    assert curve.validation_losses[1] == pytest.approx(expected, rel=1e-4)
