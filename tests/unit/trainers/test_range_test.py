"""The range test chooses a rate, and leaves the training that follows as if it had not been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from safetensors.torch import load_file

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models.heads.labels import SingleLabel
from shortlist.trainers.base import RANGE_TEST
from shortlist.trainers.classify import Classifier
from shortlist.trainers.language_model import MaskedLM
from shortlist.trainers.range_test import choose, losses_at_rising_rates, rate

LABELS = ("baking", "sailing")
BASE: dict[str, Any] = {**toy.TRAINING, "epochs": 1, "warmup_fraction": 0.0}


def examples() -> Corpus:
    return toy.labelled(LABELS)


def test_the_rate_is_a_tenth_of_that_of_the_lowest_smoothed_loss() -> None:
    assert (rate(0), rate(99)) == pytest.approx((1e-6, 1.0))
    losses = [3.0 - 0.02 * step for step in range(60)] + [9.0] * 5
    found = choose(losses, "x")
    weights = [0.9 ** (59 - i) for i in range(60)]
    expected = sum(w * loss for w, loss in zip(weights, losses, strict=False)) / sum(weights)
    assert found.losses[59] == pytest.approx(expected) == min(found.losses)
    assert found.chosen == float(f"{rate(59) / 10:.1e}")


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 2.0, 3.0]])
def test_losses_that_never_fall_choose_no_rate(losses: list[float]) -> None:
    with pytest.raises(InvalidInput, match=r"x=find found no rate .* set x to a number"):
        choose(losses, "x")


def test_a_test_ends_where_the_loss_explodes_and_restores_everything() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([weight], lr=2e4)
    state = torch.get_rng_state()
    losses = losses_at_rising_rates(
        lambda: [torch.rand(1)] * 3, lambda _: (weight**2).sum(), optimizer, lambda: None
    )
    assert 2 < len(losses) < 100 and losses[-1] > 4 * min(losses)
    assert weight.item() == 1.0 and weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["labels", "texts"])
def test_a_rate_that_is_found_trains_as_one_that_is_typed(
    kind: str, tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    def trained(at: Path, learning_rate: Any) -> dict[str, Any]:
        settings = {**BASE, "learning_rate": learning_rate}
        if kind == "texts":
            module = MaskedLM(**settings, mask_share=0.3)
            return module.train_on(
                tiny_model, Corpus.build(toy.sentences("sailing", 16)), at, 0, machine
            )
        tuned = Classifier(**settings, keep="last", patience=None)
        return tuned.train_on(tiny_model, examples(), None, SingleLabel(LABELS), at, 0, machine)

    for name in ("found", "typed"):
        (tmp_path / name).mkdir()
    facts = trained(tmp_path / "found", "find")
    curve = json.loads((tmp_path / "found" / RANGE_TEST).read_text())
    assert facts["range_test_steps"] == len(curve["rates"]) == len(curve["losses"]) > 10
    assert facts["learning_rate_parts_per_billion"] == round(curve["chosen"] * 1e9)
    trained(tmp_path / "typed", curve["chosen"])
    ours, theirs = (load_file(tmp_path / f / "model.safetensors") for f in ("found", "typed"))
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())


def test_a_second_rate_beside_one_to_be_found_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"head_learning_rate is a rate beside"):
        Classifier(
            **{**BASE, "learning_rate": "find"},
            head_learning_rate=1e-3,
            keep="last",
            patience=None,
        )
