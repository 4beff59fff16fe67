"""Two losses of a document are those of two models, asked for the same tokens."""

from pathlib import Path

import numpy as np
import pytest
import toy

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.model_loss import ModelLoss, TwoLosses
from shortlist.models.pretrained import LocalModel
from shortlist.runtime import Runtime
from shortlist.trainers.language_model import CausalLM

MACHINE = Runtime(accelerator="cpu", progress=False)
TARGET = Corpus.build(toy.sentences("sailing", 6))
OTHERS = Corpus.build(toy.sentences("stars", 6))


def featurizer(model: Path, seed: int = 0) -> TwoLosses:
    reading = CausalLM(
        block=64, epochs=20, learning_rate=1e-2, batch_size=2, max_length=64, weight_decay=0.0,
        warmup_fraction=0.0, clip=1.0, precision="32", betas=(0.9, 0.999), eps=1e-8,
    )  # fmt: skip
    return TwoLosses(LocalModel(str(model)), 64, reading, seed)


def test_the_columns_are_the_losses_of_the_model_as_it_is_and_of_the_one_that_has_read(
    tiny_gpt2: Path, tmp_path: Path
) -> None:
    read = tmp_path / "read"
    read.mkdir()
    made = featurizer(tiny_gpt2)
    facts = made.learn(TARGET, read, MACHINE)
    assert facts["documents"] == 6 and facts["last_loss"] < facts["first_loss"]
    before = made.identity(MACHINE)
    made = made.with_learned(read, "key")
    assert made.identity(MACHINE) == {**before, "reading": "key"}
    saved = {}
    for name, corpus in (("target", TARGET), ("others", OTHERS)):
        at = tmp_path / name
        at.mkdir()
        found, counts = made.compute(corpus, at, MACHINE)
        for column, model in enumerate((tiny_gpt2, read)):
            alone = tmp_path / f"{name} {column}"
            alone.mkdir()
            expected = ModelLoss(LocalModel(str(model)), 64).compute(corpus, alone, MACHINE)
            np.testing.assert_array_equal(found[:, column], expected[0][:, 0])
            assert counts == expected[1]
        saved[name] = found[:, 0] - found[:, 1]
    assert saved["target"].min() > saved["others"].mean()


def test_a_model_that_has_not_read_the_target_is_refused(tiny_gpt2: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="before the reading"):
        featurizer(tiny_gpt2).compute(TARGET, tmp_path, MACHINE)
