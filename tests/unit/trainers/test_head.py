"""A masked-LM head for an encoder without one: only the head learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
import toy

from shortlist.core import Corpus
from shortlist.models import checkpoint
from shortlist.models.likelihood import held_out_loss
from shortlist.models.pretrained import HeadTraining
from shortlist.runtime import Runtime
from shortlist.trainers.language_model import MaskedLMHead

CORPUS = Corpus.build([text for topic in toy.TOPICS for text in toy.sentences(topic, 20)])
SETTINGS = HeadTraining(documents=100, epochs=4, learning_rate=1e-2, batch_size=32, max_length=32)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model without its head, as MiniLM comes."""
    at = tmp_path_factory.mktemp("encoder")
    checkpoint.save(at, checkpoint.encoder(tiny_model), checkpoint.tokenizer(tiny_model))
    return at


@pytest.fixture(scope="module")
def headed(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    at = tmp_path_factory.mktemp("headed")
    machine = Runtime(accelerator="cpu", progress=False)
    return at, MaskedLMHead(SETTINGS, "32").train_on(encoder, CORPUS, at, machine)


def test_the_encoders_weights_stay_as_they_are(encoder: Path, headed: tuple[Path, Any]) -> None:
    after = checkpoint.encoder(headed[0]).state_dict()
    for name, value in checkpoint.encoder(encoder).state_dict().items():
        # The pooler is no part of a masked LM and is not written.
        assert name.startswith("pooler.") or torch.equal(after[name], value), name


def test_the_decoder_stays_tied_to_the_word_embeddings(headed: tuple[Path, Any]) -> None:
    model = checkpoint.masked_lm(headed[0])
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_head_lowers_the_loss_below_that_of_a_random_one(
    encoder: Path, headed: tuple[Path, Any], machine: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    checkpoint.save(
        tmp_path, checkpoint.masked_lm(encoder, new_head=True), checkpoint.tokenizer(encoder)
    )
    before, after = (
        held_out_loss("mlm", path, CORPUS, 32, machine) for path in (tmp_path, headed[0])
    )
    # The frequencies of the words alone are worth more than half a nat of the log 160 = 5.1.
    assert after.sums.sum() / after.counts.sum() < before.sums.sum() / before.counts.sum() - 0.5


def test_the_loss_of_the_last_step_is_below_that_of_the_first(headed: tuple[Path, Any]) -> None:
    assert headed[1]["last_loss"] < headed[1]["first_loss"]


def test_training_twice_gives_the_same_weights_bit_for_bit(
    encoder: Path, headed: tuple[Path, Any], tmp_path: Path, machine: Any
) -> None:
    MaskedLMHead(SETTINGS, "32").train_on(encoder, CORPUS, tmp_path, machine)
    files = [(path / "model.safetensors").read_bytes() for path in (headed[0], tmp_path)]
    assert files[0] == files[1]
